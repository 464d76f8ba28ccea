package coordinator

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/quorum/statement"
)

const (
	eventsAtOnce = 256
	heartbeat    = 15 * time.Second // less than what proxies wait for
	eventTimeout = 20 * time.Second // for one write; a reader that takes nothing is let go
)

// eventFilter chooses events; zero values choose all.
type eventFilter struct {
	channel, target string
	digest          statement.SHA256
}

func parseEventFilter(q url.Values) (f eventFilter, err error) {
	f.channel, f.target = q.Get("channel"), q.Get("target")
	if text := q.Get("sha256"); text != "" {
		if f.digest, err = statement.ParseSHA256(text); err != nil {
			return f, badRequest("a digest is 64 lower-case hex digits")
		}
	}
	return f, nil
}

func (f eventFilter) matches(e *api.Event) bool {
	return (f.channel == "" || f.channel == e.Channel) &&
		(f.target == "" || f.target == e.Target) &&
		(f.digest == statement.SHA256{} || slices.Contains(e.Digests, f.digest))
}

// eventStream is one reader of events. It keeps a position instead of a queue:
// the events are in the database, so a slow reader costs nothing.
type eventStream struct {
	c      *Coordinator
	w      http.ResponseWriter
	ctl    *http.ResponseController
	filter eventFilter
	epoch  string // of the database
	at     int64  // last event looked at
}

// getEvents tells of changes as they happen.
func (c *Coordinator) getEvents(w http.ResponseWriter, r *http.Request) {
	f, err := parseEventFilter(r.URL.Query())
	if err != nil {
		c.fail(w, err)
		return
	}
	s := &eventStream{c: c, w: w, ctl: http.NewResponseController(w), filter: f}
	if err := s.begin(r); err != nil {
		c.fail(w, err)
		return
	}
	s.run(r)
}

// begin finds the position: after the event that the reader saw last, or the
// newest one.
func (s *eventStream) begin(r *http.Request) error {
	last, err := s.c.tail.newest()
	s.epoch, s.at = s.c.tail.epoch, last
	seen := r.Header.Get("Last-Event-ID")
	if err != nil || seen == "" {
		return err
	}
	s.at = -1 // say so once the stream has begun
	epoch, text, _ := strings.Cut(seen, "-")
	n, bad := strconv.ParseInt(text, 10, 64)
	if bad != nil || epoch != s.epoch || n < 0 || n > last {
		return nil
	}
	return elsewhere(func() error {
		first, _, err := s.c.db.EventRange()
		if n >= first-1 {
			s.at = n
		}
		return err
	})
}

// run sends until the reader goes away. Errors end it in silence: they are the
// reader's.
func (s *eventStream) run(r *http.Request) {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no")
	// The limit for reading a request would end the stream.
	if s.ctl.SetReadDeadline(time.Time{}) != nil {
		return
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	if s.hello() != nil {
		return
	}
	for {
		changed := s.c.events.wait()
		if s.send() != nil {
			return
		}
		select {
		case <-changed:
		case <-ticker.C:
			if s.flush(": still here\n\n") != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// hello gives the reader an id to resume from before anything happened: what it
// reads afterwards by other means is at least as new.
func (s *eventStream) hello() error {
	if s.at < 0 {
		return s.reset()
	}
	return s.flush(fmt.Sprintf(": quorate events\nretry: 1000\nid: %s-%d\n\n", s.epoch, s.at))
}

// reset tells the reader that it missed events, and goes on from the newest.
func (s *eventStream) reset() (err error) {
	if s.at, err = s.c.tail.newest(); err != nil {
		return err
	}
	return s.flush(fmt.Sprintf("event: reset\nid: %s-%d\ndata: {}\n\n", s.epoch, s.at))
}

// send writes the events since the position: from memory, or from the database
// what a reader that was away for longer has missed.
func (s *eventStream) send() error {
	for {
		list, here, err := s.c.tail.since(s.at)
		if err == nil && !here {
			list, err = s.missed()
		}
		if err != nil || len(list) == 0 {
			return err
		}
		for len(list) > 0 {
			n := min(len(list), eventsAtOnce)
			if err := s.write(list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
}

// missed reads events from the database. A reader that fell so far behind that
// some are gone is told. They may go at any time, so what was read is looked at, not
// what there was before.
func (s *eventStream) missed() (list []tailEvent, err error) {
	err = elsewhere(func() (err error) {
		list, err = readEvents(s.c.db, s.at)
		return err
	})
	if err == nil && len(list) > 0 && list[0].id != s.at+1 {
		return nil, s.reset()
	}
	return list, err
}

func (s *eventStream) write(list []tailEvent) error {
	var b strings.Builder
	for i := range list {
		e := &list[i]
		if s.filter.matches(&e.body) {
			fmt.Fprintf(&b, "event: %s\nid: %s-%d\ndata: %s\n\n", e.body.Type(), s.epoch, e.id, e.data)
		}
	}
	s.at = list[len(list)-1].id
	return s.flush(b.String())
}

func (s *eventStream) flush(text string) error {
	if text == "" {
		return nil
	}
	if err := s.ctl.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.ctl.Flush()
}
