package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/api"
	"quorate/internal/client"
)

// script answers the n-th connection to /v1/events with the n-th text; the last
// one stays open. The function returned gives the headers of the connections so far.
func script(t *testing.T, texts ...string) (*client.Client, func() []http.Header) {
	t.Helper()
	var (
		mu      sync.Mutex // the handler of a lost connection may still run when the next one comes
		headers []http.Header
	)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		headers = append(headers, r.Header)
		n := len(headers)
		mu.Unlock()
		text := texts[min(n, len(texts))-1]
		if text == "503" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, text)
		w.(http.Flusher).Flush()
		if n >= len(texts) {
			<-r.Context().Done()
		}
	})
	c.Backoff = func(int) time.Duration { return 0 }
	return c, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(headers)
	}
}

func stopAt(artifact string) func(*api.Event) error {
	return func(e *api.Event) error {
		if e.Artifact == artifact {
			return client.ErrStop
		}
		return nil
	}
}

func event(id, artifact string) string {
	return fmt.Sprintf("event: verdict\nid: %s\ndata: {\"artifact\":%q}\n\n", id, artifact)
}

func TestWatchReconnectsAndResumes(t *testing.T) {
	c, headers := script(t,
		event("1", "a")+event("2", "b")+"event: verdict\nid: 3\ndata: {\"arti", // cut off in the middle
		"503",
		event("3", "c"))
	l := &log{onEvent: stopAt("c")}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
	want := []string{"fresh", "a", "b", "lost", "lost", "fresh", "c"}
	if d := cmp.Diff(want, l.heard); d != "" {
		t.Error(d)
	}
	for i, want := range []string{"", "2", "2"} {
		if got := headers()[i].Get("Last-Event-ID"); got != want {
			t.Errorf("connection %d: Last-Event-ID %q, want %q", i, got, want)
		}
	}
}

func TestWatchReadsAnewOnReset(t *testing.T) {
	c, headers := script(t, event("1", "a")+"event: reset\nid: 9\ndata: {}\n\n", event("10", "b"))
	l := &log{onEvent: stopAt("b")}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"fresh", "a", "fresh", "lost", "fresh", "b"}, l.heard); d != "" {
		t.Error(d)
	}
	if got := headers()[1].Get("Last-Event-ID"); got != "9" {
		t.Errorf("Last-Event-ID %q after a reset to 9", got)
	}
}

func TestWatchPassesOverWhatItDoesNotKnow(t *testing.T) {
	c, _ := script(t, "\ufeff: hello\r\n\r\nretry: 5\r\n\r\nevent: later\r\ndata: x\r\n\r\ndata: no type\n\nfoo: bar\nbaz\n\n"+
		"event: verdict\ndata: {\"artifact\":\ndata: \"two lines\",\"new\":1}\nid: a\x00b\n\n"+event("1", "end"))
	l := &log{onEvent: stopAt("end")}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"fresh", "two lines", "end"}, l.heard); d != "" {
		t.Error(d)
	}
}

func TestWatchAsksAgainForAnEventThatWasNotDealtWith(t *testing.T) {
	c, headers := script(t, event("1", "a")+event("2", "b"), event("2", "b"))
	failed := false
	l := &log{}
	l.onEvent = func(e *api.Event) error {
		if e.Artifact == "b" && !failed {
			failed = true
			return &client.Error{Status: 503}
		}
		return stopAt("b")(e)
	}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"fresh", "a", "b", "lost", "fresh", "b"}, l.heard); d != "" {
		t.Error(d)
	}
	if got := headers()[1].Get("Last-Event-ID"); got != "1" {
		t.Errorf("Last-Event-ID %q", got)
	}
}

func TestWatchEndsForGood(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"not a stream":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"another program": http.NotFound,
		"not an event": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: verdict\ndata: nonsense\n\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := serve(t, h).Watch(t.Context(), client.Query{}, &log{})
			if err == nil || client.Temporary(err) {
				t.Error(err)
			}
		})
	}
}

func TestWatchEndsWithTheWatchersError(t *testing.T) {
	// A temporary error of the watcher makes a new connection; any other ends the watch.
	c, _ := script(t, "")
	err := c.Watch(t.Context(), client.Query{}, &log{onFresh: func() error { return &client.Error{Status: 400} }})
	if err == nil || !strings.Contains(err.Error(), "400") {
		t.Error(err)
	}
}

func TestWatchEndsWithTheContext(t *testing.T) {
	c, _ := script(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Watch(ctx, client.Query{}, &log{onFresh: func() error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWatchGivesUpASilentConnection(t *testing.T) {
	c, _ := script(t, "", event("1", "a"))
	c.Idle = 20 * time.Millisecond // a slow machine may not even be connected by then: that is given up, too
	l := &log{}
	l.onFresh = func() error {
		if slices.ContainsFunc(l.lost, func(err error) bool { return strings.Contains(err.Error(), "no sign of life") }) {
			return client.ErrStop
		}
		return nil
	}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
}

func TestWatchBoundsOneEvent(t *testing.T) {
	c, _ := script(t, "data: "+strings.Repeat("x", 2<<20)+"\n\n", strings.Repeat("data: x\n", 1<<18), event("1", "a"))
	l := &log{onEvent: stopAt("a")}
	if err := c.Watch(t.Context(), client.Query{}, l); err != nil {
		t.Fatal(err)
	}
	if len(l.lost) != 2 || !strings.Contains(l.lost[0].Error(), "longer than 1 MiB") || !strings.Contains(l.lost[1].Error(), "longer than 1 MiB") {
		t.Error(l.lost)
	}
}
