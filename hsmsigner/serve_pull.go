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

// pull keeps a consumer open. Losing it is normal: servers restart, and the
// coordinator that makes it may start later than the signer.
func (v *Server) pull(ctx context.Context, label string) {
	ahead := newLookAhead()
	for ctx.Err() == nil {
		found, err := v.pullUntilLost(ctx, label, ahead)
		if ctx.Err() != nil {
			return
		}
		pause := rebind
		if found {
			pause = rebindSoon
		}
		v.log.Warn("no requests can be read", "key", label, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// pullUntilLost also reports whether the consumer was found.
func (v *Server) pullUntilLost(ctx context.Context, label string, ahead *lookAhead) (found bool, err error) {
	if err := v.conn.Ready(ctx); err != nil {
		return false, err
	}
	consumer, err := v.conn.SignerConsumer(ctx, label)
	if err != nil {
		return false, err
	}
	v.log.Info("reading requests", "key", label)
	for ctx.Err() == nil {
		n, err := v.pullOnce(ctx, consumer, ahead)
		if err == nil && n == 0 {
			// Silence may mean that the consumer is gone: nobody says so.
			consumer, err = v.conn.SignerConsumer(ctx, label)
		}
		if err != nil {
			return true, fmt.Errorf("read requests: %w", err)
		}
	}
	return true, nil
}

// pullOnce reads as much as there is room for. It returns when the pull is over at
// the bus as well.
func (v *Server) pullOnce(ctx context.Context, consumer jetstream.Consumer, ahead *lookAhead) (n int, err error) {
	count, size := ahead.room(ctx)
	if count == 0 {
		return 0, ctx.Err()
	}
	batch, err := consumer.Fetch(count, jetstream.FetchMaxBytes(size), jetstream.FetchMaxWait(v.pullWait))
	if err != nil {
		return 0, err
	}
	for msg := range batch.Messages() {
		n++
		v.take(ctx, msg, ahead)
	}
	return n, batch.Error()
}

// take holds a request until it is answered or given back.
func (v *Server) take(ctx context.Context, msg jetstream.Msg, ahead *lookAhead) {
	d := &delivery{Msg: msg, channel: peekChannel(msg.Data()), from: ahead}
	ahead.take(msg.Data())
	v.mu.Lock()
	v.held[d] = true
	v.mu.Unlock()
	v.queue.put(d)
	v.begin(ctx)
}

// begin works on as many requests as there are slots for.
func (v *Server) begin(ctx context.Context) {
	for ctx.Err() == nil {
		d, ok := v.queue.begin()
		if !ok {
			return
		}
		v.work.Go(func() {
			v.handle(ctx, d)
			v.queue.end(d)
			v.begin(ctx)
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
