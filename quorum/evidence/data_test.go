package evidence_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
)

// dataDir returns a folder of real files beside the repository, and skips the
// test by name when it is not there.
func dataDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	dir = filepath.Join(dir, "..", "shared", "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs ../shared/data/" + name + ", which is not here")
	}
	return dir
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// rows returns the lines of a table, split at tabs, without the comments.
func rows(t testing.TB, path ...string) [][]string {
	t.Helper()
	var out [][]string
	for line := range strings.Lines(string(read(t, path...))) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != '#' {
			out = append(out, strings.Split(line, "\t"))
		}
	}
	return out
}

// judged is the date at which the tables of verdicts were made.
var judged = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// keyring is a folder of key files.
type keyring struct {
	ring   *openpgp.Ring
	byName map[string]openpgp.Fingerprint // file name without its end
}

// loadKeys pins every key in the folder by the fingerprint found in it. Copies of
// one certificate under several names are taken together, as GnuPG does.
func loadKeys(t testing.TB, dir string) keyring {
	t.Helper()
	k := keyring{byName: map[string]openpgp.Fingerprint{}}
	files := map[openpgp.Fingerprint][][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var order []openpgp.Fingerprint
	for _, e := range entries {
		if e.Name() == "README.md" {
			continue
		}
		data := read(t, dir, e.Name())
		fpr, err := openpgp.Identify(data)
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		if files[fpr] == nil {
			order = append(order, fpr)
		}
		files[fpr] = append(files[fpr], data)
		k.byName[strings.TrimSuffix(e.Name(), filepath.Ext(e.Name()))] = fpr
	}
	var keys []*openpgp.Key
	for _, fpr := range order {
		key, err := openpgp.ParseKey(fpr, files[fpr]...)
		if err != nil {
			t.Fatalf("%s: %v", fpr, err)
		}
		keys = append(keys, key)
	}
	if k.ring, err = openpgp.NewRing(keys...); err != nil {
		t.Fatal(err)
	}
	return k
}

// bundles returns every list below a folder that has RELEASE/NAME/STAGE.SHA256SUMS.
func bundles(t testing.TB, root string) []evidence.Bundle {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "*", "*", "*.SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var out []evidence.Bundle
	for _, p := range paths {
		rel, err := filepath.Rel(root, p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, evidence.Bundle{Kind: evidence.GuixSigs, Path: filepath.ToSlash(rel),
			Body: read(t, p), Signature: read(t, p+".asc")})
	}
	return out
}
