package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/rest"
)

// ErrStreamBack says that the stream does not hold what this database read from
// it. Going on would number new messages like old ones.
var ErrStreamBack = errors.New("the record stream went back in time")

// StreamError wraps [ErrStreamBack] with what to do about it.
type StreamError struct {
	Msg  string
	Hint string
}

func (e *StreamError) Error() string { return ErrStreamBack.Error() + ": " + e.Msg }
func (e *StreamError) Unwrap() error { return ErrStreamBack }

func streamBack(format string, args ...any) error {
	return &StreamError{fmt.Sprintf(format, args...),
		"the database still has every message; 'quorate coordinator reseed --state DIR' publishes again what the stream lost"}
}

const (
	attachPause = time.Second     // after an attempt to reach the stream that failed
	attachLimit = 2 * time.Minute // for the answers to one attempt
)

// read takes messages from the stream, in order, without end. Whatever goes wrong
// with the connection ends in the same function that starts it.
func (c *Coordinator) read(ctx context.Context, batches chan<- []entry) error {
	for {
		err := c.readStream(ctx, batches)
		var back *StreamError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &back), c.server != nil && !c.isAttached(), errors.Is(err, bus.ErrStreamDiffers):
			return err
		}
		c.log.Warn("reading the record was interrupted", "error", err)
		if err := rest.For(ctx, attachPause); err != nil {
			return err
		}
	}
}

// readStream checks that the stream is the one the database was made from, and
// reads on from where the database ends.
func (c *Coordinator) readStream(ctx context.Context, batches chan<- []entry) error {
	from, err := c.attachStream(ctx)
	if err != nil {
		return err
	}
	consumer, err := c.conn.JS().OrderedConsumer(ctx, bus.StreamRecord, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, MaxResetAttempts: 5})
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	return c.follow(ctx, consumer, func(ctx context.Context, in *inbox) error {
		c.attach.Do(func() {
			close(c.attached)
			c.wakeDecide() // who has nothing to read is caught up now, and would notice a minute later
		})
		c.log.Info("reading the record", "from", from)
		return c.pump(ctx, in, from, batches)
	})
}

// follow has use take in what a consumer brings, until one of them fails. The server
// may have been replaced by another one behind a reconnect, so a broken connection
// ends this reading, too: the next one checks again.
func (c *Coordinator) follow(ctx context.Context, consumer jetstream.Consumer, use func(context.Context, *inbox) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.onDisconnect(ctx, cancel)()
	in := newInbox(batchMessages, batchBytes)
	reading, err := consumer.Consume(func(m jetstream.Msg) { in.put(ctx, m) },
		jetstream.PullMaxMessagesWithBytesLimit(batchMessages, batchBytes),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { cancel(err) }))
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	defer reading.Stop()
	return use(ctx, in)
}

var errDisconnected = errors.New("connection to the bus lost")

// onDisconnect ends the reading when the connection breaks. The client itself
// would go on with whatever server answers next.
func (c *Coordinator) onDisconnect(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	nc := c.conn.NATS()
	changes := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	if nc.Status() != nats.CONNECTED {
		cancel(errDisconnected) // between the check of the stream and this line
	}
	go func() {
		select {
		case <-changes:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	}()
	return func() { nc.RemoveStatusListener(changes) }
}

// pump turns messages into verified batches.
func (c *Coordinator) pump(ctx context.Context, in *inbox, next uint64, batches chan<- []entry) error {
	for {
		messages, err := in.take(ctx)
		if err != nil {
			return context.Cause(ctx)
		}
		batch, pending, err := toEntries(messages)
		if err != nil {
			return err
		}
		if batch[0].Seq > next {
			// The stream denies deletion, so this was done around it.
			c.log.Error("the stream has a gap", "from", next, "to", batch[0].Seq-1)
			c.metrics.gaps.Add(float64(batch[0].Seq - next))
		}
		next = batch[len(batch)-1].Seq + 1
		if err := c.examine(batch); err != nil {
			return err
		}
		select {
		case batches <- batch:
			c.lag.Store(pending)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func toEntries(messages []jetstream.Msg) (batch []entry, pending uint64, err error) {
	batch = make([]entry, len(messages))
	for i, m := range messages {
		meta, err := m.Metadata()
		if err != nil {
			return nil, 0, fmt.Errorf("read record: %w", err)
		}
		batch[i].Message = store.Message{Seq: meta.Sequence.Stream, Subject: m.Subject(), Received: meta.Timestamp.UTC(), Raw: m.Data()}
		pending = meta.NumPending
	}
	return batch, pending, nil
}

// attachStream makes sure that streams and consumers exist and that the stream is
// the record of this database. It returns the sequence to read from.
func (c *Coordinator) attachStream(ctx context.Context) (from uint64, err error) {
	if err := c.conn.Ready(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	cur, err := c.db.Cursor()
	if err != nil {
		return 0, err
	}
	if err := checkPresent(ctx, c.conn, cur); err != nil {
		return 0, err
	}
	if err := bus.EnsureStreams(ctx, c.conn.JS(), c.config.NATS.Replicas); err != nil {
		return 0, err
	}
	if err := c.ensureConsumers(ctx); err != nil {
		return 0, err
	}
	stream, err := c.conn.JS().Stream(ctx, bus.StreamRecord)
	if err != nil {
		return 0, fmt.Errorf("look at the record stream: %w", err)
	}
	if err := c.checkStream(ctx, stream, cur); err != nil {
		return 0, err
	}
	return cur.Recorded + 1, nil
}

// checkPresent finds a lost stream before EnsureStreams would make an empty one.
func checkPresent(ctx context.Context, conn *bus.Conn, cur store.Cursor) error {
	if cur.Recorded == 0 {
		return nil
	}
	_, err := conn.JS().Stream(ctx, bus.StreamRecord)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return streamBack("the stream does not exist, the database has messages up to %d", cur.Recorded)
	}
	if err != nil {
		return fmt.Errorf("look at the record stream: %w", err)
	}
	return nil
}

func (c *Coordinator) checkStream(ctx context.Context, stream jetstream.Stream, cur store.Cursor) error {
	info := stream.CachedInfo()
	if info.State.LastSeq > cur.Recorded {
		c.lag.Store(info.State.LastSeq - cur.Recorded)
	}
	c.target.CompareAndSwap(0, info.State.LastSeq)
	if err := compareStream(ctx, stream, c.db, cur); err != nil {
		return err
	}
	if cur.Stream.Equal(info.Created) {
		return nil
	}
	return c.db.Update(func(tx *store.Tx) error { return tx.SetStream(info.Created.UTC()) })
}

// compareStream reports whether the stream is the one that the database was read
// from: the same creation, at least as long, and the same message at the cursor.
func compareStream(ctx context.Context, stream jetstream.Stream, db *store.DB, cur store.Cursor) error {
	info := stream.CachedInfo()
	switch {
	case cur.Recorded == 0:
		return nil
	case !cur.Stream.Equal(info.Created):
		return streamBack("the stream was created anew on %s, the database was read from one created on %s",
			info.Created.UTC().Format(time.RFC3339), cur.Stream.Format(time.RFC3339))
	case info.State.LastSeq < cur.Recorded:
		return streamBack("the stream ends at message %d, the database has messages up to %d", info.State.LastSeq, cur.Recorded)
	}
	same, err := sameAt(ctx, stream, db, cur.Recorded)
	if err != nil || same {
		return err
	}
	return streamBack("message %d of the stream is not the one that the database has", cur.Recorded)
}

// sameAt compares one message of the stream with the database.
func sameAt(ctx context.Context, stream jetstream.Stream, db *store.DB, seq uint64) (bool, error) {
	theirs, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at message %d: %w", seq, err)
	}
	ours, err := db.MessageAt(seq)
	if err != nil {
		return false, fmt.Errorf("read message %d: %w", seq, err)
	}
	return theirs.Subject == ours.Subject && bytes.Equal(theirs.Data, ours.Raw), nil
}
