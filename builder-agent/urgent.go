package builderagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// urgentPoll is how often an idle agent looks for jobs that go before others.
const urgentPoll = 2 * time.Second

// queue is where jobs come from: those that go before others, then the rest.
type queue struct {
	urgent jetstream.Consumer // nil: the bus has none for this builder
	jobs   jetstream.Consumer
}

// queue binds to this builder's consumers. Without the one for urgent jobs, which
// an older coordinator or bus configuration does not give, it goes on.
func (a *agent) queue(ctx context.Context) (q queue, err error) {
	if q.jobs, err = a.conn.AgentConsumer(ctx); err != nil {
		return q, err
	}
	if q.urgent, err = a.conn.UrgentConsumer(ctx); err != nil {
		a.log.Warn("no urgent jobs on this bus: a rebuild that a maintainer asks for does not come here", "error", err)
		q.urgent = nil
	}
	return q, ctx.Err()
}

// next waits some time for a job. It returns nil when none came. One at a time: a
// job waiting in a buffer here could be built elsewhere.
func (q queue) next(ctx context.Context) (jetstream.Msg, error) {
	wait := fetchWait
	if q.urgent != nil {
		batch, err := q.urgent.FetchNoWait(1)
		if err != nil {
			return nil, fmt.Errorf("fetch job: %w", err)
		}
		if m, err := one(ctx, batch); m != nil || err != nil {
			return m, err
		}
		wait = urgentPoll
	}
	batch, err := q.jobs.Fetch(1, jetstream.FetchMaxWait(wait))
	if err != nil {
		return nil, fmt.Errorf("fetch job: %w", err)
	}
	return one(ctx, batch)
}

func one(ctx context.Context, batch jetstream.MessageBatch) (jetstream.Msg, error) {
	select {
	case <-ctx.Done():
		return nil, nil
	case m, ok := <-batch.Messages():
		if ok {
			return m, nil
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return nil, fmt.Errorf("fetch job: %w", err)
	}
	return nil, nil
}
