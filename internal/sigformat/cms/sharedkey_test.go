package cms_test

import (
	"bytes"
	"crypto"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/rawsig"
	"quorate/quorum/format"
)

// These tests show the attacks that format.SameKey is there for. The builders
// rightly agree on a file, because it is what its source says; but the file was
// written so that its signature in one format is good for another file in another
// format. The evil file is sigkit.Document.

func wantOpenSSLFooled(t *testing.T, s sigkit.Software, set, value []byte) {
	t.Helper()
	cert := certificate(t, s)
	der, err := cms.Forge(cert, set, value)
	if err != nil {
		t.Fatal(err)
	}
	x := sigkit.NewTool(t, "openssl")
	x.Write("cert.pem", certPEM(cert))
	x.Write("sig.p7s", der)
	x.Write("file", sigkit.Document)
	out, err := x.Try("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "sig.p7s", "-CAfile", "cert.pem",
		"-certfile", "cert.pem", "-out", "out", "-content", "file")
	if err != nil {
		t.Errorf("the rule has lost its reason: %v\n%s", err, out)
	}
}

func wantRefused(t *testing.T, a, b format.Name) {
	t.Helper()
	if err := format.SameKey(a, b); !errors.Is(err, format.ErrSharedKey) {
		t.Errorf("%s and %s may share a key: %v", a, b, err)
	}
}

// TestFileThatIsAttributes: a bare signature over a file that reads like the
// signed attributes of another.
func TestFileThatIsAttributes(t *testing.T) {
	s := sigkit.ByName("rsa3072")
	file, err := cms.SignedAttributes(sum512[:], time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(file)
	value, err := rawsig.Sign(s.Key(t), crypto.SHA512, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	wantOpenSSLFooled(t, s, file, value)
	wantRefused(t, format.RawSHA512, format.CMS)
	wantRefused(t, format.CMSPlain, format.CMS)
}

// TestFileThatBeginsAttributes: OpenPGP appends fields to the file, but the last
// attribute of the file takes them in. Their length can be foreseen.
func TestFileThatBeginsAttributes(t *testing.T) {
	s := sigkit.ByName("rsa3072")
	raw, err := pgpsig.MakeCertificate(s.Public(), sigkit.KeyTime, "Archive <archive@example.org>", s.Sign)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgpsig.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	var value, fields []byte
	sign := func(file []byte) {
		h := sha512.New()
		h.Write(file)
		sig, err := pgpsig.SignDetached(c, h, crypto.SHA512, sigkit.SignTime, nil, func(h crypto.Hash, d []byte) ([]byte, error) {
			v, err := s.Sign(h, d)
			value = v
			return v, err
		})
		if err != nil {
			t.Fatal(err)
		}
		fields = hashedFields(sig)
	}
	sign(nil)
	file := beginAttributes(t, len(fields))
	sign(file)
	wantOpenSSLFooled(t, s, append(file, fields...), value)
	wantRefused(t, format.OpenPGP, format.CMS)
}

// hashedFields returns what an OpenPGP signature appends to a file.
func hashedFields(sig []byte) []byte {
	body := sig[bytes.IndexByte(sig, 4):] // behind the packet header
	n := 6 + int(binary.BigEndian.Uint16(body[4:]))
	return binary.BigEndian.AppendUint32(append(bytes.Clone(body[:n]), 4, 0xff), uint32(n))
}

// beginAttributes returns a set of attributes without its last n bytes, which are
// inside of an attribute that no verifier knows.
func beginAttributes(t *testing.T, n int) []byte {
	t.Helper()
	genuine, err := cms.SignedAttributes(sum512[:], time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	marshal := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	swallow := marshal(struct {
		Type   asn1.ObjectIdentifier
		Values [][]byte `asn1:"set"`
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999}, [][]byte{make([]byte, 100+n)}})
	set := marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: append(genuine[2:], swallow...)})
	return set[:len(set)-n]
}
