package coordinator

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"quorate/quorum/statement"
)

// projectionVersion is raised whenever this program projects the same record
// differently than before. The projection is then made anew at the next start.
const projectionVersion = 1

// computeBasis is the digest of everything beside the record that the projection
// follows from.
func (s *setup) computeBasis() statement.SHA256 {
	h := sha256.New()
	fmt.Fprintf(h, "quorate-projection-v%d\n%x\n", projectionVersion, s.policy.Digest)
	names := make([]string, 0, len(s.certs))
	for name := range s.certs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(s.certs[name].Bytes()))
	}
	return statement.SHA256(h.Sum(nil))
}
