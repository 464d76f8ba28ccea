package listing_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"quorate/builder-agent/filehash"
	"quorate/builder-agent/listing"
	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

const (
	helloScript = "#!/bin/sh\necho hello\n"
	readMe      = "read me\n"
	built       = "2026-01-02T03:04:05Z"
)

// list puts a file through the hashing, as an agent does, and holds that its vote
// is the one it would be without a list.
func list(t testing.TB, data []byte, limits listing.Limits) *manifest.Manifest {
	t.Helper()
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l := listing.New(limits)
	got, err := filehash.Inspect(t.Context(), []string{path}, nil, func(int) filehash.Inspector { return l })
	if err != nil {
		t.Fatalf("a list made hashing fail: %v", err)
	}
	if got[0].SHA256 != sha256.Sum256(data) || got[0].Size != uint64(len(data)) {
		t.Fatal("a list changed the digest")
	}
	m := l.Manifest()
	if m == nil {
		return nil
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Parse(encoded); err != nil {
		t.Fatalf("what was made cannot be read: %v", err)
	}
	return m
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func file(name, content, mode, owner, mtime string) manifest.Member {
	return manifest.Member{Name: name, Size: uint64(len(content)), SHA256: sha256.Sum256([]byte(content)), Mode: mode, Owner: owner, MTime: mtime}
}

func folder(name, owner, mtime string) manifest.Member {
	return manifest.Member{Name: name, Type: manifest.Directory, Mode: "755", Owner: owner, MTime: mtime}
}

// hello is what the samples have in common, as tar, dpkg-deb and rpmbuild pack it.
func hello(prefix, owner string) []manifest.Member {
	return []manifest.Member{
		folder(prefix+"usr/", owner, built), folder(prefix+"usr/bin/", owner, built),
		file(prefix+"usr/bin/hello", helloScript, "755", owner, built),
		{Name: prefix + "usr/bin/hi", Type: manifest.Symlink, Link: "hello", Mode: "777", Owner: owner, MTime: built},
		folder(prefix+"usr/share/", owner, built), folder(prefix+"usr/share/doc/", owner, built), folder(prefix+"usr/share/doc/hello/", owner, built),
		file(prefix+"usr/share/doc/hello/README", readMe, "644", owner, built),
	}
}

func find(m *manifest.Manifest, name string) *manifest.Member {
	for i := range m.List {
		if m.List[i].Name == name {
			return &m.List[i]
		}
	}
	return nil
}

// wantHello wants the members, in whatever order the system's tar found them.
func wantHello(t *testing.T, m *manifest.Manifest, format string, want []manifest.Member) {
	t.Helper()
	if m == nil || m.Problem != "" || m.Format != format {
		t.Fatalf("format %q wanted: %+v", format, m)
	}
	for _, w := range want {
		got := find(m, w.Name)
		if got == nil {
			t.Errorf("no member %q", w.Name)
			continue
		}
		if diff := cmp.Diff(w, *got); diff != "" {
			t.Errorf("%s: %s", w.Name, diff)
		}
	}
}

func TestFilesMadeByTheirOwnTools(t *testing.T) {
	for _, name := range []string{"xz", "bz2"} {
		m := list(t, sample(t, "sample.tar."+name), listing.Limits{})
		wantHello(t, m, map[string]string{"xz": "tar+xz", "bz2": "tar+bzip2"}[name], hello("", "0:0 root:root"))
		if len(m.List) != 8 {
			t.Errorf("%d members", len(m.List))
		}
	}
	deb := list(t, sample(t, "sample.deb"), listing.Limits{})
	wantHello(t, deb, "deb", append(hello("data.tar.xz/", "0:0 root:root"), manifest.Member{Name: "data.tar.xz", Type: manifest.Archive,
		Mode: "644", Owner: "0:0", MTime: built}, file("debian-binary", "2.0\n", "644", "0:0", built)))
	if find(deb, "control.tar.xz/control") == nil {
		t.Error("the control part of the deb is not listed")
	}
	rpm := list(t, sample(t, "sample.rpm"), listing.Limits{})
	wantHello(t, rpm, "rpm", []manifest.Member{
		file("./usr/bin/hello", helloScript, "755", "0:0", find(rpm, "./usr/bin/hello").MTime),
		file("./usr/share/doc/hello/README", readMe, "644", "0:0", find(rpm, "./usr/bin/hello").MTime)})
	if h := find(rpm, "(header)"); h == nil || h.Size < 100 {
		t.Errorf("the header of the rpm, where build host and time are: %+v", h)
	}
	ar := list(t, sample(t, "sample.a"), listing.Limits{})
	if ar.Format != "ar" || find(ar, "a_rather_long_name_of_a_file.o") == nil {
		t.Errorf("%+v", ar)
	}
}

func tarOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOtherKinds(t *testing.T) {
	plain := tarOf(t, &tar.Header{Name: "a", Size: 3, Mode: 0o640, ModTime: time.Unix(1, 0), Uid: 7, Gid: 8})
	want := file("a", "xxx", "640", "7:8", "1970-01-01T00:00:01Z")
	for format, data := range map[string][]byte{"tar": plain, "tar+gzip": gzipped(t, plain), "tar+zstd": zstded(t, plain)} {
		wantHello(t, list(t, data, listing.Limits{}), format, []manifest.Member{want})
	}
	wantHello(t, list(t, gzipped(t, []byte(readMe)), listing.Limits{}), "gzip", []manifest.Member{file("(content)", readMe, "", "", "")})
	wantHello(t, list(t, zipOf(t, map[string]string{"usr/bin/hello": helloScript}), listing.Limits{}), "zip",
		[]manifest.Member{file("usr/bin/hello", helloScript, "666", "", built)})

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	elf := list(t, data, listing.Limits{})
	if elf.Format != "elf" || find(elf, ".text") == nil || find(elf, ".text").SHA256 == (statement.SHA256{}) || find(elf, ".text").Mode == "" {
		t.Errorf("%.300v", elf)
	}
	for _, data := range [][]byte{nil, []byte("x"), []byte("just text"), make([]byte, 5000)} {
		if m := list(t, data, listing.Limits{}); m != nil {
			t.Errorf("%.20q has a list: %+v", data, m)
		}
	}
}

// The list of a large file is made while its many blocks go by, in order.
func TestLargeFile(t *testing.T) {
	data := tarOf(t, &tar.Header{Name: "a", Size: 3 << 20}, &tar.Header{Name: "b", Size: 5}, &tar.Header{Name: "c", Size: 1 << 20})
	m := list(t, data, listing.Limits{})
	if len(m.List) != 3 || m.List[2].SHA256 != sha256.Sum256(bytes.Repeat([]byte("x"), 1<<20)) {
		t.Errorf("%+v", m)
	}
}

// Names are written down and go nowhere.
func TestNamesThatLeadAway(t *testing.T) {
	names := []string{"../../evil", "/etc/evil", "a/../../evil", "line\nbreak", "\x1b[2J", "\xff\xfe"}
	var headers []*tar.Header
	for _, n := range names {
		headers = append(headers, &tar.Header{Name: n, Size: 1, Mode: 0o644, Format: tar.FormatGNU})
	}
	m := list(t, tarOf(t, headers...), listing.Limits{})
	z := list(t, zipOf(t, map[string]string{"../../evil": "x", "/etc/evil": "y"}), listing.Limits{})
	if len(m.List) != len(names) || m.List[0].Name != "../../evil" || m.List[3].Name != `line\nbreak` || len(z.List) != 2 {
		t.Errorf("%+v\n%+v", m, z)
	}
	for _, path := range []string{"/etc/evil", "../../evil", "../evil", "evil"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

func TestTheListIsCutToItsLimit(t *testing.T) {
	var headers []*tar.Header
	for i := range 1000 {
		headers = append(headers, &tar.Header{Name: fmt.Sprintf("f%d", i)})
	}
	m := list(t, tarOf(t, headers...), listing.Limits{List: 5000})
	if encoded, _ := m.Encode(); len(encoded) > 5000 || !m.Truncated || m.Members != 1000 {
		t.Errorf("%d bytes, truncated %v, %d members", len(encoded), m.Truncated, m.Members)
	}
	if !strings.HasPrefix(m.List[0].Name, "f0") {
		t.Error("not the first members are listed")
	}
}
