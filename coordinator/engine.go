package coordinator

import (
	"context"
	"time"

	"quorate/coordinator/store"
)

// decideAtOnce is how many cases are decided in one transaction.
const decideAtOnce = 256

// decideEvery is after how many batches some cases are decided even though many
// messages are waiting. A verdict that is decided after ten statements costs as
// much as one after the first, and is right just the same; but no case must wait
// for ever.
const decideEvery = 16

// behindPause bounds the moment for which deciding waits for a batch: the bus may
// have gone away.
const behindPause = time.Second

// costly is from when on a transaction that decides is worth waiting for, and
// gatherMost bounds the wait.
const (
	costly     = 20 * time.Millisecond
	gatherMost = time.Second
)

// maxTimer bounds how long the loops sleep, so that a clock that was set is
// noticed.
const maxTimer = time.Minute

// decide is the loop that applies batches and decides, the only one that changes
// the projection.
func (c *Coordinator) decide(ctx context.Context, batches <-chan []entry) error {
	if err := c.project(ctx); err != nil {
		return err
	}
	for {
		ticket := c.progress.ticket()
		if err := c.markDue(); err != nil {
			return err
		}
		if err := c.decideAll(ctx, batches); err != nil {
			return err
		}
		if err := c.decided(ticket); err != nil {
			return err
		}
		if err := c.rest(ctx, batches); err != nil {
			return err
		}
		if err := c.gather(ctx, batches); err != nil {
			return err
		}
	}
}

// gather takes in what arrives for a while, if deciding took long the last time. The
// answers about a target of a thousand files come one after another, and each has all
// of it decided anew: so at most about a quarter of the time goes into that. Small
// targets wait as long, which is a second at most, and only behind a large one.
func (c *Coordinator) gather(ctx context.Context, batches <-chan []entry) error {
	if c.deciding.took < costly {
		return nil
	}
	timer := time.NewTimer(time.Until(c.deciding.ended.Add(min(3*c.deciding.took, gatherMost))))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case batch := <-batches:
			if err := c.take(batch); err != nil {
				return err
			}
		case <-timer.C:
			return nil
		}
	}
}

// round is the last transaction that decided something.
type round struct {
	took  time.Duration // without the commit, which waits for the disk
	ended time.Time
}

// decideAll decides until nothing is dirty, and takes in what arrives meanwhile.
func (c *Coordinator) decideAll(ctx context.Context, batches <-chan []entry) error {
	skipped := 0
	for left := true; left; {
		batch, err := c.nextBatch(ctx, batches)
		if err != nil {
			return err
		}
		if batch != nil {
			if err := c.take(batch); err != nil {
				return err
			}
			if skipped++; c.behind() && skipped < decideEvery {
				continue
			}
		}
		skipped = 0
		if left, err = c.decideSome(decideAtOnce); err != nil {
			return err
		}
	}
	return nil
}

// behind reports whether so many messages are waiting in the stream that deciding
// would hold them up. What is behind a batch may be less than the next one, which is
// being looked at meanwhile.
func (c *Coordinator) behind() bool { return c.lag.Load() > batchMessages/8 }

// nextBatch returns a batch if there is one. While many messages are waiting it
// gives the reader a moment: deciding would take the processor away from it.
func (c *Coordinator) nextBatch(ctx context.Context, batches <-chan []entry) ([]entry, error) {
	if !c.behind() {
		select {
		case batch := <-batches:
			return batch, nil
		default:
			return nil, ctx.Err()
		}
	}
	timer := time.NewTimer(behindPause)
	defer timer.Stop()
	select {
	case batch := <-batches:
		return batch, nil
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take applies a batch from the stream, without what it already has: a reader
// that had to start again delivers some messages twice.
func (c *Coordinator) take(batch []entry) error {
	recorded := c.progress.recorded()
	for len(batch) > 0 && batch[0].Seq <= recorded {
		batch = batch[1:]
	}
	if len(batch) == 0 {
		return nil
	}
	if err := c.apply(batch, true); err != nil {
		return err
	}
	c.progress.setRecorded(batch[len(batch)-1].Seq)
	return nil
}

// rest waits until there is something to do.
func (c *Coordinator) rest(ctx context.Context, batches <-chan []entry) error {
	next, err := c.nextDecision()
	if err != nil {
		return err
	}
	timer := time.NewTimer(c.until(next))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case batch := <-batches:
		return c.take(batch)
	case change := <-c.newKeys:
		return c.takeKeys(ctx, change)
	case <-c.decideWake:
	case <-timer.C:
	}
	return nil
}

// until is how long to sleep before the time.
func (c *Coordinator) until(next time.Time) time.Duration {
	if next.IsZero() {
		return maxTimer
	}
	return min(max(next.Sub(c.now()), 0), maxTimer)
}

// nextDecision is when the clock alone changes a verdict.
func (c *Coordinator) nextDecision() (time.Time, error) {
	next, err := c.db.NextUntil()
	if err != nil {
		return time.Time{}, err
	}
	for _, t := range c.revocations() {
		if t.After(c.now()) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next, nil
}

// revocations lists the times from which a key of the policy is revoked.
func (c *Coordinator) revocations() (times []time.Time) {
	for _, o := range c.policy.Operators {
		for _, b := range o.Builders {
			for _, k := range b.Keys {
				if !k.Revoked.IsZero() {
					times = append(times, k.Revoked)
				}
			}
		}
	}
	return times
}

// markDue marks what the clock made dirty since the last time. The reading is
// committed with the marks, so none is passed over.
func (c *Coordinator) markDue() error {
	now := c.now()
	cur, err := c.db.Cursor()
	if err != nil {
		return err
	}
	next, err := c.db.NextUntil()
	if err != nil {
		return err
	}
	due := !next.IsZero() && !next.After(now)
	for _, t := range c.revocations() {
		due = due || t.After(cur.Considered) && !t.After(now)
	}
	if !due {
		return nil
	}
	return c.db.Update(func(tx *store.Tx) error {
		if err := tx.MarkDue(cur.Considered, now); err != nil {
			return err
		}
		return tx.SetConsidered(now)
	})
}

// decided tells who waits that everything applied so far is decided.
func (c *Coordinator) decided(ticket uint64) error {
	dirty, err := c.db.HasDirty()
	if err != nil || dirty {
		return err
	}
	if c.isAttached() && c.progress.recorded() >= c.target.Load() {
		c.caughtUp.Store(true)
	}
	c.progress.setDecided(ticket)
	return nil
}

func (c *Coordinator) isAttached() bool {
	select {
	case <-c.attached:
		return true
	default:
		return false
	}
}

// askLoop publishes what is due.
func (c *Coordinator) askLoop(ctx context.Context) error {
	select {
	case <-c.attached: // streams and consumers are there
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		ticket := c.progress.ticket()
		if err := c.askDue(ctx); err != nil {
			return err
		}
		c.progress.setAsked(ticket)
		if err := c.restAsking(ctx); err != nil {
			return err
		}
	}
}

func (c *Coordinator) restAsking(ctx context.Context) error {
	next, err := c.db.NextRequest()
	if err != nil {
		return err
	}
	if c.policy.Expired(c.now()) {
		next = time.Time{}
	}
	if c.retryAlarm.Swap(false) {
		next = c.now().Add(time.Duration(c.config.Retry.First))
	}
	timer := time.NewTimer(c.until(next))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.askWake:
	case <-timer.C:
	}
	return nil
}
