package pgpsig_test

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/pgpsig"
)

func textSigned(t testing.TB, c *pgpsig.Certificate, k softwareKey) []byte {
	t.Helper()
	sig, err := pgpsig.SignText(c, absorbed(document), crypto.SHA512, signTime, notations, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestSignText(t *testing.T) {
	for _, k := range keys() {
		t.Run(k.name, func(t *testing.T) {
			c := certificate(t, k)
			sig := textSigned(t, c, k)
			for _, form := range [][]byte{sig, pgpsig.Armor(sig)} {
				got, err := pgpsig.VerifyText(c, absorbed(document), form)
				if err != nil {
					t.Fatal(err)
				}
				want := &pgpsig.Signature{Fingerprint: c.Fingerprint(), Created: signTime, Hash: crypto.SHA512, Notations: notations}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			}
			_, err := pgpsig.VerifyText(c, absorbed(append(document, '!')), sig)
			wantNotOver(t, err, "text")
		})
	}
}

// TestTextIsNotBinary: neither type passes for the other.
func TestTextIsNotBinary(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	_, err := pgpsig.VerifyDetached(c, absorbed(document), textSigned(t, c, k))
	wantError(t, err, "signature type: 0x01")
	_, err = pgpsig.VerifyText(c, absorbed(document), signed(t, c, k))
	wantError(t, err, "signature type: 0x00")
}

func TestTextFlippedBits(t *testing.T) {
	for _, name := range []string{"ed25519", "p256"} {
		k := key(name)
		c := certificate(t, k)
		sig := textSigned(t, c, k)
		for bit := range 8 * len(sig) {
			if _, err := pgpsig.VerifyText(c, absorbed(document), flip(sig, bit)); err == nil {
				t.Errorf("%s: %s changed, and it verifies", name, describe(bit))
			}
		}
	}
}

func TestTextBadSigner(t *testing.T) {
	broken := errors.New("token is away")
	for _, k := range keys() {
		c := certificate(t, k)
		for want, sign := range map[error]pgpsig.SignFunc{
			broken: func(crypto.Hash, []byte) ([]byte, error) { return []byte("x"), broken },
			pgpsig.ErrSignatureCheck: func(h crypto.Hash, d []byte) ([]byte, error) {
				return k.sign(h, flip(d, 100))
			},
		} {
			sig, err := pgpsig.SignText(c, absorbed(document), crypto.SHA512, signTime, nil, sign)
			if sig != nil || !errors.Is(err, want) {
				t.Errorf("%s: %d bytes, %v; want %v", k.name, len(sig), err, want)
			}
		}
	}
}

func TestTextRefusedBeforeSigning(t *testing.T) {
	ask := func(crypto.Hash, []byte) ([]byte, error) { t.Error("asked the signer"); return nil, nil }
	c := certificate(t, key("p384"))
	small := sha256.New()
	_, err := pgpsig.SignText(c, small, crypto.SHA256, signTime, nil, ask)
	wantError(t, err, "too short")
	_, err = pgpsig.SignText(c, small, crypto.SHA512, signTime, nil, ask)
	wantError(t, err, "state is SHA-256")
	_, err = pgpsig.SignText(c, absorbed(document), crypto.SHA512, keyTime.Add(-time.Hour), nil, ask)
	wantError(t, err, "before the key was created")
	_, err = pgpsig.SignText(c, absorbed(document), crypto.SHA512, signTime, []pgpsig.Notation{{Name: "x"}}, ask)
	wantError(t, err, "name@domain")
	_, err = pgpsig.SignText(c, opaqueHash{absorbed(document)}, crypto.SHA512, signTime, nil, ask)
	wantError(t, err, "cannot be copied")
}

func TestTextGarbage(t *testing.T) {
	c := certificate(t, key("ed25519"))
	for _, data := range [][]byte{nil, []byte("x"), {0xc2}, {0xc2, 0}, {0xc2, 2, 4, 1}, make([]byte, 1<<20), c.Bytes()} {
		if _, err := pgpsig.VerifyText(c, absorbed(document), data); err == nil {
			t.Errorf("%.10x verifies", data)
		}
	}
}

// FuzzVerifyText: an Ed25519 key that signed once verifies nothing else.
func FuzzVerifyText(f *testing.F) {
	k := ed25519Key("ed25519", 1)
	c := certificate(f, k)
	sig := textSigned(f, c, k)
	want, err := pgpsig.VerifyText(c, absorbed(document), sig)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add(pgpsig.Armor(sig))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := pgpsig.VerifyText(c, absorbed(document), data)
		if err == nil && !cmp.Equal(want, got) {
			t.Errorf("verified as %+v", got)
		}
	})
}
