package builderagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sourcegraph/conc"

	"quorate/builder-agent/durable"
	"quorate/internal/bus"
	"quorate/internal/rest"
	"quorate/internal/wire"
)

const (
	fetchWait   = 30 * time.Second
	retryJob    = time.Minute // after a failure of this machine
	sweepEvery  = time.Hour
	flushTime   = 2 * time.Second
	defaultBeat = 20 * time.Second
)

// Options of [Run].
type Options struct {
	Version string       // of the software, for the statements
	Logger  *slog.Logger // nil means slog.Default()

	// testOnlyStep is called after each durable or visible step.
	testOnlyStep func(step string)

	// testOnlyNow is the clock that repeated publishing goes by.
	testOnlyNow func() time.Time
}

// agent is the daemon.
type agent struct {
	state   *State
	conn    *bus.Conn
	log     *slog.Logger
	version string
	jobs    *jobs
	step    func(string)
	now     func() time.Time
	wake    chan struct{} // tells the courier that there is something new

	mu       sync.Mutex
	building map[string]bool // owned by mu: ids of jobs under way
}

// Run takes jobs, builds, and delivers statements until ctx ends; that is no
// error. A build under way is then stopped, and its job comes back. An error
// means that it could not start; one that wraps [ErrConfig] needs a person.
//
// The bus need not be there, and not know this builder yet.
func Run(ctx context.Context, s *State, o Options) error {
	a, unlock, err := newAgent(s, o)
	if err != nil {
		return err
	}
	defer unlock()
	a.warnUnconfined()
	dropInherited()
	if err := a.recover(); err != nil {
		return err
	}
	if a.conn, err = s.Connect(true, 0, a.log); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer a.conn.Close()
	a.log.Info("agent started", "builder", s.Config.Name, "channels", s.Config.Channels, "parallel", s.Config.Parallel)

	var all conc.WaitGroup
	all.Go(func() { a.deliver(ctx) })
	all.Go(func() { a.sweep(ctx) })
	for range s.Config.Parallel {
		all.Go(func() { a.work(ctx) })
	}
	all.Wait()
	// Jobs given back should be there for the next start.
	if a.conn.NATS().IsConnected() {
		a.end("flush", a.conn.NATS().FlushTimeout(flushTime))
	}
	a.log.Info("agent stopped", "builder", s.Config.Name)
	return nil
}

// warnUnconfined says what a build can do that is not confined. The agent cannot see
// whether the command becomes another user or starts a container by itself.
func (a *agent) warnUnconfined() {
	if key := filepath.Join(a.state.Dir, keyFile); readableHere(key) {
		a.log.Warn("the build command starts as the user that owns the statement key: a build that is not confined by the command itself can sign votes",
			"key", key, "hint", `let the command start a container or a virtual machine, or become another user; see "Builds are not confined" in docs/operating.md`)
	}
}

// readableHere reports whether a process of this user can read the file.
func readableHere(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func newAgent(s *State, o Options) (*agent, func(), error) {
	if err := s.Config.checkRun(); err != nil {
		return nil, nil, err
	}
	if _, err := exec.LookPath(s.Config.Command[0]); err != nil {
		return nil, nil, fmt.Errorf("%w: build command: %w", ErrConfig, err)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.testOnlyStep == nil {
		o.testOnlyStep = func(string) {}
	}
	if o.testOnlyNow == nil {
		o.testOnlyNow = time.Now
	}
	unlock, err := durable.Lock(filepath.Join(s.Dir, runLock), false)
	if errors.Is(err, durable.ErrLocked) {
		err = fmt.Errorf("%w: another agent runs on %s", ErrConfig, s.Dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start agent: %w", err)
	}
	return &agent{
		state: s, log: o.Logger, version: o.Version, step: o.testOnlyStep, now: o.testOnlyNow,
		jobs: &jobs{filepath.Join(s.Dir, jobsDir), s.Spool, o.testOnlyStep},
		wake: make(chan struct{}, 1), building: map[string]bool{},
	}, unlock, nil
}

// recover brings the state directory to where a clean stop would have left it.
// It needs the run lock: what lies in work belongs to nobody.
func (a *agent) recover() error {
	for _, dir := range []string{jobsDir, workDir, buildsDir} {
		if err := os.MkdirAll(filepath.Join(a.state.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("recover state directory: %w", err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(a.state.Dir, workDir))
	if err != nil {
		return fmt.Errorf("recover state directory: %w", err)
	}
	for _, e := range entries {
		a.log.Info("removing an interrupted build", "build", e.Name())
		if err := killMarked(e.Name()); err != nil {
			a.log.Warn("processes of a build may still run", "build", e.Name(), "error", err)
		}
		if err := removeTree(filepath.Join(a.state.Dir, workDir, e.Name())); err != nil {
			return fmt.Errorf("recover state directory: %w", err)
		}
	}
	return a.jobs.recover(func(id string, err error) {
		a.log.Error("job record cannot be read", "job", id, "error", err)
	})
}

// deliver waits for its turn to send: a short-lived command may be at it.
func (a *agent) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		unlock, err := a.state.Spool.TryLock()
		if err == nil {
			c := newCourier(a.state.Spool, a.conn, a.log)
			c.step, c.now = a.step, a.now
			c.run(ctx, a.wake)
			unlock()
			return
		}
		if !errors.Is(err, durable.ErrLocked) {
			a.log.Error("spool cannot be locked", "error", err)
		}
		_ = rest.For(ctx, jitter(look))
	}
}

func (a *agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// work takes one job after the other. Whatever fails, it goes on: the bus, the
// coordinator and the consumer may come back.
func (a *agent) work(ctx context.Context) {
	delay := firstDelay
	for ctx.Err() == nil {
		err := a.consume(ctx, func() { delay = firstDelay })
		if err != nil && ctx.Err() == nil {
			a.log.Warn("no jobs for now", "error", err)
			_ = rest.For(ctx, jitter(delay))
			delay = min(2*delay, lastDelay)
		}
	}
}

// consume reads jobs through this builder's own consumer until that fails.
func (a *agent) consume(ctx context.Context, progress func()) error {
	if err := a.conn.Ready(ctx); err != nil {
		return err
	}
	q, err := a.queue(ctx)
	if err != nil {
		return err
	}
	beat := defaultBeat
	if wait := q.jobs.CachedInfo().Config.AckWait; wait > 0 {
		beat = wait / 3
	}
	for ctx.Err() == nil {
		m, err := q.next(ctx)
		if err != nil {
			return err
		}
		if m != nil {
			progress()
			a.handle(ctx, m, beat)
		}
	}
	return nil
}

// handle deals with one delivery of a job, from reading it to its end on the bus.
func (a *agent) handle(ctx context.Context, m jetstream.Msg, beat time.Duration) {
	if wire.IsUpload(m.Data()) {
		a.handleUpload(ctx, m, beat)
		return
	}
	job, err := a.accept(m)
	if err != nil {
		a.log.Error("job refused", "subject", m.Subject(), "error", err)
		a.end("terminate job", m.TermWithReason("refused by the agent"))
		return
	}
	if job.Builder != "" && job.Builder != a.state.Config.Name {
		a.end("acknowledge job of another builder", m.Ack())
		return
	}
	log := a.log.With("job", job.ID, "channel", job.Channel, "target", job.Target)
	if !a.begin(job.ID) {
		log.Info("job delivered again while it is being built")
		return // it comes back, and is answered from its record then
	}
	defer a.finish(job.ID)
	stop := keepAlive(m, beat)
	err = a.do(ctx, job, log)
	stop()
	switch {
	case err == nil:
		a.end("acknowledge job", m.DoubleAck(context.WithoutCancel(ctx)))
		a.step("acked")
	case ctx.Err() != nil:
		log.Info("build stopped, the job comes back")
		a.end("give job back", m.Nak())
	default:
		log.Error("job failed on this machine, it comes back", "error", err)
		a.end("give job back", m.NakWithDelay(retryJob))
	}
}

// end logs what the bus may not have heard. The job then comes back, which is
// harmless.
func (a *agent) end(what string, err error) {
	if err != nil {
		a.log.Warn("job not settled on the bus", "operation", what, "error", err)
	}
}

// accept checks a job before anything is done for it.
func (a *agent) accept(m jetstream.Msg) (*wire.Job, error) {
	job, err := wire.ParseJob(m.Data())
	if err != nil {
		return nil, err
	}
	if err := a.acceptChannel(m, job.ID, job.Channel); err != nil {
		return nil, err
	}
	if err := CheckSource(job.Source); err != nil {
		return nil, fmt.Errorf("job %s: %w", job.ID, err)
	}
	return job, nil
}

// acceptChannel checks who asked: what is on the subject decides who may ask, what
// is in the job decides what is done.
func (a *agent) acceptChannel(m jetstream.Msg, id, channel string) error {
	subject, err := bus.JobSubject(channel)
	if err != nil {
		return err
	}
	urgent, err := bus.UrgentJobSubject(channel)
	if err != nil {
		return err
	}
	if m.Subject() != subject && m.Subject() != urgent {
		return fmt.Errorf("job %s for channel %s came on another subject", id, channel)
	}
	if !slices.Contains(a.state.Config.Channels, channel) {
		return fmt.Errorf("job %s is for channel %s, which is not configured", id, channel)
	}
	return nil
}

func (a *agent) begin(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.building[id] {
		return false
	}
	a.building[id] = true
	return true
}

func (a *agent) finish(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.building, id)
}

// keepAlive tells the bus that the job is being worked on, until stop is called.
func keepAlive(m jetstream.Msg, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_ = m.InProgress() // a lost one makes the job come again, no more
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		ended.Wait()
	}
}

// do makes sure that the job has its statement in the spool. It is the same
// for a job that is new, one that is delivered again, and one whose agent was
// killed anywhere on the way.
func (a *agent) do(ctx context.Context, job *wire.Job, log *slog.Logger) error {
	r, err := a.jobs.load(job.ID)
	if err != nil {
		return err
	}
	if r == nil {
		if r, err = a.build(ctx, job, log); err != nil {
			return err
		}
	} else {
		log.Info("job was done before", "statement", r.Statement)
	}
	if err := a.jobs.finish(r); err != nil {
		return err
	}
	a.poke()
	return nil
}

func (a *agent) build(ctx context.Context, job *wire.Job, log *slog.Logger) (*jobRecord, error) {
	b := newBuild(a.state, job, a.version, log)
	defer b.clean()
	log.Info("build started", "build", b.mark)
	a.step("started")
	st, err := b.run(ctx)
	if err != nil {
		return nil, err
	}
	a.step("built")
	log = log.With("statement", st.ID(), "outcome", outcome(st.Status), "log", a.state.BuildLog(job.ID))
	if st.IsVote() {
		log.Info("build ended", "artifacts", len(st.Artifacts))
	} else {
		log.Warn("build ended without a vote", "reason", st.Reason)
	}
	return a.jobs.record(job, st)
}
