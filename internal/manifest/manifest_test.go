package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

func build(t *testing.T, limit, members int) *manifest.Manifest {
	t.Helper()
	b := manifest.NewBuilder(limit)
	for i := range members {
		m := manifest.Member{Name: fmt.Sprintf("usr/bin/tool-%d", i), Size: uint64(i), SHA256: statement.ID([]byte{byte(i)}),
			Mode: "755", Owner: "0:0 root:root", MTime: "2026-01-01T00:00:00Z"}
		if err := b.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	return b.Manifest("tar+zstd")
}

func TestRoundTrip(t *testing.T) {
	m := build(t, manifest.MaxBytes, 300)
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" || got.Truncated || len(got.List) != 300 {
		t.Errorf("%d listed, truncated %v: %s", len(got.List), got.Truncated, diff)
	}
}

// However many members there are, what is carried stays small, says that it is
// cut, and can still be told from another one.
func TestTooManyMembersAreCut(t *testing.T) {
	const limit = 10_000
	m, other := build(t, limit, 5000), build(t, limit, 5001)
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > limit || !got.Truncated || got.Members != 5000 || len(got.List) < 30 {
		t.Errorf("%d bytes, truncated %v, %d of %d", len(data), got.Truncated, len(got.List), got.Members)
	}
	if m.SHA256 == other.SHA256 {
		t.Error("two lists that differ only in what was cut have the same digest")
	}
	smaller, err := m.Cut(3000)
	if err != nil || len(smaller) > 3000 {
		t.Fatalf("%d bytes: %v", len(smaller), err)
	}
	again, err := manifest.Parse(smaller)
	if err != nil || again.SHA256 != m.SHA256 || again.Members != 5000 || len(again.List) == 0 {
		t.Errorf("cut once more: %+v, %v", again, err)
	}
}

func TestNamesBecomeOneLine(t *testing.T) {
	long := strings.Repeat("é", 2000)
	for _, name := range []string{"../../etc/passwd", "/abs", "a\x00b", "a\nb", "\xff\xfe", "\x1b[31m", long, long + "x"} {
		text := manifest.Text(name)
		b := manifest.NewBuilder(manifest.MaxBytes)
		if err := b.Add(manifest.Member{Name: text}); err != nil {
			t.Fatal(err)
		}
		data, err := b.Manifest("tar").Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.Parse(data); err != nil {
			t.Errorf("%.20q became %.60q: %v", name, text, err)
		}
	}
	if manifest.Text("../../etc/passwd") != "../../etc/passwd" {
		t.Error("a printable name was changed")
	}
	if manifest.Text(long) == manifest.Text(long+"x") {
		t.Error("two long names became one")
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                                     "manifest",
		`{"version":2,"members":0}`:             "version",
		`{"version":1,"members":-1}`:            "members",
		`{"version":1,"members":2,"list":[]}`:   "members",
		`{"version":1,"members":0,"members":0}`: "duplicate",
		`{"version":1,"members":1,"list":[{"name":"a\nb"}]}`:                              "list[0].name",
		`{"version":1,"members":1,"list":[{"name":"` + strings.Repeat("x", 2000) + `"}]}`: "list[0].name",
		`{"version":1,"members":1,"list":[{"name":"a","mode":"\u0007"}]}`:                 "list[0].mode",
		`{"version":1,"members":1,"list":[{"name":"a","size":-1}]}`:                       "size",
		`{"version":1,"members":0,"problem":"` + strings.Repeat("x", 600) + `"}`:          "problem",
		strings.Repeat(" ", manifest.MaxBytes+1):                                          "at most",
	} {
		if _, err := manifest.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want it to name %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"format":"tar","members":1,"list":[{"name":"a","size":1,"mode":"644"}]}`))
	f.Add([]byte(`{"version":1,"members":9,"truncated":true,"problem":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Parse(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		// Escapes may make it longer than what was read, never another list.
		if len(again) > manifest.MaxBytes {
			return
		}
		if back, err := manifest.Parse(again); err != nil || len(back.List) != len(m.List) {
			t.Fatalf("%v: %s", err, again)
		}
	})
}
