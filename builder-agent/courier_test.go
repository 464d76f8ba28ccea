package builderagent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// say signs a statement without a vote and spools it.
func (k *kit) say(purl, reason string) statement.SHA256 {
	k.t.Helper()
	s := must(builderagent.Open(k.state()))(k.t)
	at := time.Now()
	st := must(s.Sign(statement.Statement{
		Case:   statement.Case{Channel: "core", Target: purl},
		Status: statement.Failed, Reason: reason, Started: at, Finished: at,
	}))(k.t)
	return must(s.Spool.Add(st.Raw()))(k.t)
}

// idle is an agent that builds nothing.
func (k *kit) idle() *kit {
	k.configure("true", "")
	return k
}

func (k *kit) deliver(ctx context.Context, ids ...statement.SHA256) error {
	k.t.Helper()
	return builderagent.Deliver(ctx, must(builderagent.Open(k.state()))(k.t), ids, quiet())
}

func (k *kit) where(id statement.SHA256) (spool.State, *spool.Reason) {
	k.t.Helper()
	state, reason, err := must(builderagent.Open(k.state()))(k.t).Spool.Where(id)
	check(k.t, err)
	return state, reason
}

func TestDeliver(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	id := k.say(target, "once")
	check(t, k.deliver(testContext(t), id))
	if state, _ := k.where(id); state != spool.Sent {
		t.Errorf("state %s", state)
	}
	if st := k.only(); st.ID() != id || len(k.record()) != 1 {
		t.Error("not this statement, or more than once")
	}
	check(t, k.deliver(testContext(t), id)) // there is nothing to do
}

// With no bus at the start, the agent waits for one; what was spooled goes out
// then, and so does what is spooled after it came.
func TestBusDownAtStart(t *testing.T) {
	k := newKit(t)
	k.startBus() // to have an address
	k.idle()
	k.stopBus()
	first := k.say("pkg:generic/a@1", "before the bus")
	var log syncBuffer
	k.start(builderagent.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	until(t, "the agent says that there is no bus", func() bool { return strings.Contains(log.String(), "wait for the bus") })
	k.startBus()
	k.serve()
	k.confirmed(1)
	second := k.say("pkg:generic/b@1", "after it")
	k.confirmed(2)
	for _, id := range []statement.SHA256{first, second} {
		if state, _ := k.where(id); state != spool.Sent {
			t.Errorf("%s is %s", id, state)
		}
	}
}

// The bus goes away between two statements and comes back.
func TestBusComesBack(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	k.start(builderagent.Options{})
	k.say("pkg:generic/a@1", "")
	k.confirmed(1)
	k.stopBus()
	k.say("pkg:generic/b@1", "")
	k.startBus()
	k.serve()
	k.confirmed(2)
	k.configure("mkdir out; echo x > out/a", "")
	k.request("job-after", nil) // and jobs are taken again
	k.settledJobs()
}

func TestNoCoordinatorLeavesItInTheSpool(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	id := k.say(target, "")
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() { done <- k.deliver(ctx, id) }()
	until(t, "it is published", func() bool { return len(k.record()) == 1 })
	cancel()
	if err := <-done; !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if state, _ := k.where(id); state != spool.Pending {
		t.Errorf("state %s without a receipt", state)
	}
	// Who comes after asks first.
	k.serve()
	var published atomic.Int64
	k.start(builderagent.Options{}.WithStep(func(step string) {
		if step == "published" {
			published.Add(1)
		}
	}))
	k.confirmed(1)
	if n := published.Load(); n != 0 {
		t.Errorf("published %d times more", n)
	}
}

func TestRejectedReceipt(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	id := k.say(target, "")
	k.reject[id] = wire.Rejection{Statement: id, Code: "unknown-builder", Message: `the policy has no builder "alice"`}
	k.serve()
	check(t, k.deliver(testContext(t), id))
	state, reason := k.where(id)
	if state != spool.Rejected || reason.Code != "unknown-builder" || !strings.Contains(reason.Message, "alice") {
		t.Errorf("%s, %+v", state, reason)
	}
}

// A denial comes from the server, not from a clock: had it to run into a
// timeout, the test would.
func TestDeniedPublishIsToldAtOnce(t *testing.T) {
	k := newKit(t)
	for i := range k.users {
		if k.users[i].Name == "alice" {
			k.users[i].Role = bus.RoleTooling // may not publish statements, nor ask for receipts
		}
	}
	k.startBus()
	k.idle()
	id := k.say(target, "")
	err := k.deliver(context.Background(), id)
	var denied *bus.DeniedError
	if !errors.As(err, &denied) || errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if state, _ := k.where(id); state != spool.Pending {
		t.Errorf("state %s", state)
	}
}

func TestUnknownUserIsToldAtOnce(t *testing.T) {
	k := newKit(t)
	k.users = slices.DeleteFunc(k.users, func(u bus.User) bool { return u.Name == "alice" })
	k.startBus()
	k.idle()
	id := k.say(target, "")
	if err := k.deliver(context.Background(), id); !errors.Is(err, bus.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
}

// A statement of another builder got into this spool: the bus does not take it
// from this one. It holds up nothing else.
func TestAnotherBuildersStatementIsDenied(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	toml := filepath.Join(k.state(), "agent.toml")
	check(t, os.WriteFile(toml, []byte("name = 'bob'"), 0o600))
	foreign := k.say(target, "of bob")
	k.idle()
	own := k.say("pkg:generic/own@1", "of alice")
	err := k.deliver(context.Background(), foreign, own)
	var denied *bus.DeniedError
	if !errors.As(err, &denied) || denied.Subject != "quorate.statements.core.bob" {
		t.Errorf("got %v", err)
	}
	check(t, k.deliver(testContext(t), own))
	if state, _ := k.where(foreign); state != spool.Pending {
		t.Errorf("state %s", state)
	}
}

// The daemon says a denial and goes on: the users may be put right.
func TestAgentSurvivesDenial(t *testing.T) {
	k := newKit(t)
	right := slices.Clone(k.users)
	for i := range k.users {
		if k.users[i].Name == "alice" {
			k.users[i].Role = bus.RoleReader
		}
	}
	k.startBus()
	k.serve()
	k.idle()
	id := k.say(target, "")
	var log syncBuffer
	k.start(builderagent.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	until(t, "the agent says that it is denied", func() bool {
		return strings.Contains(log.String(), "statements not delivered") && strings.Contains(log.String(), "bus permissions deny")
	})
	check(t, k.bus.Reload(right))
	k.confirmed(1)
	if state, _ := k.where(id); state != spool.Sent {
		t.Errorf("state %s", state)
	}
}

// Of two statements about one target the later one in the record counts, so the
// second must not be on the way while the first could still be lost.
func TestLaterStatementWaitsForTheEarlier(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	const n = 5
	var ids []statement.SHA256
	for i := range n {
		ids = append(ids, k.say(target, fmt.Sprint(i)))
	}
	other := k.say("pkg:generic/other@1", "does not wait")
	k.start(builderagent.Options{})
	until(t, "two are published", func() bool { return len(k.record()) == 2 })
	k.serve()
	k.confirmed(n + 1)
	var order []statement.SHA256
	for _, raw := range k.record() {
		if id := statement.ID(raw); id != other {
			order = append(order, id)
		}
	}
	if !slices.Equal(order, ids) {
		t.Errorf("order in the record\n%v, spooled\n%v", order, ids)
	}
}

// While the agent runs, a command adds to its spool and leaves the sending to it.
func TestDeliverWhileTheAgentSends(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	k.start(builderagent.Options{})
	k.say(target, "first")
	k.confirmed(1) // so the agent has the lock
	if _, err := must(builderagent.Open(k.state()))(t).Spool.TryLock(); err == nil {
		t.Fatal("the spool is not locked")
	}
	id := k.say(target, "second")
	check(t, k.deliver(testContext(t), id))
	if state, _ := k.where(id); state != spool.Sent {
		t.Errorf("state %s", state)
	}
}

// A coordinator that is there and lacks a statement gets it again, after a time
// that grows. One that lags behind must not be buried in repetitions.
func TestPublishedAgainWhenTheCoordinatorLacksIt(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	id := k.say(target, "")
	k.lacks = true
	k.serve()
	var clock, published atomic.Int64
	began := time.Now()
	k.start(builderagent.Options{}.
		WithClock(func() time.Time { return began.Add(time.Duration(clock.Load())) }).
		WithStep(func(step string) {
			if step == "published" {
				published.Add(1)
			}
		}))
	asks := func(n int) {
		before := k.questions()
		until(t, "more questions are asked", func() bool { return k.questions() >= before+n })
	}
	until(t, "it is published", func() bool { return published.Load() == 1 })
	asks(3)
	if n := published.Load(); n != 1 {
		t.Errorf("published %d times at once", n)
	}
	clock.Store(int64(31 * time.Second))
	until(t, "it is published again", func() bool { return published.Load() == 2 })
	clock.Store(int64(62 * time.Second))
	asks(2)
	if n := published.Load(); n != 2 {
		t.Errorf("published %d times, the pause does not grow", n)
	}
	k.mu.Lock()
	k.lacks = false
	k.mu.Unlock()
	k.confirmed(1)
	if state, _ := k.where(id); state != spool.Sent {
		t.Errorf("state %s", state)
	}
}

func TestManyStatementsInOneQuestion(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	const n = 60
	for i := range n {
		k.say(fmt.Sprint("pkg:generic/p", i, "@1"), "")
	}
	k.start(builderagent.Options{})
	until(t, "all are published", func() bool { return len(k.record()) == n })
	k.serve()
	k.confirmed(n)
	if q := k.questions(); q > 5 {
		t.Errorf("%d questions for %d statements", q, n)
	}
}

func TestJobsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*wire.Job){
		"channel not configured": func(j *wire.Job) { j.Channel = "other" },
		"control character":      func(j *wire.Job) { j.Source = &statement.Source{URI: "a\x00b"} },
		"line break":             func(j *wire.Job) { j.Source = &statement.Source{URI: "a\nb"} },
		"looks like an option":   func(j *wire.Job) { j.Source = &statement.Source{URI: "--upload-pack=evil"} },
		"digest name":            func(j *wire.Job) { j.Source = &statement.Source{Digest: map[string]string{"a=b": "00"}} },
		"digest as uri":          func(j *wire.Job) { j.Source = &statement.Source{Digest: map[string]string{"uri": "00"}} },
		"digest value":           func(j *wire.Job) { j.Source = &statement.Source{Digest: map[string]string{"sha256": "$(id)"}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t)
			k.startBus()
			k.serve()
			k.configure("mkdir out; echo x > out/a", "")
			var log syncBuffer
			k.start(builderagent.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			k.request("job-1", change)
			until(t, "it is refused", func() bool { return strings.Contains(log.String(), "job refused") })
			k.settledJobs() // it does not come back
			k.request("job-2", nil)
			k.confirmed(1) // and the agent goes on
			if k.count("builds", "job-1") != 0 {
				t.Error("it was built")
			}
		})
	}
}

// What is on the subject decides who may ask.
func TestJobOnAnotherSubjectIsRefused(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.configure("mkdir out; echo x > out/a", "")
	var log syncBuffer
	k.start(builderagent.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := k.as("tooling")
	for _, data := range []string{
		`{"version":1,"id":"job-1","channel":"core","target":"pkg:generic/hello@1","stage":"","requested":"2026-11-20T12:00:00Z"}`,
		`not a job`,
		`{"version":1,"id":"../../x","channel":"other","target":"pkg:generic/hello@1","stage":"","requested":"2026-11-20T12:00:00Z"}`,
	} {
		must(c.Publish(testContext(t), "quorate.jobs.other", bus.MsgID([]byte(data)), []byte(data)))(t)
	}
	until(t, "all are refused", func() bool { return strings.Count(log.String(), "job refused") == 3 })
	k.settledJobs()
	if k.count("builds", "*") != 0 {
		t.Error("something was built")
	}
}

func TestParallelBuilds(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	// Each build waits for the other one.
	a, b := filepath.Join(k.dir, "a"), filepath.Join(k.dir, "b")
	mkfifo(t, a)
	mkfifo(t, b)
	k.configure(fmt.Sprintf(`mkdir out; echo x > out/x
if [ $QUORATE_JOB = job-a ]; then echo go > %[1]s; cat %[2]s; else cat %[1]s; echo go > %[2]s; fi`, a, b), "parallel = 2\n")
	k.request("job-a", nil)
	k.request("job-b", func(j *wire.Job) { j.Target = "pkg:generic/b@1" })
	k.start(builderagent.Options{})
	k.confirmed(2)
	k.settledJobs()
}

func TestOneAgentPerStateDirectory(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.idle()
	k.say(target, "")
	k.serve()
	k.start(builderagent.Options{})
	k.confirmed(1)
	err := builderagent.Run(testContext(t), must(builderagent.Open(k.state()))(t), builderagent.Options{Logger: quiet()})
	if !errors.Is(err, builderagent.ErrConfig) || !strings.Contains(err.Error(), "another agent runs") {
		t.Errorf("got %v", err)
	}
}

// syncBuffer is a log that tests look into while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // owned by mu
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
