package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/wire"
)

// redriveBus is a bus with tooling on it, and a coordinator that does not answer yet.
func redriveBus(t *testing.T) (coord *bus.Conn, command redriveCmd) {
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	var users []bus.User
	for _, u := range []bus.User{{Name: "coord", Role: bus.RoleCoordinator}, {Name: "tooling", Role: bus.RoleTooling}} {
		public, err := bus.WriteSeedFile(filepath.Join(dir, u.Name))
		if err != nil {
			t.Fatal(err)
		}
		u.NKey = public
		users = append(users, u)
	}
	srv, err := embedded.Start(embedded.Options{StoreDir: filepath.Join(dir, "store"), Users: users, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	coord, err = bus.Connect(bus.Options{URL: srv.URL(), Name: "coord", SeedFile: filepath.Join(dir, "coord"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coord.Close)
	return coord, redriveCmd{busFlags: busFlags{NATS: srv.URL(), NKey: filepath.Join(dir, "tooling"), Name: "tooling"}, Channel: "core", Target: "pkg:a/b"}
}

// TestRedriveWaits asks while a coordinator is about to answer, as right after its
// start.
func TestRedriveWaits(t *testing.T) {
	coord, c := redriveBus(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // only ends a test that hangs
	defer cancel()
	cmd := exec.CommandContext(ctx, "quorate", "redrive", "--nats", c.NATS, "--nkey", c.NKey, "--channel", c.Channel, "--target", c.Target)
	var out strings.Builder
	cmd.Stdout = &out
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewReader(pipe)
	if line, err := log.ReadString('\n'); !strings.Contains(line, "no coordinator answers yet") {
		t.Errorf("got %q, %v", line, err)
	}
	stop, err := coord.ServeRedrive(func([]byte) ([]byte, error) {
		return wire.Encode(&wire.RedriveAnswer{Asked: 3})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	rest, _ := io.ReadAll(log)
	if err := cmd.Wait(); err != nil || out.String() != "3\n" {
		t.Errorf("got %q, %v\n%s", out.String(), err, rest)
	}
}

// TestRedriveGivesUp: without a coordinator it says so in the end.
func TestRedriveGivesUp(t *testing.T) {
	_, c := redriveBus(t)
	defer func(old time.Duration) { redriveLimit = old }(redriveLimit)
	redriveLimit = 2 * time.Second
	var e *exitError
	if err := c.Run(); !errors.As(err, &e) || e.code != exitFailure || !strings.Contains(e.hint, "is a coordinator running") {
		t.Errorf("got %v", err)
	}
}
