package sigcheck

import (
	"fmt"

	"github.com/sourcegraph/conc/iter"

	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// VerifyValue checks one signature of a batch: that over the file with the digest,
// which is inside of the artifact.
func (k *Key) VerifyValue(f format.Name, digest statement.SHA256, value []byte) error {
	if err := k.supportsBatch(f); err != nil {
		return err
	}
	switch f {
	case format.IMA:
		id, err := imasig.KeyID(k.Public, k.X509)
		if err != nil {
			return err
		}
		return imasig.Verify(k.Public, id, digest, value)
	case format.SSHFiles:
		return sshsig.VerifyBlob(k.Public, Namespace, digest, value)
	}
	return fmt.Errorf("%w: format %q is not known here", ErrUnchecked, f)
}

// VerifyValues checks the signatures of a batch, on all processors. They are over the
// digests of the set from number first on. It returns the place of the first that is
// wrong, and what is wrong with it.
func (k *Key) VerifyValues(f format.Name, set statement.DigestSet, first int, values [][]byte) (int, error) {
	errs := make([]error, len(values))
	iter.ForEachIdx(values, func(i int, value *[]byte) { errs[i] = k.VerifyValue(f, set.At(first+i), *value) })
	for i, err := range errs {
		if err != nil {
			return i, err
		}
	}
	return 0, nil
}

func (k *Key) supportsBatch(f format.Name) error {
	if !format.IsBatch(f) {
		return fmt.Errorf("%w: %s is no batch", ErrUnchecked, f)
	}
	if k.Public == nil {
		return fmt.Errorf("%w: %s needs the public key", ErrUnchecked, f)
	}
	kind, err := format.KeyTypeOf(k.Public)
	if err != nil {
		return err
	}
	return format.Possible(f, kind)
}
