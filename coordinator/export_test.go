package coordinator

import (
	"context"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// AwaitRecorded waits until the message with that place is committed.
func AwaitRecorded(ctx context.Context, c *Coordinator, seq uint64) error {
	return c.progress.await(ctx, func() bool { return c.progress.recorded() >= seq })
}

// AwaitDecided waits until everything recorded is decided.
func AwaitDecided(ctx context.Context, c *Coordinator) error {
	ticket := c.progress.ticket()
	c.wakeDecide()
	return c.progress.await(ctx, func() bool { return c.progress.decided.Load() > ticket })
}

// ExplainDisk gives an error that the coordinator ends with its hint.
var ExplainDisk = diskError

// Trim is what keeps a request small enough.
var Trim = trim

// SignablesSize is what the signables take in a request.
var SignablesSize = signablesSize

// RequestRoom is what a request needs besides its statements and signables.
const RequestRoom = requestRoom

// AwaitAttached waits until the record is being read.
func AwaitAttached(ctx context.Context, c *Coordinator) error {
	select {
	case <-c.attached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitConnected waits until the bus answers again. A client notices a little
// later than the server that the connection is gone.
func AwaitConnected(ctx context.Context, c *Coordinator) error {
	for {
		if err := c.conn.Ready(ctx); err != nil {
			return err
		}
		if _, err := c.conn.StreamEnd(ctx, bus.StreamRecord); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// StoreDecision stores what was decided about a case, without telling anybody.
func StoreDecision(tx *store.Tx, cs store.Case, verdicts []quorum.Verdict, obs []quorum.Observation) error {
	for i := range verdicts {
		v := &verdicts[i]
		encoded, err := store.EncodeVerdict(v)
		if err != nil {
			return err
		}
		if err := tx.PutVerdict(cs.ID, v, encoded); err != nil {
			return err
		}
		for _, d := range digestsOf(v) {
			if err := tx.AddDigest(d, cs.ID, v.Artifact); err != nil {
				return err
			}
		}
	}
	s := summarise(verdicts, obs, nil)
	s.Listing = listing(verdicts, obs, nil)
	return tx.Decided(cs, s)
}

// Routes lists the paths that are served, as they are documented.
func Routes() (list []string) {
	c := &Coordinator{metrics: &metrics{registry: prometheus.NewRegistry()}}
	c.addRoutes(func(pattern string, _ http.HandlerFunc) {
		list = append(list, strings.TrimSuffix(pattern, "{$}"))
	})
	return list
}

// Parameters are those of the query that a path takes.
func Parameters(path string) []string { return parameters[path] }

// Flood puts n events about a target into the database, as deciding does.
func Flood(c *Coordinator, target string, n int) error {
	var d decision
	err := c.db.Update(func(tx *store.Tx) error {
		for range n {
			if err := c.tell(tx, store.Case{Case: statement.Case{Channel: "core", Target: target}}, &quorum.Verdict{State: quorum.Waiting}, before{}, &d); err != nil {
				return err
			}
		}
		return nil
	})
	c.newEvents()
	return err
}

// EventsKept is how many events a reader may miss.
const EventsKept = eventsKept

// ExamineWithoutPolicy reads a message as a coordinator whose reader breaks at it.
func ExamineWithoutPolicy(c *Coordinator, m store.Message) (statement.Code, error) {
	batch := []entry{{Message: m}}
	err := (&Coordinator{db: c.db, log: c.log}).examine(batch)
	return batch[0].refusal.code, err
}

// BoundSaid makes small what a builder may say about a case, until the test ends.
func BoundSaid(t interface{ Cleanup(func()) }, count, bytes, names int) {
	c, b, n := maxSaid, maxSaidBytes, maxSaidNames
	t.Cleanup(func() { maxSaid, maxSaidBytes, maxSaidNames = c, b, n })
	maxSaid, maxSaidBytes, maxSaidNames = count, bytes, names
}

// TakeTurns takes all turns of answers about whole targets, until end is called.
func TakeTurns(c *Coordinator) (end func()) {
	for range answering {
		c.answers <- struct{}{}
	}
	return func() {
		for range answering {
			<-c.answers
		}
	}
}
