package bus_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"quorate/internal/bus"
)

func TestAnonymousIsRefused(t *testing.T) {
	b := newBroker(t)
	_, err := nats.Connect(b.URL())
	wantIs(t, err, nats.ErrAuthorization)
	inside := must(b.InProcess().InProcessConn())(t)
	defer inside.Close()
	if info := must(bufio.NewReader(inside).ReadString('\n'))(t); !strings.Contains(info, `"auth_required":true`) {
		t.Errorf("in-process connections need no key: %s", info)
	}
}

func TestUnknownKeyIsRefused(t *testing.T) {
	b := newBroker(t)
	public := must(bus.WriteSeedFile(b.seed("mallory")))(t)
	_, err := bus.Connect(b.options("mallory"))
	wantIs(t, err, bus.ErrUnauthorized)
	if !strings.Contains(err.Error(), public) {
		t.Errorf("the error does not say which key to enrol: %v", err)
	}
}

// A key under another user's name must not become a silent connection on which
// every request times out.
func TestWrongNameIsDenied(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	o := b.options("alice")
	o.SeedFile = b.seed("bob")
	c := must(bus.Connect(o))(t)
	defer c.Close()
	for range 2 { // the server says it once, it holds for all
		var denied *bus.DeniedError
		if err := publish(t, c, "quorate.statements.core.bob", "x"); !errors.As(err, &denied) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestInProcess(t *testing.T) {
	b := newBroker(t)
	o := b.options("coord")
	o.URL, o.InProcess = "", b.InProcess()
	c := must(bus.Connect(o))(t)
	defer c.Close()
	check(t, bus.EnsureStreams(testContext(t), c.JS(), 1))
}

func TestPublishTwiceIsOneMessage(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	alice := b.as("alice")
	data := []byte("built")
	first := must(alice.Publish(testContext(t), "quorate.statements.core.alice", bus.MsgID(data), data))(t)
	second := must(alice.Publish(testContext(t), "quorate.statements.core.alice", bus.MsgID(data), data))(t)
	if first.Duplicate || !second.Duplicate || first.Sequence != second.Sequence {
		t.Errorf("got %+v, then %+v", first, second)
	}
}

func TestPublishLimits(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	alice := b.as("alice")
	big := strings.Repeat("x", bus.MaxRecord)
	check(t, publish(t, alice, "quorate.statements.core.alice", big))
	wantIs(t, publish(t, alice, "quorate.statements.core.alice", big+"x"), bus.ErrTooLarge)
	huge := strings.Repeat("x", bus.MaxRequest)
	check(t, publish(t, coord, "quorate.requests.core-2026", huge))
	wantIs(t, publish(t, coord, "quorate.requests.core-2026", huge+"x"), bus.ErrTooLarge)
	if err := publish(t, coord, "quorate.nothing", "x"); err == nil || errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("subject outside every stream: %v", err)
	}
}

func TestPublishWithoutStreamsIsUnavailable(t *testing.T) {
	b := newBroker(t)
	wantIs(t, publish(t, b.as("alice"), "quorate.statements.core.alice", "x"), bus.ErrUnavailable)
}

func TestPublishWhileServerIsDown(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	alice := b.as("alice")
	b.Shutdown()
	wantIs(t, publish(t, alice, "quorate.statements.core.alice", "x"), bus.ErrUnavailable)

	_, err := bus.Connect(b.options("alice"))
	wantIs(t, err, bus.ErrUnavailable)
}

// The connection breaks while a publish waits: the caller learns at once.
func TestServerGoesAwayWhileWaiting(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	asked := make(chan struct{})
	stop := must(coord.ServeHave(func(string, []byte) ([]byte, error) {
		close(asked)
		<-t.Context().Done()
		return nil, nil
	}))(t)
	defer stop()
	alice := b.as("alice")
	result := make(chan error, 1)
	go func() {
		_, err := alice.Request(context.Background(), "quorate.have.alice", nil)
		result <- err
	}()
	<-asked
	b.Shutdown()
	wantIs(t, <-result, bus.ErrUnavailable)
}

func TestCallerGivesUp(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.as("alice").Publish(ctx, "quorate.statements.core.alice", "id", []byte("x"))
	wantIs(t, err, context.Canceled)
	if errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("giving up looks like a fault of the bus: %v", err)
	}
}

func TestPublishAfterClose(t *testing.T) {
	b := newBroker(t)
	alice := b.as("alice")
	alice.Close()
	wantIs(t, publish(t, alice, "quorate.statements.core.alice", "x"), nats.ErrConnectionClosed)
	wantIs(t, alice.Ready(testContext(t)), nats.ErrConnectionClosed)
}

// A daemon that starts before the server, or before it is enrolled, gets in
// once it may.
func TestRetryUntilEnrolled(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	public := must(bus.WriteSeedFile(b.seed("carol")))(t)
	o := b.options("carol")
	o.Retry = true
	carol := must(bus.Connect(o))(t)
	defer carol.Close()
	wantIs(t, publish(t, carol, "quorate.statements.core.carol", "x"), bus.ErrUnavailable)
	check(t, b.Reload(append(b.users, bus.User{Name: "carol", Role: bus.RoleBuilder, NKey: public})))
	check(t, carol.Ready(testContext(t)))
	check(t, publish(t, carol, "quorate.statements.core.carol", "x"))
}

// A daemon says at once that it has no bus, and where it looks for one.
func TestUnreachableIsLogged(t *testing.T) {
	b := newBroker(t)
	o := b.options("alice")
	o.Retry = true
	b.Shutdown()
	var log syncBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	alice := must(bus.Connect(o))(t)
	defer alice.Close()
	if n := strings.Count(log.String(), "bus unreachable"); n != 1 || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "server="+o.URL) {
		t.Errorf("%d warnings in %s", n, log.String())
	}
}

// lines passes on what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// In the server's own process the client has no address, only one it makes up.
func TestInProcessHasNoAddress(t *testing.T) {
	b := newBroker(t)
	log := make(lines, 100)
	o := b.options("coord")
	o.URL, o.InProcess, o.Logger = "", b.InProcess(), slog.New(slog.NewTextHandler(log, nil))
	c := must(bus.Connect(o))(t)
	defer c.Close()
	if line := <-log; !strings.Contains(line, "server=in-process") {
		t.Errorf("logged %s", line)
	}
}

func TestHave(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	stop := must(coord.ServeHave(func(builder string, data []byte) ([]byte, error) {
		return append([]byte(builder+" asked "), data...), nil
	}))(t)
	defer stop()
	answer := must(b.as("alice").Request(testContext(t), "quorate.have.alice", []byte("abc")))(t)
	if string(answer) != "alice asked abc" {
		t.Errorf("answer %q", answer)
	}
	_, err := b.as("alice").Request(testContext(t), "quorate.have.bob", nil)
	wantDenied(t, err, "quorate.have.bob")
	_, err = b.as("hsm").ServeHave(func(string, []byte) ([]byte, error) { return nil, nil })
	wantDenied(t, err, "quorate.have.*")
}

func TestHaveWithoutCoordinator(t *testing.T) {
	b := newBroker(t)
	_, err := b.as("alice").Request(testContext(t), "quorate.have.alice", nil)
	wantIs(t, err, bus.ErrUnavailable)
}

func TestSeedFileOthersCanRead(t *testing.T) {
	b := newBroker(t)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o644} {
		check(t, os.Chmod(b.seed("alice"), mode))
		_, err := bus.Connect(b.options("alice"))
		if err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

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

func TestNoSeedInLogsOrErrors(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	var log syncBuffer
	o := b.options("alice")
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	alice := must(bus.Connect(o))(t)
	err := publish(t, alice, "quorate.statements.core.bob", "x")
	alice.Close()
	seed := strings.TrimSpace(string(must(os.ReadFile(b.seed("alice")))(t)))
	if !strings.Contains(log.String(), "quorate.statements.core.bob") {
		t.Errorf("the denial is not logged: %s", log.String())
	}
	if strings.Contains(err.Error(), seed) || strings.Contains(log.String(), seed) {
		t.Error("the seed leaked")
	}
}
