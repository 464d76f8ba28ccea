package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func replayOut(t *testing.T, want int, c replayCmd) string {
	t.Helper()
	var out bytes.Buffer
	c.At = judgedAt
	if err := c.run(&out); codeOf(err) != want {
		t.Fatalf("exit %d (%v), want %d\n%s", codeOf(err), err, want, out.String())
	}
	return out.String()
}

// TestReplayBitcoin reads the history that the real files have.
func TestReplayBitcoin(t *testing.T) {
	dir := realData(t, "guix.sigs")
	c := replayCmd{evidenceFlags: evidenceFlags{Policy: bitcoinPolicy(t, dir), Name: "bitcoin"}, Timeline: filepath.Join(dir, "TIMELINE.tsv"), Path: dir}
	out := replayOut(t, exitDisagree, c)
	if got, want := strings.Count(out, "\nreplaced ")+strings.Count(out, "\nwithdrawn "), 7; got != want { // the first line has no line end before it
		t.Errorf("%d statements replaced or withdrawn after the first, want %d", got, want)
	}
	if l := lineWith(t, out, "withdrawn ", "27.0/0xb10c/noncodesigned.SHA256SUMS"); !strings.Contains(l, "2024-04-19T23:28:12Z") || !strings.Contains(l, "23 files, 21 unlike the largest group") {
		t.Errorf("27.0: %s", l)
	}
	// The dissent stays to be seen after it was withdrawn.
	if l := lineWith(t, out, "27.0 noncodesigned  bitcoin-27.0-aarch64-linux-gnu.tar.gz"); !strings.HasPrefix(l, "disputed") ||
		!strings.Contains(l, "agreed after 1h56m45s") || !strings.Contains(l, "disputed 2024-04-17T09:02:20Z") || !strings.Contains(l, "=0xb10c") {
		t.Errorf("27.0: %s", l)
	}
	if l := lineWith(t, out, "replaced ", "22.0rc1/darosior"); !strings.Contains(l, "13 files, 12 unlike the largest group; the later list changes 12") {
		t.Errorf("22.0rc1: %s", l)
	}
	if l := lineWith(t, out, "26.0rc1 all  bitcoin-26.0rc1-arm64-apple-darwin.zip"); !strings.HasPrefix(l, "conflicting  never agreed") || !strings.Contains(l, "waiting ") || !strings.Contains(l, "all different") {
		t.Errorf("26.0rc1: %s", l)
	}
	c.JSON = true
	if n := strings.Count(replayOut(t, exitDisagree, c), "\n"); n != strings.Count(out, "\n") {
		t.Errorf("%d JSON objects for %d lines", n, strings.Count(out, "\n"))
	}
}

// TestReplaySettles: with a settle time nothing is agreed before it is over, and
// dissent in the meantime holds it.
func TestReplaySettles(t *testing.T) {
	dir := realData(t, "guix.sigs")
	text := expected(t, filepath.Dir(bitcoinPolicy(t, dir)), "policy.toml")
	path := inFile(t, strings.Replace(text, "dissent = \"hold\"", "settle = \"720h\"\ndissent = \"hold\"", 1))
	c := replayCmd{evidenceFlags: evidenceFlags{Policy: path, Name: "bitcoin"}, Timeline: filepath.Join(dir, "TIMELINE.tsv"), Path: dir}
	out := replayOut(t, exitDisagree, c)
	l := lineWith(t, out, "27.0 noncodesigned  bitcoin-27.0-aarch64-linux-gnu.tar.gz")
	if !strings.HasPrefix(l, "signed ") || !strings.Contains(l, "held 2024-04-15T20:03:46Z, agreed 2024-05-15T20:03:46Z") {
		t.Errorf("27.0: %s", l)
	}
}

func TestReplayOthers(t *testing.T) {
	dash := realData(t, "guix.sigs-dash")
	path := firstPolicy(t, policyInitCmd{Name: "dash", Need: 3, Path: dash})
	out := replayOut(t, exitWaiting, replayCmd{evidenceFlags: evidenceFlags{Policy: path, Name: "dash"}, Timeline: filepath.Join(dash, "TIMELINE.tsv"), Path: dash})
	if strings.Count(out, "agreed after ") != 76 || strings.Count(out, "never agreed ") != 16 {
		t.Errorf("dash:\n%s", out)
	}
}

// TestReplayEnds: at the time that is given nothing later has arrived, and settle
// times are over that end before.
func TestReplayEnds(t *testing.T) {
	people := newPeople("alice", "bob")
	s := newSigs(t, people...)
	var timeline strings.Builder
	for i, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born)
		for _, name := range []string{"all.SHA256SUMS", "all.SHA256SUMS.asc"} {
			path := filepath.Join("1.0", p.name, name)
			fmt.Fprintf(&timeline, "%s\tA\t%s\t-\t%s\tcommit%d\n", born.AddDate(0, 0, i+1).Format(time.RFC3339), path, gitBlob(must(os.ReadFile(filepath.Join(s.dir, path)))), i)
		}
	}
	policy := strings.Replace(foreignPolicy(1, 2, people...), "dissent =", "settle = \"720h\"\ndissent =", 1)
	c := replayCmd{evidenceFlags: evidenceFlags{Policy: inFile(t, policy), Name: "tool"}, Timeline: inFile(t, timeline.String()), Path: s.dir}
	for _, tt := range []struct {
		days, exit int
		want       string
	}{{0, exitWaiting, ""}, {1, exitWaiting, "waiting "}, {10, exitRefused, "held "}, {33, exitOK, "signed       agreed after 744h"}} {
		c.At = born.AddDate(0, 0, tt.days).Format(time.RFC3339)
		var out bytes.Buffer
		if err := c.run(&out); codeOf(err) != tt.exit || !strings.HasPrefix(out.String(), tt.want) {
			t.Errorf("after %d days: %v, want %q:\n%s", tt.days, err, tt.want, &out)
		}
	}

	// What counts in no channel counts for nobody, and is said.
	c.Name = "tol"
	log := must(os.Create(filepath.Join(t.TempDir(), "stderr")))
	defer log.Close()
	defer func(was *os.File) { os.Stderr = was }(os.Stderr)
	os.Stderr = log
	replayOut(t, exitWaiting, c)
	stderr := string(must(os.ReadFile(log.Name())))
	if !strings.Contains(stderr, "no channel of the policy is for pkg:generic/tol@1.0; --name says") || !strings.Contains(stderr, "2 statements arrived, 0 count") {
		t.Errorf("another name: %s", stderr)
	}
}
