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
const projectionVersion = 5

// computeBasis is the digest of everything beside the record that the projection
// follows from.
func (s *setup) computeBasis(keys keyring) statement.SHA256 {
	h := sha256.New()
	fmt.Fprintf(h, "quorate-projection-v%d\n%x\n", projectionVersion, s.policy.Digest)
	for _, digest := range slices.SortedFunc(maps.Keys(s.former), compareDigests) {
		fmt.Fprintf(h, "former %x\n", digest)
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		for _, id := range keyIDs(keys[name]) {
			fmt.Fprintf(h, "%s %s\n", name, id)
		}
	}
	return statement.SHA256(h.Sum(nil))
}

// keyIDs names all that signatures are verified with.
func keyIDs(k *sigcheck.Key) (ids []string) {
	if k.OpenPGP != nil {
		ids = append(ids, fmt.Sprintf("%x", sha256.Sum256(k.OpenPGP.Bytes())))
	}
	if k.X509 != nil {
		ids = append(ids, fmt.Sprintf("x509 %x", sha256.Sum256(k.X509.Raw)))
	}
	if k.OpenPGP == nil {
		ids = append(ids, "public "+publicID(k))
	}
	return ids
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
