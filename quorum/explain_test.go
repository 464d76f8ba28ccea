package quorum_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/quorum"
	"quorate/quorum/statement"
)

var allReasons = []quorum.Reason{
	quorum.ReasonTooFew, quorum.ReasonDiffer, quorum.ReasonTwoPass, quorum.ReasonNonePass, quorum.ReasonMet,
	quorum.ReasonSettling, quorum.ReasonDissent, quorum.ReasonSHA512, quorum.ReasonSigned, quorum.ReasonPartlySigned,
	quorum.ReasonLateDissent, quorum.ReasonWithdrawn, quorum.ReasonSignable, quorum.ReasonNoSignable,
}

func checkSentences(t interface{ Errorf(string, ...any) }, e quorum.Explanation) {
	all := append(slices.Concat(e.Facts, e.Next), e.Verdict)
	if e.Verdict == "" || len(e.Next) == 0 {
		t.Errorf("empty explanation: %+v", e)
	}
	for _, s := range all {
		if s == "" || s != strings.TrimSpace(s) || !strings.HasSuffix(s, ".") {
			t.Errorf("not a sentence: %q", s)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
			t.Errorf("not safe on a terminal: %q", s)
		}
	}
}

func TestEveryVerdictHasSentences(t *testing.T) {
	for _, s := range append(quorum.States, "later") {
		for _, r := range append(allReasons, "later", "") {
			checkSentences(t, quorum.Explain(&quorum.Verdict{State: s, Reason: r}))
			checkSentences(t, quorum.Explain(&quorum.Verdict{State: s, Reason: r, Artifact: "x", Quorum: "q",
				Groups: []quorum.Group{explGroup(1, "a", "b"), explGroup(2, "c")}, Until: time.Unix(0, 0)}))
		}
	}
}

func TestKnownVerdictsAreNotCalledUnknown(t *testing.T) {
	for _, s := range quorum.States {
		for _, r := range allReasons {
			if e := quorum.Explain(&quorum.Verdict{State: s, Reason: r}); strings.Contains(e.Verdict, "does not know") {
				t.Errorf("%s, %s: %s", s, r, e.Verdict)
			}
		}
	}
}

func TestExplainPropertyInert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[2J", "a\u202eb", "\r\n", "berlin"}))
		v := &quorum.Verdict{
			State:  rapid.SampledFrom(append(quorum.States, quorum.State(text.Draw(t, "state")))).Draw(t, "s"),
			Reason: rapid.SampledFrom(append(allReasons, quorum.Reason(text.Draw(t, "reason")))).Draw(t, "r"),
			Quorum: text.Draw(t, "quorum"), Missing: []string{text.Draw(t, "missing")}, Silent: []string{text.Draw(t, "silent")},
			NoVotes: []quorum.NoVote{{Operator: text.Draw(t, "op"), Status: statement.Status(text.Draw(t, "status")), Reason: text.Draw(t, "why")}},
			Groups:  []quorum.Group{explGroup(byte(rapid.IntRange(0, 3).Draw(t, "d")), text.Draw(t, "m1")), explGroup(9, text.Draw(t, "m2"))},
			Needs:   []quorum.Need{{More: 1, From: []string{text.Draw(t, "from")}}},
			Late:    []quorum.Late{{SHA256: explDigest(4)}, {Withdrawn: true}},
			Changed: []quorum.Change{{From: explDigest(1), To: explDigest(2)}},
		}
		checkSentences(t, quorum.Explain(v))
	})
}

func TestExplainSaysWhatIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name string
		v    quorum.Verdict
		want []string
	}{
		{"one more of two", quorum.Verdict{State: quorum.Waiting, Reason: quorum.ReasonTooFew, Quorum: "distro",
			Groups: []quorum.Group{explGroup(1, "berlin")}, Missing: []string{"osaka", "reading"},
			Needs: []quorum.Need{{SHA256: explDigest(1), More: 1, From: []string{"osaka", "reading"}}}},
			[]string{"1 operator gave this file so far", "quorum distro", "A (010101010101) meets the quorum when 1 more of osaka, reading gives it too.", "No answer from osaka, reading."}},
		{"odd one out", quorum.Verdict{State: quorum.Held, Reason: quorum.ReasonDissent,
			Groups: []quorum.Group{explGroup(1, "berlin", "osaka"), explGroup(2, "reading")}},
			[]string{"Only reading differs from everybody else", "when reading gives the bytes of A"}},
		{"all different", quorum.Verdict{State: quorum.Unreachable, Reason: quorum.ReasonNonePass, Diverge: true,
			Groups: []quorum.Group{explGroup(1, "berlin"), explGroup(2, "osaka")}},
			[]string{"No two operators gave the same bytes"}},
		{"a new digest", quorum.Verdict{State: quorum.Waiting, Reason: quorum.ReasonTooFew,
			Needs: []quorum.Need{{More: 2, From: []string{"berlin", "osaka"}}}},
			[]string{"Nobody gave this file yet", "when berlin, osaka give one and the same digest."}},
		{"a failed build", quorum.Verdict{State: quorum.Waiting, Reason: quorum.ReasonTooFew,
			NoVotes: []quorum.NoVote{{Operator: "osaka", Status: statement.Timeout, Reason: "after\n2h"}}},
			[]string{`No vote from osaka: timeout, "after\n2h".`}},
		{"settling", quorum.Verdict{State: quorum.Held, Reason: quorum.ReasonSettling, Until: time.Unix(0, 0)},
			[]string{"It is agreed at 1970-01-01T00:00:00Z if nobody differs before."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := quorum.Explain(&c.v)
			text := strings.Join(append(append([]string{e.Verdict}, e.Facts...), e.Next...), "\n")
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("want %q in:\n%s", w, text)
				}
			}
		})
	}
}

func TestShortIsUnambiguous(t *testing.T) {
	a, b := explDigest(7), explDigest(7)
	b[20] = 8
	v := &quorum.Verdict{Groups: []quorum.Group{{SHA256: a}, {SHA256: b}}}
	if v.Short(a) == v.Short(b) || len(v.Short(a)) != 42 {
		t.Errorf("%s and %s", v.Short(a), v.Short(b))
	}
	if got := v.Short(explDigest(9)); len(got) != 12 {
		t.Errorf("%s is longer than it has to be", got)
	}
}

func TestLetter(t *testing.T) {
	for i, want := range map[int]string{0: "A", 25: "Z", 26: "AA", 51: "AZ", 52: "BA", 701: "ZZ", 702: "AAA"} {
		if got := quorum.Letter(i); got != want {
			t.Errorf("Letter(%d) = %s, want %s", i, got, want)
		}
	}
}

func explDigest(b byte) (d statement.SHA256) {
	for i := range d {
		d[i] = b
	}
	return d
}

func explGroup(b byte, operators ...string) quorum.Group {
	g := quorum.Group{SHA256: explDigest(b)}
	for i, o := range operators {
		g.Members = append(g.Members, quorum.Member{Operator: o, Builder: fmt.Sprintf("%s-%d", o, i+1)})
	}
	return g
}

// TestAnExplanationIsBounded: a verdict may have come from a server that makes up
// operators to fill the screen of whoever asks.
func TestAnExplanationIsBounded(t *testing.T) {
	const many = 20_000
	v := quorum.Verdict{State: quorum.Disputed}
	for i := range many {
		d := statement.SHA256{byte(i), byte(i >> 8)}
		m := quorum.Member{Operator: fmt.Sprint("o", i), OtherSHA512: &statement.SHA512{1}}
		v.Groups = append(v.Groups, quorum.Group{SHA256: d, Members: []quorum.Member{m}})
		v.Missing, v.Silent = append(v.Missing, m.Operator), append(v.Silent, m.Operator)
		v.NoVotes = append(v.NoVotes, quorum.NoVote{Operator: m.Operator})
		v.Changed = append(v.Changed, quorum.Change{Operator: m.Operator, From: d})
		v.Late = append(v.Late, quorum.Late{Member: m, SHA256: d})
		v.Beside = append(v.Beside, quorum.Beside{Member: quorum.Member{Operator: m.Operator, Builder: "b"}, SHA256: statement.SHA256{1, 2, 3}})
		v.Needs = append(v.Needs, quorum.Need{SHA256: d, More: 1, From: v.Missing})
	}
	e := quorum.Explain(&v)
	if n := len(e.Facts) + len(e.Next); n > 1000 {
		t.Errorf("%d sentences", n)
	}
	for _, s := range slices.Concat(e.Facts, e.Next) {
		if len(s) > 4096 {
			t.Errorf("a sentence of %d bytes: %.80s", len(s), s)
		}
	}
	for _, what := range []string{"late votes", "other builders"} {
		if !slices.Contains(e.Facts, fmt.Sprintf("Not shown: %d more %s.", many-64, what)) {
			t.Errorf("%s are left out, and it is not said: %q", what, e.Facts[len(e.Facts)-1])
		}
	}
}
