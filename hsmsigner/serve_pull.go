package hsmsigner

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// keepAlive is how often the bus hears that a request waits or is worked on. It
	// gives a request to somebody else after a minute of silence.
	keepAlive = 20 * time.Second

	// rebind is the pause before a consumer that was not found is looked for again,
	// and rebindSoon before one that could be read until now: the bus reloads its
	// users and answers nobody for a moment whenever somebody is enrolled.
	rebind     = 5 * time.Second
	rebindSoon = 250 * time.Millisecond

	// pullWait is how long one pull stays open at the bus, and so how long the end
	// of a signer takes at most: what the bus sends to a pull that nobody waits for
	// any more comes again only after a minute.
	pullWait = 3 * time.Second
)

// source is one of the consumers of a key, and what becomes of its requests.
type source struct {
	key   string
	found string // for the log
	lost  string // the same
	bind  func(ctx context.Context, key string) (jetstream.Consumer, error)
	queue *queue
	ahead *lookAhead
}

// sources are two for each key. What is asked for as a batch has a consumer and a queue
// of its own, so that nothing else waits for it.
func (v *Server) sources() (list []source) {
	for label := range v.signer.keys() {
		list = append(list, source{label, "reading requests", "no requests can be read", v.conn.SignerConsumer, v.queue, newLookAhead()},
			source{label, "reading batches", "no batches can be read", v.conn.BatchConsumer, v.batches, newBatchesAhead()})
	}
	return list
}

// pull keeps a consumer open. Losing it is normal: servers restart, and the
// coordinator that makes it may start later than the signer.
func (v *Server) pull(ctx context.Context, from source) {
	for ctx.Err() == nil {
		found, err := v.pullUntilLost(ctx, from)
		if ctx.Err() != nil {
			return
		}
		pause := rebind
		if found {
			pause = rebindSoon
		}
		v.log.Warn(from.lost, "key", from.key, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// pullUntilLost also reports whether the consumer was found.
func (v *Server) pullUntilLost(ctx context.Context, from source) (found bool, err error) {
	if err := v.conn.Ready(ctx); err != nil {
		return false, err
	}
	consumer, err := from.bind(ctx, from.key)
	if err != nil {
		return false, err
	}
	v.log.Info(from.found, "key", from.key)
	for ctx.Err() == nil {
		n, err := v.pullOnce(ctx, consumer, from)
		if err == nil && n == 0 {
			// Silence may mean that the consumer is gone: nobody says so.
			consumer, err = from.bind(ctx, from.key)
		}
		if err != nil {
			return true, fmt.Errorf("read requests: %w", err)
		}
	}
	return true, nil
}

// pullOnce reads as much as there is room for. It returns when the pull is over at
// the bus as well.
func (v *Server) pullOnce(ctx context.Context, consumer jetstream.Consumer, from source) (n int, err error) {
	count, size := from.ahead.room(ctx)
	if count == 0 {
		return 0, ctx.Err()
	}
	batch, err := consumer.Fetch(count, jetstream.FetchMaxBytes(size), jetstream.FetchMaxWait(v.pullWait))
	if err != nil {
		return 0, err
	}
	for msg := range batch.Messages() {
		n++
		v.take(ctx, msg, from)
	}
	return n, batch.Error()
}

// take holds a request until it is answered or given back.
func (v *Server) take(ctx context.Context, msg jetstream.Msg, from source) {
	d := &delivery{Msg: msg, channel: peekChannel(msg.Data()), from: from.ahead}
	from.ahead.take(msg.Data())
	v.mu.Lock()
	v.held[d] = true
	v.mu.Unlock()
	from.queue.put(d)
	v.begin(ctx, from.queue)
}

// begin works on as many requests as there are slots for.
func (v *Server) begin(ctx context.Context, q *queue) {
	for ctx.Err() == nil {
		d, ok := q.begin()
		if !ok {
			return
		}
		v.work.Go(func() {
			v.handle(ctx, d, q)
			q.end(d)
			v.begin(ctx, q)
		})
	}
}

// letGo is called when the bus was told what became of a request.
func (v *Server) letGo(d *delivery) {
	v.mu.Lock()
	delete(v.held, d)
	v.mu.Unlock()
	d.from.letGo(d.Data())
}

// keepHeld tells the bus that what is held is still worked on, until ctx is done.
func (v *Server) keepHeld(ctx context.Context) {
	tick := time.NewTicker(v.keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		v.mu.Lock()
		for d := range v.held {
			_ = d.InProgress() // the worst that follows is a second delivery
		}
		v.mu.Unlock()
	}
}
