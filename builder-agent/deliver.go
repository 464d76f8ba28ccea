package builderagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/rest"
	"quorate/quorum/statement"
)

// lookOften is how often a short-lived command looks whether the process that
// sends has settled its statement.
const lookOften = 100 * time.Millisecond

// shortDelay is the longest pause of a command that a person waits for.
const shortDelay = 2 * time.Second

// Deliver tries to get receipts for the statements, until there are all of them
// or ctx ends. While another process sends from the spool it only watches.
//
// It returns nil when every statement is confirmed or rejected, and an error
// that wraps [bus.ErrUnavailable] when the time ran out; the statements are in
// the spool still and go out with the next delivery. Any other error will not
// go away by itself: the bus refuses this builder.
func Deliver(ctx context.Context, s *State, ids []statement.SHA256, log *slog.Logger) error {
	for {
		unlock, err := s.Spool.TryLock()
		if err == nil {
			err = deliver(ctx, s, ids, log)
			unlock()
			return err
		}
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		if done, err := settled(s.Spool, ids); done || err != nil {
			return err
		}
		if err := rest.For(ctx, lookOften); err != nil {
			return fmt.Errorf("wait for the agent that sends from this spool: %w: %w", bus.ErrUnavailable, err)
		}
	}
}

// deliver needs the spool's lock.
func deliver(ctx context.Context, s *State, ids []statement.SHA256, log *slog.Logger) error {
	conn, err := connect(ctx, s, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := newCourier(s.Spool, conn, log)
	for delay := firstDelay; ; delay = min(2*delay, shortDelay) {
		moved, err := c.round(ctx)
		if done, lookErr := settled(s.Spool, ids); done || lookErr != nil {
			return lookErr
		}
		if err != nil && !errors.Is(err, bus.ErrUnavailable) && ctx.Err() == nil {
			return err
		}
		if moved {
			delay = firstDelay
		}
		if stop := rest.For(ctx, jitter(delay)); stop != nil {
			return errors.Join(fmt.Errorf("wait for a coordinator's receipt: %w: %w", bus.ErrUnavailable, stop), err)
		}
	}
}

// connect tries until there is a bus. Being refused as a user ends it at once.
func connect(ctx context.Context, s *State, log *slog.Logger) (*bus.Conn, error) {
	for delay := firstDelay; ; delay = min(2*delay, shortDelay) {
		conn, err := s.Connect(false, 0, log)
		if !errors.Is(err, bus.ErrUnavailable) {
			return conn, err
		}
		if stop := rest.For(ctx, jitter(delay)); stop != nil {
			return nil, err
		}
	}
}

func settled(sp *spool.Spool, ids []statement.SHA256) (bool, error) {
	for _, id := range ids {
		state, _, err := sp.Where(id)
		if err != nil {
			return false, err
		}
		if state == spool.Pending {
			return false, nil
		}
	}
	return true, nil
}
