package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
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
