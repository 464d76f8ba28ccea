package coordinator

import (
	"context"
	"sync"
	"sync/atomic"

	"quorate/internal/bus"
)

// broadcast wakes everybody who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // owned by mu; closed and replaced by notify
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

// wait returns a channel that is closed by the next notify. It is taken before
// the state is read, so that no change falls between.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}

// progress says how far the loops have come. A ticket drawn before a loop starts
// its round and reported after it says that everything known when the ticket was
// drawn has been looked at.
type progress struct {
	changed *broadcast

	seq     atomic.Uint64 // recorded up to here
	tickets atomic.Uint64
	decided atomic.Uint64 // tickets
	asked   atomic.Uint64
}

func newProgress() *progress { return &progress{changed: newBroadcast()} }

func (p *progress) ticket() uint64   { return p.tickets.Add(1) }
func (p *progress) recorded() uint64 { return p.seq.Load() }

func (p *progress) setRecorded(seq uint64)   { p.set(&p.seq, seq) }
func (p *progress) setDecided(ticket uint64) { p.set(&p.decided, ticket) }
func (p *progress) setAsked(ticket uint64)   { p.set(&p.asked, ticket) }

func (p *progress) set(v *atomic.Uint64, n uint64) {
	v.Store(n)
	p.changed.notify()
}

func (p *progress) await(ctx context.Context, reached func() bool) error {
	for {
		changed := p.changed.wait()
		if reached() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Sync returns when everything that was in the stream before the call is
// recorded, decided by the present reading of the clock, and asked.
func (c *Coordinator) Sync(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	last, err := c.conn.StreamEnd(ctx, bus.StreamRecord)
	if err != nil {
		return err
	}
	if err := c.progress.await(ctx, func() bool { return c.progress.recorded() >= last }); err != nil {
		return err
	}
	// A question can follow from a decision only, so the asking comes after.
	ticket := c.progress.ticket()
	c.wakeDecide()
	if err := c.progress.await(ctx, func() bool { return c.progress.decided.Load() > ticket }); err != nil {
		return err
	}
	ticket = c.progress.ticket()
	c.wakeAsk()
	return c.progress.await(ctx, func() bool { return c.progress.asked.Load() > ticket })
}
