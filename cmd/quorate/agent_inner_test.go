package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quorate/quorum/statement"
)

func TestParseSums(t *testing.T) {
	dir := t.TempDir()
	want := map[statement.SHA256]bool{}
	for _, name := range []string{"plain", "with\nnewline", `back\slash`, "two  spaces"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		want[sha256.Sum256([]byte(name))] = true
	}
	for _, flag := range []string{"--text", "--binary"} {
		cmd := exec.Command("sh", "-c", "sha256sum "+flag+" *")
		cmd.Dir = dir
		out := must(cmd.Output())
		got, err := parseSums(out)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d digests, %v, of %q", len(got), err, out)
		}
		for _, d := range got {
			if !want[d] {
				t.Errorf("digest %s", d)
			}
		}
	}
	line := fmt.Sprintf("%x  a\n", sha256.Sum256(nil))
	for text, why := range map[string]string{
		line + "\n":                         "line 2 is not a digest and a name",
		line + line[:64] + "\n":             "line 2 is not a digest and a name",
		line[:66] + "\n":                    "line 1 is not a digest and a name",
		strings.ToUpper(line):               "line 1: ",
		strings.Replace(line, "  ", " ", 1): "line 1 is not a digest and a name",
		line[2:]:                            "line 1 is not a digest and a name",
		"SHA256 (a) = " + line[:64] + "\n":  "line 1 is not a digest and a name",
	} {
		if _, err := parseSums([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64) + " *a\n\\" + strings.Repeat("f", 64) + "  b\\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseSums(data)
		if err == nil && len(list) != strings.Count(strings.TrimSuffix(string(data), "\n"), "\n")+min(len(data), 1) {
			t.Errorf("%d digests in %q", len(list), data)
		}
	})
}
