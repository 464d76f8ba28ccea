package quorum_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// TestTextVerdicts: what is signed besides the digests needs the quorum by itself.
func TestTextVerdicts(t *testing.T) {
	both := pgp + "," + cleartext
	for _, c := range []struct {
		name, outputs, rule, script string
		state                       quorum.State
		reason                      quorum.Reason
		words                       string
	}{
		{"all alike", both, "", "berlin=1+1 osaka=1+1 reading=1+1", quorum.Agreed, quorum.ReasonMet, ""},
		{"one of three lies", both, report, "berlin=1+2 osaka=1+1 reading=1+1", quorum.Agreed, quorum.ReasonMet, `berlin gave another "text:sha512-state" with it: one of the two is wrong.`},
		{"one of three lies, hold", both, hold, "berlin=1+2 osaka=1+1 reading=1+1", quorum.Held, quorum.ReasonSignable, `berlin gave another "text:sha512-state"`},
		{"one of two lies", both, "", "berlin=1+2 osaka=1+1", quorum.Conflicting, quorum.ReasonSignable, `osaka gave another "text:sha512-state"`},
		{"a liar in both", cleartext, "", "berlin=1/9+2 osaka=1+1", quorum.Conflicting, quorum.ReasonSignable, "osaka gave another"},
		{"a liar in what nobody signs", cleartext, report, "berlin=1/9+1 osaka=1+1", quorum.Agreed, quorum.ReasonMet, "osaka gave another SHA-512"},
		{"SHA-512 has its own quorum", both, report, "berlin=1/9+1 osaka=1+1", quorum.Conflicting, quorum.ReasonSHA512, ""},
		{"no two alike in everything", both, report, "berlin=1+2 osaka=1+1 reading=1/9+1", quorum.Conflicting, quorum.ReasonSignable, ""},
		{"nobody gives one", both, "", "berlin=1 osaka=1 reading=1", quorum.Waiting, quorum.ReasonNoSignable, "2 more of berlin, osaka, reading give it with what is missing"},
		{"one gives none", both, "", "berlin=1 osaka=1+1", quorum.Waiting, quorum.ReasonNoSignable, `berlin gave no "text:sha512-state" with it.`},
		{"one of three gives none", both, "", "berlin=1 osaka=1+1 reading=1+1", quorum.Agreed, quorum.ReasonMet, "berlin gave no"},
		{"given later", both, "", "berlin=1 osaka=1+1 berlin=1+1", quorum.Agreed, quorum.ReasonMet, ""},
		{"changed", both, "", "berlin=1+2 osaka=1+1 berlin=1+1", quorum.Agreed, quorum.ReasonMet, "with something else beside it"},
		{"taken away", both, "", "berlin=1+1 osaka=1+1 berlin=1", quorum.Waiting, quorum.ReasonNoSignable, ""},
		{"nothing signs it", pgp, "", "berlin=1+2 osaka=1+1 reading=1", quorum.Agreed, quorum.ReasonMet, ""},
		{"another digest besides", both, report, "berlin=1+1 osaka=1+1 reading=2+1", quorum.Agreed, quorum.ReasonMet, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := script(c.script).judge(t, load(t, signing(twoOfThree(c.rule), c.outputs)), nil, noon.Add(24*time.Hour))
			wantState(t, v, c.state, c.reason)
			e := quorum.Explain(&v)
			if words := strings.Join(append(e.Facts, e.Next...), "\n"); !strings.Contains(words, c.words) {
				t.Errorf("%q is not in\n%s", c.words, words)
			}
			if agreed := c.outputs != pgp && (v.State == quorum.Agreed || v.State == quorum.Held); agreed != slices.Equal(v.Signables, textSignable(1)) {
				t.Errorf("agreed signables %v", v.Signables)
			}
		})
	}
}

// TestTextSettles: the settle time begins with the vote that completes the quorum
// for the text, not with the one for the digest.
func TestTextSettles(t *testing.T) {
	p := load(t, signing(twoOfThree(settle), cleartext))
	r := script("berlin=1 osaka=1+1 reading!failed berlin=1+1 berlin=1+1")
	v := r.judge(t, p, nil, noon.Add(12*time.Minute))
	wantState(t, v, quorum.Held, quorum.ReasonSettling)
	if !v.Since.Equal(noon.Add(3*time.Minute)) || len(v.Changed) != 0 {
		t.Errorf("complete since %s, changed %v", v.Since, v.Changed)
	}
}

// TestTextAfterTheSignature: another text is dissent, a text that was missing helps
// the output that is still to be signed.
func TestTextAfterTheSignature(t *testing.T) {
	p := load(t, signing(twoOfThree(report), pgp+","+cleartext))
	for _, c := range []struct {
		name, script string
		seq          uint64
		complete     bool
		state        quorum.State
	}{
		{"confirmed", "berlin=1+1 osaka=1+1 reading=1+1", 2, true, quorum.Signed},
		{"another text", "berlin=1+1 osaka=1+1 reading=1+2", 2, true, quorum.Disputed},
		{"changed to another text", "berlin=1+1 osaka=1+1 osaka=1+2", 2, true, quorum.Disputed},
		{"no text", "berlin=1+1 osaka=1+1 reading=1", 2, true, quorum.Signed},
		{"known before", "berlin=1+1 osaka=1+1 reading=1+2", 3, true, quorum.Signed},
		{"the text is still to come", "berlin=1 osaka=1+1", 2, false, quorum.Waiting},
		{"the text came", "berlin=1 osaka=1+1 berlin=1+1", 2, false, quorum.Agreed},
		{"another text came", "berlin=1 osaka=1+1 berlin=1+2", 2, false, quorum.Waiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			sig := map[string]quorum.Signature{"f": {SHA256: digest(1), SHA512: sum512(1), Seq: c.seq, Complete: c.complete}}
			v := script(c.script).judge(t, p, sig, noon.Add(time.Hour))
			if v.State != c.state {
				t.Errorf("%s (%s), want %s", v.State, v.Reason, c.state)
			}
			e := quorum.Explain(&v)
			if said := strings.Contains(strings.Join(e.Facts, "\n"), `gave another "text:sha512-state" with it`); v.State == quorum.Disputed && !said {
				t.Errorf("the dissent is not told: %q", e.Facts)
			}
		})
	}
}

// texts are votes of the builders for a file and a text of it.
func texts(canonical string, builders ...string) (list []*statement.Statement) {
	for _, b := range builders {
		a := corekit.Artifact(corekit.File, "a text\n")
		if canonical != "" {
			a.Signables = corekit.Text512(canonical)
		}
		list = append(list, corekit.Sign(corekit.Vote(b, a)))
	}
	return list
}

func TestTextRequest(t *testing.T) {
	for _, outputs := range []string{cleartext, pgp + "," + cleartext} {
		p := signs(t, outputs)
		liar := texts("evil", "berlin")[0]
		stmts := append([]*statement.Statement{liar}, texts("a text", "osaka", "reading")...)
		p2 := load(t, signing(twoOfThree(report), outputs))
		r := request(t, p2, stmts...)
		a, ref := quorum.Check(p2, r, noon)
		if ref != nil {
			t.Fatal(ref)
		}
		if !a.TextState().Equal(corekit.State(hashstate.SHA512, "a text")) {
			t.Errorf("approved the state %+v", a.TextState())
		}
		if more := request(t, p2, stmts[1:]...); more.ID != r.ID {
			t.Error("the liar's vote makes it another request")
		}
		v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
		if v.State != quorum.Held {
			t.Errorf("%s with a liar in a channel that holds", v.State)
		}
	}
	// An output that needs no text goes without.
	p := signs(t, pgp+","+cleartext)
	stmts := texts("a text", "osaka", "reading")
	v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
	r := corekit.Must(quorum.NewRequest(p, stmts[0].Case, &v, p.Channel("core").Sign[:1], stmts))
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	if _, err := a.TextState().Resume(); err == nil || len(r.Signables) != 1 {
		t.Errorf("signables %v", r.Signables)
	}
}

// TestInvariant1TextNeedsItsQuorum: whatever a coordinator writes into a request,
// the text that comes out is one that the quorum gave.
func TestInvariant1TextNeedsItsQuorum(t *testing.T) {
	p := load(t, signing(twoOfThree(report), cleartext))
	good, evil := texts("a text", "osaka", "reading"), texts("evil", "berlin")
	value := func(canonical string) jsontext.Value { return corekit.Text512(canonical)[0].Value }
	for _, c := range []struct {
		name   string
		stmts  []*statement.Statement
		change func(r *quorum.Request)
		code   quorum.RefusalCode
	}{
		{"the liar's text", append(evil, good...), func(r *quorum.Request) { r.Signables[statement.TextState] = value("evil") }, quorum.RefuseState},
		{"nobody's text", good, func(r *quorum.Request) { r.Signables[statement.TextState] = value("nobody") }, quorum.RefuseState},
		{"one vote and the liar", append(evil, good[0]), nil, quorum.RefuseQuorum},
		{"no text in the votes", texts("", "osaka", "reading"), nil, quorum.RefuseQuorum},
		{"no text", good, func(r *quorum.Request) { clear(r.Signables) }, quorum.RefuseBadRequest},
		{"one more signable", good, func(r *quorum.Request) { r.Signables["x"] = jsontext.Value("0") }, quorum.RefuseBadRequest},
		{"the state of the file", good, func(r *quorum.Request) { r.Signables[quorum.StateSHA512] = value("a text\n") }, quorum.RefuseBadRequest},
		{"white space", good, func(r *quorum.Request) { r.Signables[statement.TextState] = append(value("a text"), ' ') }, quorum.RefuseState},
		{"no JSON", good, func(r *quorum.Request) { r.Signables[statement.TextState] = jsontext.Value("{") }, quorum.RefuseState},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := corekit.Artifact(corekit.File, "a text\n")
			r := &quorum.Request{Version: quorum.Version, Channel: "core", Target: corekit.Target, Artifact: corekit.File,
				Digest:    quorum.Digests{SHA256: a.SHA256},
				Signables: map[string]jsontext.Value{statement.TextState: value("a text")},
				Outputs:   p.Channel("core").Sign, Policy: quorum.PolicyRef{Version: p.Version, Digest: p.Digest}}
			for _, s := range c.stmts {
				r.Evidence = append(r.Evidence, quorum.Evidence{Kind: quorum.KindDSSE, Raw: s.Raw()})
			}
			if c.change != nil {
				c.change(r)
			}
			approval, ref := quorum.Check(p, withID(r), noon)
			wantRefused(t, approval, ref, c.code, false, "")
		})
	}
}

// TestTextNeedsStatements: a request is not made when no statement gives the text.
func TestTextNeedsStatements(t *testing.T) {
	p := signs(t, cleartext)
	stmts := texts("", "osaka", "reading")
	v := quorum.Verdict{Artifact: corekit.File, SHA256: stmts[0].Artifacts[0].SHA256}
	if _, err := quorum.NewRequest(p, stmts[0].Case, &v, []policy.Output{{Format: "openpgp-cleartext", Key: "own"}}, stmts); err == nil {
		t.Error("made without a text")
	}
}
