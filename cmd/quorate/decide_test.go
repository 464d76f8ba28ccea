package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/rogpeppe/go-internal/testscript"

	"quorate/quorum"
)

// judgedAt is the date at which the tables of GnuPG's verdicts were made.
const judgedAt = "2026-11-20T12:00:00Z"

// realData returns a folder of real files beside the repository, and skips the
// test by name when it is not there.
func realData(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "..", "shared", "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs ../shared/data/" + name + ", which is not here")
	}
	return dir
}

// codeOf is the exit code of an error.
func codeOf(err error) int {
	var ee *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ee):
		return ee.code
	}
	return exitFailure
}

func decideOut(t testing.TB, want int, c decideCmd) string {
	t.Helper()
	var out bytes.Buffer
	if c.Count == "" {
		c.Count = "good"
	}
	if c.At == "" {
		c.At = judgedAt
	}
	if err := c.run(&out); codeOf(err) != want {
		t.Fatalf("exit %d (%v), want %d\n%s", codeOf(err), err, want, out.String())
	}
	return out.String()
}

// firstPolicy writes a policy with quorate policy init.
func firstPolicy(t testing.TB, c policyInitCmd) string {
	t.Helper()
	var out bytes.Buffer
	c.From, c.At = "guix.sigs", judgedAt
	if err := c.run(&out); err != nil {
		t.Fatal(err)
	}
	return inFile(t, out.String())
}

func inFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func expected(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sameLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d of %d and %d differs:\ngot  %q\nwant %q", i+1, len(g), len(w), g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

// TestDecideEqualsTheTables compares the output byte for byte.
func TestDecideEqualsTheTables(t *testing.T) {
	for _, set := range []string{"guix.sigs", "guix.sigs-dash", "guix.sigs-qbit"} {
		t.Run(set, func(t *testing.T) {
			dir := realData(t, set)
			sameLines(t, decideOut(t, exitOK, decideCmd{TSV: true, Count: "all", Paths: []string{dir}}), expected(t, dir, "EXPECTED-agreement.tsv"))
		})
	}
	for _, set := range []string{"guix.sigs", "guix.sigs-dash"} {
		t.Run(set+" signatures", func(t *testing.T) {
			dir := realData(t, set)
			_, got, _ := strings.Cut(decideOut(t, exitOK, decideCmd{TSV: true, Signatures: true, Paths: []string{dir}}), "\n")
			_, want, _ := strings.Cut(expected(t, dir, "EXPECTED-gpg-verdicts.tsv"), "\n")
			sameLines(t, got, want)
		})
	}
}

// TestDecideParts: a release, or one builder's folder, can be named by itself.
func TestDecideParts(t *testing.T) {
	dir := realData(t, "guix.sigs")
	whole := expected(t, dir, "EXPECTED-agreement.tsv")
	var want []string
	for line := range strings.Lines(whole) {
		if strings.HasPrefix(line, "27.0\t") || strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	sameLines(t, decideOut(t, exitOK, decideCmd{TSV: true, Count: "all", Paths: []string{filepath.Join(dir, "27.0")}}), strings.Join(want, ""))
	one := decideOut(t, exitOK, decideCmd{TSV: true, Count: "all", Paths: []string{filepath.Join(dir, "27.0", "Emzy", "all.SHA256SUMS")}})
	if !strings.Contains(one, "\n27.0\tall\tbitcoin-27.0-aarch64-linux-gnu-debug.tar.gz\t1\t1\t1\t1\t") {
		t.Errorf("one file by itself: %s", one)
	}
}

func bitcoinPolicy(t testing.TB, dir string) string {
	return firstPolicy(t, policyInitCmd{Name: "bitcoin", Need: 5, Path: dir})
}

func lineWith(t *testing.T, out string, parts ...string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return line
		}
	}
	t.Fatalf("no line with %q", parts)
	return ""
}

// TestDecideKnownDisagreements reads the stories that the real files tell.
func TestDecideKnownDisagreements(t *testing.T) {
	dir := realData(t, "guix.sigs")
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: bitcoinPolicy(t, dir), Name: "bitcoin"}, Paths: []string{dir}}
	out := decideOut(t, exitDisagree, c)
	for _, name := range []string{"bitcoin-26.0rc1-arm64-apple-darwin.zip", "bitcoin-26.0rc1-x86_64-apple-darwin.zip"} {
		if l := lineWith(t, out, " all  "+name); !strings.HasPrefix(l, "conflicting") || !strings.Contains(l, "A1 B1 C1 D1 E1 F1 G1 H1 I1") || !strings.Contains(l, "all different") {
			t.Errorf("26.0rc1: %s", l)
		}
	}
	if n := strings.Count(out, "all different"); n != 2 {
		t.Errorf("%d files are all different, want 2", n)
	}
	// The one that differs has no key file: it is no dissent that counts, and seen.
	if l := lineWith(t, out, "bitcoin-22.0rc3-osx-signed.dmg"); !strings.Contains(l, "not counted, and differs: 4901daeaf8fb=jonatack (unknown-name)") {
		t.Errorf("22.0rc3: %s", l)
	}
	if l := lineWith(t, out, "29.4 all  bitcoin-29.4-arm64-apple-darwin-unsigned.zip"); !strings.HasPrefix(l, "agreed") || !strings.Contains(l, "silent: yuvicc") || strings.Contains(l, "differs") {
		t.Errorf("29.4: %s", l)
	}
	if l := lineWith(t, out, "27.0 noncodesigned  bitcoin-27.0-aarch64-linux-gnu.tar.gz"); !strings.Contains(l, "=0xb10c (not-current)") {
		t.Errorf("27.0: the withdrawn statement is not seen: %s", l)
	}
	all := decideOut(t, exitOK, decideCmd{TSV: true, Count: "all", Paths: []string{filepath.Join(dir, "22.0rc3")}})
	if l := lineWith(t, all, "bitcoin-22.0rc3-osx-signed.dmg"); !strings.Contains(l, "\t13\t13\t2\t12\t") || !strings.Contains(l, "4901daeaf8fb=jonatack") {
		t.Errorf("one against twelve: %s", l)
	}
}

// TestDecideCountsGoodOnly: the table of what counts leaves out who is not
// pinned.
func TestDecideCountsGoodOnly(t *testing.T) {
	dir := realData(t, "guix.sigs")
	out := decideOut(t, exitOK, decideCmd{evidenceFlags: evidenceFlags{Policy: bitcoinPolicy(t, dir), Name: "bitcoin"}, TSV: true, Paths: []string{dir}})
	if strings.Contains(out, "jonatack") || strings.Contains(out, "Saviour") {
		t.Error("a statement counts whose key is not pinned")
	}
	if l := lineWith(t, out, "bitcoin-22.0rc3-osx-signed.dmg"); !strings.Contains(l, "\t10\t10\t1\t10\t") && !strings.Contains(l, "\t1\t") {
		t.Errorf("22.0rc3: %s", l)
	}
}

// TestDecideExpiredSince: a policy may refuse keys that have expired since.
func TestDecideExpiredSince(t *testing.T) {
	dir := realData(t, "guix.sigs-dash")
	path := firstPolicy(t, policyInitCmd{Name: "dash", Need: 3, Path: dir})
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: path, Name: "dash"}, Paths: []string{dir}}
	if out := decideOut(t, exitWaiting, c); strings.Count(out, "agreed ") != 76 || strings.Count(out, "waiting ") != 16 {
		t.Errorf("with expired keys:\n%s", out)
	}
	text := expected(t, filepath.Dir(path), "policy.toml")
	c.Policy = inFile(t, regexp.MustCompile(`(?m)^  key  = .*$`).ReplaceAllString(text, "$0\n  expired_since = \"reject\""))
	if out := decideOut(t, exitWaiting, c); strings.Count(out, "agreed       3, needs 3 of 11") != 76 {
		t.Errorf("without expired keys:\n%s", out)
	}
}

// TestDecideAt: as of a moment, what came later does not count.
func TestDecideAt(t *testing.T) {
	dir := realData(t, "guix.sigs-qbit")
	path := firstPolicy(t, policyInitCmd{Name: "qbit", Keys: filepath.Join(dir, "operator-keys", "public-keys"), Path: dir})
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: path, Name: "qbit"}, Paths: []string{dir}}
	if out := decideOut(t, exitOK, c); strings.Count(out, "agreed ") != 24 {
		t.Errorf("today:\n%s", out)
	}
	c.At = "2026-06-17T16:00:00Z"
	if out := decideOut(t, exitWaiting, c); strings.Contains(out, "agreed ") {
		t.Errorf("before:\n%s", out)
	}
}

func TestDecideJSONAndHTML(t *testing.T) {
	dir := filepath.Join(realData(t, "guix.sigs"), "26.0rc1")
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: bitcoinPolicy(t, filepath.Dir(dir)), Name: "bitcoin"}, JSON: true, Paths: []string{dir}}
	artifacts, rejected := 0, 0
	for line := range strings.Lines(decideOut(t, exitDisagree, c)) {
		var o struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch o.Type {
		case "artifact":
			artifacts++
		case "rejected":
			rejected++
		}
	}
	if artifacts != 50 && artifacts < 40 || rejected != 1 {
		t.Errorf("%d artifacts, %d rejected", artifacts, rejected)
	}
	c.JSON, c.HTML = false, true
	page := decideOut(t, exitDisagree, c)
	for _, bad := range []string{"<script", "src=", "href=", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if !strings.Contains(page, "default-src &#39;none&#39;") && !strings.Contains(page, "default-src 'none'") || !strings.Contains(page, "all different") || !strings.HasSuffix(page, "</html>\n") {
		t.Errorf("the page is not whole: %d bytes", len(page))
	}
}

// TestDecidePageLeavesNobodyOut: whoever is in a line of the text is on the page.
func TestDecidePageLeavesNobodyOut(t *testing.T) {
	v := quorum.Verdict{Artifact: "a", State: quorum.Waiting, Silent: []string{"sil"}, NoVotes: []quorum.NoVote{{Operator: "non", Status: "failed"}},
		Changed: []quorum.Change{{Operator: "chan"}}, Revoked: []quorum.Member{{Operator: "rev"}}, Groups: []quorum.Group{{Members: []quorum.Member{{Operator: "one"}}}}}
	d := &decided{verdicts: []quorum.Verdict{v}, statements: 1, heard: map[string][]hearsay{"a": {{Name: "heard", Code: "no-key"}}}}
	var text, page bytes.Buffer
	for _, p := range []struct {
		to   *bytes.Buffer
		form func(*bufio.Writer) decidePrinter
	}{{&text, func(w *bufio.Writer) decidePrinter { return &decideText{w} }}, {&page, func(w *bufio.Writer) decidePrinter { return &decidePage{out: w} }}} {
		w := bufio.NewWriter(p.to)
		ok(t, p.form(w).group(group{"c", "pkg:generic/a@1", ""}, nil, d))
		ok(t, w.Flush())
		for _, name := range []string{"sil", "non", "failed", "chan", "rev", "heard"} {
			if !strings.Contains(p.to.String(), name) {
				t.Errorf("nothing of %s in %s", name, p.to)
			}
		}
	}
	if !strings.Contains(page.String(), "1 statement counts") {
		t.Errorf("page: %s", &page)
	}
}

// TestDecideOtherFormats reads every other file that there is, with the keys
// beside it.
func TestDecideOtherFormats(t *testing.T) {
	var paths []string
	for _, set := range []string{"rebuilderd-attestation", "debian-buildinfo", "in-toto-link-gpg", "dsse", "nix-narinfo"} {
		paths = append(paths, realData(t, set))
	}
	flags := evidenceFlags{Policy: inFile(t, otherPolicy), Keys: paths[1]}
	layout := formatFlags{Layout: filepath.Join(paths[2], "test.layout")}
	out := decideOut(t, exitOK, decideCmd{evidenceFlags: flags, formatFlags: layout, Paths: paths})
	for _, parts := range [][]string{
		{"agreed       1, needs 1 of 5 ", "pkg:generic/filesystem-2025.10.12-1-any.pkg.tar.zst"},
		{"agreed       1, needs 1 of 5 ", "pkg:generic/file.bin"}, // two keys of one operator
		{"agreed       1, needs 1 of 5 ", "pkg:deb/dnf@4.5.2-1%2Bdeb11u1", "dnf_4.5.2-1+deb11u1_all.deb"},
		{"agreed       1, needs 1 of 5 ", "pkg:nix/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin"},
		{"agreed       1, needs 1 of 5 ", "e2e-gcb-tag-main-annotated-slsa3:latest"},
		{"agreed       2, needs 2 of 2 ", "final-product_0.0.0.0-0_all.deb"},
	} {
		lineWith(t, out, parts...)
	}
	if n := strings.Count(out, "\n"); n != 15 {
		t.Errorf("%d artifacts, want 15:\n%s", n, out)
	}
	layout.Layout = filepath.Join(paths[2], "root.layout")
	err := (&decideCmd{evidenceFlags: flags, formatFlags: layout, Count: "good", Paths: paths}).run(&bytes.Buffer{})
	if codeOf(err) != exitUsage || !strings.Contains(err.Error(), "(expired)") || !strings.Contains(err.Error(), "signed.expires") {
		t.Errorf("an expired layout: %v", err)
	}
}

// TestDecideScripts runs the scripts about bad input and usage.
func TestDecideScripts(t *testing.T) {
	var files []string
	for _, topic := range []string{"decide", "replay"} {
		found, err := filepath.Glob(filepath.Join("testdata", topic+"*.txt"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no scripts about %s: %v", topic, err)
		}
		files = append(files, found...)
	}
	testscript.Run(t, testscript.Params{
		Files: files, UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return writeForeign(e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fifo": func(ts *testscript.TestScript, _ bool, a []string) { ts.Check(makePipe(ts.MkAbs(a[0]))) },
			"grow": func(ts *testscript.TestScript, _ bool, a []string) { ts.Check(os.Truncate(ts.MkAbs(a[0]), 9<<20)) },
		},
	})
}
