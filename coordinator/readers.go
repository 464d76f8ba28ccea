package coordinator

import (
	"net"

	"quorate/internal/connlimit"
)

// maxReaders is how many connections HTTP has at a time at most: some 350 MiB of them.
const maxReaders = 8192

// limitReaders leaves a quarter of this process's descriptors to database and bus:
// readers, who need not say who they are, would else keep builders and signers out.
// Further readers wait until others leave.
func limitReaders(l net.Listener) *connlimit.Listener {
	return connlimit.New(l, int(min(descriptors()/4*3, maxReaders)))
}
