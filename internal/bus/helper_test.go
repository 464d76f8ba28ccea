package bus_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
)

// testLimit only ends a test that hangs; no test waits for it to pass.
const testLimit = 30 * time.Second

// broker is a real server on a temporary directory, with the users of one
// small deployment.
type broker struct {
	t     *testing.T
	dir   string
	users []bus.User
	*embedded.Server
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir()}
	b.enrol("coord", bus.RoleCoordinator)
	b.enrol("alice", bus.RoleBuilder)
	b.enrol("bob", bus.RoleBuilder)
	b.enrol("hsm", bus.RoleSigner, "core-2026")
	b.enrol("repo-add", bus.RoleTooling)
	b.enrol("watch", bus.RoleReader)
	b.enrol("gather", bus.RoleImporter)
	b.start(0)
	return b
}

func (b *broker) enrol(name string, role bus.Role, keys ...string) {
	b.t.Helper()
	public := must(bus.WriteSeedFile(b.seed(name)))(b.t)
	b.users = append(b.users, bus.User{Name: name, Role: role, NKey: public, Keys: keys})
}

func (b *broker) seed(name string) string { return filepath.Join(b.dir, name+".seed") }

func (b *broker) start(port int) {
	b.t.Helper()
	b.Server = must(embedded.Start(embedded.Options{
		StoreDir: filepath.Join(b.dir, "store"), Port: port, Users: b.users, Logger: quiet(),
	}))(b.t)
	b.t.Cleanup(b.Server.Shutdown)
}

func (b *broker) options(name string) bus.Options {
	return bus.Options{URL: b.URL(), Name: name, SeedFile: b.seed(name), Timeout: testLimit, Logger: quiet()}
}

func (b *broker) as(name string) *bus.Conn {
	b.t.Helper()
	c := must(bus.Connect(b.options(name)))(b.t)
	b.t.Cleanup(c.Close)
	return c
}

// coordinator connects as one, with all streams and consumers made.
func (b *broker) coordinator() *bus.Conn {
	b.t.Helper()
	c := b.as("coord")
	ctx := testContext(b.t)
	check(b.t, bus.EnsureStreams(ctx, c.JS(), 1))
	for _, builder := range []string{"alice", "bob"} {
		check(b.t, bus.EnsureAgentConsumer(ctx, c.JS(), builder, []string{"core", "extra"}))
	}
	check(b.t, bus.EnsureSignerConsumer(ctx, c.JS(), "core-2026"))
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
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

// wantIs fails unless err wraps target.
func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// wantDenied fails unless err is a denial of subject that came from the server
// rather than from a clock.
func wantDenied(t *testing.T, err error, subject string) {
	t.Helper()
	var denied *bus.DeniedError
	if !errors.As(err, &denied) {
		t.Fatalf("%s: got error %v, want a denial", subject, err)
	}
	if denied.Subject != subject {
		t.Fatalf("denied subject %q, want %q", denied.Subject, subject)
	}
	if errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("denial looks retryable: %v", err)
	}
}

func publish(t *testing.T, c *bus.Conn, subject, text string) error {
	t.Helper()
	data := []byte(text)
	_, err := c.Publish(testContext(t), subject, bus.MsgID(data), data)
	return err
}
