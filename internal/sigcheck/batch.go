package sigcheck

import (
	"fmt"

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
