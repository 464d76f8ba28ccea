package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/sourcegraph/conc/pool"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// askBatch is how many questions are read from the database at once.
const askBatch = 32

// askAtOnce is how many questions are on their way to the bus: one is written down
// there while the next ones are encoded. Each may be as large as a message can be.
const askAtOnce = 4

// question is a sign request that is recorded as asked and still to be published.
type question struct {
	request  *quorum.Request
	key      string
	attempts int
	row      store.Request
}

// askDue publishes every alarm and every question that is due. The database says
// which; nothing is remembered outside of it.
func (c *Coordinator) askDue(ctx context.Context) error {
	if err := c.publishAlarms(ctx); err != nil {
		return err
	}
	if err := c.publishRebuilds(ctx); err != nil {
		return err
	}
	if c.policy.Expired(c.now()) {
		return nil // no signer would say yes; /readyz says why nothing happens
	}
	for ctx.Err() == nil {
		due, err := c.db.DueRequests(c.now(), askBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		if err := c.ask(ctx, due); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ask records the attempts and then publishes them. A crash between the two
// leaves a question that counts as asked; when its answer is overdue it is asked
// again. A crash after publishing does the same, and the signer's ledger answers
// with the signature it has.
func (c *Coordinator) ask(ctx context.Context, due []*store.Request) error {
	var questions []*question
	err := c.db.Update(func(tx *store.Tx) error {
		for _, row := range due {
			q, err := c.prepare(tx, row)
			if err != nil {
				return fmt.Errorf("prepare request for %q: %w", row.Artifact, err)
			}
			if q != nil {
				questions = append(questions, q)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	publishing := pool.New().WithErrors().WithMaxGoroutines(askAtOnce)
	for _, q := range questions {
		publishing.Go(func() error { return c.publishQuestion(ctx, q) })
	}
	return publishing.Wait()
}

func (c *Coordinator) publishQuestion(ctx context.Context, q *question) error {
	if err := c.publishRequest(ctx, q); err != nil {
		c.log.Warn("request not published", "artifact", q.row.Artifact, "key", q.key, "attempt", q.attempts, "error", err)
		return c.postpone(q)
	}
	c.metrics.asked(q.attempts)
	c.log.Info("request published", "id", q.request.ID, "artifact", q.row.Artifact, "key", q.key, "attempt", q.attempts)
	return nil
}

// prepare makes the question from what the database says now, which may be more
// than when it was planned. It returns nil when there is nothing to ask.
func (c *Coordinator) prepare(tx *store.Tx, due *store.Request) (*question, error) {
	row, err := tx.Request(due.Case, due.Artifact, due.Key)
	if err != nil || row == nil || row.Next.IsZero() || row.Next.After(c.now()) {
		return nil, err
	}
	r, problem, err := c.request(tx, row)
	if err != nil {
		return nil, err
	}
	if r == nil {
		row.Next, row.Problem = time.Time{}, problem
		return nil, tx.PutRequest(row)
	}
	if row.AskedSeq, err = tx.Projected(); err != nil {
		return nil, err
	}
	row.ID, row.Attempts, row.Asked, row.Problem = r.ID, row.Attempts+1, c.now(), ""
	row.Next = row.Asked.Add(time.Duration(c.config.Retry.Answer) + c.pause(row.Attempts))
	return &question{r, row.Key, row.Attempts, *row}, tx.PutRequest(row)
}

// request builds the sign request. Without one, problem says what a person must
// know, or is empty when the question is no longer open.
func (c *Coordinator) request(tx *store.Tx, row *store.Request) (r *quorum.Request, problem string, err error) {
	v, err := tx.Verdict(row.Case, row.Artifact)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	cs, err := tx.Case(row.Case)
	if err != nil {
		return nil, "", err
	}
	sigs, err := tx.Signatures(row.Case, row.Artifact)
	if err != nil {
		return nil, "", err
	}
	ch := c.policy.Channel(cs.Channel)
	if ch == nil || v.State != quorum.Agreed {
		return nil, "", nil
	}
	outputs := missingOutputs(ch, row.Key, sigs)
	if len(outputs) == 0 {
		return nil, "", nil
	}
	if stopped, err := stopped(tx, cs.Case, row.Artifact); err != nil || stopped {
		return nil, "", err // the verdict says so in a moment
	}
	acts, err := tx.ActMessages(cs.Case, row.Artifact)
	if err != nil {
		return nil, "", err
	}
	stmts, err := c.evidence(tx, cs.Case, v)
	if err != nil {
		return nil, "", err
	}
	if stmts = trim(ch, v, stmts, maxRequest-encodedSize(acts)-signablesSize(v, outputs, stmts)); stmts == nil {
		return nil, "the evidence is too large for one request, even with the fewest votes that meet the quorum", nil
	}
	if r, err = quorum.NewRequest(c.policy, cs.Case, v, outputs, stmts); err != nil {
		return nil, err.Error(), nil
	}
	r.Acts = acts // what was held and released: the signer judges that, too
	return r, "", nil
}

// evidence reads the statements that count, in the order of the record.
func (c *Coordinator) evidence(tx *store.Tx, cs statement.Case, v *quorum.Verdict) ([]*statement.Statement, error) {
	var list []placed
	for _, id := range voters(v) {
		seq, s, err := c.evidenceFor(tx, c.policy, cs, id)
		if err != nil {
			return nil, fmt.Errorf("statement %s: %w", id, err)
		}
		list = append(list, placed{seq, s})
	}
	return byPlace(list), nil
}

func (c *Coordinator) publishRequest(ctx context.Context, q *question) error {
	subjectOf := bus.RequestSubject
	if q.request.IsBatch() {
		subjectOf = bus.BatchSubject
	}
	subject, err := subjectOf(q.key)
	if err != nil {
		return err
	}
	body, err := json.Marshal(q.request, json.Deterministic(true))
	if err != nil {
		return err
	}
	// The attempt is part of the message id: asking again must pass the
	// server's window for repetitions, and two coordinators that ask the same
	// at the same time should not.
	_, err = c.conn.Publish(ctx, subject, fmt.Sprintf("%s-%s-%d", q.request.ID, q.key, q.attempts), body)
	return err
}

// postpone sets the time for the next attempt after a publish that failed.
func (c *Coordinator) postpone(q *question) error {
	return c.db.Update(func(tx *store.Tx) error {
		row, err := tx.Request(q.row.Case, q.row.Artifact, q.row.Key)
		if err != nil || row == nil || row.Next.IsZero() {
			return err
		}
		row.Next = c.now().Add(c.pause(row.Attempts))
		return tx.PutRequest(row)
	})
}

// publishAlarms publishes the alarms that are raised. A crash between publishing
// and the mark publishes one again: rather twice than never.
func (c *Coordinator) publishAlarms(ctx context.Context) error {
	for ctx.Err() == nil {
		due, err := c.db.DueAlarms(askBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, a := range due {
			if err := c.publishAlarm(ctx, a); err != nil {
				c.log.Warn("alarm not published", "channel", a.Channel, "error", err)
				c.alarmLater()
				return nil
			}
		}
	}
	return ctx.Err()
}

func (c *Coordinator) publishAlarm(ctx context.Context, a store.Alarm) error {
	subject, err := bus.AlarmSubject(a.Channel)
	if err != nil {
		return err
	}
	if err := c.conn.PublishForCertain(ctx, subject, a.ID.String(), a.Body); err != nil {
		return err
	}
	c.log.Error("alarm raised", "channel", a.Channel, "alarm", string(a.Body))
	return c.db.Update(func(tx *store.Tx) error { return tx.AlarmPublished(a.ID) })
}
