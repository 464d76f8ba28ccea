package listing_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"quorate/builder-agent/filehash"
	"quorate/builder-agent/listing"
	"quorate/quorum/statement"
)

// inner are the digests of the files inside, as an agent finds them.
func inner(t testing.TB, data []byte, limits listing.Limits) ([]statement.SHA256, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	limits.Inner = true
	l := listing.New(limits)
	if _, err := filehash.Inspect(t.Context(), []string{path}, nil, func(int) filehash.Inspector { return l }); err != nil {
		t.Fatal(err)
	}
	return l.Inner()
}

// wantInner compares, as sets, with the digests of the contents.
func wantInner(t testing.TB, data []byte, contents ...string) {
	t.Helper()
	for _, depth := range []int{0, -1} {
		got, err := inner(t, data, listing.Limits{Depth: depth})
		if err != nil {
			t.Fatal(err)
		}
		var want []statement.SHA256
		for _, c := range contents {
			want = append(want, statement.ID([]byte(c)))
		}
		a, err := statement.NewDigestSet(got)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := statement.NewDigestSet(want)
		if !bytes.Equal(a.Signable().Value, b.Signable().Value) {
			t.Errorf("%d digests %v, want the %d %v", a.Len(), got, b.Len(), want)
		}
	}
}

// The packages in testdata were made by rpmbuild 4.18 and dpkg-deb 1.21. links.rpm and
// links.deb have a file with two names and a symbolic link, empty.rpm an empty one with
// two names; links.deb an empty one and a script of its maintainer, too. meta.deb has that
// script alone.
func TestInnerOfPackages(t *testing.T) {
	wantInner(t, sample(t, "links.rpm"), "echo hello")
	wantInner(t, sample(t, "empty.rpm"), "")
	wantInner(t, sample(t, "links.deb"), "echo hello", "")
	if got, err := inner(t, sample(t, "meta.deb"), listing.Limits{}); err != nil || len(got) != 0 {
		t.Errorf("without files: %d digests, %v", len(got), err)
	}
}

// TestInnerOfTar: an archive in it is a file like others, links are none.
func TestInnerOfTar(t *testing.T) {
	archive := gzipped(t, tarOf(t, &tar.Header{Name: "x", Mode: 0o644, Size: 0}))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "bin/hello", Size: 10, Mode: 0o755},
		{Name: "bin/hi", Typeflag: tar.TypeLink, Linkname: "bin/hello"}, {Name: "bin/hey", Typeflag: tar.TypeSymlink, Linkname: "hello"},
		{Name: "inner.tar.gz", Size: int64(len(archive)), Mode: 0o644},
	} {
		err := w.WriteHeader(h)
		switch h.Name {
		case "bin/hello":
			_, err = w.Write([]byte("echo hello"))
		case "inner.tar.gz":
			_, err = w.Write(archive)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantInner(t, b.Bytes(), "echo hello", string(archive))
	wantInner(t, gzipped(t, b.Bytes()), "echo hello", string(archive))
}

func TestInnerOfZip(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range map[string]string{"bin/": "", "bin/hello": "echo hello", "empty": ""} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantInner(t, b.Bytes(), "echo hello", "")
}

// TestInnerIsWholeOrAnError: a set that lacks a file would be a wrong one.
func TestInnerIsWholeOrAnError(t *testing.T) {
	plain := tarOf(t, &tar.Header{Name: "a", Mode: 0o644}, &tar.Header{Name: "b", Mode: 0o644}, &tar.Header{Name: "c", Mode: 0o644}, &tar.Header{Name: "d", Mode: 0o644})
	whole := gzipped(t, plain)
	for name, data := range map[string][]byte{"cut": whole[:len(whole)-20], "cut tar": plain[:1000]} {
		if got, err := inner(t, data, listing.Limits{}); err == nil || errors.Is(err, listing.ErrNoPackage) || got != nil {
			t.Errorf("%s: %d digests, %v", name, len(got), err)
		}
	}
	if got, err := inner(t, whole, listing.Limits{Members: 3}); err == nil || got != nil {
		t.Errorf("more members than are read: %d digests, %v", len(got), err)
	}
	for name, data := range map[string][]byte{"text": []byte("hello"), "empty": nil, "gzip": gzipped(t, []byte("hello")), "ar": sample(t, "sample.a")} {
		if got, err := inner(t, data, listing.Limits{}); !errors.Is(err, listing.ErrNoPackage) || got != nil {
			t.Errorf("%s: %d digests, %v", name, len(got), err)
		}
	}
}
