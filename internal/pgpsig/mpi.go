package pgpsig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"quorate/quorum/evidence/openpgp/frame"
)

// maxPackets bounds the work that one file can cause; real certificates have
// a few dozen packets.
const maxPackets = 2048

// checkMPIs wants exactly count integers in b, each with the bit count of its
// first octet and nothing behind the last. go-crypto reads integers more
// loosely, which would give one signature several encodings.
func checkMPIs(b []byte, count int) error {
	for i := range count {
		if len(b) < 2 {
			return fmt.Errorf("integer %d: %w", i+1, frame.ErrTruncated)
		}
		n := int(binary.BigEndian.Uint16(b))
		size := (n + 7) / 8
		b = b[2:]
		if len(b) < size {
			return fmt.Errorf("integer %d: %w", i+1, frame.ErrTruncated)
		}
		if size > 0 && bits.Len8(b[0]) != n-8*(size-1) {
			return fmt.Errorf("integer %d: bit count does not match its value", i+1)
		}
		b = b[size:]
	}
	if len(b) > 0 {
		return errors.New("bytes after the last integer")
	}
	return nil
}
