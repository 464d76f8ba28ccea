package quorum_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/internal/acttest"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// staffed is twoOfThree with anna, who may do everything, and ben, who may note.
func staffed(anna, ben acttest.Key) string {
	return fmt.Sprintf("%s[[maintainer]]\nname = \"anna\"\nkeys = [%q]\n[[maintainer]]\nname = \"ben\"\nkeys = [%q]\n",
		twoOfThree(`maintainers = [ { name = "anna", rights = ["hold", "release", "withdraw", "rebuild", "note"] }, { name = "ben", rights = ["note"] } ]`),
		anna.Line, ben.Line)
}

var subject = act.Subject{Channel: "core", Target: corekit.Target, Artifact: corekit.File}

func TestAdmitAct(t *testing.T) {
	anna, ben, carl := acttest.NewKey(t), acttest.NewKey(t), acttest.NewKey(t)
	p := load(t, staffed(anna, ben))
	hold := act.Act{Kind: act.Hold, Subject: subject, Time: noon}
	with := func(change func(*act.Act)) act.Act {
		a := hold
		change(&a)
		return a
	}
	for _, c := range []struct {
		name string
		s    *act.Signed
		code statement.Code
	}{
		{"good", anna.Sign(t, hold), ""},
		{"ahead of the clock", anna.Sign(t, with(func(a *act.Act) { a.Time = noon.Add(quorum.MaxSkew + time.Second) })), quorum.CodeTimeInFuture},
		{"a little ahead", anna.Sign(t, with(func(a *act.Act) { a.Time = noon.Add(quorum.MaxSkew) })), ""},
		{"no right", ben.Sign(t, hold), quorum.CodeNoRight},
		{"a right", ben.Sign(t, with(func(a *act.Act) { a.Kind = act.Note })), ""},
		{"nobody's key", carl.Sign(t, hold), quorum.CodeUnknownMaintainer},
		{"another namespace", anna.SignIn(t, "git", hold), act.CodeNamespace},
		{"unknown channel", anna.Sign(t, with(func(a *act.Act) { a.Channel = "other" })), quorum.CodeUnknownChannel},
		{"target of another channel", anna.Sign(t, with(func(a *act.Act) { a.Target = "pkg:zzz/x@1" })), quorum.CodeTargetChannel},
		{"unknown builder", anna.Sign(t, act.Act{Kind: act.Rebuild, Subject: act.Subject{Channel: "core", Target: corekit.Target}, Builder: "outsider", Time: noon}), quorum.CodeUnknownBuilder},
	} {
		m, err := quorum.AdmitAct(p, c.s, noon)
		var got statement.Code
		if e, ok := err.(*act.Error); ok {
			got = e.Code
		}
		if got != c.code || (m == nil) != (c.code != "") {
			t.Errorf("%s: %v, %v", c.name, m, err)
		}
	}
}

// TestDecideWithStops: an act changes what would be signed next and what is not to
// be used, and nothing else.
func TestDecideWithStops(t *testing.T) {
	p := load(t, twoOfThree(settle))
	hold := quorum.Stop{Kind: act.Hold, By: "anna", Reason: "wait"}
	gone := quorum.Stop{Kind: act.Withdraw, By: "anna", Reason: "bad"}
	other := quorum.Stop{Kind: act.Hold, By: "anna", Artifact: "other"}
	settled, signed := noon.Add(time.Hour), map[string]quorum.Signature{"f": {SHA256: digest(1), Seq: 2, Complete: true}}
	for _, c := range []struct {
		name, script string
		signed       map[string]quorum.Signature
		at           time.Time
		stops        []quorum.Stop
		state        quorum.State
		reason       quorum.Reason
		told         int
	}{
		{"agreed", "berlin=1 osaka=1", nil, settled, []quorum.Stop{hold}, quorum.Held, quorum.ReasonStopped, 1},
		{"settling", "berlin=1 osaka=1", nil, noon.Add(2 * time.Minute), []quorum.Stop{hold}, quorum.Held, quorum.ReasonStopped, 1},
		{"dissent", "berlin=1 osaka=1 reading=2", nil, settled, []quorum.Stop{hold}, quorum.Held, quorum.ReasonDissent, 1},
		{"waiting", "berlin=1", nil, settled, []quorum.Stop{hold}, quorum.Waiting, quorum.ReasonTooFew, 0},
		{"conflicting", "berlin=1 osaka=2", nil, settled, []quorum.Stop{hold}, quorum.Conflicting, quorum.ReasonDiffer, 0},
		{"signed", "berlin=1 osaka=1", signed, settled, []quorum.Stop{hold}, quorum.Signed, quorum.ReasonSigned, 0},
		{"another file", "berlin=1 osaka=1", nil, settled, []quorum.Stop{other}, quorum.Agreed, quorum.ReasonMet, 0},
		{"withdrawn", "berlin=1 osaka=1", nil, settled, []quorum.Stop{gone, hold}, quorum.Withdrawn, quorum.ReasonStopped, 2},
		{"withdrawn and waiting", "berlin=1", nil, settled, []quorum.Stop{gone}, quorum.Withdrawn, quorum.ReasonStopped, 1},
		{"withdrawn and signed", "berlin=1 osaka=1", signed, settled, []quorum.Stop{gone}, quorum.Disputed, quorum.ReasonStopped, 1},
		{"withdrawn and dissent", "berlin=1 osaka=1 reading=2", signed, settled, []quorum.Stop{gone}, quorum.Disputed, quorum.ReasonLateDissent, 1},
	} {
		i := 0
		verdicts := quorum.Decide(p.Channel("core"), script(c.script), c.signed, c.at, c.stops...)
		for verdicts[i].Artifact != "f" {
			i++
		}
		v := verdicts[i]
		t.Run(c.name, func(t *testing.T) {
			wantState(t, v, c.state, c.reason)
			if len(v.Stops) != c.told || !v.Until.IsZero() && c.told > 0 {
				t.Errorf("%d acts, until %s", len(v.Stops), v.Until)
			}
			text := quorum.Explain(&v)
			if all := strings.Join(append(text.Facts, text.Verdict), " "); (c.told > 0) != strings.Contains(all, "anna") || len(text.Next) == 0 {
				t.Errorf("%+v", text)
			}
			if next := strings.Join(text.Next, " "); (c.state == quorum.Held) != strings.Contains(next, "quorate release") {
				t.Errorf("what would change it: %q", next)
			}
		})
	}
}

// TestCheckHonoursActs: what a request carries stops the signer, whoever sent it.
func TestCheckHonoursActs(t *testing.T) {
	anna, ben, carl := acttest.NewKey(t), acttest.NewKey(t), acttest.NewKey(t)
	p := load(t, staffed(anna, ben))
	sign := func(k acttest.Key, kind act.Kind, s act.Subject, after *act.Signed) *act.Signed {
		a := act.Act{Kind: kind, Subject: s, Time: noon}
		if after != nil {
			a.After = after.ID()
		}
		return k.Sign(t, a)
	}
	channel, target := act.Subject{Channel: "core"}, act.Subject{Channel: "core", Target: corekit.Target}
	h := sign(anna, act.Hold, target, nil)
	h2 := sign(anna, act.Hold, target, h)
	all := sign(anna, act.Hold, channel, nil)
	r := sign(anna, act.Release, target, h)
	for _, c := range []struct {
		name string
		acts []*act.Signed
		code quorum.RefusalCode
	}{
		{"none", nil, ""},
		{"hold", []*act.Signed{h}, quorum.RefuseHeld},
		{"channel", []*act.Signed{all}, quorum.RefuseHeld},
		{"released", []*act.Signed{h, r}, ""},
		{"released, the other way round", []*act.Signed{r, h}, ""},
		{"said twice", []*act.Signed{h, r, h, r}, ""},
		{"released one of two subjects", []*act.Signed{h, r, all}, quorum.RefuseHeld},
		{"release of an older hold", []*act.Signed{h, h2, r}, quorum.RefuseHeld},
		{"release of another subject", []*act.Signed{h, sign(anna, act.Release, channel, h)}, quorum.RefuseHeld},
		{"release without the right", []*act.Signed{h, sign(ben, act.Release, target, h)}, quorum.RefuseEvidence},
		{"release by nobody", []*act.Signed{h, sign(carl, act.Release, target, h)}, quorum.RefuseEvidence},
		{"of another target", []*act.Signed{sign(anna, act.Hold, act.Subject{Channel: "core", Target: corekit.Target + "0"}, nil)}, quorum.RefuseEvidence},
		{"withdrawn", []*act.Signed{sign(anna, act.Withdraw, subject, nil)}, quorum.RefuseHeld},
		{"withdrawn and released", []*act.Signed{sign(anna, act.Withdraw, target, nil), h, r}, quorum.RefuseHeld},
		{"note", []*act.Signed{sign(ben, act.Note, target, nil)}, ""},
		{"too many", slices.Repeat([]*act.Signed{h, r}, quorum.MaxActs), quorum.RefuseTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := request(t, p, builds("hello", "berlin", "osaka")...)
			id := req.ID
			for _, a := range c.acts {
				req.Acts = append(req.Acts, a.Raw())
			}
			if req.ComputeID() != id {
				t.Error("the id depends on acts")
			}
			approval, ref := quorum.Check(p, req, noon)
			if c.code == "" {
				if approval == nil {
					t.Error(ref)
				}
				return
			}
			if approval != nil || ref.Code != c.code || ref.Retryable {
				t.Errorf("%v, %v", approval, ref)
			}
		})
	}
	req := request(t, p, builds("hello", "berlin", "osaka")...)
	req.Acts = [][]byte{[]byte(strings.Replace(string(h.Raw()), "SSH", "SSX", 1))}
	if _, ref := quorum.Check(p, req, noon); ref == nil || ref.Code != quorum.RefuseEvidence {
		t.Errorf("a damaged act: %v", ref)
	}
}
