package coordinator

import (
	"context"
	"errors"
	"fmt"

	"quorate/coordinator/store"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// serveBus answers questions on the bus until ctx ends.
func (c *Coordinator) serveBus(ctx context.Context) error {
	stopHave, err := c.conn.ServeHave(c.have)
	if err != nil {
		return err
	}
	defer stopHave()
	stop, err := c.conn.ServeRedrive(c.redrive)
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return ctx.Err()
}

// have answers which statements are on this coordinator's disk. Only what is
// committed counts: the agent throws its copy away.
func (c *Coordinator) have(_ string, data []byte) ([]byte, error) {
	q, err := wire.ParseHaveRequest(data)
	if err != nil {
		return nil, err
	}
	a := wire.HaveAnswer{Version: quorum.Version, Recorded: []statement.SHA256{}, Rejected: []wire.Rejection{}}
	found, err := c.db.Admissions(q.Statements)
	if err != nil {
		return nil, fmt.Errorf("look up statements: %w", err)
	}
	for _, id := range q.Statements {
		switch adm, ok := found[id]; {
		case !ok:
		case adm.Rejected:
			a.Rejected = append(a.Rejected, wire.Rejection{Statement: id, Code: adm.Code, Message: adm.Message})
		default:
			a.Recorded = append(a.Recorded, id)
		}
	}
	return wire.Encode(&a)
}

// redrive answers with how many questions are asked again, or why none are.
func (c *Coordinator) redrive(data []byte) ([]byte, error) {
	n, err := c.Redrive(data)
	a := wire.RedriveAnswer{Asked: n}
	if err != nil {
		a.Error = err.Error()
	}
	return wire.Encode(&a)
}

// Redrive makes the open questions that a [wire.Redrive] names due now, whatever
// was answered before, and returns how many there are.
func (c *Coordinator) Redrive(data []byte) (int, error) {
	r, err := wire.ParseRedrive(data)
	if err != nil {
		return 0, err
	}
	cs := statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}
	var n int
	err = c.db.Update(func(tx *store.Tx) (err error) {
		n, err = tx.Redrive(store.NewCaseID(cs), r.Artifact, c.now())
		return err
	})
	if err != nil {
		c.log.Error("redrive failed", "error", err)
		return 0, errors.New("the coordinator's database failed")
	}
	c.log.Info("asked to ask again", "channel", r.Channel, "target", r.Target, "stage", r.Stage, "artifact", r.Artifact, "requests", n)
	c.wakeAsk()
	return n, nil
}
