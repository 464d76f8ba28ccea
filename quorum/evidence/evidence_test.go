package evidence_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

func TestBundleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evidence.Bundle{Kind: evidence.GuixSigs, Path: "1.0/a/all.SHA256SUMS",
			Body: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "body"), Signature: rapid.SliceOf(rapid.Byte()).Draw(t, "signature")}
		got, err := evidence.DecodeBundle(b.Encode())
		if err != nil || !bytes.Equal(got.Body, b.Body) || !bytes.Equal(got.Signature, b.Signature) || got.Path != b.Path || got.ID() != b.ID() {
			t.Fatalf("%+v became %+v: %v", b, got, err)
		}
	})
}

// TestBundleID: where the body ends and the signature begins is part of the
// identity, and so is the path, which guix.sigs reads.
func TestBundleID(t *testing.T) {
	ids := map[statement.SHA256]bool{}
	for _, b := range []evidence.Bundle{
		{Kind: evidence.GuixSigs, Path: "a/b/c", Body: []byte("xy")},
		{Kind: evidence.GuixSigs, Path: "a/b/c", Body: []byte("x"), Signature: []byte("y")},
		{Kind: evidence.GuixSigs, Path: "a/b/d", Body: []byte("xy")},
		{Kind: evidence.NarInfo, Body: []byte("xy")},
		{Kind: evidence.DSSE, Body: []byte("xy")},
	} {
		ids[b.ID()] = true
	}
	if len(ids) != 5 {
		t.Errorf("%d identities of 5 bundles", len(ids))
	}
}

func TestBundleRefused(t *testing.T) {
	body := []byte("x")
	for field, b := range map[string]evidence.Bundle{
		"path":      {Kind: evidence.NarInfo, Path: "a", Body: body},
		"signature": {Kind: evidence.NarInfo, Signature: body, Body: body},
		"body":      {Kind: evidence.NarInfo},
	} {
		if _, err := evidence.DecodeBundle(b.Encode()); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	big := evidence.Bundle{Kind: evidence.GuixSigs, Path: "a/b/c", Body: make([]byte, evidence.MaxBody+1)}
	wantError(t, big.Check(), statement.CodeTooLarge, "body")
	_, err := big.Open(evidence.GuixSigs, 10)
	wantError(t, err, statement.CodeTooLarge, "body")
	_, err = evidence.Bundle{Kind: evidence.DSSE, Body: body}.Open(evidence.NarInfo, 10)
	wantError(t, err, evidence.CodeWrongKind, "kind")
	for _, path := range []string{"../a/b", "/a/b", "a//b", "a/./b", "a/b\n", `a\b/c/d`, strings.Repeat("a", evidence.MaxPath+1)} {
		b := evidence.Bundle{Kind: evidence.GuixSigs, Path: path, Body: body}
		if err := b.Check(); err == nil {
			t.Errorf("path %q is accepted", path)
		}
	}
}

func FuzzDecodeBundle(f *testing.F) {
	f.Add(evidence.Bundle{Kind: evidence.GuixSigs, Path: "a/b/c", Body: []byte("x"), Signature: []byte("y")}.Encode())
	f.Add([]byte("quorate-evidence/1\nkind: dsse\npath: \nbody: 01\nsignature: 0\n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := evidence.DecodeBundle(data)
		if err == nil && !bytes.Equal(b.Encode(), data) {
			t.Errorf("%q has a second form", data)
		}
	})
}

func TestLookAlikes(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  [][]string
	}{
		{[]string{"a.zip", "b.zip"}, nil},
		{[]string{"a.zip", "A.zip", "b"}, [][]string{{"a.zip", "A.zip"}}},
		{[]string{"caf\u00e9", "cafe\u0301", "cafe"}, [][]string{{"caf\u00e9", "cafe\u0301"}}},
		{[]string{"\u1e9b\u0323", "\u017f\u0323\u0307"}, [][]string{{"\u1e9b\u0323", "\u017f\u0323\u0307"}}},
		{[]string{"\uac01", "\u1100\u1161\u11a8"}, [][]string{{"\uac01", "\u1100\u1161\u11a8"}}},
		{[]string{"\u212a.zip", "k.zip"}, [][]string{{"\u212a.zip", "k.zip"}}}, // KELVIN SIGN
		{[]string{"\u00c4", "\u00e4", "\u00f6"}, [][]string{{"\u00c4", "\u00e4"}}},
		{[]string{"\u03a3", "\u03c3", "\u03c2"}, [][]string{{"\u03a3", "\u03c3", "\u03c2"}}},
	} {
		if got := evidence.LookAlikes(tt.names); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a\x00", "a\nb", "a\u202egnp.exe", "a\u200bb", "\xff", strings.Repeat("a", evidence.MaxName+1), "a\u2028"} {
		if evidence.CheckName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	for _, name := range []string{"a", "a/b", "caf\u00e9", "a b", "a+b~1.deb"} {
		if evidence.CheckPath(name) != nil {
			t.Errorf("%q is refused", name)
		}
	}
}

func TestParseKeyPEM(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	withNull := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: append([]byte("\x30\x2c\x30\x07\x06\x03\x2b\x65\x70\x05\x00\x03\x21\x00"), pub...)})
	a, err := evidence.ParseKeyPEM(encode(pub))
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.ParseKeyPEM(withNull)
	if err != nil || a.String() != b.String() {
		t.Errorf("with a NULL parameter: %v %v, want %v", err, b, a)
	}
	if c, err := evidence.ParseKey(a.String()); err != nil || !slices.Equal(c.Ed25519(), pub) {
		t.Errorf("from text: %v %v", c, err)
	}
	k, err := evidence.ParseKeyPEM(encode(&ec.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("m"))
	sig, err := ecdsa.SignASN1(rand.Reader, ec, sum[:])
	if err != nil || !k.Verify([]byte("m"), sig) || k.Verify([]byte("n"), sig) {
		t.Errorf("ECDSA: %v", err)
	}
	for name, data := range map[string][]byte{
		"two keys": append(encode(pub), withNull...), "another curve": encode(&p384.PublicKey), "no PEM": []byte("x"),
		"certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pub}), "short": withNull[:len(withNull)/2],
		"all zero": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: append([]byte("\x30\x2c\x30\x07\x06\x03\x2b\x65\x70\x05\x00\x03\x21\x00"), make([]byte, 32)...)}),
	} {
		if _, err := evidence.ParseKeyPEM(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if (evidence.Key{}).Verify(nil, nil) {
		t.Error("the zero key verifies")
	}
}
