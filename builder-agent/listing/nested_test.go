package listing_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/builder-agent/listing"
	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

// pack makes a tar of one file with that content.
func pack(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func names(m *manifest.Manifest) (list []string) {
	for _, x := range m.List {
		list = append(list, x.Name)
	}
	return list
}

// wantNames holds the list against the names, and the digest of each member that is
// given against its content.
func wantNames(t *testing.T, m *manifest.Manifest, contents map[string][]byte, want ...string) {
	t.Helper()
	if m == nil || m.Problem != "" || !slices.Equal(names(m), want) {
		t.Fatalf("want %q: %+v", want, m)
	}
	for name, content := range contents {
		if x := find(m, name); x == nil || x.Type != "" || x.SHA256 != statement.ID(content) || x.Size != uint64(len(content)) {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

// Archives in archives are listed behind the members of the artifact itself, and
// their own digests are those of their bytes.
func TestArchivesInArchives(t *testing.T) {
	inner := pack(t, "./etc/a", []byte("a"))
	zipped := zipOf(t, map[string]string{"z": "zz"})
	for name, c := range map[string]struct {
		data  []byte
		want  []string
		parts map[string][]byte
	}{
		"tar.gz in a zip": {zipOf(t, map[string]string{"in.tar.gz": string(gzipped(t, inner))}), []string{"in.tar.gz", "in.tar.gz/etc/a"},
			map[string][]byte{"in.tar.gz": gzipped(t, inner), "in.tar.gz/etc/a": []byte("a")}},
		"zip in a tar.zst": {zstded(t, pack(t, "lib/x.jar", zipped)), []string{"lib/x.jar", "lib/x.jar/z"},
			map[string][]byte{"lib/x.jar": zipped, "lib/x.jar/z": []byte("zz")}},
		"zip in a zip": {zipOf(t, map[string]string{"in.zip": string(zipped)}), []string{"in.zip", "in.zip/z"}, map[string][]byte{"in.zip/z": []byte("zz")}},
		"deb in a tar": {pack(t, "x.deb", arOf(arMember("debian-binary", "4", []byte("2.0\n")), arMember("data.tar", fmt.Sprint(len(inner)), inner))),
			[]string{"x.deb", "x.deb/debian-binary", "x.deb/data.tar", "x.deb/data.tar/etc/a"}, map[string][]byte{"x.deb/data.tar/etc/a": []byte("a")}},
		"tar in a deb": {arOf(arMember("debian-binary", "4", []byte("2.0\n")), arMember("data.tar", fmt.Sprint(len(pack(t, "in.tar", inner))), pack(t, "in.tar", inner))),
			[]string{"debian-binary", "data.tar", "data.tar/in.tar", "data.tar/in.tar/etc/a"}, map[string][]byte{"data.tar/in.tar": inner}},
		"rpm in a tar":  {pack(t, "x.rpm", sample(t, "sample.rpm")), nil, map[string][]byte{"x.rpm": sample(t, "sample.rpm")}},
		"a manual page": {pack(t, "man.1.gz", gzipped(t, []byte("x"))), []string{"man.1.gz"}, map[string][]byte{"man.1.gz": gzipped(t, []byte("x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			m := list(t, c.data, listing.Limits{})
			if c.want == nil {
				c.want = names(m)
				if len(c.want) < 4 || c.want[1] != "x.rpm/(lead)" {
					t.Errorf("%q", c.want)
				}
			}
			wantNames(t, m, c.parts, c.want...)
		})
	}
}

// What is inside stands behind all members of the file, so a cut list keeps those.
func TestMembersOfTheFileItselfComeFirst(t *testing.T) {
	inner := pack(t, "x", []byte("x"))
	data := slices.Concat(pack(t, "1.tar", inner)[:512+1536+512], pack(t, "2", nil))
	wantNames(t, list(t, data, listing.Limits{}), nil, "1.tar", "2", "1.tar/x")
}

// Whatever is wrong with an archive inside, the list of the file stays what it is
// without it.
func TestBadArchivesInsideAreMembers(t *testing.T) {
	deep := pack(t, "x", nil)
	for range 5 {
		deep = pack(t, "t", deep)
	}
	bomb := gzipped(t, pack(t, "zeros", make([]byte, 72<<20)))
	many := make([]*tar.Header, 30)
	for i := range many {
		many[i] = &tar.Header{Name: fmt.Sprint(i)}
	}
	for name, c := range map[string]struct {
		inner  []byte
		limits listing.Limits
		want   []string // beside the member itself
	}{
		"cut":              {gzipped(t, pack(t, "a", make([]byte, 5000)))[:60], listing.Limits{}, nil},
		"damaged zip":      {zipOf(t, map[string]string{"a": "x"})[:60], listing.Limits{}, nil},
		"overlapping zip":  {overlapping(t), listing.Limits{}, nil},
		"bomb":             {bomb, listing.Limits{}, nil},
		"zip bomb":         {zipOf(t, map[string]string{"a": string(make([]byte, 72<<20))}), listing.Limits{}, nil},
		"sparse terabyte":  {sparse(t), listing.Limits{NestedContent: 64 << 20}, nil},
		"too many members": {tarOf(t, many...), listing.Limits{Nested: 29}, nil},
		"too many bytes":   {pack(t, "a", make([]byte, 5000)), listing.Limits{NestedContent: 4999}, nil},
		"not at all":       {pack(t, "a", nil), listing.Limits{Depth: -1}, nil},
		"deep":             {deep, listing.Limits{}, []string{"in/t", "in/t/t", "in/t/t/t"}},
		"an ELF file":      {[]byte("\x7fELF\x02\x01\x01"), listing.Limits{}, nil},
		"large zip":        {append(zipOf(t, map[string]string{"a": "x"}), make([]byte, 16<<20)...), listing.Limits{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := list(t, slices.Concat(pack(t, "in", c.inner)[:512+(len(c.inner)+511)/512*512], pack(t, "last", []byte("x"))), c.limits)
			wantNames(t, m, map[string][]byte{"in": c.inner, "last": []byte("x")}, append([]string{"in", "last"}, c.want...)...)
		})
	}
}

// Neither many archives inside nor names without end make more of a list than is
// allowed.
func TestNestedListsAreBounded(t *testing.T) {
	inner := pack(t, strings.Repeat("n", 900), nil)
	var parts [][]byte
	for range 3000 {
		whole := pack(t, strings.Repeat("o", 90), inner)
		parts = append(parts, whole[:512+len(inner)])
	}
	parts = append(parts, make([]byte, 1024))
	m := list(t, slices.Concat(parts...), listing.Limits{Nested: 1000})
	if m.Members != 4000 || !m.Truncated || m.List[len(m.List)-1].Name == "" {
		t.Errorf("%d members, %d listed, %q", m.Members, len(m.List), m.Problem)
	}
}
