package sigformat_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"
	"testing"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/internal/sigkit"
)

func TestSignMessage(t *testing.T) {
	for _, s := range sigkit.Keys() {
		k := s.Key(t)
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			sig, err := k.SignMessage(nil, sigkit.Document, sigformat.HashFor(k.Public(), h))
			if err != nil {
				t.Fatal(err)
			}
			if err := sigformat.VerifyMessage(k.Public(), h, sigkit.Document, sig); err != nil {
				t.Errorf("%s, %s: %v", s.Name, h, err)
			}
			for bit := int(h) % 5; bit < 8*len(sig); bit += 5 { // every bit would take long
				if sigformat.VerifyMessage(k.Public(), h, sigkit.Document, sigkit.Flip(sig, bit)) == nil {
					t.Errorf("%s, %s: bit %d changed, and it verifies", s.Name, h, bit)
				}
			}
			if sigformat.VerifyMessage(k.Public(), h, sigkit.Document[1:], sig) == nil {
				t.Errorf("%s, %s: verifies another message", s.Name, h)
			}
		}
	}
}

// TestStandardCallers: the standard library takes the key for one of its own.
func TestStandardCallers(t *testing.T) {
	for _, s := range sigkit.Keys() {
		k := s.Key(t)
		h := sigformat.HashFor(k.Public(), crypto.SHA384)
		sig, err := crypto.SignMessage(k, rand.Reader, sigkit.Document, h)
		if err != nil {
			t.Fatal(err)
		}
		if err := sigformat.VerifyMessage(s.Public(), crypto.SHA384, sigkit.Document, sig); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) {
			return k.SignMessage(nil, sigkit.Document, sigformat.HashFor(k.Public(), crypto.SHA512))
		})
	}
}

func TestOneCaseForAllFormats(t *testing.T) {
	if !errors.Is(sigformat.ErrSignatureCheck, pgpsig.ErrSignatureCheck) {
		t.Error("a caller that looks for pgpsig.ErrSignatureCheck misses it")
	}
	if errors.Is(sigformat.ErrSignatureCheck, sigkit.ErrAway) {
		t.Error("it is every error")
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	d256, d512 := sha256.Sum256(nil), sha512.Sum512(nil)
	tests := []struct {
		name, key string
		digest    []byte
		opts      crypto.SignerOpts
		want      string
	}{
		{"digest by ed25519", "ed25519", d512[:], crypto.SHA512, "messages, not digests"},
		{"ed25519ph", "ed25519", d512[:], &ed25519.Options{Hash: crypto.SHA512}, "messages, not digests"},
		{"ed25519ctx", "ed25519", d512[:], &ed25519.Options{Context: "x"}, "with a context"},
		{"pss", "rsa3072", d512[:], &rsa.PSSOptions{Hash: crypto.SHA512}, "RSA-PSS"},
		{"no hash, rsa", "rsa3072", d512[:], crypto.Hash(0), "is not accepted"},
		{"no hash, ecdsa", "p256", d512[:], crypto.Hash(0), "is not accepted"},
		{"sha1", "p256", make([]byte, 20), crypto.SHA1, "is not accepted"},
		{"short digest", "p384", d256[:], crypto.SHA512, "digest has 32 bytes"},
		{"long digest", "p384", d512[:], crypto.SHA256, "digest has 64 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sig, err := sigkit.ByName(tt.key).With(t, sigkit.Refuse(t)).Sign(nil, tt.digest, tt.opts)
			sigkit.WantError(t, err, tt.want)
			if sig != nil {
				t.Error("returned a signature")
			}
		})
	}
	_, err := sigkit.ByName("p256").With(t, sigkit.Refuse(t)).SignMessage(nil, nil, crypto.MD5)
	sigkit.WantError(t, err, "is not accepted")
}

func TestNewKeyRefuses(t *testing.T) {
	sign := sigkit.Refuse(t)
	small := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, pub := range map[string]crypto.PublicKey{
		"RSA with 1024 bits":   small,
		"neither P-256":        p521.Public(),
		"Ed25519 with 2 bytes": ed25519.PublicKey("xx"),
		"is not RSA":           "text",
	} {
		_, err := sigformat.NewKey(pub, sign)
		sigkit.WantError(t, err, want)
	}
	_, err = sigformat.NewKey(sigkit.ByName("p256").Public(), nil)
	sigkit.WantError(t, err, "no function")
}

func TestVerifyRefuses(t *testing.T) {
	ed, ec := sigkit.ByName("ed25519").Public(), sigkit.ByName("p256").Public()
	sigkit.WantError(t, sigformat.VerifyDigest(ed, crypto.SHA512, make([]byte, 64), nil), "messages, not digests")
	sigkit.WantError(t, sigformat.VerifyDigest(ec, crypto.SHA512, make([]byte, 32), nil), "32 bytes of digest")
	sigkit.WantError(t, sigformat.VerifyDigest(ec, crypto.SHA1, make([]byte, 20), nil), "20 bytes of digest")
	sigkit.WantError(t, sigformat.VerifyDigest("x", crypto.SHA1, nil, nil), "is not RSA")
	sigkit.WantError(t, sigformat.VerifyMessage("x", crypto.SHA256, nil, nil), "is not RSA")
	sigkit.WantError(t, sigformat.VerifyMessage(ec, crypto.SHA1, nil, nil), "is not accepted")
}

// FuzzSplitECDSA: what is accepted has one encoding.
func FuzzSplitECDSA(f *testing.F) {
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 0x7f})
	f.Add([]byte{0x30, 8, 2, 2, 0, 0x80, 2, 2, 0, 0xff})
	f.Add([]byte{0x30, 6, 2, 1, 0, 2, 1, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		r, s, err := sigformat.SplitECDSA(der)
		if err != nil {
			return
		}
		if r.Sign() <= 0 || s.Sign() <= 0 {
			t.Errorf("accepted %v, %v", r, s)
		}
		if again, err := asn1Marshal(r, s); err != nil || string(again) != string(der) {
			t.Errorf("%x and %x are one signature", der, again)
		}
	})
}
