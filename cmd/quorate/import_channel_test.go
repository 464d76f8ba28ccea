package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quorate/builder-agent/importer"
	"quorate/builder-agent/spool"
)

// What lies in the record lies there for ever, so a channel that does not exist is
// found out before.
func TestImportIntoAnUnknownChannel(t *testing.T) {
	people := newPeople("alice")
	r := newRecord(t, foreignPolicy(1, 1, people...))
	s := newSigs(t, people...)
	const lists = 150
	for i := range lists {
		s.list(people[0], fmt.Sprintf("1.%d", i), sums(fmt.Sprintf("tool-1.%d.zip=a", i)), born)
	}
	c := r.command("guix.sigs", s.dir)
	c.Channel = "croe"
	out := newLines()
	err := c.run(t.Context(), out)
	if exitCodeOf(err) != exitUsage || !strings.Contains(err.Error(), `no channel "croe"`) || out.String() != "" {
		t.Errorf("%v\n%s", err, out)
	}
	if got := r.rejected(); len(got) != 0 {
		t.Errorf("the record has %d of it", len(got))
	}
	// Where no coordinator can be asked before, its first receipts end the import.
	for _, watch := range []bool{false, true} {
		c.Server, c.Watch = "http://127.0.0.1:1", watch
		err = c.run(t.Context(), out)
		if exitCodeOf(err) != exitUsage || !strings.Contains(err.Error(), `no channel "croe"`) || !strings.Contains(out.String(), "rejected ") {
			t.Errorf("watch %v: %v\n%s", watch, err, out)
		}
		if n := strings.Count(out.String(), "rejected "); !watch && n >= lists {
			t.Errorf("it went on for %d statements", n)
		}
	}
	// What is left of that does not stop an import into a channel that exists.
	os.RemoveAll(filepath.Join(s.dir, "1.0"))
	c = r.command("guix.sigs", s.dir)
	if err := c.run(t.Context(), newLines()); exitCodeOf(err) == exitUsage {
		t.Error(err)
	}
}

func TestRejectedStatementsSayWhereTheyCameFrom(t *testing.T) {
	people := newPeople("alice", "mallory")
	r := newRecord(t, foreignPolicy(1, 1, people[0]))
	s := newSigs(t, people...)
	for _, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born)
	}
	if got := r.bring("guix.sigs", s.dir); len(got) != 2 {
		t.Fatalf("%q", got)
	}
	st := must(importer.Open(r.path("gather")))
	ids := must(st.Spool.Settled(spool.Rejected))
	if len(ids) != 1 {
		t.Fatalf("rejected: %v", ids)
	}
	got := must(rejectedMessage(st.Spool, ids[0]))
	if got.Channel != "core" || got.Origin != filepath.Join(s.dir, "1.0", "mallory", "all.SHA256SUMS") || got.Code != "unknown-name" || got.Reason == "" {
		t.Errorf("%+v", got)
	}
	// The second time there is nothing new, and nothing is wrong.
	ok(t, r.command("guix.sigs", s.dir).run(t.Context(), newLines()))
}
