package sigcheck_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"

	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum/format"
)

func TestVerifyValue(t *testing.T) {
	k, c := keys(t)
	id, err := imasig.KeyID(c.Public, c.X509)
	check(t, err)
	value, err := imasig.Sign(k, id, file.SHA256)
	check(t, err)
	check(t, c.VerifyValue(format.IMA, file.SHA256, value))
	blob, err := sshsig.SignBlob(k, sigcheck.Namespace, file.SHA256)
	check(t, err)
	check(t, c.VerifyValue(format.SSHFiles, file.SHA256, blob))
	if c.VerifyValue(format.SSHFiles, file.SHA256, value) == nil || c.VerifyValue(format.IMA, file.SHA256, blob) == nil {
		t.Error("one format passed as the other")
	}
	other := file.SHA256
	other[0] ^= 1
	if c.VerifyValue(format.IMA, other, value) == nil || c.VerifyValue(format.SSHFiles, other, blob) == nil {
		t.Error("good for another file")
	}
	if err := (&sigcheck.Key{}).VerifyValue(format.IMA, file.SHA256, value); !errors.Is(err, sigcheck.ErrUnchecked) {
		t.Errorf("without a key: %v", err)
	}
	if err := c.VerifyValue(format.RawSHA256, file.SHA256, value); !errors.Is(err, sigcheck.ErrUnchecked) {
		t.Errorf("no batch: %v", err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	if err := (&sigcheck.Key{Public: public}).VerifyValue(format.IMA, file.SHA256, value); !errors.Is(err, format.ErrImpossible) {
		t.Errorf("ed25519: %v", err)
	}
}
