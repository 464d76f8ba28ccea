package rawsig_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"testing"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/rawsig"
	"quorate/quorum/format"
)

func digests(file []byte) map[crypto.Hash][]byte {
	d256, d512 := sha256.Sum256(file), sha512.Sum512(file)
	return map[crypto.Hash][]byte{crypto.SHA256: d256[:], crypto.SHA512: d512[:]}
}

var options = map[crypto.Hash]string{crypto.SHA256: "-sha256", crypto.SHA512: "-sha512"}

func TestOpenSSLVerifies(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	file := x.Write("file", sigkit.Document)
	other := x.Write("other", sigkit.Document[1:])
	for _, s := range sigkit.Keys() {
		if s.IsEd25519() {
			continue
		}
		pub := x.Write("key.pem", s.PEM())
		for h, digest := range digests(sigkit.Document) {
			sig, err := rawsig.Sign(s.Key(t), h, digest)
			if err != nil {
				t.Fatal(err)
			}
			path := x.Write("sig", sig)
			x.Run("openssl", "dgst", options[h], "-verify", pub, "-signature", path, file)
			x.Refuses("openssl", "dgst", options[h], "-verify", pub, "-signature", path, other)
			if err := rawsig.Verify(s.Public(), h, digest, sig); err != nil {
				t.Errorf("%s, %s: %v", s.Name, h, err)
			}
			for bit := 0; bit < 8*len(sig); bit += 37 { // not all: P-384 is slow
				if rawsig.Verify(s.Public(), h, digest, sigkit.Flip(sig, bit)) == nil {
					t.Errorf("%s, %s: bit %d changed, and it verifies", s.Name, h, bit)
				}
			}
		}
	}
}

func TestReadOpenSSL(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	file := x.Write("file", sigkit.Document)
	x.Run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key")
	x.Run("openssl", "dgst", "-sha256", "-sign", "key", "-out", "sig", file)
	x.Run("openssl", "ec", "-in", "key", "-pubout", "-outform", "DER", "-out", "pub")
	pub := sigkit.ParsePublic(t, x.Read("pub"))
	if err := rawsig.Verify(pub, crypto.SHA256, digests(sigkit.Document)[crypto.SHA256], x.Read("sig")); err != nil {
		t.Error(err)
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		for h, digest := range digests(sigkit.Document) {
			if !s.IsEd25519() {
				s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return rawsig.Sign(k, h, digest) })
			}
		}
	}
}

// TestEd25519IsImpossible: here, and in the table that the policy is read with.
func TestEd25519IsImpossible(t *testing.T) {
	s := sigkit.ByName("ed25519")
	digest := digests(nil)[crypto.SHA512]
	sig, err := rawsig.Sign(s.With(t, sigkit.Refuse(t)), crypto.SHA512, digest)
	if sig != nil || !errors.Is(err, rawsig.ErrNeedsFile) {
		t.Errorf("%x, %v", sig, err)
	}
	if err := rawsig.Verify(s.Public(), crypto.SHA512, digest, nil); !errors.Is(err, rawsig.ErrNeedsFile) {
		t.Error(err)
	}
	for _, n := range []format.Name{format.RawSHA256, format.RawSHA512} {
		if err := format.Possible(n, format.Ed25519); !errors.Is(err, format.ErrImpossible) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	k := sigkit.ByName("p256").With(t, sigkit.Refuse(t))
	_, err := rawsig.Sign(k, crypto.SHA384, make([]byte, 48))
	sigkit.WantError(t, err, "hash SHA-384")
	_, err = rawsig.Sign(k, crypto.SHA256, make([]byte, 31))
	sigkit.WantError(t, err, "digest has 31 bytes")
	sigkit.WantError(t, rawsig.Verify(k.Public(), crypto.SHA1, nil, nil), "hash SHA-1")
}
