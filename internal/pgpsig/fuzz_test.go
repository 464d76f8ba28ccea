package pgpsig_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/pgpsig"
)

// FuzzParseCertificate: what is accepted has one form, and survives armour.
func FuzzParseCertificate(f *testing.F) {
	for _, name := range []string{"ed25519", "p256", "rsa3072"} {
		c := certificate(f, key(name))
		f.Add(c.Bytes())
		f.Add(pgpsig.ArmorCertificate(c.Bytes()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := pgpsig.ParseCertificate(data)
		if err != nil {
			return
		}
		again, err := pgpsig.ParseCertificate(pgpsig.ArmorCertificate(c.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if again.Fingerprint() != c.Fingerprint() || !cmp.Equal(again.UserIDs(), c.UserIDs()) || !bytes.Equal(again.Bytes(), c.Bytes()) {
			t.Error("a certificate changed by being written and read")
		}
	})
}

// FuzzVerifyDetached: an Ed25519 key that signed once verifies nothing but
// what it said then.
func FuzzVerifyDetached(f *testing.F) {
	k := ed25519Key("ed25519", 1)
	c := certificate(f, k)
	sig := signed(f, c, k, notations...)
	want, err := pgpsig.VerifyDetached(c, absorbed(document), sig)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add(pgpsig.Armor(sig))
	for _, name := range []string{"p256", "rsa3072"} {
		f.Add(signed(f, certificate(f, key(name)), key(name), notations...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pgpsig.HashOf(data)
		got, err := pgpsig.VerifyDetached(c, absorbed(document), data)
		if err == nil && !cmp.Equal(want, got) {
			t.Errorf("verified as %+v", got)
		}
	})
}
