package tree_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quorate/internal/tree"
)

func write(t *testing.T, root string, files ...string) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, path string) *tree.Tree {
	t.Helper()
	tr, err := tree.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func walk(t *testing.T, tr *tree.Tree) (paths []string, entries map[string]tree.Entry) {
	t.Helper()
	entries = map[string]tree.Entry{}
	err := tr.Walk(func(e tree.Entry) error {
		paths = append(paths, e.Path)
		entries[e.Path] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths, entries
}

func TestWalk(t *testing.T) {
	root := t.TempDir()
	write(t, root, "b/1", "a/2", "a-b", ".git/x", "a/.hidden", "c\u202e/1")
	for link, to := range map[string]string{"a/up": "../../..", "file": "a/2", "dir": "b"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	tr := open(t, root)
	paths, entries := walk(t, tr)
	if got, want := strings.Join(paths, " "), "a-b a/2 a/up b/1 c\u202e dir file"; got != want {
		t.Errorf("walked %q, want %q", got, want)
	}
	for _, link := range []string{"a/up", "file", "dir"} {
		if !errors.Is(entries[link].Err, tree.ErrLink) {
			t.Errorf("%s: %v", link, entries[link].Err)
		}
		if _, err := tr.Read(entries[link], 100); !errors.Is(err, tree.ErrLink) {
			t.Errorf("%s is read: %v", link, err)
		}
	}
	if entries["c\u202e"].Err == nil {
		t.Error("a name that turns the line around is passed")
	}
	if data, err := tr.Read(entries["a/2"], 3); err != nil || string(data) != "a/2" {
		t.Errorf("read %q: %v", data, err)
	}
	if _, err := tr.Read(entries["a/2"], 2); !errors.Is(err, tree.ErrLarge) {
		t.Errorf("too large: %v", err)
	}
	if head, err := tr.Peek(entries["a/2"], 1); err != nil || string(head) != "a" {
		t.Errorf("peeked %q: %v", head, err)
	}
}

// TestReplaced: what was looked at is what is read.
func TestReplaced(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a", "b", "c")
	tr := open(t, root)
	_, entries := walk(t, tr)
	if err := os.Rename(filepath.Join(root, "b"), filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Read(entries["a"], 10); !errors.Is(err, tree.ErrChanged) {
		t.Errorf("another file is read: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "c"), []byte("grown"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Read(entries["c"], 10); !errors.Is(err, tree.ErrChanged) {
		t.Errorf("a file that grew is read: %v", err)
	}
}

func TestFindAndSingle(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b")
	if err := os.Symlink("a", filepath.Join(root, "l")); err != nil {
		t.Fatal(err)
	}
	tr := open(t, root)
	if e, err := tr.Find("a/b"); err != nil || e.Size != 3 || tr.Single() {
		t.Errorf("%+v %v", e, err)
	}
	for _, bad := range []string{"../x", "/etc/passwd", "a/../a/b", "", "l/b", "missing", "a/missing"} {
		if _, err := tr.Find(bad); err == nil {
			t.Errorf("%q is found", bad)
		}
	}
	one := open(t, filepath.Join(root, "a", "b"))
	if paths, _ := walk(t, one); !one.Single() || len(paths) != 1 || paths[0] != "b" {
		t.Errorf("walked %q", paths)
	}
	if _, err := tree.Open(filepath.Join(root, "missing")); err == nil {
		t.Error("what is not there is opened")
	}
	deep := filepath.Join(root, strings.Repeat("d/", 40))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, entries := walk(t, open(t, root)); len(entries) != 3 {
		t.Errorf("%v", entries)
	}
}
