package coordinator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator"
	"quorate/internal/acttest"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const helloTarget = "pkg:generic/hello@1"

var (
	onHello   = act.Subject{Channel: "core", Target: helloTarget}
	onFile    = act.Subject{Channel: "core", Target: helloTarget, Artifact: "hello"}
	onChannel = act.Subject{Channel: "core"}
)

// staffed is a world with anna, who may do everything in core, and ben, who may
// note there and hold in other.
type staffed struct {
	*world
	anna, ben acttest.Key
}

func newStaffed(t *testing.T) *staffed {
	s := &staffed{anna: acttest.NewKey(t), ben: acttest.NewKey(t, "-t", "ecdsa")}
	s.world = newWorldWith(t, s.policy(t, 1))
	return s
}

func (s *staffed) policy(t *testing.T, version int) string {
	text := policyText(t, version, 3, `maintainers = [ { name = "anna", rights = ["hold", "release", "withdraw", "rebuild", "note"] }, { name = "ben", rights = ["note"] } ]`, nil)
	text += "maintainers = [ { name = \"ben\", rights = [\"hold\"] } ]\n" // ends channel other
	return text + fmt.Sprintf("[[maintainer]]\nname = \"anna\"\nkeys = [%q]\n[[maintainer]]\nname = \"ben\"\nkeys = [%q]\n", s.anna.Line, s.ben.Line)
}

// send carries an act as tooling does.
func (s *staffed) send(a *act.Signed) *act.Signed {
	s.t.Helper()
	s.publishAgain("tooling", must(bus.ControlSubject(a.Channel))(s.t), a.Raw())
	s.sync()
	return a
}

// publishAgain publishes even what the server takes for a repetition.
func (s *staffed) publishAgain(user, subject string, data []byte) {
	s.t.Helper()
	conn := s.as(user)
	defer conn.Close()
	check(s.t, conn.PublishForCertain(limit(s.t), subject, bus.MsgID(data), data))
}

func (s *staffed) do(kind act.Kind, on act.Subject, after *act.Signed) *act.Signed {
	s.t.Helper()
	a := act.Act{Kind: kind, Subject: on}
	if after != nil {
		a.After = after.ID()
	}
	return s.send(s.anna.Sign(s.t, a))
}

func (s *staffed) wantReceipt(a *act.Signed, code statement.Code) {
	s.t.Helper()
	r := get[api.Receipt](s.world, "/v1/receipts/"+statement.ID(a.Raw()).String())
	if r.Code != code || r.Accepted != (code == "") {
		s.t.Errorf("receipt %+v, want %q", r, code)
	}
}

func TestHoldAndRelease(t *testing.T) {
	s := newStaffed(t)
	s.start()
	signer := s.signer()
	early := s.do(act.Hold, onFile, nil) // before the first vote
	s.wantReceipt(early, "")
	s.agree("alice", "bob", "carol")
	a := s.wantState(quorum.Held)
	if a.Reason != quorum.ReasonStopped || len(a.Stops) != 1 || a.Stops[0].By != "anna" || a.Stops[0].Act != early.ID() {
		t.Errorf("%+v", a.Verdict)
	}
	hold := s.do(act.Hold, onHello, nil)
	s.do(act.Release, onFile, early)
	if a := s.wantState(quorum.Held); len(a.Stops) != 1 || a.Stops[0].Act != hold.ID() {
		t.Errorf("%+v", a.Stops)
	}
	signer.none()
	d := get[api.TargetDetail](s.world, "/v1/targets/"+helloID)
	if len(d.Acts) != 3 || d.Acts[0].Kind != act.Release || !d.Acts[1].Stands || d.Acts[2].Stands || d.Acts[1].Key == "" {
		t.Errorf("%+v", d.Acts)
	}
	subject := get[api.Subject](s.world, "/v1/subject?channel=core&target="+helloTarget)
	if subject.Head != hold.ID() || !subject.Held || !subject.Known {
		t.Errorf("%+v", subject)
	}
	s.do(act.Release, onHello, hold)
	s.wantState(quorum.Agreed)
	r := signer.next()
	if len(r.Acts) != 4 {
		t.Errorf("%d acts in the request", len(r.Acts))
	}
	signer.answer(r, nil)
	s.sync()
	s.wantState(quorum.Signed)

	// A replay, in whatever envelope, changes nothing.
	s.send(hold)
	other := must(act.Parse([]byte(strings.Replace(string(hold.Raw()), "{", "{ ", 1))))(t)
	s.send(other)
	s.wantReceipt(other, act.CodeRepeated)
	s.wantState(quorum.Signed)
	before := dumpOf(s.world)
	check(t, os.Remove(filepath.Join(s.state(), "coordinator.db")))
	must(coordinator.Rebuild(limit(t), s.options()))(t)
	wantSame(t, dump(t, s.state()), before)
}

// dumpOf stops the coordinator and dumps its database.
func dumpOf(w *world) string {
	w.t.Helper()
	w.stop()
	return dump(w.t, w.state())
}

func TestActsThatAreRefused(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.agree("alice", "bob")
	carl := acttest.NewKey(t)
	hold := s.do(act.Hold, onHello, nil)
	s.wantReceipt(hold, "")
	release := s.do(act.Release, onHello, hold)
	s.wantReceipt(release, "")
	for _, c := range []struct {
		name string
		a    *act.Signed
		code statement.Code
	}{
		{"key without the right", s.ben.Sign(t, act.Act{Kind: act.Hold, Subject: onHello, After: release.ID()}), quorum.CodeNoRight},
		{"right in another channel", s.ben.Sign(t, act.Act{Kind: act.Hold, Subject: onChannel}), quorum.CodeNoRight},
		{"nobody's key", carl.Sign(t, act.Act{Kind: act.Note, Subject: onHello}), quorum.CodeUnknownMaintainer},
		{"another namespace", s.anna.SignIn(t, "git", act.Act{Kind: act.Note, Subject: onHello}), act.CodeNamespace},
		{"clock ahead", s.anna.Sign(t, act.Act{Kind: act.Note, Subject: onHello, Time: time.Now().Add(time.Hour)}), quorum.CodeTimeInFuture},
		{"unknown channel", s.anna.Sign(t, act.Act{Kind: act.Note, Subject: act.Subject{Channel: "typo"}}), quorum.CodeUnknownChannel},
		{"target of no channel", s.anna.Sign(t, act.Act{Kind: act.Rebuild, Subject: onHello, Builder: "erin"}), quorum.CodeUnknownBuilder},
		{"an old hold signed anew", s.anna.Sign(t, act.Act{Kind: act.Hold, Subject: onHello}), act.CodeOutOfDate},
		{"release of what is not held", s.anna.Sign(t, act.Act{Kind: act.Release, Subject: onHello, After: release.ID()}), act.CodeNotHeld},
		{"release of another subject's hold", s.anna.Sign(t, act.Act{Kind: act.Release, Subject: onChannel, After: hold.ID()}), act.CodeOutOfDate},
	} {
		s.send(c.a)
		t.Run(c.name, func(t *testing.T) { s.wantReceipt(c.a, c.code) })
	}
	// One for another channel does not take the identity of its bytes.
	moved := s.ben.Sign(t, act.Act{Kind: act.Hold, Subject: act.Subject{Channel: "other"}})
	s.publishAgain("tooling", "quorate.control.core", moved.Raw())
	s.publishAgain("alice", "quorate.statements.core.alice", moved.Raw())
	s.sync()
	if status, _ := s.fetch("/v1/receipts/" + statement.ID(moved.Raw()).String()); status != 404 {
		t.Errorf("receipt for an act on another subject: %d", status)
	}
	s.send(moved)
	s.wantReceipt(moved, "")
	if subject := get[api.Subject](s.world, "/v1/subject?channel=other"); !subject.Held {
		t.Errorf("%+v", subject)
	}
	// Nor does a statement that tooling puts there.
	vote := build{builder: "carol"}.statement(t)
	s.publishAgain("tooling", "quorate.control.core", vote.Raw())
	s.publishAgain("carol", "quorate.statements.core.carol", vote.Raw())
	s.sync()
	s.wantState(quorum.Agreed)
}

func TestHoldOfAChannel(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.agree("alice", "bob", "carol")
	s.wantState(quorum.Agreed)
	hold := s.do(act.Hold, onChannel, nil)
	s.wantState(quorum.Held)
	s.publish(build{builder: "alice", target: "pkg:generic/new@1"})
	s.publish(build{builder: "bob", target: "pkg:generic/new@1"})
	s.publish(build{builder: "carol", target: "pkg:generic/new@1"})
	s.sync()
	newID := caseID("core", "pkg:generic/new@1")
	if d := get[api.TargetDetail](s.world, "/v1/targets/"+newID); d.State != quorum.Held || len(d.Acts) != 1 {
		t.Errorf("%+v", d.Target)
	}
	s.do(act.Release, onChannel, hold)
	s.wantState(quorum.Agreed)
	if d := get[api.TargetDetail](s.world, "/v1/targets/"+newID); d.State != quorum.Agreed || len(d.Acts) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestWithdrawBeforeAndAfterTheSignature(t *testing.T) {
	s := newStaffed(t)
	s.start()
	signer := s.signer()
	s.agree("alice", "bob", "carol")
	signer.answer(signer.next(), nil)
	s.sync()
	s.wantState(quorum.Signed)
	s.do(act.Withdraw, onHello, nil)
	a := s.wantState(quorum.Disputed)
	if a.Reason != quorum.ReasonStopped || len(a.Signatures) != 1 {
		t.Errorf("%+v", a)
	}
	d := get[api.TargetDetail](s.world, "/v1/targets/"+helloID)
	if len(d.Alarms) != 1 || d.Alarms[0].Code != "withdrawn-after-signature" {
		t.Errorf("%+v", d.Alarms)
	}
	late := s.do(act.Hold, onHello, nil)
	s.wantReceipt(late, act.CodeWithdrawn)
	file := act.Subject{Channel: "core", Target: "pkg:generic/other@1", Artifact: "hello"}
	s.do(act.Withdraw, file, nil)
	for _, b := range []string{"alice", "bob", "carol"} {
		s.publish(build{builder: b, target: file.Target})
	}
	s.sync()
	if d := get[api.TargetDetail](s.world, "/v1/targets/"+caseID("core", file.Target)); d.State != quorum.Withdrawn {
		t.Errorf("%+v", d.Target)
	}
	signer.none()
}

// TestSignedWhileHeld: a question was under way, or a stolen coordinator left the
// hold out. The signature is good, and nobody must have to look for it.
func TestSignedWhileHeld(t *testing.T) {
	s := newStaffed(t)
	s.start()
	signer := s.signer()
	s.agree("alice", "bob", "carol")
	r := signer.next()
	s.do(act.Hold, onHello, nil)
	s.wantState(quorum.Held)
	signer.answer(r, nil)
	s.sync()
	s.wantState(quorum.Signed)
	d := get[api.TargetDetail](s.world, "/v1/targets/"+helloID)
	if len(d.Alarms) != 1 || d.Alarms[0].Code != "signed-while-held" {
		t.Errorf("%+v", d.Alarms)
	}
	_, data := s.fetch(s.hello().Evidence)
	b := must(quorum.ParseBundle(data))(t)
	p := must(policy.Load(b.Policy, time.Now()))(t)
	if acts := b.JudgeActs(p); len(acts) != 1 || acts[0].By != "anna" || !acts[0].Against(s.hello().Signatures[0].SignedAt) {
		t.Errorf("the evidence says %+v", acts)
	}
}

// TestRebuildAsksOnce: one act is one job, for all coordinators and after a new
// start; and it goes before the others.
func TestRebuildAsksOnce(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.publish(build{builder: "alice", source: "https://example.org/hello.tar.gz"})
	s.sync()
	s.send(s.anna.Sign(t, act.Act{Kind: act.Rebuild, Subject: onHello, Builder: "bob"}))
	urgent := must(s.as("bob").UrgentConsumer(limit(t)))(t)
	m := must(urgent.Next(jetstream.FetchMaxWait(testLimit)))(t)
	job := must(wire.ParseJob(m.Data()))(t)
	if job.Target != helloTarget || job.Builder != "bob" || job.Source == nil || job.Source.URI != "https://example.org/hello.tar.gz" {
		t.Errorf("%+v", job)
	}
	check(t, m.DoubleAck(limit(t)))
	s.setPolicy(s.policy(t, 2))
	s.stop()
	s.start()
	s.sync()
	must(coordinator.Rebuild(limit(t), coordinator.Options{State: func() string { s.stop(); return s.state() }(), Log: quiet()}))(t)
	s.start()
	s.sync()
	batch := must(must(s.as("bob").UrgentConsumer(limit(t)))(t).FetchNoWait(1))(t)
	for m := range batch.Messages() {
		t.Errorf("asked again: %s", m.Data())
	}
}

func TestActsOutliveThePolicyThatKnewThem(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.agree("alice", "bob", "carol")
	hold := s.do(act.Hold, onHello, nil)
	s.wantState(quorum.Held)
	// Without anna her hold is nothing; with her it is what it was.
	s.stop()
	s.setPolicy(policyText(t, 2, 3, "", nil))
	s.start()
	s.sync()
	s.wantState(quorum.Agreed)
	s.wantReceipt(hold, quorum.CodeUnknownMaintainer)
	s.stop()
	s.setPolicy(s.policy(t, 3))
	s.start()
	s.sync()
	s.wantState(quorum.Held)
}

func TestEventsTellOfActs(t *testing.T) {
	s := newStaffed(t)
	s.start()
	stream := s.events(t, "channel=core", "")
	stream.next() // hello
	s.do(act.Note, onHello, nil)
	event, data := stream.next()
	if event != "act" || !strings.Contains(data, `"by":"anna"`) {
		t.Errorf("%s: %s", event, data)
	}
}

func TestActQuestions(t *testing.T) {
	s := newStaffed(t)
	s.start()
	for range 3 {
		s.do(act.Note, onHello, nil)
	}
	page := get[api.Acts](s.world, "/v1/acts?channel=core&limit=2")
	if len(page.Acts) != 2 || page.Next == 0 {
		t.Errorf("%+v", page)
	}
	rest := get[api.Acts](s.world, fmt.Sprintf("/v1/acts?channel=core&limit=2&before=%d", page.Next))
	if len(rest.Acts) != 1 || rest.Next != 0 {
		t.Errorf("%+v", rest)
	}
	for _, bad := range []string{"/v1/subject?channel=typo", "/v1/subject?channel=core&artifact=x", "/v1/subject?channel=core&target=hello",
		"/v1/acts?before=x", "/v1/acts?limit=0", "/v1/receipts/xyz"} {
		if status, body := s.fetch(bad); status != 400 {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}

// What a note carries is shown as it was signed, wherever acts are asked for, and
// stays out of the events.
func TestAttachmentIsRead(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.agree("alice", "bob")
	live := s.events(t, "", "")
	live.next() // the greeting
	note := s.send(s.ben.Sign(t, act.Act{Kind: act.Note, Subject: onFile, Attachment: attachedText}))
	s.wantReceipt(note, "")
	s.do(act.Note, onHello, nil)
	for path, acts := range map[string][]api.Act{
		"target": get[api.TargetDetail](s.world, "/v1/targets/"+helloID).Acts,
		"acts":   get[api.Acts](s.world, "/v1/acts").Acts,
	} {
		if len(acts) != 2 || acts[0].Attachment != "" || acts[1].Attachment != attachedText {
			t.Errorf("%s: %+v", path, acts)
		}
	}
	kind, data := live.next()
	if kind != api.EventAct || strings.Contains(data, "attachment") || !strings.Contains(data, note.ID().String()) {
		t.Errorf("event %s %s", kind, data)
	}
	before := dumpOf(s.world)
	check(t, os.Remove(filepath.Join(s.state(), "coordinator.db")))
	must(coordinator.Rebuild(limit(t), s.options()))(t)
	wantSame(t, dump(t, s.state()), before)
}
