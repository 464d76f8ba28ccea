package coordinator_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// requestFor has the builders vote for the content and makes the request that
// their statements give.
func (w *world) requestFor(target, content string, names ...string) *quorum.Request {
	w.t.Helper()
	var stmts []*statement.Statement
	for _, name := range names {
		stmts = append(stmts, w.publish(build{builder: name, target: target, files: map[string]string{"hello": content}}))
	}
	w.sync()
	p := must(policy.Load([]byte(policyText(w.t, 1, 3, "", nil)), time.Now()))(w.t)
	a := stmts[0].Artifacts[0]
	v := &quorum.Verdict{Artifact: a.Name, SHA256: a.SHA256, SHA512: a.SHA512}
	return must(quorum.NewRequest(p, stmts[0].Case, v, p.Channel("core").Sign, stmts))(w.t)
}

// signedOnce is a world in which hello@1 is signed, and the public answer.
func signedOnce(t *testing.T) (*world, *signer, *quorum.Answer) {
	w, s, r, _ := agreedWorld(t)
	ans := s.answer(r, nil)
	w.sync()
	w.wantState(quorum.Signed)
	return w, s, ans
}

// newest fails unless the newest rejected message has the code.
func (w *world) newest(code statement.Code) {
	w.t.Helper()
	list := get[rejectedList](w, "/v1/rejected").Rejected
	if len(list) == 0 || list[0].Code != code {
		w.t.Errorf("newest of %d rejected: %+v, want %s", len(list), list[:min(1, len(list))], code)
	}
}

// Yesterday's signature is public. With one lying builder's vote for yesterday's
// file it must not make today's target signed: then nobody would be asked to sign
// what the honest builders agree on.
func TestOldSignatureIsNotReplayedForAnotherTarget(t *testing.T) {
	w, s, old := signedOnce(t)
	const target = "pkg:generic/hello@2"
	lie := w.publish(build{builder: "dave", target: target})
	bad := build{builder: "dave", signer: "erin", target: "pkg:generic/hello@3"}.statement(t)
	w.publishRaw("dave", "quorate.statements.core.dave", bad.Raw())
	w.sync()
	lone := w.requestFor(target, "hello, world", "dave")
	for name, forge := range map[string]func(*quorum.Answer){
		"one vote, id made up": func(a *quorum.Answer) { a.Target, a.Statements = target, []statement.SHA256{lie.ID()} },
		"one vote, right id": func(a *quorum.Answer) {
			a.Target, a.ID, a.Evidence, a.Statements = target, lone.ID, quorum.EvidenceDigest(lone.Evidence), []statement.SHA256{statement.ID(lone.Evidence[0].Raw)}
		},
		"a refused statement": func(a *quorum.Answer) { a.Target, a.Statements = "pkg:generic/hello@3", []statement.SHA256{bad.ID()} },
	} {
		forged := *old
		forge(&forged)
		s.publish(&forged)
		w.sync()
		t.Log(name)
		w.newest("signature-invalid") // its notations are about hello@1
	}
	if n := len(get[rejectedList](w, "/v1/rejected").Rejected); n != 4 {
		t.Errorf("%d rejected, want the bad statement and three answers", n)
	}
	if got := w.targets("q=hello@3"); len(got) != 0 {
		t.Errorf("a refused statement gives %+v", got)
	}
	honest := w.requestFor(target, "hello, new world", "alice", "bob", "carol")
	if r := s.next(); r.ID != honest.ID {
		t.Fatal("the signer is asked for something else than what the builders agree on")
	}
	s.answer(honest, nil)
	w.sync()
	if a := w.detail(caseID("core", target)).Artifacts[0]; a.State != quorum.Signed || a.SHA256 != digest("hello, new world") {
		t.Errorf("%s with sha256 %s", a.State, a.SHA256)
	}
}

// What is in the signature is not enough either: the statements must give a
// request that passes, and the one that was answered.
func TestAnswerMustProveItsRequest(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	dave := w.requestFor("pkg:generic/hello@2", "hello, world", "dave")
	resign := func(a *quorum.Answer) { a.Signatures[0].Signature = w.signature(t, "token", "hello, world", why(a)) }
	only := func(a *quorum.Answer, e ...quorum.Evidence) {
		a.Statements, a.Evidence = nil, quorum.EvidenceDigest(e)
		for _, e := range e {
			a.Statements = append(a.Statements, statement.ID(e.Raw))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*quorum.Answer)
		code   statement.Code
	}{
		{"two statements", func(a *quorum.Answer) { only(a, r.Evidence[:2]...); resign(a) }, "not-approved"},
		{"one statement twice", func(a *quorum.Answer) { only(a, r.Evidence[0], r.Evidence[1], r.Evidence[1]); resign(a) }, "not-approved"},
		{"another id", func(a *quorum.Answer) { a.ID[0] ^= 1; resign(a) }, "not-approved"},
		{"another evidence digest", func(a *quorum.Answer) { a.Evidence[0] ^= 1; resign(a) }, "not-approved"},
		{"another policy version", func(a *quorum.Answer) { a.Policy.Version++; resign(a) }, "not-approved"},
		{"another policy", func(a *quorum.Answer) { a.Policy.Digest[0] ^= 1; resign(a) }, "policy-unknown"},
		{"a statement about another target", func(a *quorum.Answer) { only(a, append(r.Evidence[:3:3], dave.Evidence...)...); resign(a) }, "unknown-artifact"},
		{"a statement that is not recorded", func(a *quorum.Answer) { a.Statements[0][0] ^= 1; resign(a) }, "unknown-artifact"},
		{"without notations", func(a *quorum.Answer) { a.Signatures[0].Signature = w.signature(t, "token", "hello, world", nil) }, "signature-invalid"},
		{"notation twice", func(a *quorum.Answer) {
			a.Signatures[0].Signature = w.signature(t, "token", "hello, world", append(why(a), why(a)[0]))
		}, "signature-invalid"},
	} {
		s.answer(r, tt.change)
		w.sync()
		t.Log(tt.name)
		w.newest(tt.code)
		w.wantState(quorum.Agreed)
	}
	s.answer(r, nil)
	w.sync()
	w.wantState(quorum.Signed)
}

// A long target stands in the signature cut short, as the signer writes it.
func TestLongTargetIsSigned(t *testing.T) {
	w := newWorld(t)
	w.start()
	s := w.signer()
	r := w.requestFor("pkg:generic/"+strings.Repeat("x", 400)+"@1", "hello, world", "alice", "bob", "carol")
	s.answer(s.next(), nil)
	w.sync()
	if a := w.detail(caseID("core", r.Target)).Artifacts[0]; a.State != quorum.Signed {
		t.Errorf("state %s", a.State)
	}
}

// A new coordinator on an old record has never seen the policy of the first
// signatures. It shows them as soon as it is given the file.
func TestFormerPolicyProvesOldSignatures(t *testing.T) {
	w := signedWorld(t)
	first := policyText(t, 1, 3, "", nil)
	w.stop()
	w.setPolicy(policyText(t, 2, 3, "", nil))
	w.start()
	w.sync()
	w.wantState(quorum.Signed)

	other := w.second()
	check(t, other.Sync(limit(t)))
	mine := w.c
	w.c = other
	w.wantState(quorum.Agreed)
	if !hasCode(get[rejectedList](w, "/v1/rejected"), "policy-unknown") {
		t.Error("the old answer was not refused")
	}
	check(t, other.Close())

	config := w.path("second/coordinator.toml")
	text := strings.Replace(string(must(os.ReadFile(config))(t)), "former_policies = []", `former_policies = ["former.toml"]`, 1)
	check(t, os.WriteFile(config, []byte(text), 0o600))
	check(t, os.WriteFile(w.path("second/former.toml"), []byte(first), 0o600))
	o := w.options()
	o.State = w.path("second")
	w.c = must(coordinator.Start(limit(t), o))(t)
	w.sync()
	w.wantState(quorum.Signed)
	check(t, w.c.Close())
	w.c = mine
	w.stop()
	wantSame(t, dump(t, w.path("second")), dump(t, w.state()))
}

// Anybody who may write to the subject can refuse in a signer's name. That must
// not raise alarms without end, nor keep the question from being asked again.
func TestForgedRefusals(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	forge := func(change func(*quorum.Answer)) {
		t.Helper()
		a := &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Artifact: r.Artifact, Digest: r.Digest,
			Refusal: &quorum.Refusal{Code: quorum.RefuseOtherDigest, Message: "chosen text"}, At: time.Now()}
		change(a)
		s.publish(a)
	}
	for i := range 20 {
		forge(func(a *quorum.Answer) { a.ID[0] ^= byte(i) + 1 })                            // never asked
		forge(func(a *quorum.Answer) { a.Digest.SHA256 = digest(fmt.Sprint(i)) })           // asked, about something else
		forge(func(a *quorum.Answer) { a.Refusal.Message = fmt.Sprint("chosen text ", i) }) // asked
	}
	w.sync()
	if n := w.alarms(); n != 1 {
		t.Errorf("%d alarms, want one for the artifact and request", n)
	}
	if n := len(get[rejectedList](w, "/v1/rejected").Rejected); n != 20 {
		t.Errorf("%d rejected, want those that are about something else", n)
	}
	if _, next, _ := w.request(); next.IsZero() {
		t.Error("the signer is never asked again")
	}
	forge(func(a *quorum.Answer) { a.Refusal.Code = "" })
	w.sync()
	w.newest("bad-answer")
	if n := w.redrive("tooling", "pkg:generic/hello@1"); n != 1 {
		t.Errorf("%d asked", n)
	}
	w.sync()
	s.answer(s.next(), nil)
	forge(func(*quorum.Answer) {})
	w.sync()
	if a := w.wantState(quorum.Signed); a.Requests[0].Refusal != nil {
		t.Errorf("a signed file shows the refusal %v", a.Requests[0].Refusal)
	}
}

// The id of a request is no secret. A refusal from before the first question is
// not shown as the answer to it.
func TestRefusalBeforeTheQuestion(t *testing.T) {
	w := newWorld(t)
	w.start()
	s := w.signer()
	r := w.requestFor("pkg:generic/hello@1", "hello, world", "alice", "bob")
	s.publish(&quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Artifact: r.Artifact, Digest: r.Digest,
		Refusal: &quorum.Refusal{Code: quorum.RefuseQuorum, Message: "no"}, At: time.Now()})
	w.agree("carol")
	if again := s.next(); again.ID != r.ID {
		t.Fatal("the forged refusal was about another request")
	}
	if _, _, refusal := w.request(); refusal != nil {
		t.Errorf("refusal %v before anybody was asked", refusal)
	}
	w.publish(build{builder: "alice", status: statement.Withdrawn})
	w.sync()
	w.publish(build{builder: "alice", nonce: "again"})
	w.sync()
	s.next() // agreed again, so asked again
}
