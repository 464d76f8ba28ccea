package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// Reseeded says what [Reseed] did.
type Reseeded struct {
	Published int  // messages that the stream lacked
	Rebuilt   bool // the stream had messages of its own, so the order is a new one
}

// Reseed publishes again, in the order of the record, what the stream lost. Each
// message gets the place it had, unless others were published meanwhile: then the
// lost ones follow those, and the database is rebuilt from the new order. It can
// be interrupted and repeated.
func Reseed(ctx context.Context, o Options) (r Reseeded, err error) {
	c, err := offline(o, (*Coordinator).openDB)
	if err != nil {
		return r, fmt.Errorf("reseed: %w", err)
	}
	defer c.release()
	if r, err = c.reseed(ctx); err != nil {
		return r, fmt.Errorf("reseed: %w", diskError(err))
	}
	return r, nil
}

func (c *Coordinator) reseed(ctx context.Context) (r Reseeded, err error) {
	if err := c.conn.Ready(ctx); err != nil {
		return r, err
	}
	if err := bus.EnsureStreams(ctx, c.conn.JS(), c.config.NATS.Replicas); err != nil {
		return r, err
	}
	stream, err := c.conn.JS().Stream(ctx, bus.StreamRecord)
	if err != nil {
		return r, fmt.Errorf("look at the record stream: %w", err)
	}
	cur, err := c.db.Cursor()
	if err != nil {
		return r, err
	}
	info := stream.CachedInfo()
	same, err := c.samePrefix(ctx, stream, min(info.State.LastSeq, cur.Recorded))
	if err != nil {
		return r, err
	}
	if same {
		r.Published, err = c.publishFrom(ctx, info.State.LastSeq, cur.Recorded)
	} else {
		r.Published, err = c.publishMissing(ctx, stream, info.State.LastSeq)
	}
	if err != nil {
		return r, err
	}
	if r.Rebuilt = !same; r.Rebuilt {
		return r, c.rebuild(ctx, false)
	}
	return r, c.db.Update(func(tx *store.Tx) error { return tx.SetStream(info.Created.UTC()) })
}

// samePrefix compares the first messages of stream and record.
func (c *Coordinator) samePrefix(ctx context.Context, stream jetstream.Stream, upTo uint64) (bool, error) {
	for seq := uint64(1); seq <= upTo; seq++ {
		same, err := sameAt(ctx, stream, c.db, seq)
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// publishFrom continues the stream with the record. The expected place makes sure
// that nothing comes in between; a crash leaves a longer prefix to go on from.
func (c *Coordinator) publishFrom(ctx context.Context, last, recorded uint64) (n int, err error) {
	for seq := last + 1; seq <= recorded; seq++ {
		m, err := c.db.MessageAt(seq)
		if err != nil {
			return n, fmt.Errorf("read message %d: %w", seq, err)
		}
		_, err = c.conn.JS().Publish(ctx, m.Subject, m.Raw, jetstream.WithExpectStream(bus.StreamRecord), jetstream.WithExpectLastSequence(seq-1))
		if err != nil {
			return n, fmt.Errorf("publish message %d: %w (hint: if others are publishing, stop them or repeat the command)", seq, err)
		}
		n++
	}
	return n, nil
}

// publishMissing appends what the stream does not have at any place.
func (c *Coordinator) publishMissing(ctx context.Context, stream jetstream.Stream, last uint64) (n int, err error) {
	have, err := identities(ctx, stream, last)
	if err != nil {
		return 0, err
	}
	for after := uint64(0); ; {
		messages, err := c.db.Messages(after, batchMessages, batchBytes)
		if err != nil || len(messages) == 0 {
			return n, err
		}
		for _, m := range messages {
			after = m.Seq
			if have[identity{m.Subject, m.SHA256}] {
				continue
			}
			if _, err := c.conn.JS().Publish(ctx, m.Subject, m.Raw, jetstream.WithExpectStream(bus.StreamRecord)); err != nil {
				return n, fmt.Errorf("publish message %d: %w", m.Seq, err)
			}
			n++
		}
	}
}

type identity struct {
	subject string
	sha256  statement.SHA256
}

func identities(ctx context.Context, stream jetstream.Stream, last uint64) (map[identity]bool, error) {
	have := map[identity]bool{}
	for seq := uint64(1); seq <= last; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at message %d: %w", seq, err)
		}
		have[identity{m.Subject, statement.ID(m.Data)}] = true
	}
	return have, nil
}

// Backup writes a consistent copy of the database to a new file, also while a
// coordinator runs.
func Backup(ctx context.Context, state, path string) error {
	if _, err := LoadConfig(state); err != nil {
		return err
	}
	db, err := store.Open((&setup{dir: state}).path(fileDB))
	if err != nil {
		return err
	}
	return errors.Join(db.Backup(ctx, path), db.Close())
}
