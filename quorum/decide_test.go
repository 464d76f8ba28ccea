package quorum_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

const (
	hold   = `dissent = "hold"`
	report = `dissent = "report"`
	settle = `settle = "10m"`
)

// script is a record in short: "berlin=1" votes for bytes 1, "berlin=1/9" with
// the SHA-512 of 9, "berlin=1/0" with none, "berlin=1+2" with text 2, "berlin!failed" says a status and
// "berlin=-" votes on another file only.
func script(text string) record {
	var r record
	for _, word := range strings.Fields(text) {
		if op, status, ok := strings.Cut(word, "!"); ok {
			r.add(op, statement.Status(status))
			continue
		}
		op, vote, _ := strings.Cut(word, "=")
		if vote == "-" {
			r.add(op, "", file("other", 1))
			continue
		}
		vote, text, _ := strings.Cut(vote, "+")
		f := file("f", vote[0]-'0')
		if len(vote) == 3 {
			f.SHA512 = sum512(vote[2] - '0')
		}
		if text != "" {
			f.Signables = textSignable(text[0] - '0')
		}
		r.add(op, "", f)
	}
	return r
}

func TestVerdicts(t *testing.T) {
	late := noon.Add(24 * time.Hour)
	split := "allow_split = true"
	cases := []struct {
		name, policy, script string
		at                   time.Time
		state                quorum.State
		reason               quorum.Reason
	}{
		{"one build of two", "", "berlin=1", late, quorum.Waiting, quorum.ReasonTooFew},
		{"two builds of two", "", "berlin=1 osaka=1", late, quorum.Agreed, quorum.ReasonMet},
		{"all three", "", "berlin=1 osaka=1 reading=1", late, quorum.Agreed, quorum.ReasonMet},
		{"nobody listed the file", "", "berlin=1 berlin!withdrawn", late, quorum.Withdrawn, quorum.ReasonWithdrawn},
		{"two differ, a third can decide", "", "berlin=1 osaka=2", late, quorum.Conflicting, quorum.ReasonDiffer},
		{"all three differ", "", "berlin=1 osaka=2 reading=3", late, quorum.Unreachable, quorum.ReasonNonePass},
		{"one differs, hold is the rule", "", "berlin=1 osaka=1 reading=2", late, quorum.Held, quorum.ReasonDissent},
		{"one differs, hold is written", hold, "berlin=1 osaka=1 reading=2", late, quorum.Held, quorum.ReasonDissent},
		{"one differs, report", report, "berlin=1 osaka=1 reading=2", late, quorum.Agreed, quorum.ReasonMet},
		{"dissent taken back", "", "berlin=1 osaka=1 reading=2 reading!withdrawn", late, quorum.Agreed, quorum.ReasonMet},
		{"dissent changed", "", "berlin=1 osaka=1 reading=2 reading=1", late, quorum.Agreed, quorum.ReasonMet},
		{"settling, a second before the end", settle, "berlin=1 osaka=1", noon.Add(11*time.Minute - time.Second), quorum.Held, quorum.ReasonSettling},
		{"settled to the second", settle, "berlin=1 osaka=1", noon.Add(11 * time.Minute), quorum.Agreed, quorum.ReasonMet},
		{"saying it again does not start the settle time anew", settle, "berlin=1 osaka=1 osaka=1 berlin=1", noon.Add(11 * time.Minute), quorum.Agreed, quorum.ReasonMet},
		{"coming back does", settle, "berlin=1 osaka=1 osaka=2 osaka=1", noon.Add(12 * time.Minute), quorum.Held, quorum.ReasonSettling},
		{"dissent weighs more than settling", settle, "berlin=1 osaka=1 reading=2", noon, quorum.Held, quorum.ReasonDissent},

		{"a failed build is no vote", "", "berlin=1 osaka!failed", late, quorum.Waiting, quorum.ReasonTooFew},
		{"a failed build takes no vote away", "", "berlin=1 osaka=1 osaka!failed", late, quorum.Agreed, quorum.ReasonMet},
		{"a cancelled build takes no vote away", "", "berlin=1 osaka=1 osaka!cancelled berlin!timeout", late, quorum.Agreed, quorum.ReasonMet},
		{"withdrawn", "", "berlin=1 osaka=1 osaka!withdrawn", late, quorum.Waiting, quorum.ReasonTooFew},
		{"withdrawn and said anew", "", "berlin=1 osaka=1 osaka!withdrawn osaka=1", late, quorum.Agreed, quorum.ReasonMet},
		{"all withdrawn", "", "berlin=1 osaka=1 osaka!withdrawn berlin!withdrawn", late, quorum.Withdrawn, quorum.ReasonWithdrawn},
		{"an outsider has no vote", "", "berlin=1 outsider=1", late, quorum.Waiting, quorum.ReasonTooFew},
		{"an outsider does not differ", "", "berlin=1 osaka=1 outsider=2", late, quorum.Agreed, quorum.ReasonMet},
		{"a vote on another file is none on this", "", "berlin=1 osaka=-", late, quorum.Waiting, quorum.ReasonTooFew},

		{"SHA-512 differs, no quorum for either", "", "berlin=1/1 osaka=1/2", late, quorum.Conflicting, quorum.ReasonSHA512},
		{"SHA-512 differs in one, hold", "", "berlin=1/1 osaka=1/1 reading=1/2", late, quorum.Held, quorum.ReasonSHA512},
		{"SHA-512 differs in one, report", report, "berlin=1/1 osaka=1/1 reading=1/2", late, quorum.Agreed, quorum.ReasonMet},
		{"nobody gave a SHA-512", "", "berlin=1/0 osaka=1/0", late, quorum.Conflicting, quorum.ReasonSHA512},
		{"one gave no SHA-512", "", "berlin=1 osaka=1/0", late, quorum.Conflicting, quorum.ReasonSHA512},
		{"a third gave no SHA-512, which is no dissent", "", "berlin=1 osaka=1 reading=1/0", late, quorum.Agreed, quorum.ReasonMet},
		{"a vote without SHA-512 does not end the settle time", settle, "berlin=1 osaka=1/0 reading=1", noon.Add(11 * time.Minute), quorum.Held, quorum.ReasonSettling},

		{"two digests pass a quorum of one", split, "berlin=1 osaka=2", late, quorum.Conflicting, quorum.ReasonTwoPass},
		{"two SHA-512 digests pass a quorum of one", split, "berlin=1/1 osaka=1/2", late, quorum.Conflicting, quorum.ReasonSHA512},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := twoOfThree(c.policy)
			if c.policy == split {
				text = strings.Replace(text, "need = 2", `need = "any"`, 1)
			}
			r := script(c.script)
			v := r.judge(t, load(t, text), nil, c.at)
			wantState(t, v, c.state, c.reason)
			if agreed := c.state == quorum.Agreed || c.state == quorum.Held; agreed != (v.SHA256 == digest(1)) {
				t.Errorf("the agreed digest is %s", v.SHA256)
			}
			if agreed := c.state == quorum.Agreed || c.state == quorum.Held; agreed != (v.SHA512 == sum512(1)) {
				t.Errorf("the agreed SHA-512 digest is %s", v.SHA512)
			}
		})
	}
}

func TestVerdictsAfterASignature(t *testing.T) {
	cases := []struct {
		name, policy, script string
		sig                  quorum.Signature
		state                quorum.State
		reason               quorum.Reason
		late                 string
	}{
		{"signed", "", "berlin=1 osaka=1", quorum.Signature{Seq: 3, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"partly signed", "", "berlin=1 osaka=1", quorum.Signature{Seq: 3}, quorum.Agreed, quorum.ReasonPartlySigned, ""},
		{"partly signed, and the votes are gone", "", "berlin=1", quorum.Signature{Seq: 3}, quorum.Waiting, quorum.ReasonPartlySigned, ""},
		{"partly signed, and they are back", "", "berlin=1 berlin=1 reading=1", quorum.Signature{Seq: 1}, quorum.Agreed, quorum.ReasonPartlySigned, ""},
		{"confirmed later", "", "berlin=1 osaka=1 reading=1", quorum.Signature{Seq: 2, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"failed later", "", "berlin=1 osaka=1 reading!failed", quorum.Signature{Seq: 2, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"late dissent", "", "berlin=1 osaka=1 reading=2", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"late dissent in a channel that reports", report, "berlin=1 osaka=1 reading=2", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"late dissent while outputs are missing", "", "berlin=1 osaka=1 reading=2", quorum.Signature{Seq: 2}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"a signer changes its mind", "", "berlin=1 osaka=1 osaka=2", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "osaka"},
		{"and back: the dissent stays", "", "berlin=1 osaka=1 osaka=2 osaka=1", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "osaka"},
		{"withdrawn after signing", "", "berlin=1 osaka=1 osaka!withdrawn", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "osaka"},
		{"confirmed later and withdrawn", "", "berlin=1 osaka=1 reading=1 reading!withdrawn", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"withdrawn by somebody who never voted", "", "berlin=1 osaka=1 reading!withdrawn", quorum.Signature{Seq: 2, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"late dissent in SHA-512 only", "", "berlin=1 osaka=1 reading=1/2", quorum.Signature{Seq: 2, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"late vote without SHA-512", "", "berlin=1 osaka=1 reading=1/0", quorum.Signature{Seq: 2, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"late dissent of an outsider", "", "berlin=1 osaka=1 outsider=2", quorum.Signature{Seq: 2, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},

		// Recorded before the signature, but after the signer was asked, or left out of the request.
		{"dissent while the signer was asked", "", "berlin=1 osaka=1 reading=2", quorum.Signature{Seq: 4, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "reading"},
		{"dissent that the channel reports", report, "berlin=1 osaka=1 reading=2", quorum.Signature{Seq: 4, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"withdrawn while the signer was asked", report, "berlin=1 osaka=1 osaka!withdrawn", quorum.Signature{Seq: 4, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "osaka"},
		{"changed twice while the signer was asked", report, "berlin=1 osaka=1 osaka=2 osaka=3", quorum.Signature{Seq: 5, Complete: true}, quorum.Disputed, quorum.ReasonLateDissent, "osaka"},
		{"withdrawn and back while the signer was asked", report, "berlin=1 osaka=1 osaka!withdrawn osaka=1", quorum.Signature{Seq: 5, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
		{"withdrawn by one who was not needed", report, "berlin=1 reading=1 reading!withdrawn osaka=1", quorum.Signature{Seq: 5, Complete: true}, quorum.Signed, quorum.ReasonSigned, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.sig.SHA256 = digest(1)
			v := script(c.script).judge(t, load(t, twoOfThree(c.policy)), map[string]quorum.Signature{"f": c.sig}, noon.Add(time.Hour))
			wantState(t, v, c.state, c.reason)
			var late []string
			for _, l := range v.Late {
				late = append(late, l.Operator)
			}
			if got := strings.Join(late, " "); got != c.late {
				t.Errorf("late dissent by %q, want %q", got, c.late)
			}
			if v.SHA256 != digest(1) {
				t.Errorf("the signed digest is %s", v.SHA256)
			}
		})
	}
}

// The signed SHA-512 digest is what the quorum carried, not what the first
// operator of the roster said.
func TestSignedVerdictShowsTheSHA512ThatWasCarried(t *testing.T) {
	sig := quorum.Signature{SHA256: digest(1), Seq: 3, Complete: true}
	r := script("berlin=1/9 osaka=1/1 reading=1/1")
	v := r.judge(t, load(t, twoOfThree(report)), map[string]quorum.Signature{"f": sig}, noon)
	if v.SHA512 != sum512(1) || !v.Groups[0].Passes || v.Groups[0].SHA512 != sum512(1) {
		t.Errorf("SHA-512 %s, group %s, passes %t", v.SHA512, v.Groups[0].SHA512, v.Groups[0].Passes)
	}
	if *v.Groups[0].Members[0].OtherSHA512 != sum512(9) || v.Groups[0].Members[1].OtherSHA512 != nil {
		t.Error("the one that differs is not marked")
	}
	sig.SHA512 = sum512(7) // what the record says of the signature leads
	v = r.judge(t, load(t, twoOfThree(report)), map[string]quorum.Signature{"f": sig}, noon)
	if v.SHA512 != sum512(7) {
		t.Errorf("SHA-512 %s", v.SHA512)
	}
}

func TestASignatureWithoutStatementsIsShown(t *testing.T) {
	sig := map[string]quorum.Signature{"f": {SHA256: digest(1), SHA512: sum512(1), Complete: true}}
	v := record{}.judge(t, load(t, twoOfThree()), sig, noon)
	wantState(t, v, quorum.Signed, quorum.ReasonSigned)
	if v.SHA512 != sum512(1) || len(v.Missing) != 3 {
		t.Errorf("SHA-512 %s, missing %q", v.SHA512, v.Missing)
	}
}

func TestRevokedKeyCountsNoLonger(t *testing.T) {
	p := load(t, twoOfThree())
	revoked := noon.Add(time.Hour)
	r := script("berlin=1 osaka=1 reading=1")
	r[1].Revoked = revoked
	r[2].Revoked = revoked
	wantState(t, r.judge(t, p, nil, revoked.Add(-1)), quorum.Agreed, quorum.ReasonMet)
	v := r.judge(t, p, nil, revoked)
	wantState(t, v, quorum.Waiting, quorum.ReasonTooFew)
	if len(v.Revoked) != 2 || v.Revoked[0].Operator != "osaka" || len(v.Missing) != 2 {
		t.Errorf("revoked %v, missing %q", v.Revoked, v.Missing)
	}
	sig := map[string]quorum.Signature{"f": {SHA256: digest(1), Seq: 4, Complete: true}}
	wantState(t, r.judge(t, p, sig, revoked), quorum.Signed, quorum.ReasonSigned)
}

func TestAStolenKeyCannotWithdraw(t *testing.T) {
	r := script("berlin=1 osaka=1 osaka!withdrawn")
	r[2].Revoked = noon
	wantState(t, r.judge(t, load(t, twoOfThree()), nil, noon.Add(time.Hour)), quorum.Agreed, quorum.ReasonMet)
}

func TestWhoIsSilentMissingOrWithoutAVote(t *testing.T) {
	p := load(t, corekit.Head+corekit.Operators("a", "b", "c", "d", "e", "f")+
		corekit.Group("g", "4", "a", "b", "c", "d", "e", "f")+corekit.Channel("g"))
	v := script("a=1 b=- c!failed d!failed d=- e=1 e!timeout").judge(t, p, nil, noon)
	wantState(t, v, quorum.Waiting, quorum.ReasonTooFew)
	if !slices.Equal(v.Silent, []string{"b", "d"}) || !slices.Equal(v.Missing, []string{"f"}) {
		t.Errorf("silent %q, missing %q", v.Silent, v.Missing)
	}
	if len(v.NoVotes) != 1 || v.NoVotes[0].Operator != "c" || v.NoVotes[0].Status != statement.Failed {
		t.Errorf("no votes: %+v", v.NoVotes)
	}
	if len(v.Groups) != 1 || len(v.Groups[0].Members) != 2 {
		t.Errorf("groups: %+v", v.Groups)
	}
	if len(v.Needs) != 1 || v.Needs[0].More != 2 || !slices.Equal(v.Needs[0].From, []string{"b", "c", "d", "f"}) {
		t.Errorf("needs %+v", v.Needs)
	}
}

// Who spoke on the file after the signature is not called silent.
func TestWhoSpokeLateIsNotSilent(t *testing.T) {
	sig := map[string]quorum.Signature{"f": {SHA256: digest(1), Seq: 2, Complete: true}}
	p := load(t, twoOfThree())
	v := script("berlin=1 osaka=1 reading=1").judge(t, p, sig, noon)
	if len(v.Silent) != 0 || len(v.Groups[0].Members) != 3 {
		t.Errorf("confirmed late: silent %q, %d agree", v.Silent, len(v.Groups[0].Members))
	}
	v = script("berlin=1 osaka=1 reading=2").judge(t, p, sig, noon)
	if len(v.Silent) != 0 || len(v.Groups) != 1 || v.Late[0].SHA256 != digest(2) {
		t.Errorf("differed late: silent %q, late %+v", v.Silent, v.Late)
	}
	v = script("berlin=1 osaka=1 reading=1/2").judge(t, p, sig, noon)
	if len(v.Silent) != 0 || v.Late[0].SHA256 != digest(1) || *v.Late[0].OtherSHA512 != sum512(2) {
		t.Errorf("differed late in SHA-512: silent %q, late %+v", v.Silent, v.Late)
	}
}

func TestEquivocationIsKept(t *testing.T) {
	r := script("berlin=1 osaka=1 berlin=2 berlin=1")
	v := r.judge(t, load(t, twoOfThree()), nil, noon.Add(time.Hour))
	wantState(t, v, quorum.Agreed, quorum.ReasonMet)
	want := []quorum.Change{
		{Operator: "berlin", Builder: "berlin", From: digest(1), To: digest(2), Earlier: r[0].ID},
		{Operator: "berlin", Builder: "berlin", From: digest(2), To: digest(1), Earlier: r[2].ID},
	}
	if !slices.Equal(v.Changed, want) {
		t.Errorf("changed: %+v", v.Changed)
	}
	sig := map[string]quorum.Signature{"f": {SHA256: digest(1), Seq: 3, Complete: true}}
	v = script("berlin=1 osaka=1 reading=2 reading=1").judge(t, load(t, twoOfThree(report)), sig, noon)
	if len(v.Changed) != 1 || len(v.Groups) != 1 {
		t.Errorf("changed to the signed digest: %+v, %d groups", v.Changed, len(v.Groups))
	}
}

func TestAllDifferentPointsAtTheBuild(t *testing.T) {
	p := load(t, twoOfThree())
	for text, want := range map[string]bool{"berlin=1": false, "berlin=1 osaka=2": true, "berlin=1 osaka=2 reading=3": true, "berlin=1 osaka=2 reading=2": false} {
		if v := script(text).judge(t, p, nil, noon); v.Diverge != want {
			t.Errorf("%s: %t", text, v.Diverge)
		}
	}
}

func TestNeedsSayWhatWouldMakeItAgreed(t *testing.T) {
	p := load(t, twoOfThree())
	v := script("berlin=1 osaka=2").judge(t, p, nil, noon)
	if len(v.Needs) != 2 || v.Needs[0].More != 1 || !slices.Equal(v.Needs[0].From, []string{"reading"}) {
		t.Errorf("needs %+v", v.Needs)
	}
	// Only a digest that nobody gave can still pass.
	p = load(t, corekit.Head+corekit.Operators("a", "b", "c", "d", "e")+corekit.Group("g", "3", "a", "b", "c", "d", "e")+corekit.Channel("g"))
	v = script("a=1 b=1 c=2 d=2 e=3").judge(t, p, nil, noon)
	wantState(t, v, quorum.Unreachable, quorum.ReasonNonePass)
	p = load(t, corekit.Head+corekit.Operators("a", "b", "c", "d")+corekit.Group("x", `"all"`, "a", "b")+
		corekit.Group("g", "1", "x", "c")+corekit.Channel("g", "allow_split = true"))
	v = script("a=1 b=2").judge(t, p, nil, noon)
	wantState(t, v, quorum.Conflicting, quorum.ReasonDiffer)
	if len(v.Needs) != 2 || v.Needs[0].More != 1 || !slices.Equal(v.Needs[0].From, []string{"c"}) {
		t.Errorf("needs %+v", v.Needs)
	}
}

// With groups in groups not everybody who has no vote helps.
func TestNeedsNameOnlyWhoHelps(t *testing.T) {
	p := load(t, corekit.Head+corekit.Operators("a", "b", "c", "d", "e", "f")+corekit.Group("x", "2", "a", "b", "c")+
		corekit.Group("y", "1", "d", "e", "f")+corekit.Group("g", `"all"`, "x", "y")+corekit.Channel("g"))
	v := script("a=1 d=1 b=2").judge(t, p, nil, noon)
	if len(v.Needs) != 2 || !reflect.DeepEqual(v.Needs[0], quorum.Need{SHA256: digest(1), More: 1, From: []string{"c"}}) ||
		!reflect.DeepEqual(v.Needs[1], quorum.Need{SHA256: digest(2), More: 2, From: []string{"c", "e", "f"}, ByRule: true}) {
		t.Errorf("needs %+v", v.Needs)
	}
	next := quorum.Explain(&v).Next
	if len(next) != 2 || !strings.HasSuffix(next[0], "when c gives it too.") ||
		!strings.HasSuffix(next[1], "when 2 more of c, e, f, as the rule groups them, give it too.") {
		t.Errorf("next %q", next)
	}
}

func TestGroupsComeLargestFirstAndPassingBeforeAll(t *testing.T) {
	// The group of two passes; the group of three does not.
	p := load(t, corekit.Head+corekit.Operators("a", "b", "c", "d", "e")+corekit.Group("x", `"all"`, "a", "b")+
		corekit.Group("y", `"all"`, "c", "d", "e")+corekit.Group("g", "1", "x")+
		corekit.Group("h", "1", "g")+corekit.Group("top", "1", "h", "y")+corekit.Channel("top", "allow_split = true", report))
	v := script("c=1 d=1 a=2 b=2 e=3").judge(t, p, nil, noon)
	wantState(t, v, quorum.Agreed, quorum.ReasonMet)
	if v.SHA256 != digest(2) || !v.Groups[0].Passes || v.Groups[1].SHA256 != digest(1) || v.Groups[2].SHA256 != digest(3) {
		t.Errorf("groups %+v", v.Groups)
	}
}

func TestVerdictsComeByName(t *testing.T) {
	var r record
	r.add("berlin", "", file("b", 1), file("a", 1))
	r.add("osaka", "", file("c", 1), file("a", 1))
	verdicts := quorum.Decide(load(t, twoOfThree()).Channel("core"), r, nil, noon)
	if len(verdicts) != 3 || verdicts[0].Artifact != "a" || verdicts[1].Artifact != "b" || verdicts[2].Artifact != "c" {
		t.Fatalf("%d verdicts", len(verdicts))
	}
	wantState(t, verdicts[0], quorum.Agreed, quorum.ReasonMet)
	wantState(t, verdicts[1], quorum.Waiting, quorum.ReasonTooFew)
	if !slices.Equal(verdicts[1].Silent, []string{"osaka"}) || verdicts[0].Quorum != "distro" {
		t.Errorf("silent %q, quorum %q", verdicts[1].Silent, verdicts[0].Quorum)
	}
	if got := quorum.Decide(load(t, twoOfThree()).Channel("core"), nil, nil, noon); len(got) != 0 {
		t.Errorf("%d verdicts out of nothing", len(got))
	}
}

// A copy of an old statement, also in another envelope, brings nothing back.
func TestAReplayedStatementChangesNothing(t *testing.T) {
	p := load(t, twoOfThree())
	for name, script := range map[string]string{"changed": "berlin=1 osaka=1 osaka=2", "withdrawn": "berlin=1 osaka=1 osaka!withdrawn"} {
		for _, same := range []string{"envelope", "payload", "envelope of unknown payload"} {
			r := replay(script, 1, same)
			if v := r.judge(t, p, nil, noon.Add(time.Hour)); v.State == quorum.Agreed {
				t.Errorf("%s, the same %s again: agreed", name, same)
			}
		}
	}
}

// replay adds the i-th statement again, as a copy or with another id.
func replay(text string, i int, same string) record {
	r := script(text)
	if same == "envelope of unknown payload" {
		r[i].Payload = statement.SHA256{}
	}
	again := r[i]
	again.Seq, again.Received = uint64(len(r)+1), noon.Add(30*time.Minute)
	if same == "payload" {
		again.ID[5] ^= 1
	}
	return append(r, again)
}
