package guixsigs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/openpgp"
)

const (
	digest = "35cf65640915cbe7f25699fe31c8f07ba3ccabb43d5586a585381d234ea2cc0f"
	other  = "46adc2f266d9f2155a5297f4826f859c594a0a81bed2f5df0e818929f5f0761c"
	path   = "22.0rc1/Emzy/noncodesigned.SHA256SUMS"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func read(list string) (*evidence.Statement, error) {
	return guixsigs.Read(evidence.Bundle{Kind: evidence.GuixSigs, Path: path, Body: []byte(list), Signature: []byte("\xc2\x01\x03")}, (*openpgp.Ring)(nil), now)
}

func TestRead(t *testing.T) {
	for name, list := range map[string]string{
		"usual":            digest + "  a.zip\n" + other + "  b.zip\n",
		"no end":           digest + "  a.zip\n" + other + "  b.zip",
		"carriage returns": digest + "  a.zip\r\r\n" + other + "  b.zip\r",
		"binary":           digest + " *a.zip\n" + other + "  b.zip\n",
	} {
		s, err := read(list)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(s.Artifacts) != 2 || s.Artifacts[0].Name != "a.zip" || s.Artifacts[1].Name != "b.zip" || s.Artifacts[0].SHA256.String() != digest {
			t.Errorf("%s: read as %+v", name, s.Artifacts)
		}
		if s.Claim != (evidence.Claim{Release: "22.0rc1", Name: "Emzy", Stage: "noncodesigned"}) || s.Verdicts[0].Status != evidence.Unsupported {
			t.Errorf("%s: %+v", name, s)
		}
	}
	s, err := read(digest + "  x86_64-w64-mingw32/a.zip\n" + digest + "  a.zip\n")
	if err != nil || s.Artifacts[0].Name != "x86_64-w64-mingw32/a.zip" {
		t.Errorf("a folder before the name: %v %v", s, err)
	}
	s, err = read(digest + "  caf\u00e9.zip\n" + digest + "  cafe\u0301.zip\n" + digest + "  CAFE.zip\n" + digest + "  cafe.zip\n")
	if err != nil || len(s.Warnings) != 2 || len(s.Artifacts) != 4 {
		t.Errorf("names that look alike: %+v %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct{ list, field string }{
		"one file twice":            {digest + "  a\n" + other + "  a\n", "lines"},
		"one file twice, one value": {digest + "  a\n" + digest + "  a\n", "lines"},
		"upper case":                {strings.ToUpper(digest) + "  a\n", "line 1: digest"},
		"short digest":              {digest[1:] + "  a\n", "line 1"},
		"SHA-512":                   {digest + digest + "  a\n", "line 1"},
		"one space":                 {digest + " a\n", "line 1"},
		"no name":                   {digest + "  \n", "line 1"},
		"empty line":                {digest + "  a\n\n" + digest + "  b\n", "line 2"},
		"two line ends":             {digest + "  a\n\n", "line 2"},
		"escaped name":              {`\` + digest + `  a\nb` + "\n", "line 1"},
		"backslash":                 {digest + `  a\b` + "\n", "line 1: name"},
		"carriage return inside":    {digest + "  a\rb\n", "line 1: name"},
		"tab":                       {digest + "  a\tb\n", "line 1: name"},
		"not UTF-8":                 {digest + "  a\xff\n", "line 1: name"},
		"reordered text":            {digest + "  a\u202eb\n", "line 1: name"},
		"parent":                    {digest + "  ../a\n", "line 1: name"},
		"absolute":                  {digest + "  /a\n", "line 1: name"},
		"truncated":                 {digest + "  a\n" + other[:20], "line 2"},
		"BSD form":                  {"SHA256 (a) = " + digest + "\n", "line 1"},
		"empty":                     {"", "body"},
		"too large":                 {strings.Repeat("a", guixsigs.MaxSize+1), "body"},
	} {
		_, err := read(tt.list)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: %v, want an error in %q", name, err, tt.field)
		}
	}
}

func TestPath(t *testing.T) {
	for _, p := range []string{"", "a", "22.0/all.SHA256SUMS", "x/22.0/Emzy/all.SHA256SUMS", "22.0/Emzy/all.SHA256SUMS.asc", "22.0/Emzy/.SHA256SUMS",
		"22.0/../all.SHA256SUMS", "22.0//all.SHA256SUMS"} {
		if c, err := guixsigs.ParsePath(p); err == nil {
			t.Errorf("%q is read as %+v", p, c)
		}
	}
}

func TestNoSignature(t *testing.T) {
	_, err := guixsigs.Read(evidence.Bundle{Kind: evidence.GuixSigs, Path: path, Body: []byte(digest + "  a\n")}, nil, now)
	var e *evidence.Error
	if !errors.As(err, &e) || e.Code != evidence.CodeMissing || e.Field != "signature" {
		t.Errorf("error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(digest + "  a.zip\r\r\n" + other + " *b/c.zip")
	f.Fuzz(func(t *testing.T, list string) {
		s, err := read(list)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, a := range s.Artifacts {
			if seen[a.Name] || evidence.CheckPath(a.Name) != nil || !strings.Contains(list, a.SHA256.String()) {
				t.Errorf("%q gives %+v", list, a)
			}
			seen[a.Name] = true
		}
	})
}
