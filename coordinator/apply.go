package coordinator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"quorate/coordinator/store"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Sizes of a batch. A large one writes a page of an index once where several
// small ones write it each time. The bytes bound the memory when statements are
// large.
const (
	batchMessages = 4000
	batchBytes    = 16 << 20
)

// application applies one batch inside one transaction.
type application struct {
	c     *Coordinator
	tx    *store.Tx
	fresh bool // from the stream; otherwise from the record

	dirty   map[store.CaseID]statement.Case
	said    map[saying]*amount
	results map[string]int // by result, for the metrics
	codes   map[statement.Code]int
	alarms  int
	events  int // acts that others should hear of
	jobs    int // that acts ask for
	told    told
	logs    int // of builds that failed

	policies map[statement.SHA256]*policy.Policy // former ones, as they were needed
}

// apply commits the effects of a batch: record, projection, marks for the
// decision, cursor. Before the commit a crash leaves nothing of it, and the
// batch is read again; after it, the marks make the decision happen.
func (c *Coordinator) apply(batch []entry, fresh bool) error {
	a := &application{c: c, fresh: fresh, dirty: map[store.CaseID]statement.Case{}, said: map[saying]*amount{}, policies: map[statement.SHA256]*policy.Policy{},
		results: map[string]int{}, codes: map[statement.Code]int{}}
	started := time.Now()
	err := c.db.Update(func(tx *store.Tx) error {
		a.tx = tx
		return a.run(batch)
	})
	if err != nil {
		return fmt.Errorf("apply messages from %d on: %w", batch[0].Seq, err)
	}
	c.metrics.applied(a, time.Since(started))
	a.told.log(c.log)
	if a.alarms+a.jobs > 0 {
		c.wakeAsk()
	}
	if a.alarms+a.events > 0 {
		c.newEvents()
	}
	if a.logs > 0 {
		signal(c.filesWake)
	}
	return nil
}

func (a *application) run(batch []entry) error {
	for i := range batch {
		if err := a.one(&batch[i]); err != nil {
			return fmt.Errorf("message %d: %w", batch[i].Seq, err)
		}
	}
	for id, c := range a.dirty {
		if err := a.tx.MarkDirty(id, c); err != nil {
			return err
		}
	}
	last := batch[len(batch)-1].Seq
	recorded := last
	if !a.fresh {
		recorded = 0 // stays where it is
	}
	return a.tx.Advance(recorded, last)
}

func (a *application) one(e *entry) error {
	if a.fresh {
		if err := a.count(&e.Message); err != nil {
			return err
		}
		isNew, err := a.record(e)
		if err != nil {
			return err
		}
		if !isNew {
			return a.repeated(e)
		}
	}
	if e.First > 0 {
		return a.repeated(e)
	}
	if e.refusal == nil && e.answer != nil {
		if err := a.answer(e); err != nil {
			return err
		}
	}
	if e.refusal == nil && e.act != nil {
		if err := a.act(e); err != nil {
			return err
		}
	}
	if e.refusal == nil && e.stmt != nil {
		var err error
		if e.refusal, err = a.tooMany(store.NewCaseID(e.stmt.Case), &e.obs); err != nil {
			return err
		}
	}
	added := 0
	if e.brought != nil {
		var err error
		if added, err = a.brought(e); err != nil {
			return err
		}
	}
	if e.refusal != nil {
		a.results[resultRejected]++
		a.codes[e.refusal.code]++
		if a.fresh {
			a.told.rejected(e)
		}
		return a.tx.Reject(e.Seq, e.refusal.code, strings.ToValidUTF8(e.refusal.message, "\uFFFD"))
	}
	if e.brought != nil && added == 0 {
		a.results[resultRepeated]++ // another importer brought it before
		return nil
	}
	a.results[resultAccepted]++
	if e.stmt == nil {
		return nil
	}
	if wantsLog(e.stmt) {
		a.logs++
		if err := a.c.wantLog(a.tx, e.stmt, e.Received); err != nil {
			return err
		}
	}
	return a.add(e.stmt.Case, &e.obs, e.stmt.Started, e.stmt.Finished)
}

// repeated changes nothing, but for one thing: an answer that was rejected because
// the record lacked a statement which it names is judged again. The signer gives the
// same bytes whenever it is asked, and the statement may have come meanwhile: agents
// send again what a restored coordinator has lost.
func (a *application) repeated(e *entry) error {
	a.results[resultRepeated]++
	if e.refusal != nil || e.answer == nil || e.answer.Refusal != nil {
		return nil
	}
	code, err := a.tx.Rejected(e.SHA256)
	if err != nil || code != CodeUnknownArtifact {
		return err
	}
	return a.answer(e)
}

func (a *application) record(e *entry) (isNew bool, err error) {
	if e.foreign {
		return true, a.tx.AddForeign(&e.Message)
	}
	return a.tx.AddMessage(&e.Message)
}

// project brings the projection up to the end of the record. After a change of
// policy or certificates that is all of it, otherwise nothing.
func (c *Coordinator) project(ctx context.Context) error {
	cur, err := c.db.Cursor()
	if err != nil {
		return err
	}
	for after := cur.Projected; ctx.Err() == nil; {
		messages, err := c.db.Messages(after, batchMessages, batchBytes)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			return c.db.Update(func(tx *store.Tx) error { return tx.Advance(0, cur.Recorded) })
		}
		batch := make([]entry, len(messages))
		for i := range messages {
			batch[i].Message = messages[i]
		}
		if err := c.examine(batch); err != nil {
			return err
		}
		if err := c.apply(batch, false); err != nil {
			return err
		}
		after = batch[len(batch)-1].Seq
	}
	return ctx.Err()
}
