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

// FuzzParseRevocation: what is taken for a revocation is one packet, whatever stands
// around it, and only the key itself can have made it.
func FuzzParseRevocation(f *testing.F) {
	k := ed25519Key("ed25519", 1)
	c := certificate(f, k)
	rev, err := pgpsig.MakeRevocation(c, pgpsig.ReasonRetired, "over", c.Created().AddDate(1, 0, 0), k.sign)
	if err != nil {
		f.Fatal(err)
	}
	armoured := pgpsig.ArmorRevocation(rev)
	f.Add(rev)
	f.Add(armoured)
	f.Add(append([]byte("words\n"), armoured...))
	f.Add(append([]byte("words\n:"), armoured...))
	f.Add(c.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok, err := pgpsig.ParseRevocation(data)
		if !ok || err != nil {
			return
		}
		dead, err := pgpsig.MergeRevocation(c, got)
		if _, revoked := c.Revoked(); revoked || err == nil && !dead.RevokedAt(dead.Created().AddDate(10, 0, 0)) {
			t.Error("merged, and not revoked")
		}
	})
}
