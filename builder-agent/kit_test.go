package builderagent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	builderagent "quorate/builder-agent"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/freeport"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// testLimit only ends a test that hangs; no test waits for it to pass. A job that is
// given back, as when another test forks while the build command is written, comes
// again within it.
const testLimit = 3 * time.Minute

// kit is a real bus with one builder, somebody who asks for builds, and a
// stand-in for the coordinator that confirms what the stream has.
type kit struct {
	t     *testing.T
	dir   string
	port  int
	users []bus.User
	bus   *embedded.Server
	conn  *bus.Conn // the coordinator's

	mu     sync.Mutex
	reject map[statement.SHA256]wire.Rejection // owned by mu
	lacks  bool                                // owned by mu: the coordinator has recorded nothing
	asked  int                                 // owned by mu: receipt questions
}

const target = "pkg:generic/hello@1.0"

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{t: t, dir: t.TempDir(), port: must(freeport.Pick())(t), reject: map[statement.SHA256]wire.Rejection{}}
	id := must(builderagent.Keygen(builderagent.KeygenOptions{Dir: k.state(), Name: "alice", Channels: []string{"core"}}))(t)
	k.users = []bus.User{{Name: "alice", Role: bus.RoleBuilder, NKey: id.NKey}}
	for name, role := range map[string]bus.Role{"coord": bus.RoleCoordinator, "tooling": bus.RoleTooling} {
		k.users = append(k.users, bus.User{Name: name, Role: role, NKey: must(bus.WriteSeedFile(k.seed(name)))(t)})
	}
	t.Cleanup(func() { k.stopBus() })
	return k
}

func (k *kit) state() string           { return filepath.Join(k.dir, "state") }
func (k *kit) seed(name string) string { return filepath.Join(k.dir, name+".seed") }

// startBus starts the bus, at the same address every time, with the streams and
// the builder's consumer. A job comes back quickly.
func (k *kit) startBus() {
	k.t.Helper()
	k.bus = must(embedded.Start(embedded.Options{
		StoreDir: filepath.Join(k.dir, "store"), Port: k.port, Users: k.users, Logger: quiet(),
	}))(k.t)
	k.conn = k.as("coord")
	ctx := testContext(k.t)
	check(k.t, bus.EnsureStreams(ctx, k.conn.JS(), 1))
	must(k.conn.JS().CreateOrUpdateConsumer(ctx, bus.StreamJobs, jetstream.ConsumerConfig{
		Durable: bus.AgentConsumerName("alice"), FilterSubjects: []string{"quorate.jobs.core", "quorate.jobs.other"},
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * time.Second, MaxDeliver: -1,
	}))(k.t)
}

func (k *kit) stopBus() {
	if k.bus == nil {
		return
	}
	k.conn.Close()
	k.bus.Shutdown()
	k.bus = nil
}

func (k *kit) as(name string) *bus.Conn {
	k.t.Helper()
	c := must(bus.Connect(bus.Options{URL: k.bus.URL(), Name: name, SeedFile: k.seed(name), Timeout: testLimit, Logger: quiet()}))(k.t)
	k.t.Cleanup(c.Close)
	return c
}

// serve answers receipt questions from what the stream has.
func (k *kit) serve() {
	k.t.Helper()
	conn := k.conn
	must(conn.ServeHave(func(_ string, data []byte) ([]byte, error) {
		q, err := wire.ParseHaveRequest(data)
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.asked++
		return k.answer(conn, q)
	}))(k.t)
}

// answer needs k.mu. It fails when the bus is stopped meanwhile.
func (k *kit) answer(conn *bus.Conn, q *wire.HaveRequest) ([]byte, error) {
	var recorded []statement.SHA256
	all, err := messages(conn)
	if err != nil {
		return nil, err
	}
	for _, raw := range all {
		recorded = append(recorded, statement.ID(raw))
	}
	a := wire.HaveAnswer{Version: quorum.Version}
	for _, id := range q.Statements {
		if r, ok := k.reject[id]; ok {
			a.Rejected = append(a.Rejected, r)
		} else if !k.lacks && slices.Contains(recorded, id) {
			a.Recorded = append(a.Recorded, id)
		}
	}
	return wire.Encode(a)
}

func (k *kit) questions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// record is every message of the record stream.
func (k *kit) record() [][]byte {
	k.t.Helper()
	return must(messages(k.conn))(k.t)
}

func messages(conn *bus.Conn) (all [][]byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	s, err := conn.JS().Stream(ctx, bus.StreamRecord)
	if err != nil {
		return nil, err
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		all = append(all, m.Data)
	}
	return all, nil
}

// only returns the one statement of the record, however often it is there.
func (k *kit) only() *statement.Statement {
	k.t.Helper()
	all := k.record()
	if len(all) == 0 {
		k.t.Fatal("the record is empty")
	}
	for _, raw := range all {
		if !bytes.Equal(raw, all[0]) {
			k.t.Fatalf("the record has different statements:\n%s\n%s", payload(all[0]), payload(raw))
		}
	}
	st := must(statement.Parse(all[0]))(k.t)
	id := must(must(builderagent.Open(k.state()))(k.t).Identity())(k.t)
	check(k.t, st.Verify(id.Key))
	return st
}

func payload(raw []byte) []byte {
	var e struct{ Payload []byte }
	_ = json.Unmarshal(raw, &e)
	return e.Payload
}

// configure replaces agent.toml. The script is the build command.
func (k *kit) configure(script, more string) {
	k.t.Helper()
	path := filepath.Join(k.dir, "build.sh")
	check(k.t, os.WriteFile(path, []byte("#!/bin/sh\nset -eu\n"+script), 0o700))
	text := fmt.Sprintf("name = 'alice'\nnats = 'nats://127.0.0.1:%d'\nchannels = ['core']\ncommand = ['%s']\ngrace = '100ms'\n", k.port, path)
	if !strings.Contains(more, "dependencies") {
		text += "dependencies = 'none'\n"
	}
	if !strings.Contains(more, "outputs =") {
		text += "outputs = ['out/*']\n"
	}
	check(k.t, os.WriteFile(filepath.Join(k.state(), "agent.toml"), []byte(text+more), 0o600))
}

// start runs the agent in this process until stop is called or the test ends.
func (k *kit) start(o builderagent.Options) (stop func()) {
	k.t.Helper()
	s := must(builderagent.Open(k.state()))(k.t)
	if o.Logger == nil {
		o.Logger = quiet()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- builderagent.Run(ctx, s, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			k.t.Errorf("agent: %v", err)
		}
	})
	k.t.Cleanup(stop)
	return stop
}

// request asks for a build.
func (k *kit) request(id string, change func(*wire.Job)) {
	k.t.Helper()
	job := &wire.Job{Version: quorum.Version, ID: id, Channel: "core", Target: target, Requested: time.Now()}
	if change != nil {
		change(job)
	}
	data := must(wire.Encode(job))(k.t)
	c := k.as("tooling")
	defer c.Close()
	must(c.Publish(testContext(k.t), must(bus.JobSubject(job.Channel))(k.t), bus.MsgID(data), data))(k.t)
}

// settledJobs waits until the bus has no job left that is not acknowledged.
func (k *kit) settledJobs() {
	k.t.Helper()
	until(k.t, "all jobs are acknowledged", func() bool {
		c := must(k.conn.JS().Consumer(testContext(k.t), bus.StreamJobs, bus.AgentConsumerName("alice")))(k.t)
		info := must(c.Info(testContext(k.t)))(k.t)
		// A consumer counts a new message a little after the publisher was told.
		return info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Stream >= k.lastJob()
	})
}

// lastJob is the place of the newest job for everybody.
func (k *kit) lastJob() uint64 {
	k.t.Helper()
	stream := must(k.conn.JS().Stream(testContext(k.t), bus.StreamJobs))(k.t)
	m, err := stream.GetLastMsgForSubject(testContext(k.t), must(bus.JobSubject("core"))(k.t))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0
	}
	check(k.t, err)
	return m.Sequence
}

// count is how many files a folder of the state directory has.
func (k *kit) count(sub, pattern string) int {
	k.t.Helper()
	return len(must(filepath.Glob(filepath.Join(k.state(), sub, pattern)))(k.t))
}

func (k *kit) spooled() int { return k.count("spool", "*.json") }
func (k *kit) sent() int    { return k.count("spool/sent", "*.json") }

// confirmed waits until n statements have their receipt and none waits.
func (k *kit) confirmed(n int) {
	k.t.Helper()
	until(k.t, fmt.Sprint(n, " statements are confirmed"), func() bool { return k.sent() == n && k.spooled() == 0 })
}

// until waits for something that other goroutines and processes bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// fifo makes a pipe for builds. wait returns what was written to it, as soon as
// no process holds it open any more: that is how a test knows that all are dead.
func fifo(t *testing.T) (path string, wait func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	mkfifo(t, path)
	text := make(chan string, 1)
	go func() {
		data, _ := os.ReadFile(path) // opening waits for the first writer
		text <- string(data)
	}()
	return path, func() string {
		t.Helper()
		select {
		case s := <-text:
			return s
		case <-testContext(t).Done():
			t.Fatal("a process of the build is still alive")
			return ""
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}
