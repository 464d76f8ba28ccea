package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImportWaitsForGit: without --watch an import that read nothing, because git
// holds the lock of the checkout, is no success.
func TestImportWaitsForGit(t *testing.T) {
	people := newPeople("alice")
	r := newRecord(t, foreignPolicy(1, 1, people...))
	s := newSigs(t, people...)
	s.list(people[0], "1.0", sums("tool-1.0.zip=a"), born)
	lock := filepath.Join(s.dir, ".git", "index.lock")
	ok(t, os.Mkdir(filepath.Dir(lock), 0o755))
	ok(t, os.WriteFile(lock, nil, 0o644))

	c := r.command("guix.sigs", s.dir)
	c.Wait = time.Millisecond
	if err := c.run(t.Context(), newLines()); exitCodeOf(err) != exitFailure || !strings.Contains(err.Error(), "index.lock has been there for 1ms") {
		t.Errorf("locked: %v", err)
	}
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		held, err := (&lockWait{limit: importLimit}).look(t.Context(), s.dir)
		if held || err != nil {
			t.Errorf("held %v, %v", held, err)
		}
	}()
	ok(t, os.Remove(lock))
	<-looked
	if got := r.bring("guix.sigs", s.dir); len(got) != 1 {
		t.Errorf("brought %q", got)
	}
}

// TestImportReadsOtherSources: an instance that refuses does not keep back the others.
func TestImportReadsOtherSources(t *testing.T) {
	w := newRecord(t, rebuilderPolicy())
	down, up := newRebuilder(t, 0), newRebuilder(t, 1)
	down.fail(403)
	up.add(1, "GOOD", "zlib-1.3.pkg")
	out := newLines()
	if err := w.command("rebuilderd", down.address(), up.address()).run(t.Context(), out); exitCodeOf(err) != exitFailure || !strings.Contains(err.Error(), down.address()) {
		t.Errorf("an instance refuses: %v", err)
	}
	if !strings.Contains(out.String(), "recorded ") {
		t.Errorf("the other was not read: %s", out)
	}
}
