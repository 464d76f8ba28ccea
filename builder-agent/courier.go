package builderagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// How often a courier tries. A coordinator that is up confirms within the first
// few; one that is away for a week costs a question every quarter of a minute.
const (
	firstDelay = 50 * time.Millisecond
	lastDelay  = 15 * time.Second

	// look is how often the spool is looked at for what other processes added.
	look = time.Second

	// republishAfter is how long a coordinator has to record what was published
	// before it is published again; it doubles each time. The message id makes
	// the first repetitions harmless even on the bus.
	republishAfter = 30 * time.Second
	republishMax   = time.Hour
)

// courier takes statements from the spool to a coordinator's receipt. Only the
// process that holds the spool's lock has one, and one goroutine runs it.
type courier struct {
	spool *spool.Spool
	conn  *bus.Conn
	log   *slog.Logger
	now   func() time.Time
	step  func(string) // called after each durable or visible step; for tests

	subject func(spool.Entry) (string, error) // where an entry is published
	first   func([]spool.Entry) []spool.Entry // which entries may be on the way at once

	asked  bool                          // a question about everything found at the start was asked
	known  map[statement.SHA256]*passage // what is pending, and a little more
	silent bool                          // it was logged that nobody answers
}

// passage is what this process knows of a statement on its way.
type passage struct {
	published time.Time // zero: not by this process
	wait      time.Duration
}

func newCourier(sp *spool.Spool, conn *bus.Conn, log *slog.Logger) *courier {
	return &courier{
		spool: sp, conn: conn, log: log, now: time.Now, subject: statementSubject, first: firstOfEachCase,
		step: func(string) {}, known: map[statement.SHA256]*passage{},
	}
}

// run delivers until ctx ends. Failures are logged and tried again, a denial
// too: the users of the bus may be put right while the agent runs.
func (c *courier) run(ctx context.Context, wake <-chan struct{}) {
	delay := firstDelay
	for ctx.Err() == nil {
		moved, err := c.round(ctx)
		c.report(ctx, err)
		if moved {
			delay = firstDelay
		}
		if c.rest(ctx, wake, jitter(delay)) {
			delay = firstDelay
		} else {
			delay = min(2*delay, lastDelay)
		}
	}
}

// rest waits for the delay, and returns early, with true, when there is
// something new in the spool.
func (c *courier) rest(ctx context.Context, wake <-chan struct{}, delay time.Duration) bool {
	end := time.After(delay)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return c.somethingNew()
		case <-wake:
			return true
		case <-tick.C:
			if c.somethingNew() {
				return true
			}
		}
	}
}

func (c *courier) somethingNew() bool {
	ids, err := c.spool.PendingIDs()
	return err == nil && slices.ContainsFunc(ids, func(id statement.SHA256) bool { return c.known[id] == nil })
}

// report logs a failure. That nobody answers is normal and said once.
func (c *courier) report(ctx context.Context, err error) {
	unavailable := errors.Is(err, bus.ErrUnavailable)
	switch {
	case ctx.Err() != nil:
	case unavailable && !c.silent:
		c.log.Warn("statements wait for the bus or a coordinator", "error", err)
	case err != nil && !unavailable:
		c.log.Error("statements not delivered", "error", err)
	}
	c.silent = unavailable
}

// round does once all that can be done now: it asks which statements are
// recorded, settles those, and publishes what is due. moved says that at least
// one statement was published or settled.
func (c *courier) round(ctx context.Context) (moved bool, err error) {
	entries, damaged, err := c.spool.Pending()
	if err != nil {
		return false, err
	}
	for _, path := range damaged {
		c.log.Error("statement file is damaged and was set aside", "file", path)
	}
	for _, e := range entries {
		if c.known[e.ID] == nil {
			c.known[e.ID] = new(passage)
		}
	}
	due := c.first(entries)
	settled, answered, err := c.ask(ctx, due)
	if err != nil && !errors.Is(err, bus.ErrUnavailable) {
		return settled > 0, err
	}
	published, pubErr := c.publish(ctx, due, answered)
	if pubErr != nil {
		err = pubErr
	}
	return settled+published > 0, err
}

// firstOfEachCase leaves out what must wait for an earlier statement about the
// same target: were both on the way, the earlier one could be lost, be published
// again, and so come to lie behind the later one and count in its stead.
func firstOfEachCase(entries []spool.Entry) []spool.Entry {
	seen := map[statement.Case]bool{}
	return slices.DeleteFunc(slices.Clone(entries), func(e spool.Entry) bool {
		waits := seen[e.Statement.Case]
		seen[e.Statement.Case] = true
		return waits
	})
}

// ask exchanges receipts. What this process never published is asked about only
// at the start, when it may have been published before a crash.
func (c *courier) ask(ctx context.Context, due []spool.Entry) (settled int, answered map[statement.SHA256]bool, err error) {
	answered = map[statement.SHA256]bool{}
	var ids []statement.SHA256
	for _, e := range due {
		if !c.asked || !c.known[e.ID].published.IsZero() {
			ids = append(ids, e.ID)
		}
	}
	for batch := range slices.Chunk(ids, wire.MaxHaveIDs) {
		answer, err := c.have(ctx, batch)
		if err != nil {
			return settled, answered, err
		}
		for _, id := range batch {
			answered[id] = true
		}
		n, err := c.settle(batch, answer)
		settled += n
		if err != nil {
			return settled, answered, err
		}
	}
	c.asked = true
	return settled, answered, nil
}

func (c *courier) have(ctx context.Context, ids []statement.SHA256) (*wire.HaveAnswer, error) {
	subject, err := bus.HaveSubject(c.conn.Name())
	if err != nil {
		return nil, err
	}
	question, err := wire.Encode(wire.HaveRequest{Version: quorum.Version, Statements: ids})
	if err != nil {
		return nil, err
	}
	data, err := c.conn.Request(ctx, subject, question)
	if err != nil {
		return nil, fmt.Errorf("ask for receipts: %w", err)
	}
	answer, err := wire.ParseHaveAnswer(data)
	if err != nil {
		return nil, fmt.Errorf("ask for receipts: %w", err)
	}
	return answer, nil
}

// settle moves what was confirmed or refused. An answer about anything that was
// not asked is passed over.
func (c *courier) settle(asked []statement.SHA256, answer *wire.HaveAnswer) (n int, err error) {
	c.step("answered")
	for _, id := range answer.Recorded {
		if !slices.Contains(asked, id) {
			continue
		}
		if err := c.spool.MarkSent(id); err != nil {
			return n, err
		}
		delete(c.known, id)
		n++
		c.log.Info("statement confirmed", "statement", id)
	}
	for _, r := range answer.Rejected {
		if !slices.Contains(asked, r.Statement) {
			continue
		}
		if err := c.spool.MarkRejected(r.Statement, r.Code, r.Message); err != nil {
			return n, err
		}
		delete(c.known, r.Statement)
		n++
		c.log.Error("statement rejected by the coordinator", "statement", r.Statement, "code", r.Code, "reason", r.Message)
	}
	return n, nil
}

// publish sends what is due, in order. A bus that is away ends the attempt; any
// other failure is one statement's own.
func (c *courier) publish(ctx context.Context, due []spool.Entry, answered map[statement.SHA256]bool) (n int, err error) {
	for _, e := range due {
		if !c.isDue(e.ID, answered[e.ID]) {
			continue
		}
		pubErr := c.publishOne(ctx, e)
		if errors.Is(pubErr, bus.ErrUnavailable) || ctx.Err() != nil {
			return n, errors.Join(err, pubErr)
		}
		if pubErr != nil {
			err = errors.Join(err, pubErr)
			continue
		}
		n++
	}
	return n, err
}

// isDue is asked after the receipts: what was settled is not pending any more.
func (c *courier) isDue(id statement.SHA256, answered bool) bool {
	if state, _, err := c.spool.Where(id); err != nil || state != spool.Pending {
		return false
	}
	p := c.known[id]
	if p.published.IsZero() {
		return true
	}
	// Only a coordinator that answers can lack it; one that is away may have it.
	return answered && c.now().Sub(p.published) >= p.wait
}

func (c *courier) publishOne(ctx context.Context, e spool.Entry) error {
	subject, err := c.subject(e)
	if err != nil {
		return fmt.Errorf("publish statement %s: %w", e.ID, err)
	}
	if _, err := c.conn.Publish(ctx, subject, bus.MsgID(e.Raw), e.Raw); err != nil {
		return fmt.Errorf("publish statement %s: %w", e.ID, err)
	}
	c.step("published")
	p := c.known[e.ID]
	p.published = c.now()
	p.wait = min(max(2*p.wait, republishAfter), republishMax)
	c.log.Info("statement published", "statement", e.ID, "subject", subject)
	return nil
}

func statementSubject(e spool.Entry) (string, error) {
	return bus.StatementSubject(e.Statement.Channel, e.Statement.Builder)
}

// jitter spreads the agents that lost the same bus.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
