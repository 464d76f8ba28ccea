package coordinator_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/internal/bus"
	"quorate/quorum"
)

// logBuffer is written by the coordinator while the test reads it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) lines(with ...string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
line:
	for line := range strings.Lines(b.buf.String()) {
		for _, part := range with {
			if !strings.Contains(line, part) {
				continue line
			}
		}
		found = append(found, line)
	}
	return found
}

// await waits for a line that has all of this.
func (b *logBuffer) await(t *testing.T, with ...string) {
	t.Helper()
	ctx := limit(t)
	for len(b.lines(with...)) == 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the log has no line with %q", with)
		}
	}
}

// Whoever reads the log alone learns of every verdict that is news, of refusals
// and of what was rejected, once each and not again after a restart.
func TestLogTellsWhatHappened(t *testing.T) {
	w, log := newWorld(t), new(logBuffer)
	w.log = slog.New(slog.NewTextHandler(log, nil))
	w.start()
	s := w.signer()
	w.agree("alice", "bob")
	w.agree("carol")
	s.refuse(s.next(), quorum.RefuseToken, false)
	w.publishRaw("dave", must(bus.StatementSubject("core", "dave"))(t), []byte("no statement"))
	w.publish(build{builder: "dave", files: map[string]string{"hello": "differs"}})
	w.sync()
	w.stop()
	w.start()
	w.sync()

	for _, want := range [][]string{
		{"level=INFO", "msg=verdict", "state=agreed", "was=waiting", "target=pkg:generic/hello@1"},
		{"level=WARN", `msg="signer refused"`, "code=token-unavailable", "target=pkg:generic/hello@1"},
		{"level=WARN", `msg="message rejected"`, "code=bad-json", "subject=quorate.statements.core.dave"},
	} {
		if got := log.lines(want...); len(got) != 1 {
			t.Errorf("%d lines with %q", len(got), want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(log.lines(), ""))
	}
}

// A hundred files that become agreed at once are a score of lines, and a count.
func TestLogIsBounded(t *testing.T) {
	w, log := newWorld(t), new(logBuffer)
	w.log = slog.New(slog.NewTextHandler(log, nil))
	w.start()
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("file-%d", i)] = "content"
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		w.publish(build{builder: name, files: files})
		w.sync()
	}
	if n := len(log.lines("msg=verdict", "state=agreed")); n != 20 {
		t.Errorf("%d verdicts told, want 20", n)
	}
	if len(log.lines("which the log leaves out", "lines=80")) != 1 {
		t.Error("the log does not say what it leaves out")
	}
}
