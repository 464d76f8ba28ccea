package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/rest"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// maxPending bounds the spool: while the bus is away, what is not spooled is still
// where it was found. Half of it is sent before more is taken.
const maxPending = 128

// Pauses between two rounds.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Find is a foreign statement as it was found.
type Find struct {
	Bundle evidence.Bundle
	Keys   [][]byte // key files that may have signed it
	Origin string   // path or address
}

// Settled is what a coordinator said of one find.
type Settled struct {
	ID      statement.SHA256 // of the evidence: what was recorded is known by it
	Origin  string
	Channel string
	Reason  *spool.Reason    // nil: recorded
	Message statement.SHA256 // of the bytes that were sent: what was rejected is known by it
}

// Session carries what is found to the record. One goroutine uses it, and one
// process at a time has one on a state directory.
type Session struct {
	state   *State
	channel string
	seen    *seen
	conn    *bus.Conn
	carrier *builderagent.Carrier
	unlock  func()
	waiting map[statement.SHA256]Settled // by message: in the spool

	// Patience is how long a bus or coordinator may be silent before [Session.Take]
	// and [Session.Flush] give up with [bus.ErrUnavailable]; zero: for ever.
	Patience time.Duration
	// Tell is called for each find that is settled.
	Tell func(Settled)
	// Now is the clock.
	Now func() time.Time
}

// Begin takes hold of the state directory, and of what an earlier process left.
func Begin(s *State, channel string, log *slog.Logger) (_ *Session, err error) {
	if !statement.ValidName(channel) {
		return nil, fmt.Errorf("%w: channel %.80q is not a name", ErrConfig, channel)
	}
	n := &Session{state: s, channel: channel, waiting: map[statement.SHA256]Settled{}, Tell: func(Settled) {}, Now: time.Now}
	if n.unlock, err = s.Spool.TryLock(); err != nil {
		return nil, fmt.Errorf("another import uses %s: %w", s.Dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.seen, err = openSeen(s.Dir); err != nil {
		return nil, fmt.Errorf("open list of what was carried: %w", err)
	}
	if err = n.adopt(); err != nil {
		return nil, err
	}
	if n.conn, err = s.connect(log); err != nil {
		return nil, err
	}
	n.carrier = builderagent.NewCarrier(s.Spool, n.conn, n.subject, log)
	return n, nil
}

// adopt finds what was spooled before a crash and not yet remembered.
func (n *Session) adopt() error {
	entries, _, err := n.state.Spool.Pending()
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, err := wire.ParseForeign(e.Raw)
		if err != nil {
			return err // the spool checked it
		}
		n.waiting[e.ID] = Settled{ID: f.ID(), Origin: f.Origin, Channel: f.Channel, Message: e.ID}
		if err := n.seen.add(identity(f)); err != nil {
			return fmt.Errorf("remember what was carried: %w", err)
		}
	}
	return nil
}

// Channel is the one in which finds are to count.
func (n *Session) Channel() string { return n.channel }

func (n *Session) subject(raw []byte) (string, error) {
	f, err := wire.ParseForeign(raw)
	if err != nil {
		return "", err
	}
	return bus.ForeignSubject(f.Channel, n.state.Config.Name)
}

// Close lets go. What is in the spool goes out with the next session.
func (n *Session) Close() error {
	var err error
	if n.conn != nil {
		n.conn.Close()
	}
	if n.seen != nil {
		err = n.seen.close()
	}
	n.unlock()
	return err
}

// Take puts a find into the spool, unless it was taken before. It waits for room
// while too much is on the way. An error that wraps [bus.ErrUnavailable] says that
// there was none; any other is about this find, or about the disk.
func (n *Session) Take(ctx context.Context, find Find) (taken bool, err error) {
	f := &wire.Foreign{Version: quorum.Version, Channel: n.channel, Origin: shown(find.Origin), Fetched: n.Now().UTC().Truncate(time.Second),
		Evidence: find.Bundle.Encode(), Keys: find.Keys}
	if err := find.Bundle.Check(); err != nil {
		return false, err
	}
	if err := f.Check(); err != nil {
		return false, evidence.Refuse(find.Bundle.Kind, statement.CodeTooLarge, "message", "%v", err)
	}
	id := identity(f)
	if n.seen.has(id) {
		return false, nil
	}
	if len(n.waiting) >= maxPending {
		if err := n.drain(ctx, maxPending/2); err != nil {
			return false, err
		}
	}
	raw, err := wire.Encode(f)
	if err != nil {
		return false, err
	}
	message, err := n.state.Spool.Add(raw)
	if err != nil {
		return false, err
	}
	n.waiting[message] = Settled{ID: f.ID(), Origin: f.Origin, Channel: f.Channel, Message: message}
	// A crash before this line is what adopt is for.
	if err := n.seen.add(id); err != nil {
		return true, fmt.Errorf("remember what was carried: %w", err)
	}
	return true, nil
}

// shown makes an origin what a message can hold: it is for people only.
func shown(origin string) string {
	origin = strings.ToValidUTF8(origin, "\uFFFD")
	if len(origin) > wire.MaxOrigin {
		origin = strings.ToValidUTF8(origin[:wire.MaxOrigin], "")
	}
	return origin
}

// Flush returns when everything that was taken is recorded or refused.
func (n *Session) Flush(ctx context.Context) error { return n.drain(ctx, 0) }

// drain sends until at most left finds are on the way.
func (n *Session) drain(ctx context.Context, left int) error {
	pause, heard := firstPause, n.Now()
	for len(n.waiting) > left {
		moved, err := n.carrier.Round(ctx)
		if lookErr := n.look(); lookErr != nil {
			return lookErr
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, bus.ErrUnavailable):
			return err
		case moved:
			pause, heard = firstPause, n.Now()
			continue
		case n.Patience > 0 && n.Now().Sub(heard) > n.Patience:
			return fmt.Errorf("wait for a coordinator's receipt: %w", errors.Join(bus.ErrUnavailable, err))
		}
		if err := rest.For(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, lastPause)
	}
	return nil
}

// look finds out what was settled.
func (n *Session) look() error {
	ids, err := n.state.Spool.PendingIDs()
	if err != nil {
		return err
	}
	pending := make(map[statement.SHA256]bool, len(ids))
	for _, id := range ids {
		pending[id] = true
	}
	for id, s := range n.waiting {
		if pending[id] {
			continue
		}
		if _, s.Reason, err = n.state.Spool.Where(id); err != nil {
			return err
		}
		delete(n.waiting, id)
		n.Tell(s)
	}
	return nil
}
