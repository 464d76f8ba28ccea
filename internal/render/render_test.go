package render_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"quorate/internal/difference"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// channel loads a policy in which every operator has one vote of a simple
// majority.
func channel(t testing.TB, operators ...string) *policy.Channel {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version = 1\nexpires = 2099-01-01T00:00:00Z\n")
	for i, o := range operators {
		pub := ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, 32)).Public().(ed25519.PublicKey)
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n[[operator.builder]]\nname = \"%s-1\"\nkey = \"ed25519:%s\"\n",
			o, o, base64.StdEncoding.EncodeToString(pub))
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"all\"\nneed = %d\nmembers = [\"%s\"]\n", len(operators)/2+1, strings.Join(operators, `", "`))
	b.WriteString("[[channel]]\nname = \"core\"\ntargets = [\"*\"]\nquorum = \"all\"\ndissent = \"report\"\nsign = [ { format = \"openpgp\", key = \"k\" } ]\n")
	p, err := policy.Load([]byte(b.String()), now)
	if err != nil {
		t.Fatal(err)
	}
	return p.Channel("core")
}

// vote is a statement by the operator's builder; files are "name=digest letter".
func vote(seq uint64, operator, builder string, files ...string) quorum.Observation {
	o := quorum.Observation{Seq: seq, Operator: operator, Builder: builder, ID: statement.SHA256{byte(seq), 0xff}, Received: now}
	for _, f := range files {
		name, letter, _ := strings.Cut(f, "=")
		var d statement.SHA256
		copy(d[:], strings.Repeat(letter, 32))
		o.Files = append(o.Files, quorum.File{Name: name, SHA256: d, SHA512: statement.SHA512{d[0]}})
	}
	return o
}

func failed(seq uint64, operator, builder string) quorum.Observation {
	o := vote(seq, operator, builder)
	o.Status, o.Reason = statement.Failed, "exit status 1"
	return o
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestGridEveryMark(t *testing.T) {
	ch := channel(t, "berlin", "hetzner", "osaka", "paris", "reading")
	signature := map[string]quorum.Signature{"zlib.tar": {SHA256: vote(0, "", "", "x=a").Files[0].SHA256, Seq: 5, Complete: true}}
	obs := []quorum.Observation{
		vote(1, "berlin", "berlin-1", "zlib.tar=a", "zlib-debug.tar=a", "doc.tar=a"),
		vote(2, "osaka", "osaka-1", "zlib.tar=b", "zlib-debug.tar=a", "doc.tar=b"),
		vote(3, "reading", "reading-1", "zlib.tar=a", "zlib-debug.tar=c"),
		vote(4, "berlin", "berlin-2", "doc.tar=c"),
		failed(5, "hetzner", "hetzner-1"),
		vote(6, "reading", "reading-2", "zlib.tar=b"),
	}
	obs = append(obs, vote(7, "paris", "paris-1", "other.tar=a"))
	obs[6].Revoked = now.Add(-time.Hour)
	golden(t, "marks", render.NewGrid(quorum.Decide(ch, obs, signature, now)).Text(100, false))
}

func many(n int, name string) (operators []string, obs []quorum.Observation) {
	for i := range n {
		o := fmt.Sprintf("%s-%02d", name, i+1)
		operators = append(operators, o)
		if i%5 != 3 {
			obs = append(obs, vote(uint64(i+1), o, o+"-builder", "linux-image-6.12.9-amd64-unsigned_6.12.9-1_amd64.deb=abcd"[:53+min(i%7, 1)], "b.deb=a"))
		}
	}
	return operators, obs
}

func TestGridAt80Columns(t *testing.T) {
	for _, n := range []int{3, 12, 24} {
		operators, obs := many(n, "rebuilder-of-the-north")
		text := render.NewGrid(quorum.Decide(channel(t, operators...), obs, nil, now)).Text(80, false)
		golden(t, fmt.Sprintf("operators-%d", n), text)
		for _, line := range strings.Split(text, "\n") {
			if render.Width(line) > 80 {
				t.Errorf("%d columns: %s", render.Width(line), line)
			}
		}
	}
}

func TestGridColoursSayNothingNew(t *testing.T) {
	operators, obs := many(7, "op")
	g := render.NewGrid(quorum.Decide(channel(t, operators...), obs, nil, now))
	colored := g.Text(80, true)
	if !strings.Contains(colored, "\x1b[32mA\x1b[0m") {
		t.Error("no colour")
	}
	for _, code := range []string{"\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"} {
		colored = strings.ReplaceAll(colored, code, "")
	}
	if d := cmp.Diff(g.Text(80, false), colored); d != "" {
		t.Error(d)
	}
}

func TestGridOfHostileNames(t *testing.T) {
	obs := []quorum.Observation{
		vote(1, "berlin", "berlin-1", "zlib\u202ezst.tar=a", "z\u0301lib=a", "日本語.tar=a", `quo"te=a`, "two words=a"),
		vote(2, "osaka", "osaka\x1b]0;owned\a", "zlib\u202ezst.tar=a"),
	}
	verdicts := quorum.Decide(channel(t, "berlin", "osaka", "reading"), obs, nil, now)
	verdicts[0].State = "signed\x1b[2J\n" // as a server might say
	golden(t, "hostile", render.NewGrid(verdicts).Text(100, false))
}

func TestGridPropertyInert(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[2J", "a\u202eb", "\n", "\r", "\u200b", "\xff", "x"}))
	rapid.Check(t, func(t *rapid.T) {
		v := quorum.Verdict{Artifact: text.Draw(t, "artifact"), State: quorum.State(text.Draw(t, "state")),
			Missing: rapid.SliceOf(text).Draw(t, "missing"), Silent: rapid.SliceOf(text).Draw(t, "silent"),
			Groups:  []quorum.Group{{Members: []quorum.Member{{Operator: text.Draw(t, "o"), Builder: text.Draw(t, "b")}}}},
			NoVotes: []quorum.NoVote{{Operator: text.Draw(t, "o2"), Builder: text.Draw(t, "b2")}},
			Late:    []quorum.Late{{Member: quorum.Member{Operator: text.Draw(t, "o3"), Builder: text.Draw(t, "b3")}}},
		}
		out := render.NewGrid([]quorum.Verdict{v}).Text(rapid.IntRange(1, 200).Draw(t, "width"), false)
		if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Fatalf("not inert at %d: %q", i, out)
		}
	})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"zlib-1.3.1-2-x86_64.pkg.tar.zst": "zlib-1.3.1-2-x86_64.pkg.tar.zst",
		"naïve.tar":                       "naïve.tar",
		"nai\u0308ve.tar":                 `"nai\u0308ve.tar"`,
		"":                                `""`,
		" x":                              `" x"`,
		"a\u202eb":                        `"a\u202eb"`,
		"a\u200bb":                        `"a\u200bb"`,
		"\x1b[2J":                         `"\x1b[2J"`,
		"a\xffb":                          `"a\xffb"`,
		`a\u202eb`:                        `"a\\u202eb"`,
		`a"b`:                             `"a\"b"`,
		"a\u00a0b":                        `"a\u00a0b"`,
		"\U000e0041":                      `"\U000e0041"`,
	} {
		if got := render.Text(in); got != want {
			t.Errorf("Text(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestTextPropertyOneToOne(t *testing.T) {
	// Two names never look alike by being escaped.
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "\\", "\"", "\u202e", "u202e", "\\u202e", "\xff", "xff", " ", "\u0301"})
		join := func(label string) string { return strings.Join(rapid.SliceOf(part).Draw(t, label), "") }
		a, b := join("a"), join("b")
		if a != b && render.Text(a) == render.Text(b) {
			t.Fatalf("%q and %q both look like %s", a, b, render.Text(a))
		}
	})
}

func TestMessageKeepsLines(t *testing.T) {
	if got := render.Message("policy: one\n\ttwo \"q\" \x1b[31m\r"); got != "policy: one\n\ttwo \"q\" \\x1b[31m\\r" {
		t.Errorf("%q", got)
	}
}

func TestWrap(t *testing.T) {
	got := render.Wrap("one two three four averyveryverylongword five", 12, "  ")
	want := "one two\n  three four\n  averyveryverylongword\n  five"
	if got != want {
		t.Errorf("%q", got)
	}
}

func TestTable(t *testing.T) {
	got := render.Table([][]string{{"state", "target"}, {"signed", "pkg:a/日本"}, {"", "x"}})
	want := "state   target\nsigned  pkg:a/日本\n        x\n"
	if got != want {
		t.Errorf("%q", got)
	}
}

// TestTooLargeForAGrid: a server that answers with as many operators as files has
// the cells grow with the square of its answer.
func TestTooLargeForAGrid(t *testing.T) {
	for _, c := range []struct{ columns, rows, lines int }{{256, 3, 0}, {257, 3, 3}, {20_000, 20_000, 10_000}, {100, 10_001, 10_000}} {
		verdicts := make([]quorum.Verdict, c.rows)
		for i := range verdicts {
			verdicts[i] = quorum.Verdict{Artifact: fmt.Sprint("file-", i), State: quorum.Waiting, Missing: []string{fmt.Sprint("o", i%c.columns)}}
		}
		for i := range c.columns {
			verdicts[i%c.rows].Missing = append(verdicts[i%c.rows].Missing, fmt.Sprint("o", i))
		}
		text := render.NewGrid(verdicts).Text(80, false)
		if list := strings.Contains(text, "too many for a grid"); list != (c.lines > 0) {
			t.Errorf("%d builders, %d files: a list: %t", c.columns, c.rows, list)
		}
		if n := strings.Count(text, "file-"); c.lines > 0 && n != c.lines {
			t.Errorf("%d builders, %d files: %d lines, want %d", c.columns, c.rows, n, c.lines)
		}
	}
}

func TestCutLeavesWholeCharacters(t *testing.T) {
	for n, want := range []string{"...", "a...", "a...", "aé...", "aé...", "aéé..."} {
		if got := render.Cut("aéé-éé", n); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	if got := render.Cut("aé", 3); got != "aé" {
		t.Errorf("%q was cut", got)
	}
}

func TestBuiltSaysEachMinuteOnce(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	got := render.Built([]difference.Group{{Letter: "A", First: noon, Last: noon.Add(time.Hour)}, {Letter: "B", First: noon, Last: noon.Add(time.Second)}, {Letter: "C"}})
	if want := "A from 2026-11-21 12:00Z to 2026-11-21 13:00Z; B at 2026-11-21 12:00Z"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
