package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Codes of the alarms about acts.
const (
	alarmSignedWhileHeld = "signed-while-held"
	alarmWithdrawn       = "withdrawn-after-signature"
)

// examineAct says of an act what can be said without the others. Bytes that are no
// act at all do not take the identity of what they are: whoever may write here
// could otherwise make somebody's statement a repetition.
func (e *entry) examineAct(p *policy.Policy, channel string) {
	s, err := act.Parse(e.Raw)
	if err != nil {
		e.foreign = true
		e.refuse(err)
		return
	}
	if s.Channel != channel {
		e.foreign, e.refusal = true, refuse(quorum.CodeSubjectMismatch, "act about channel %q was published on %s", s.Channel, e.Subject)
		return
	}
	m, err := quorum.AdmitAct(p, s, e.Received)
	if err != nil {
		e.refuse(err)
		return
	}
	e.act, e.maintainer = s, m.Name
}

// isAct reports whether bytes that are no good on their own subject are an act: it
// stays possible to say it on the right one.
func isAct(raw []byte) bool {
	_, err := act.Parse(raw)
	return err == nil
}

// act takes an act into the projection if it follows what was said before. It sets
// e.refusal when it does not.
func (a *application) act(e *entry) error {
	s := e.act
	repeated, err := a.tx.HasAct(s.ID())
	if err != nil {
		return err
	}
	if repeated {
		e.refusal = refuse(act.CodeRepeated, "act %s is in the record already", s.ID())
		return nil
	}
	chain, err := a.tx.Chain(s.Subject)
	if err != nil {
		return err
	}
	next, err := chain.Next(&s.Act, s.ID())
	if err != nil {
		e.refuse(err)
		return nil
	}
	row := &store.Act{Seq: e.Seq, ID: s.ID(), Message: e.SHA256, Kind: s.Kind, Subject: s.Subject, Builder: s.Builder, Maintainer: e.maintainer,
		Fingerprint: s.Key().Fingerprint(), Reason: s.Reason, Said: s.Time.UTC(), Received: e.Received, After: s.After,
		Stands: s.Kind == act.Hold || s.Kind == act.Withdraw}
	if err := a.tx.AddAct(row, next); err != nil {
		return err
	}
	if err := a.actEffects(row); err != nil {
		return err
	}
	if !a.fresh {
		return nil // whoever listens heard of it the first time
	}
	a.events++
	return a.c.addEvent(a.tx, &api.Event{Channel: s.Channel, Target: s.Target, Stage: s.Stage, TargetID: targetID(s.Subject), Artifact: s.Artifact, Act: toAct(row)})
}

// actEffects marks what has to be decided again, and what has to be built again.
func (a *application) actEffects(row *store.Act) error {
	switch s := row.Subject; {
	case row.Kind == act.Rebuild:
		// The stream of jobs keeps them for a week. An older job was done, or was
		// given up, long before this database read of it.
		old := a.c.now().Sub(row.Received) > bus.JobsKept
		isNew, err := a.tx.AddRebuild(row.ID, row.Seq, old)
		if isNew && !old {
			a.jobs++
		}
		return err
	case row.Kind == act.Note:
		return nil
	case s.Target == "":
		return a.tx.MarkChannel(s.Channel)
	default:
		a.dirty[store.NewCaseID(s.Case())] = s.Case()
		return nil
	}
}

func (c *Coordinator) addEvent(tx *store.Tx, e *api.Event) error {
	e.At = c.now().UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tx.AddEvent(body, eventsKept)
}

// targetID is empty for a whole channel.
func targetID(s act.Subject) string {
	if s.Target == "" {
		return ""
	}
	return store.NewCaseID(s.Case()).String()
}

// standing is an act that stands in the way, and since when.
type standing struct {
	quorum.Stop
	seq uint64
}

// stops reads what stands in the way of a case.
func stops(tx *store.Tx, c statement.Case) (list []standing, stops []quorum.Stop, err error) {
	rows, err := tx.Standing(c)
	for _, r := range rows {
		s := quorum.Stop{Act: r.ID, Kind: r.Kind, By: r.Maintainer, Reason: r.Reason, Received: r.Received, Artifact: r.Subject.Artifact}
		list, stops = append(list, standing{s, r.Seq}), append(stops, s)
	}
	return list, stops, err
}

// stopped reports whether an act stands in the way of an artifact.
func stopped(tx *store.Tx, c statement.Case, artifact string) (bool, error) {
	list, _, err := stops(tx, c)
	return slices.ContainsFunc(list, func(s standing) bool { return s.Artifact == "" || s.Artifact == artifact }), err
}

// alarmActs raises an alarm for a signature that a hold should have kept from being
// made, and for a withdrawal of what is signed. The first happens when a question
// was under way already, or when whoever asked left the hold out.
func (c *Coordinator) alarmActs(tx *store.Tx, cs store.Case, list []standing, signed map[string]quorum.Signature, d *decision) error {
	for artifact, sig := range signed {
		for _, s := range list {
			code, message := "", ""
			switch {
			case s.Artifact != "" && s.Artifact != artifact:
			case s.Kind == act.Withdraw:
				code, message = alarmWithdrawn, fmt.Sprintf("maintainer %q withdrew %q after it was signed: %q", s.By, artifact, s.Reason)
			case s.seq < sig.Seq:
				code, message = alarmSignedWhileHeld, fmt.Sprintf("%q was signed although maintainer %q holds it: %q", artifact, s.By, s.Reason)
			}
			if code == "" {
				continue
			}
			isNew, err := c.raise(tx, cs.Case, artifact, code, message, s.Act.String())
			if err != nil {
				return err
			}
			if isNew {
				d.ask = true
				d.events++
			}
		}
	}
	return nil
}

// publishRebuilds publishes the jobs that follow from acts. A crash between
// publishing and the mark publishes one again, under the same id: agents do each id
// once.
func (c *Coordinator) publishRebuilds(ctx context.Context) error {
	due, err := c.db.DueRebuilds(askBatch)
	if err != nil {
		return err
	}
	for _, id := range due {
		a, err := c.db.ActBy(id)
		if err == nil {
			err = c.publishRebuild(ctx, &a)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// Not in the projection any more: the policy took the maintainer away.
			c.log.Warn("job of a rebuild not published", "act", id, "error", err)
			c.alarmLater()
			continue
		}
		if err := c.db.Update(func(tx *store.Tx) error { return tx.RebuildPublished(id) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *Coordinator) publishRebuild(ctx context.Context, a *store.Act) error {
	source, err := c.sourceOf(a.Subject.Case())
	if err != nil {
		return err
	}
	// Every coordinator makes the same id of the act.
	job := &wire.Job{Version: quorum.Version, ID: "rebuild-" + a.ID.String()[:32], Channel: a.Subject.Channel, Target: a.Subject.Target,
		Stage: a.Subject.Stage, Builder: a.Builder, Source: source, Requested: a.Received.Truncate(time.Second)}
	body, err := wire.Encode(job)
	if err != nil {
		return err
	}
	subject, err := bus.UrgentJobSubject(job.Channel)
	if err != nil {
		return err
	}
	if err := c.conn.PublishForCertain(ctx, subject, job.ID, body); err != nil {
		return err
	}
	c.log.Info("asked to build again", "by", a.Maintainer, "channel", job.Channel, "target", job.Target, "builder", job.Builder, "job", job.ID)
	return nil
}

// sourceOf is where the newest statement about the case that says so had its
// source from; nil when none does.
func (c *Coordinator) sourceOf(cs statement.Case) (*statement.Source, error) {
	list, err := c.db.Statements(store.NewCaseID(cs))
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= max(0, len(list)-maxSourceLook); i-- {
		raw, err := c.db.Raw(list[i].ID)
		if err != nil {
			return nil, err
		}
		if s, err := statement.Parse(raw); err == nil && s.Source != nil {
			return s.Source, nil
		}
	}
	return nil, nil
}

// maxSourceLook bounds how many statements are read in search of a source.
const maxSourceLook = 64
