package format_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"

	"quorate/quorum/format"
)

var keyTypes = []format.KeyType{format.RSA, format.P256, format.P384, format.Ed25519}

func TestEveryRowIsWhole(t *testing.T) {
	seen := map[format.Name]bool{}
	for _, f := range format.All() {
		if seen[f.Name] || f.Needs == 0 || !strings.HasPrefix(f.Suffix, ".") || !strings.Contains(f.MediaType, "/") || len(f.Keys) == 0 {
			t.Errorf("row %+v", f)
		}
		if seen[format.Name(f.Suffix)] {
			t.Errorf("%s: another format has suffix %s", f.Name, f.Suffix)
		}
		seen[f.Name], seen[format.Name(f.Suffix)] = true, true
		if got, err := format.Lookup(f.Name); err != nil || got.Name != f.Name {
			t.Errorf("lookup %s: %+v, %v", f.Name, got, err)
		}
	}
	if len(seen) != 2*11 {
		t.Errorf("%d formats", len(seen))
	}
}

func TestTheTableCannotBeChanged(t *testing.T) {
	format.All()[0].Keys[0] = "x"
	if format.All()[0].Keys[0] != format.RSA || format.All()[1].Keys[0] != format.RSA {
		t.Error("a caller changed the table")
	}
}

func TestPossible(t *testing.T) {
	no := map[format.Name]string{
		format.RawSHA256: "not its digest", format.RawSHA512: "not its digest",
		format.CMSPlain: "not its digest", format.CMSSHA256: "RFC 8419",
		format.IMA: "signature_v2_hdr",
	}
	for _, f := range format.All() {
		for _, k := range keyTypes {
			err := format.Possible(f.Name, k)
			why := no[f.Name]
			if k != format.Ed25519 || why == "" {
				if err != nil {
					t.Errorf("%s, %s: %v", f.Name, k, err)
				}
				continue
			}
			if !errors.Is(err, format.ErrImpossible) || !strings.Contains(err.Error(), why) {
				t.Errorf("%s, %s: %v, want one that says %q", f.Name, k, err, why)
			}
		}
	}
	if err := format.Possible("pgp", format.RSA); err == nil || errors.Is(err, format.ErrImpossible) || !strings.Contains(err.Error(), "openpgp, ") {
		t.Errorf("unknown format: %v", err)
	}
	if err := format.Possible(format.CMS, "dsa"); err == nil || errors.Is(err, format.ErrImpossible) {
		t.Errorf("unknown key type: %v", err)
	}
}

func TestSameKey(t *testing.T) {
	groups := []struct {
		names []format.Name
		with  []int // indices of the other groups that may share a key with this one
	}{
		{[]format.Name{format.OpenPGP, format.Cleartext}, []int{1}},
		{[]format.Name{format.SSHSIG, format.VSA}, []int{0, 2}},
		{[]format.Name{format.CMS, format.CMSSHA256}, []int{1}},
		{[]format.Name{format.RawSHA256, format.RawSHA512, format.CMSPlain}, nil},
		{[]format.Name{format.IMA}, nil},
		{[]format.Name{format.SSHFiles}, nil},
	}
	for i, g := range groups {
		for j, h := range groups {
			ok := i == j
			for _, w := range g.with {
				ok = ok || w == j
			}
			for _, a := range g.names {
				for _, b := range h.names {
					err := format.SameKey(a, b)
					if ok && err != nil || !ok && !errors.Is(err, format.ErrSharedKey) {
						t.Errorf("%s and %s: %v", a, b, err)
					}
				}
			}
		}
	}
	if format.SameKey("x", format.CMS) == nil || format.SameKey(format.CMS, "x") == nil {
		t.Error("an unknown format passed")
	}
}

// TestBatches: a batch is asked for by the number of the digests, which only votes on
// them give.
func TestBatches(t *testing.T) {
	for _, f := range format.All() {
		if format.IsBatch(f.Name) != (f.Needs&format.Digests256 != 0) {
			t.Errorf("%s: batch %t, needs %b", f.Name, format.IsBatch(f.Name), f.Needs)
		}
	}
}

func TestKeyTypeOf(t *testing.T) {
	tests := map[format.KeyType]crypto.PublicKey{
		format.RSA:     &rsa.PublicKey{},
		format.P256:    &ecdsa.PublicKey{Curve: elliptic.P256()},
		format.P384:    &ecdsa.PublicKey{Curve: elliptic.P384()},
		format.Ed25519: ed25519.PublicKey{},
	}
	for want, pub := range tests {
		if got, err := format.KeyTypeOf(pub); err != nil || got != want {
			t.Errorf("%T: %s, %v; want %s", pub, got, err, want)
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "key", &ecdsa.PublicKey{Curve: elliptic.P521()}} {
		if got, err := format.KeyTypeOf(pub); err == nil {
			t.Errorf("%T is %s", pub, got)
		}
	}
}
