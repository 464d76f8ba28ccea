package main_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// TestAgentScripts runs the builder's commands as a person would, against a real
// bus. One file of testdata is one topic. The commands quorate and q (the same,
// but the exit code is written to standard error) come from TestMain.
func TestAgentScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/agent*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would sleep a second in each command
			e.Values[busKey] = &scriptBus{dir: e.WorkDir}
			e.Defer(e.Values[busKey].(*scriptBus).stop)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" { // who may read every file
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"bus": busCommand, "await": awaitCommand},
	})
}

type keyOfBus struct{}

var busKey keyOfBus

// scriptBus is the bus of one script, with a stand-in for the coordinator.
type scriptBus struct {
	dir   string
	users []bus.User
	srv   *embedded.Server
	conn  *bus.Conn

	mu     sync.Mutex
	reject statement.Code // owned by mu; empty: confirm what the stream has
}

// busCommand is:
//
//	bus start                start it, and set NATS to its address
//	bus enrol NAME ROLE SEED let a user in; an absent seed file is made
//	bus confirm              answer receipt questions from now on
//	bus reject CODE          answer that everything is rejected, from now on
//	bus record N             fail unless the record has N statements
//	bus jobs N               fail unless there are N jobs
func busCommand(ts *testscript.TestScript, _ bool, args []string) {
	b := ts.Value(busKey).(*scriptBus)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch args[0] {
	case "start":
		b.start(ctx, ts)
	case "enrol":
		b.enrol(ctx, ts, args[1], bus.Role(args[2]), ts.MkAbs(args[3]))
	case "confirm":
		b.serve(ts, "")
	case "reject":
		b.serve(ts, statement.Code(args[1]))
	case "record", "jobs":
		stream := map[string]string{"record": bus.StreamRecord, "jobs": bus.StreamJobs}[args[0]]
		if got, err := messages(ctx, b.conn, stream); err != nil || strconv.Itoa(len(got)) != args[1] {
			ts.Fatalf("%s has %d messages (%v), want %s", stream, len(got), err, args[1])
		}
	default:
		ts.Fatalf("bus: unknown command %q", args[0])
	}
}

// awaitCommand waits until a number of files match a pattern.
func awaitCommand(ts *testscript.TestScript, _ bool, args []string) {
	limit := time.After(time.Minute) // only ends a script that hangs
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := filepath.Glob(ts.MkAbs(args[1]))
		ts.Check(err)
		if strconv.Itoa(len(found)) == args[0] {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("await: %d files match %s", len(found), args[1])
		}
	}
}

func (b *scriptBus) start(ctx context.Context, ts *testscript.TestScript) {
	seed := filepath.Join(b.dir, "coordinator.nk")
	public, err := bus.WriteSeedFile(seed)
	ts.Check(err)
	b.users = []bus.User{{Name: "coord", Role: bus.RoleCoordinator, NKey: public}}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	b.srv, err = embedded.Start(embedded.Options{StoreDir: filepath.Join(b.dir, "store"), Users: b.users, Logger: quiet})
	ts.Check(err)
	b.conn, err = bus.Connect(bus.Options{URL: b.srv.URL(), Name: "coord", SeedFile: seed, Logger: quiet})
	ts.Check(err)
	ts.Check(bus.EnsureStreams(ctx, b.conn.JS(), 1))
	ts.Setenv("NATS", b.srv.URL())
}

func (b *scriptBus) stop() {
	if b.srv != nil {
		b.conn.Close()
		b.srv.Shutdown()
	}
}

func (b *scriptBus) enrol(ctx context.Context, ts *testscript.TestScript, name string, role bus.Role, seed string) {
	if _, err := os.Stat(seed); err != nil {
		_, err := bus.WriteSeedFile(seed)
		ts.Check(err)
	}
	public, err := bus.PublicFromSeedFile(seed)
	ts.Check(err)
	b.users = append(b.users, bus.User{Name: name, Role: role, NKey: public})
	ts.Check(b.srv.Reload(b.users))
	if role == bus.RoleBuilder {
		ts.Check(bus.EnsureAgentConsumer(ctx, b.conn.JS(), name, []string{"core"}))
	}
}

func (b *scriptBus) serve(ts *testscript.TestScript, reject statement.Code) {
	b.mu.Lock()
	b.reject = reject
	b.mu.Unlock()
	_, err := b.conn.ServeHave(func(_ string, data []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return b.answer(ctx, data)
	})
	ts.Check(err)
}

func (b *scriptBus) answer(ctx context.Context, data []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := wire.ParseHaveRequest(data)
	if err != nil {
		return nil, err
	}
	stored, err := messages(ctx, b.conn, bus.StreamRecord)
	if err != nil {
		return nil, err
	}
	a := wire.HaveAnswer{Version: quorum.Version}
	for _, id := range q.Statements {
		switch {
		case !stored[id]:
		case b.reject != "":
			a.Rejected = append(a.Rejected, wire.Rejection{Statement: id, Code: b.reject, Message: "as the script wants it (" + string(b.reject) + ")"})
		default:
			a.Recorded = append(a.Recorded, id)
		}
	}
	return wire.Encode(a)
}

// messages are the digests of what a stream holds.
func messages(ctx context.Context, conn *bus.Conn, stream string) (map[statement.SHA256]bool, error) {
	s, err := conn.JS().Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	ids := map[statement.SHA256]bool{}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		ids[statement.ID(m.Data)] = true
	}
	return ids, nil
}
