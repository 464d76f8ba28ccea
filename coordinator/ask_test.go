package coordinator_test

import (
	"crypto"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"quorate/internal/bus"
	"quorate/internal/pgpsig"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// agreed is a world with an agreed artifact, a clock that stands still, and the
// first request.
func agreedWorld(t *testing.T) (w *world, s *signer, r *quorum.Request, start time.Time) {
	w = newWorld(t)
	start = time.Now().UTC()
	w.setClock(start)
	w.start()
	s = w.signer()
	w.agree("alice", "bob", "carol")
	return w, s, s.next(), start
}

func (w *world) request() (attempts int, next time.Time, refusal *quorum.Refusal) {
	w.t.Helper()
	list := w.wantState(quorum.Agreed).Requests
	if len(list) != 1 {
		w.t.Fatalf("%d requests", len(list))
	}
	return list[0].Attempts, list[0].Next, list[0].Refusal
}

func TestRetryableRefusalIsAskedAgainWithBackoff(t *testing.T) {
	w, s, r, at := agreedWorld(t)
	for attempt, pause := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		s.refuse(r, quorum.RefuseToken, true)
		w.sync()
		attempts, next, refusal := w.request()
		if attempts != attempt+1 || !next.Equal(at.Add(pause)) || refusal == nil || refusal.Code != quorum.RefuseToken {
			t.Fatalf("attempt %d: %d attempts, next %s after the refusal, refusal %v", attempt+1, attempts, next.Sub(at), refusal)
		}
		s.none()
		at = at.Add(pause - time.Millisecond)
		w.setClock(at)
		w.sync()
		s.none()
		at = at.Add(time.Millisecond)
		w.setClock(at)
		w.sync()
		if again := s.next(); again.ID != r.ID {
			t.Fatal("the question is another one")
		}
	}
	s.answer(r, nil)
	w.sync()
	if a := w.wantState(quorum.Signed); a.Requests[0].Attempts != 4 || a.Requests[0].Refusal != nil {
		t.Errorf("requests %+v", a.Requests)
	}
}

// Nobody can verify a refusal, so no refusal ends the asking.
func TestFinalRefusalWaitsForAPersonOrTheLongestPause(t *testing.T) {
	w, s, r, at := agreedWorld(t)
	s.refuse(r, quorum.RefuseUnknownKey, false)
	w.sync()
	if _, next, refusal := w.request(); !next.Equal(at.Add(30*time.Minute)) || refusal.Code != quorum.RefuseUnknownKey || refusal.Retryable {
		t.Errorf("next %s, refusal %v", next, refusal)
	}
	w.setClock(at.Add(30*time.Minute - time.Millisecond))
	w.sync()
	s.none()
	w.setClock(at.Add(30 * time.Minute))
	w.sync()
	if again := s.next(); again.ID != r.ID {
		t.Error("the question is another one")
	}
	s.refuse(r, quorum.RefuseUnknownKey, false)
	w.sync()
	if n := w.redrive("tooling", "pkg:generic/hello@1"); n != 1 {
		t.Errorf("%d asked", n)
	}
	w.sync()
	s.next()
	if n := w.redrive("tooling", "pkg:generic/unknown@1"); n != 0 {
		t.Errorf("%d asked about an unknown target", n)
	}
}

func (w *world) redrive(user, target string) int {
	w.t.Helper()
	q := must(wire.Encode(&wire.Redrive{Version: quorum.Version, Channel: "core", Target: target}))(w.t)
	reply := string(must(w.as(user).Request(limit(w.t), bus.SubjectRedrive, q))(w.t))
	var n int
	must(fmt.Sscanf(reply, `{"asked":%d}`, &n))(w.t)
	return n
}

func TestNewVotesAfterARefusalAreAskedAtOnce(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.refuse(r, quorum.RefuseQuorum, false)
	w.sync()
	s.none()
	w.agree("dave")
	if again := s.next(); len(again.Evidence) != 4 || again.ID != r.ID {
		t.Errorf("%d statements", len(again.Evidence))
	}
}

func TestQuestionWithoutAnswerIsAskedAgain(t *testing.T) {
	w, s, _, at := agreedWorld(t)
	w.setClock(at.Add(2*time.Minute + 9*time.Second))
	w.sync()
	s.none()
	// Statements about other files do not push it back.
	w.publish(build{builder: "dave", files: map[string]string{"unrelated": "x"}})
	w.setClock(at.Add(2*time.Minute + 10*time.Second))
	w.sync()
	s.next()
}

// A crash after the attempt is recorded and before it is published: the question
// counts as asked, and is asked again when its answer is overdue.
func TestRequestSurvivesARestart(t *testing.T) {
	w, _, r, at := agreedWorld(t)
	w.stop()
	w.start()
	w.sync()
	s := w.signer()
	s.none()
	w.setClock(at.Add(time.Hour))
	w.sync()
	if again := s.next(); again.ID != r.ID {
		t.Error("the question is another one")
	}
}

func TestForgedAnswersAreRejected(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	tests := []struct {
		name   string
		change func(*quorum.Answer)
		code   statement.Code
	}{
		{"signature by another key", func(a *quorum.Answer) { a.Signatures[0].Signature = w.signature(t, "stranger", "hello, world", why(a)) }, "signature-invalid"},
		{"signature of another file", func(a *quorum.Answer) { a.Signatures[0].Signature = w.signature(t, "token", "other", why(a)) }, "signature-invalid"},
		{"no signature", func(a *quorum.Answer) { a.Signatures[0].Signature = []byte("none") }, "signature-invalid"},
		{"unknown key", func(a *quorum.Answer) { a.Signatures[0].Key = "other-key" }, "unknown-key"},
		{"unknown format", func(a *quorum.Answer) { a.Signatures[0].Format = "openpgp-v9" }, "format-not-allowed"},
		{"a text of which no vote says the state", func(a *quorum.Answer) { a.Signatures[0].Format = "openpgp-cleartext" }, "signature-invalid"},
		{"another format", func(a *quorum.Answer) { a.Signatures[0].Format = "sshsig" }, "signature-invalid"},
		{"format that this key cannot make", func(a *quorum.Answer) { a.Signatures[0].Format = "raw-sha256" }, "signature-invalid"},
		{"another artifact", func(a *quorum.Answer) { a.Artifact = "goodbye" }, "unknown-artifact"},
		{"another target", func(a *quorum.Answer) { a.Target = "pkg:generic/x@1" }, "unknown-artifact"},
		{"another digest", func(a *quorum.Answer) { a.Digest.SHA256 = digest("other") }, "unknown-artifact"},
		{"no evidence", func(a *quorum.Answer) { a.Statements = nil }, "unknown-artifact"},
		{"output twice", func(a *quorum.Answer) { a.Signatures = append(a.Signatures, a.Signatures[0]) }, "bad-answer"},
		{"no target", func(a *quorum.Answer) { a.Target = "" }, "bad-answer"},
		{"refusal about nothing", func(a *quorum.Answer) {
			a.Target, a.Signatures, a.Refusal = "pkg:generic/x@1", nil, &quorum.Refusal{Code: quorum.RefuseToken}
		}, "unknown-artifact"},
	}
	for i, tt := range tests {
		s.answer(r, tt.change)
		w.sync()
		list := get[rejectedList](w, "/v1/rejected")
		if len(list.Rejected) != i+1 || list.Rejected[0].Code != tt.code {
			t.Errorf("%s: %d rejected, newest %+v, want %s", tt.name, len(list.Rejected), list.Rejected[0], tt.code)
		}
		w.wantState(quorum.Agreed)
	}
	w.wantAlarm("invalid-signature")
	s.answer(r, nil)
	w.sync()
	w.wantState(quorum.Signed)
}

// signature signs the content by the named key, with the fields of the
// configured certificate.
func (w *world) signature(t testing.TB, name, content string, notes []pgpsig.Notation) []byte {
	h := hashstate.SHA512.New()
	io.WriteString(h, content)
	c := certificate(t, key(name))
	return must(pgpsig.SignDetached(c, h, crypto.SHA512, time.Now(), notes, softToken(key(name))))(t)
}

// wantAlarm fails unless an alarm with the code is in the stream.
func (w *world) wantAlarm(code string) {
	w.t.Helper()
	stream := must(w.as("coordinator").JS().Stream(limit(w.t), bus.StreamAlarms))(w.t)
	last := stream.CachedInfo().State.LastSeq
	var seen []string
	for seq := uint64(1); seq <= last; seq++ {
		m := must(stream.GetMsg(limit(w.t), seq))(w.t)
		if strings.Contains(string(m.Data), `"code":"`+code+`"`) {
			return
		}
		seen = append(seen, string(m.Data))
	}
	w.t.Errorf("no alarm %s among %q", code, seen)
}

func (w *world) alarms() uint64 {
	w.t.Helper()
	return must(w.as("coordinator").JS().Stream(limit(w.t), bus.StreamAlarms))(w.t).CachedInfo().State.LastSeq
}

// A second signer with a ledger of its own has signed what the builders changed
// their minds to: everything about the answer is in order but that it is the second.
func TestSecondDigestRaisesAnAlarm(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	w.sync()
	s.answer(w.requestFor("pkg:generic/hello@1", "other", "alice", "bob", "carol"), nil)
	w.sync()
	list := get[rejectedList](w, "/v1/rejected")
	if len(list.Rejected) != 1 || list.Rejected[0].Code != "already-signed-other-digest" {
		t.Errorf("rejected %+v", list.Rejected)
	}
	w.wantAlarm("second-digest")
	if a := w.hello(); a.SHA256 != digest("hello, world") || len(a.Signatures) != 1 {
		t.Errorf("signed %s, signatures %+v", a.SHA256, a.Signatures)
	}
}

// Dissent that comes after the signature marks the artifact and raises one alarm.
func TestInvariant8DissentIsAResult(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	w.sync()
	w.wantState(quorum.Signed)
	w.publish(build{builder: "dave", files: map[string]string{"hello": "something else"}})
	w.sync()
	a := w.wantState(quorum.Disputed)
	if len(a.Late) != 1 || a.Late[0].Operator != "dave" || a.Late[0].SHA256 != digest("something else") {
		t.Errorf("late %+v", a.Late)
	}
	if len(a.Signatures) != 1 {
		t.Error("the signature is not shown any more")
	}
	w.wantAlarm("late-dissent")
	n := w.alarms()
	w.stop()
	w.start()
	w.publish(build{builder: "dave", files: map[string]string{"unrelated": "x"}})
	w.sync()
	if w.alarms() != n {
		t.Error("the alarm was raised again")
	}
	s.none()
}

func TestSettleTimeEndsByTheClock(t *testing.T) {
	w := newWorldWith(t, policyText(t, 1, 3, `settle = "10m"`, nil))
	start := time.Now()
	w.setClock(start)
	w.start()
	s := w.signer()
	w.agree("alice", "bob", "carol")
	a := w.wantState(quorum.Held)
	if a.Reason != quorum.ReasonSettling || !a.Until.Equal(a.Since.Add(10*time.Minute)) {
		t.Fatalf("reason %s, since %s, until %s", a.Reason, a.Since, a.Until)
	}
	s.none()
	w.stop() // the time goes on while it does not run
	w.setClock(a.Until)
	w.start()
	w.sync()
	w.wantState(quorum.Agreed)
	w.signer().next()
}

func TestRevocationComesByTheClock(t *testing.T) {
	start := time.Now()
	w := newWorldWith(t, policyText(t, 1, 3, `settle = "2h"`, map[string]time.Time{"carol": start.Add(time.Hour)}))
	w.setClock(start)
	w.start()
	w.agree("alice", "bob", "carol")
	w.wantState(quorum.Held)
	w.setClock(start.Add(time.Hour + time.Second))
	w.sync()
	if a := w.wantState(quorum.Waiting); len(a.Revoked) != 1 || a.Revoked[0].Operator != "carol" {
		t.Errorf("revoked %+v", a.Revoked)
	}
}

func TestExpiredPolicyAsksNobody(t *testing.T) {
	w := newWorld(t)
	w.setClock(time.Now())
	w.start()
	s := w.signer()
	w.setClock(time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC))
	w.agree("alice", "bob", "carol")
	w.wantState(quorum.Agreed)
	s.none()
	if status, body := w.fetch("/readyz"); status != 503 || !strings.Contains(string(body), "policy expired") {
		t.Errorf("status %d: %s", status, body)
	}
}
