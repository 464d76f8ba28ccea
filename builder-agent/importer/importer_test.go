package importer_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/importer"
	"quorate/internal/bus"
	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newState makes an importer for a bus that is not there.
func newState(t *testing.T) *importer.State {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	must(importer.Keygen(dir, importer.Config{Name: "gather", NATS: "nats://127.0.0.1:1"}))(t)
	return must(importer.Open(dir))(t)
}

func begin(t *testing.T, s *importer.State) *importer.Session {
	t.Helper()
	n := must(importer.Begin(s, "core", slog.New(slog.DiscardHandler)))(t)
	n.Patience = time.Nanosecond
	return n
}

func find(body string) importer.Find {
	return importer.Find{Bundle: evidence.Bundle{Kind: evidence.NarInfo, Body: []byte(body)}, Origin: "here"}
}

func take(t *testing.T, n *importer.Session, f importer.Find, want bool) {
	t.Helper()
	if got := must(n.Take(t.Context(), f))(t); got != want {
		t.Errorf("taken: %v, want %v", got, want)
	}
}

func TestTakenOnce(t *testing.T) {
	s := newState(t)
	n := begin(t, s)
	take(t, n, find("a"), true)
	take(t, n, find("a"), false)
	elsewhere := find("a")
	elsewhere.Origin = "there\xff" + strings.Repeat("é", 2000)
	take(t, n, elsewhere, false)
	elsewhere.Bundle.Body = []byte("b")
	take(t, n, elsewhere, true)
	renewed := find("a")
	renewed.Keys = [][]byte{[]byte("key")}
	take(t, n, renewed, true) // another key file may make it count
	if _, err := importer.Begin(s, "core", slog.Default()); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	if err := n.Flush(t.Context()); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("without a bus: %v", err)
	}
	must(0, n.Close())(t)
	n = begin(t, s)
	defer n.Close()
	take(t, n, find("a"), false)
	if ids := must(s.Spool.PendingIDs())(t); len(ids) != 3 {
		t.Errorf("%d in the spool", len(ids))
	}
}

// A crash between the spool and the list of what was taken, or in the middle of a
// line of that list, makes nothing twice.
func TestTakenOnceAcrossCrashes(t *testing.T) {
	s := newState(t)
	seen := filepath.Join(s.Dir, "seen")
	n := begin(t, s)
	take(t, n, find("a"), true)
	take(t, n, find("b"), true)
	must(0, n.Close())(t)
	whole := must(os.ReadFile(seen))(t)
	for _, left := range []int{0, 10, len(whole) / 2, len(whole) - 1} {
		must(0, os.WriteFile(seen, whole[:left], 0o600))(t)
		n := begin(t, s)
		take(t, n, find("a"), false)
		take(t, n, find("b"), false)
		must(0, n.Close())(t)
		if got := must(os.ReadFile(seen))(t); len(got) != len(whole) {
			t.Errorf("cut to %d bytes, the list has %d, want %d", left, len(got), len(whole))
		}
	}
	must(0, os.WriteFile(seen, []byte(strings.Repeat("x", 130)), 0o600))(t)
	if _, err := importer.Begin(s, "core", slog.Default()); !errors.Is(err, importer.ErrConfig) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a list that is none: %v", err)
	}
}

func TestTakeRefuses(t *testing.T) {
	s := newState(t)
	n := begin(t, s)
	defer n.Close()
	for name, f := range map[string]importer.Find{
		"empty":     find(""),
		"too large": find(strings.Repeat("x", 800<<10)),
		"a path":    {Bundle: evidence.Bundle{Kind: evidence.NarInfo, Path: "x", Body: []byte("x")}},
		"many keys": {Bundle: find("x").Bundle, Keys: make([][]byte, 9)},
	} {
		var e *evidence.Error
		if _, err := n.Take(t.Context(), f); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// While the bus is away the spool does not grow without end.
	var err error
	taken := 0
	for ; err == nil && taken < 1000; taken++ {
		_, err = n.Take(t.Context(), find(statement.ID([]byte{byte(taken), byte(taken >> 8)}).String()))
	}
	if !errors.Is(err, bus.ErrUnavailable) || taken != 129 {
		t.Errorf("after %d: %v", taken, err)
	}
	n.Patience = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("told to end: %v", err)
	}
}

func TestStateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for name, c := range map[string]importer.Config{"no name": {}, "a bad name": {Name: "a.b"}, "no bus": {Name: "a", NATS: "http://127.0.0.1:1"}, "plain": {Name: "a", NATS: "nats://192.0.2.1:4222"}} {
		if _, err := importer.Keygen(dir, c); !errors.Is(err, importer.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := importer.Open(dir); !errors.Is(err, importer.ErrConfig) || !strings.Contains(err.Error(), "keygen") {
		t.Errorf("nothing there: %v", err)
	}
	must(importer.Keygen(dir, importer.Config{Name: "gather", NATS: "tls://bus.example.org:4222", CAFile: "ca.pem"}))(t)
	s := must(importer.Open(dir))(t)
	if s.Config.CAFile != filepath.Join(dir, "ca.pem") || s.Config.Name != "gather" {
		t.Errorf("read as %+v", s.Config)
	}
	if _, err := importer.Keygen(dir, importer.Config{Name: "gather"}); !errors.Is(err, importer.ErrConfig) {
		t.Errorf("keys are overwritten: %v", err)
	}
	if _, err := importer.Begin(s, "a.b", slog.Default()); !errors.Is(err, importer.ErrConfig) {
		t.Errorf("a channel that is no name: %v", err)
	}
}
