package buildinfo_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/buildinfo"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const text = `Format: 1.0
Source: a (1.0)
Binary: a
Architecture: amd64
Version: 1.0+b1
Checksums-Md5:
 66c55db47c05963b6fcd8ccd0df7a768 155516 a_1.0+b1_amd64.deb
Checksums-Sha1:
 2a52a985bc53393a44769391d09d22799dcbc691 155516 a_1.0+b1_amd64.deb
Checksums-Sha256:
 6d100b27f5e510bbee14311accf2cb9d20a09dfc8f754b9324a58222d14a2ecf 155516 a_1.0+b1_amd64.deb
Build-Date: Thu, 08 Aug 2019 04:37:07 +0200
Build-Tainted-By:
 usr-local-has-programs
 merged-usr-via-symlinks
Installed-Build-Depends:
 bash (= 5.0-4),
 gcc:amd64 (= 4:8.3.0-1)
Environment:
 DEB_BUILD_OPTIONS="parallel=4"
 QUOTED="a \"b\" \\"
`

func read(body string, keys *openpgp.Ring) (*evidence.Statement, error) {
	return buildinfo.Read(evidence.Bundle{Kind: evidence.BuildInfo, Body: []byte(body)}, keys, now)
}

func newSigner(t testing.TB) (*pgp.Entity, *openpgp.Ring) {
	t.Helper()
	c := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return now.AddDate(-1, 0, 0) }}
	e, err := pgp.NewEntity("A", "", "a@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	key, err := openpgp.ParseKey(openpgp.Fingerprint(e.PrimaryKey.Fingerprint), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := openpgp.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return e, ring
}

func clearSigned(t testing.TB, e *pgp.Entity, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, e.PrivateKey, &packet.Config{Time: func() time.Time { return now.AddDate(0, -1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	e, ring := newSigner(t)
	unsigned, err := read(text, ring)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := read(clearSigned(t, e, text), ring)
	if err != nil {
		t.Fatal(err)
	}
	if len(unsigned.Verdicts) != 0 || len(unsigned.Warnings) != 1 || len(signed.Accepted(evidence.Accept{})) != 1 {
		t.Errorf("unsigned %+v, signed %+v", unsigned, signed.Verdicts)
	}
	want := []statement.Dependency{
		{Name: "bash", Annotations: map[string]string{"version": "5.0-4"}},
		{Name: "gcc:amd64", Annotations: map[string]string{"version": "4:8.3.0-1"}},
	}
	if !reflect.DeepEqual(signed.Inputs, want) {
		t.Errorf("inputs %+v", signed.Inputs)
	}
	env := []evidence.Var{{Name: "DEB_BUILD_OPTIONS", Value: "parallel=4"}, {Name: "QUOTED", Value: `a "b" \`},
		{Name: "Build-Tainted-By", Value: "usr-local-has-programs\nmerged-usr-via-symlinks"}}
	if !reflect.DeepEqual(signed.Environment, env) {
		t.Errorf("environment %+v", signed.Environment)
	}
	if a := signed.Artifacts[0]; a.Name != "a_1.0+b1_amd64.deb" || *a.Size != 155516 || len(signed.Artifacts) != 1 {
		t.Errorf("artifacts %+v", signed.Artifacts)
	}
	if want := time.Date(2019, 8, 8, 2, 37, 7, 0, time.UTC); !signed.Built.Equal(want) {
		t.Errorf("built %v, want %v", signed.Built, want)
	}
}

// TestOutsideOfTheSignature: what stands around a signed text is nobody's word.
func TestOutsideOfTheSignature(t *testing.T) {
	e, ring := newSigner(t)
	signed := clearSigned(t, e, text)
	for name, body := range map[string]string{
		"before": "Source: b\n\n" + signed, "behind": signed + "\n" + text, "twice": signed + "\n" + signed,
		"another after it": signed + "\n" + clearSigned(t, e, text),
	} {
		if s, err := read(body, ring); err == nil {
			t.Errorf("%s: read as %+v", name, s)
		}
	}
}

func TestRefused(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(text, old, new, 1) }
	line := " 6d100b27f5e510bbee14311accf2cb9d20a09dfc8f754b9324a58222d14a2ecf 155516 a_1.0+b1_amd64.deb\n"
	for name, tt := range map[string]struct{ body, field string }{
		"other format":        {replace("1.0\n", "2.0\n"), "Format"},
		"no format":           {replace("Format", "Formal"), "Format"},
		"no checksums":        {replace("Checksums-Sha256", "Checksums-Sha512"), "Checksums-Sha256"},
		"field twice":         {replace("Binary: a\n", "binary: a\nBinary: a\n"), "Binary"},
		"two paragraphs":      {replace("Binary", "\nBinary"), "line 3"},
		"comment":             {replace("Binary", "# x: y\nBinary"), "line 3"},
		"begins inside":       {" a\n" + text, "line 1"},
		"file twice":          {replace(line, line+line), "Checksums-Sha256"},
		"MD5 of another file": {replace("155516 a_1.0+b1_amd64.deb", "155516 b_1.0+b1_amd64.deb"), "Checksums-Md5"},
		"SHA-1 other size":    {strings.Replace(text, "dcbc691 155516", "dcbc691 155517", 1), "Checksums-Sha1"},
		"upper-case digest":   {replace("6d100b", "6D100B"), "Checksums-Sha256 line 1"},
		"size":                {replace("2ecf 155516", "2ecf -1"), "Checksums-Sha256 line 1"},
		"folder":              {replace("2ecf 155516 a", "2ecf 155516 ../a"), "Checksums-Sha256 line 1"},
		"depends":             {replace("(= 5.0-4)", "(>= 5.0-4)"), "Installed-Build-Depends"},
		"environment":         {replace(`"parallel=4"`, `parallel=4`), "Environment line 1"},
		"date":                {replace("08 Aug", "8th August"), "Build-Date"},
		"control":             {replace("Binary: a", "Binary: \x1b[2J"), "line 3"},
		"truncated":           {text[:strings.Index(text, "155516 a_1.0+b1_amd64.deb\nBuild-Date")], "Checksums-Sha256 line 1"},
		"too large":           {strings.Repeat("a", buildinfo.MaxSize+1), "body"},
	} {
		_, err := read(tt.body, nil)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: %v, want an error in %q", name, err, tt.field)
		}
	}
}

func FuzzRead(f *testing.F) {
	e, ring := newSigner(f)
	f.Add(text)
	f.Add(clearSigned(f, e, text))
	f.Fuzz(func(t *testing.T, body string) {
		s, err := read(body, ring)
		if err == nil && len(s.Accepted(evidence.Accept{})) > 0 && s.Subject != "a (1.0) 1.0+b1 amd64" {
			t.Errorf("accepted %+v", s)
		}
	})
}
