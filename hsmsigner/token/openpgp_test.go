package token_test

import (
	"crypto"
	"crypto/sha512"
	"testing"
	"time"

	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
)

// TestOpenPGP joins the two halves of the signer: the contract of Sign is that
// of pgpsig.SignFunc, for every key type.
func TestOpenPGP(t *testing.T) {
	k := newFixture(t).open(t)
	created := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, kt := range token.KeyTypes() {
		key := create(t, k, string(kt), kt)
		sign := func(h crypto.Hash, digest []byte) ([]byte, error) {
			return k.Sign(t.Context(), key.Label, h, digest)
		}
		raw, err := pgpsig.MakeCertificate(key.Public, created, "Example <a@example.org>", sign)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := pgpsig.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		state := sha512.New()
		state.Write([]byte("file"))
		sig, err := pgpsig.SignDetached(cert, state, crypto.SHA512, created.Add(time.Hour), nil, sign)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgpsig.VerifyDetached(cert, state, sig); err != nil {
			t.Error(err)
		}
	}
}
