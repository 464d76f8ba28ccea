package spool_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/spool"
	"quorate/quorum/statement"
)

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// signed makes a statement whose bytes depend on text only.
func signed(t *testing.T, text string) []byte {
	t.Helper()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	st, err := statement.Sign(&statement.Statement{
		Case: statement.Case{Channel: "core", Target: "pkg:generic/hello@1"}, Builder: "alice",
		Status: statement.Failed, Reason: text, Started: at, Finished: at,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return st.Raw()
}

func open(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *spool.Spool, raw []byte) statement.SHA256 {
	t.Helper()
	id, err := s.Add(raw)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func reasons(t *testing.T, s *spool.Spool) (list []string) {
	t.Helper()
	entries, damaged, err := s.Pending()
	if err != nil || len(damaged) > 0 {
		t.Fatal(err, damaged)
	}
	for _, e := range entries {
		list = append(list, e.Statement.Reason)
	}
	return list
}

func wantState(t *testing.T, s *spool.Spool, id statement.SHA256, want spool.State) *spool.Reason {
	t.Helper()
	state, reason, err := s.Where(id)
	if err != nil || state != want {
		t.Errorf("statement is %s (%v), want %s", state, err, want)
	}
	return reason
}

// A missing directory may be one that is not mounted.
func TestOpenDoesNotCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	if _, err := spool.Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was created")
	}
}

func TestOrderIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Unix(1_800_000_000, 0)
	s.SetClock(func() time.Time { return at })
	var want []string
	for i := range 20 {
		text := fmt.Sprint("number ", i)
		add(t, s, signed(t, text))
		want = append(want, text)
		at = at.Add(-time.Hour) // the clock goes back, which it may
	}
	if got := reasons(t, open(t, dir)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Several processes may add at once. Two open spools are as good as two
// processes here: the lock belongs to the open file.
func TestManyAdd(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		s := open(t, dir)
		raws := [][]byte{signed(t, fmt.Sprint(i)), signed(t, "the same from all")}
		all.Go(func() {
			for _, raw := range raws {
				if _, err := s.Add(raw); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := reasons(t, open(t, dir)); len(got) != 9 {
		t.Errorf("%d statements, want 9: %q", len(got), got)
	}
}

func TestAddAgainChangesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	a, b := signed(t, "a"), signed(t, "b")
	idA, idB := add(t, s, a), add(t, s, b)
	if err := s.MarkSent(idA); err != nil {
		t.Fatal(err)
	}
	if err := s.MarkRejected(idB, "unknown-builder", "who?"); err != nil {
		t.Fatal(err)
	}
	add(t, s, a)
	add(t, s, b)
	if got := reasons(t, s); len(got) != 0 {
		t.Errorf("pending again: %q", got)
	}
	wantState(t, s, idA, spool.Sent)
	reason := wantState(t, s, idB, spool.Rejected)
	if reason == nil || reason.Code != "unknown-builder" || reason.Message != "who?" {
		t.Errorf("reason %+v", reason)
	}
	if raw, err := s.Read(idB); err != nil || !bytes.Equal(raw, b) {
		t.Errorf("bytes changed: %v", err)
	}
	// What arrives twice is settled once.
	if err := errors.Join(s.MarkSent(idB), s.MarkSent(idA)); err != nil {
		t.Error(err)
	}
	wantState(t, s, idB, spool.Rejected)
}

func TestRefusesWhatIsNoStatement(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Add([]byte("{}")); err == nil {
		t.Error("took it")
	}
	if ids, err := s.PendingIDs(); err != nil || len(ids) != 0 {
		t.Error(ids, err)
	}
}

func TestDamagedFileIsSetAside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	add(t, s, signed(t, "good"))
	add(t, s, signed(t, "bad"))
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[1], signed(t, "something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, damaged, err := s.Pending()
	if err != nil || len(entries) != 1 || len(damaged) != 1 {
		t.Fatal(entries, damaged, err)
	}
	if got := reasons(t, s); !slices.Equal(got, []string{"good"}) {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(damaged[0]); err != nil {
		t.Error("damaged file is gone", err)
	}
}

func TestOneSends(t *testing.T) {
	dir := t.TempDir()
	unlock, err := open(t, dir).TryLock()
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if _, err := other.TryLock(); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	add(t, other, signed(t, "adding goes on"))
	unlock()
	unlock, err = other.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestExpire(t *testing.T) {
	s := open(t, t.TempDir())
	at := time.Now()
	s.SetClock(func() time.Time { return at })
	sent, rejected, waiting := add(t, s, signed(t, "s")), add(t, s, signed(t, "r")), add(t, s, signed(t, "w"))
	if err := errors.Join(s.MarkSent(sent), s.MarkRejected(rejected, "x", "y")); err != nil {
		t.Fatal(err)
	}
	at = at.Add(time.Hour)
	if err := s.Expire(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, sent, spool.Sent)
	at = at.Add(2 * time.Hour)
	if err := s.Expire(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, sent, spool.Unknown)
	wantState(t, s, rejected, spool.Rejected)
	wantState(t, s, waiting, spool.Pending)
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, durable.TempPrefix+"old"), filepath.Join(dir, durable.TempPrefix+"fresh")
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, []byte("half a stat"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if got := reasons(t, s); len(got) != 0 {
		t.Errorf("a part of a file counts: %q", got)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the old one is there still")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("one that may be in use was removed")
	}
}
