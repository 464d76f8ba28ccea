package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
	"quorate/internal/rest"
)

// Watcher hears what happens on the stream of events. All calls come one after
// the other, from the goroutine that called [Client.Watch].
//
// An error ends the watch, except a [Temporary] one: then the connection is made
// anew, and Fresh is called again. A watcher with a method Missed() has it called
// before Fresh when events were lost; after an interruption alone none are.
type Watcher interface {
	// Fresh is called on each new connection and when the server says that
	// events were missed: read the state now. Whatever happens after that
	// reading comes as an event.
	Fresh(ctx context.Context) error
	Event(ctx context.Context, e *api.Event) error
	// Lost is called when there is no connection, before the next attempt.
	Lost(err error)
}

// ErrStop ends a watch without an error.
var ErrStop = errors.New("stop watching")

// Watch follows the stream of events until the context ends or the watcher does.
// It reconnects with growing pauses for as long as that takes.
func (c *Client) Watch(ctx context.Context, q Query, w Watcher) error {
	s := stream{client: c, query: q, watcher: w}
	for {
		err := s.connect(ctx)
		switch {
		case errors.Is(err, ErrStop):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !Temporary(err):
			return err
		}
		w.Lost(err)
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
}

// backoff doubles from a quarter of a second to ten, and takes a random half of
// it off, so that clients that lost one server do not all come back at once.
func backoff(n int) time.Duration {
	d := min(250*time.Millisecond<<min(n, 10), 10*time.Second)
	return d/2 + rand.N(d/2)
}

// stream is one watch over all its connections. It belongs to one goroutine.
type stream struct {
	client  *Client
	query   Query
	watcher Watcher

	lastID   string        // for Last-Event-ID
	retry    time.Duration // the pause that the server asked for; 0: none
	failures int           // connections in a row that gave nothing
}

func (s *stream) pause(ctx context.Context) error {
	d := max(s.client.Backoff(s.failures), s.retry)
	s.failures++
	return rest.For(ctx, d)
}

// connect makes one connection and reads it to its end. It always returns an error.
func (s *stream) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(s.client.Idle, func() { cancel(s.broken(fmt.Errorf("no sign of life for %s", s.client.Idle))) })
	defer idle.Stop()

	resp, err := s.client.do(ctx, "/v1/events", s.query.values(), s.header())
	if err != nil {
		return because(ctx, err)
	}
	defer resp.Body.Close()
	if kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "text/event-stream" {
		return &badAnswer{fmt.Sprintf("server answered GET /v1/events with %.100q, not with a stream of events", kind)}
	}
	idle.Stop() // the watcher may take its time
	if err := s.watcher.Fresh(ctx); err != nil {
		return because(ctx, err)
	}
	r := newReader(resp.Body)
	for {
		idle.Reset(s.client.Idle)
		m, err := r.next(func() { idle.Reset(s.client.Idle) })
		idle.Stop()
		if err != nil {
			return because(ctx, s.broken(err))
		}
		if err := s.take(ctx, m); err != nil {
			return because(ctx, err)
		}
	}
}

func (s *stream) broken(err error) error {
	return &unreachable{"stream of events from " + s.client.Server(), err}
}

// because prefers the reason for which the connection was cut to the complaint
// of whoever was reading.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, ErrStop) {
		return cause
	}
	return err
}

func (s *stream) header() http.Header {
	h := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-cache"}}
	if s.lastID != "" {
		h.Set("Last-Event-Id", s.lastID)
	}
	return h
}

func (s *stream) take(ctx context.Context, m message) error {
	s.failures = 0
	if m.retry > 0 {
		s.retry = min(m.retry, time.Minute)
	}
	if err := s.deliver(ctx, m); err != nil {
		return err
	}
	// Only now: an event that was not dealt with is asked for again.
	if m.hasID {
		s.lastID = m.id
	}
	return nil
}

func (s *stream) deliver(ctx context.Context, m message) error {
	switch m.kind {
	case "reset":
		if r, ok := s.watcher.(interface{ Missed() }); ok {
			r.Missed()
		}
		return s.watcher.Fresh(ctx)
	case "verdict", api.EventAct, api.EventAlarm:
		var e api.Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return &badAnswer{fmt.Sprintf("event that is not one: %v", err)}
		}
		return s.watcher.Event(ctx, &e)
	}
	return nil // of a later version
}
