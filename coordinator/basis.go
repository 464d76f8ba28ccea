package coordinator

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"quorate/internal/sigcheck"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// projectionVersion is raised whenever this program projects the same record
// differently than before. The projection is then made anew at the next start.
const projectionVersion = 3

// computeBasis is the digest of everything beside the record that the projection
// follows from.
func (s *setup) computeBasis() statement.SHA256 {
	h := sha256.New()
	fmt.Fprintf(h, "quorate-projection-v%d\n%x\n", projectionVersion, s.policy.Digest)
	for _, digest := range slices.SortedFunc(maps.Keys(s.former), compareDigests) {
		fmt.Fprintf(h, "former %x\n", digest)
	}
	for _, name := range slices.Sorted(maps.Keys(s.keys)) {
		k := s.keys[name]
		if k.OpenPGP != nil {
			fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(k.OpenPGP.Bytes()))
		}
		if k.X509 != nil {
			fmt.Fprintf(h, "%s x509 %x\n", name, sha256.Sum256(k.X509.Raw))
		}
		if k.OpenPGP == nil {
			fmt.Fprintf(h, "%s public %s\n", name, publicID(k))
		}
	}
	return statement.SHA256(h.Sum(nil))
}

func compareDigests(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) }

// publicID names the public key. It was checked when it was loaded.
func publicID(k *sigcheck.Key) string {
	id, err := k.Fingerprint(format.RawSHA256)
	if err != nil {
		return err.Error()
	}
	return id
}
