package coordinator

import (
	"fmt"
	"slices"
	"time"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// eventsKept is how many changes a reader may miss and still resume.
const eventsKept = 10_000

// decision is what one transaction of deciding did, for the world outside of the
// database. It is used after the commit only.
type decision struct {
	cases  int
	events int
	ask    bool // questions or alarms wait
	told   told
}

// decideSome reconsiders up to limit cases and reports whether any are left. The
// marks are taken away in the transaction that stores the verdicts, the events,
// the alarms and the plan to ask: a crash before the commit decides again.
func (c *Coordinator) decideSome(limit int) (left bool, err error) {
	now := c.now()
	var d decision
	err = c.db.Update(func(tx *store.Tx) error {
		d = decision{}
		began := time.Now()
		defer func() { c.deciding = round{time.Since(began), time.Now()} }()
		cases, err := tx.Dirty(limit)
		if err != nil {
			return err
		}
		d.cases = len(cases)
		for _, cs := range cases {
			if err := c.decideCase(tx, cs, now, &d); err != nil {
				return fmt.Errorf("case %s: %w", cs.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("decide: %w", err)
	}
	d.told.log(c.log)
	if d.events > 0 {
		c.newEvents()
	}
	if d.ask {
		c.wakeAsk()
	}
	return d.cases == limit, nil
}

func (c *Coordinator) decideCase(tx *store.Tx, cs store.Case, now time.Time, d *decision) error {
	ch := c.policy.Channel(cs.Channel)
	if ch == nil {
		return c.forget(tx, cs, d) // the policy dropped the channel
	}
	obs, err := tx.Observations(cs.ID)
	if err != nil {
		return err
	}
	sigs, err := tx.Signatures(cs.ID, "")
	if err != nil {
		return err
	}
	list, stops, err := stops(tx, cs.Case)
	if err != nil {
		return err
	}
	parts, err := tx.PartialBatches(cs.ID)
	if err != nil {
		return err
	}
	signed := signedBy(ch, sigs, parts)
	verdicts := quorum.Decide(ch, obs, signed, now, stops...)
	if len(verdicts) == 0 && len(obs) == 0 {
		return c.forget(tx, cs, d)
	}
	if err := c.storeVerdicts(tx, cs, verdicts, d); err != nil {
		return err
	}
	if err := c.alarmActs(tx, cs, list, signed, d); err != nil {
		return err
	}
	p := planner{c: c, tx: tx, cs: cs, ch: ch, sigs: byArtifact(sigs), now: now}
	if err := p.plan(verdicts); err != nil {
		return err
	}
	d.ask = d.ask || p.due
	for _, v := range p.refused {
		// The verdict is the same, but whoever waits for it should hear of the no.
		if err := c.tell(tx, cs, v, before{v.State, v.Reason}, d); err != nil {
			return err
		}
	}
	sum := summarise(verdicts, obs, sigs)
	sum.Listing = listing(verdicts, obs, sigs)
	return tx.Decided(cs, sum)
}

// forget drops the verdicts on a case of which nothing is left.
func (c *Coordinator) forget(tx *store.Tx, cs store.Case, d *decision) error {
	if err := c.storeVerdicts(tx, cs, nil, d); err != nil {
		return err
	}
	return tx.Forget(cs.ID)
}

// signedBy says what the record holds of signatures: one digest for each
// artifact, in the record since its first signature. A batch of which parts are
// missing is one that is not complete.
func signedBy(ch *policy.Channel, sigs, partial []store.Signature) map[string]quorum.Signature {
	signed := map[string]quorum.Signature{}
	have := map[string][]policy.Output{}
	for _, s := range sigs {
		have[s.Artifact] = append(have[s.Artifact], s.Output)
	}
	for _, s := range slices.Concat(sigs, partial) {
		q, known := signed[s.Artifact]
		if !known || s.Seq < q.Seq {
			q = quorum.Signature{SHA256: s.Digests.SHA256, SHA512: q.SHA512, Seq: s.Seq}
		}
		if q.SHA512 == (statement.SHA512{}) {
			q.SHA512 = s.Digests.SHA512 // formats that need none are signed without it
		}
		signed[s.Artifact] = q
	}
	for name, q := range signed {
		q.Complete = !slices.ContainsFunc(ch.Sign, func(o policy.Output) bool { return !slices.Contains(have[name], o) })
		signed[name] = q
	}
	return signed
}

// storeVerdicts writes what changed, and tells of it.
func (c *Coordinator) storeVerdicts(tx *store.Tx, cs store.Case, verdicts []quorum.Verdict, d *decision) error {
	old, states, err := tx.Verdicts(cs.ID)
	if err != nil {
		return err
	}
	for i := range verdicts {
		v := &verdicts[i]
		encoded, err := store.EncodeVerdict(v)
		if err != nil {
			return err
		}
		was := old[v.Artifact]
		delete(old, v.Artifact)
		if was == encoded {
			continue
		}
		if err := c.storeVerdict(tx, cs, v, before{states[v.Artifact], store.ReasonOf(was)}, encoded, d); err != nil {
			return err
		}
	}
	for name := range old {
		if err := tx.RemoveVerdict(cs.ID, name); err != nil {
			return err
		}
	}
	return nil
}

// before is what a verdict takes the place of.
type before struct {
	state  quorum.State // empty: there was none
	reason quorum.Reason
}

func (c *Coordinator) storeVerdict(tx *store.Tx, cs store.Case, v *quorum.Verdict, was before, encoded string, d *decision) error {
	if err := tx.PutVerdict(cs.ID, v, encoded); err != nil {
		return err
	}
	for _, digest := range digestsOf(v) {
		if err := tx.AddDigest(digest, cs.ID, v.Artifact); err != nil {
			return err
		}
	}
	for _, digest := range digests512Of(v) {
		if err := tx.AddSHA512(digest, cs.ID, v.Artifact); err != nil {
			return err
		}
	}
	if err := c.tell(tx, cs, v, was, d); err != nil {
		return err
	}
	d.told.verdict(cs, v, was.state)
	if err := c.reportDissent(tx, cs, v); err != nil {
		return err
	}
	return c.alarmLate(tx, cs, v, d)
}

// tell writes an event for those who listen.
func (c *Coordinator) tell(tx *store.Tx, cs store.Case, v *quorum.Verdict, was before, d *decision) error {
	d.events++
	return c.addEvent(tx, &api.Event{Channel: cs.Channel, Target: cs.Target, Stage: cs.Stage, TargetID: cs.ID.String(),
		Artifact: v.Artifact, State: v.State, Was: was.state, Reason: v.Reason, WasReason: was.reason, Digests: digestsOf(v)})
}

// alarmLate raises an alarm for each operator that dissents after the signature:
// one, whatever else its key goes on to say.
func (c *Coordinator) alarmLate(tx *store.Tx, cs store.Case, v *quorum.Verdict, d *decision) error {
	for _, late := range v.Late {
		message := fmt.Sprintf("operator %q differs on %q after it was signed: %s", late.Operator, v.Artifact, late.SHA256)
		if late.Withdrawn {
			message = fmt.Sprintf("operator %q withdrew its vote on %q after it was signed", late.Operator, v.Artifact)
		}
		isNew, err := c.raise(tx, cs.Case, v.Artifact, alarmLateDissent, message, late.Operator)
		if err != nil {
			return err
		}
		d.ask = d.ask || isNew
	}
	return nil
}

// maxDigests bounds the digests of an artifact that are told at once.
const maxDigests = 256

// digestsOf lists the digests that were voted for, the agreed one first.
func digestsOf(v *quorum.Verdict) []statement.SHA256 {
	var list []statement.SHA256
	add := func(d statement.SHA256) {
		if len(list) < maxDigests && d != (statement.SHA256{}) && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	add(v.SHA256)
	for _, g := range v.Groups {
		add(g.SHA256)
	}
	for _, l := range v.Late {
		add(l.SHA256)
	}
	for _, ch := range v.Changed {
		add(ch.From)
	}
	return list
}

// pressing orders states by how much they ask for a person.
var pressing = []quorum.State{quorum.Disputed, quorum.Conflicting, quorum.Unreachable, quorum.Held,
	quorum.Agreed, quorum.Waiting, quorum.Withdrawn, quorum.Signed}

func summarise(verdicts []quorum.Verdict, obs []quorum.Observation, sigs []store.Signature) store.Summary {
	s := store.Summary{State: quorum.Waiting, Counts: map[quorum.State]int{}}
	for i := range verdicts {
		s.Counts[verdicts[i].State]++
	}
	if i := slices.IndexFunc(pressing, func(p quorum.State) bool { return s.Counts[p] > 0 }); i >= 0 {
		s.State = pressing[i]
	}
	for i := range obs {
		if obs[i].Received.After(s.Updated) {
			s.Updated = obs[i].Received
		}
	}
	for i := range sigs {
		if len(obs) == 0 && sigs[i].SignedAt.After(s.Updated) {
			s.Updated = sigs[i].SignedAt
		}
	}
	return s
}
