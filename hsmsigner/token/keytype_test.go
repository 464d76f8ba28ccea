package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	"quorate/hsmsigner/token"
)

func TestParseKeyType(t *testing.T) {
	for _, kt := range token.KeyTypes() {
		if got, err := token.ParseKeyType(string(kt)); err != nil || got != kt {
			t.Errorf("%v, %v", got, err)
		}
	}
	_, err := token.ParseKeyType("rsa1024")
	if err == nil || !strings.Contains(err.Error(), `"rsa1024"`) || !strings.Contains(err.Error(), "rsa3072, rsa4096, p256, p384, ed25519") {
		t.Errorf("%v", err)
	}
}

func octets(b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		panic(err)
	}
	return der
}

// TestPublicKeyForms: tokens give points bare or wrapped, and name the Edwards
// curve in three ways.
func TestPublicKeyForms(t *testing.T) {
	ed := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	for _, params := range [][]byte{
		append([]byte{0x13, 12}, "edwards25519"...),
		{0x06, 0x03, 0x2b, 0x65, 0x70},
		{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01},
	} {
		for _, point := range [][]byte{ed, octets(ed)} {
			kt, pub, err := token.ECKey(params, point)
			if err != nil || kt != token.Ed25519 || !ed.Equal(pub) {
				t.Errorf("%x %x: %v, %v", params, point, kt, err)
			}
		}
	}
	for kt, c := range map[token.KeyType]struct {
		curve  elliptic.Curve
		params []byte
	}{
		token.P256: {elliptic.P256(), []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}},
		token.P384: {elliptic.P384(), []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}},
	} {
		priv, err := ecdsa.GenerateKey(c.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := priv.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range [][]byte{point, octets(point)} {
			got, pub, err := token.ECKey(c.params, form)
			if err != nil || got != kt || !priv.PublicKey.Equal(pub) {
				t.Errorf("%s: %v, %v", kt, got, err)
			}
		}
		offCurve := bytes.Clone(point)
		offCurve[5] ^= 1
		for _, bad := range [][]byte{nil, point[1:], octets(point[1:]), offCurve, octets(octets(point)), append(octets(point), 0), point[:33]} {
			if _, _, err := token.ECKey(c.params, bad); err == nil {
				t.Errorf("%s: point %x accepted", kt, bad)
			}
		}
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = token.ECKey([]byte{0x06, 0x03, 0x2b, 0x65, 0x6e}, x.PublicKey().Bytes())
	if !errors.Is(err, token.ErrKeyUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestRSAKeyForms(t *testing.T) {
	n := func(bits int) []byte { b := make([]byte, bits/8); b[0] = 0x80; b[len(b)-1] = 1; return b }
	for kt, bits := range map[token.KeyType]int{token.RSA3072: 3072, token.RSA4096: 4096} {
		for _, e := range [][]byte{{1, 0, 1}, {0, 1, 0, 1}, {3}} {
			got, pub, err := token.RSAKey(append([]byte{0}, n(bits)...), e)
			if err != nil || got != kt || pub == crypto.PublicKey(nil) {
				t.Errorf("%d: %v, %v", bits, got, err)
			}
		}
	}
	for _, bits := range []int{1024, 2048, 8192} {
		if _, _, err := token.RSAKey(n(bits), []byte{1, 0, 1}); !errors.Is(err, token.ErrKeyUnsupported) {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	for _, e := range [][]byte{nil, {0}, {1}, {2}, {1, 0, 0}, bytes.Repeat([]byte{0xff}, 9)} {
		if _, _, err := token.RSAKey(n(3072), e); err == nil {
			t.Errorf("exponent %x accepted", e)
		}
	}
}
