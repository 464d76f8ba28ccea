package main

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// replay feeds events and remembers what they led to.
type replay struct {
	juror *juror
	blobs *blobs
	name  string

	now     map[string]*filed // path of a list -> what is there now
	cases   map[group]*replayCase
	changes []replayChange
	seq     uint64

	arrived, counted, replaced, withdrawn int
}

// filed is a list that lies at a path, with its signature.
type filed struct {
	list, signature string // blob ids; empty: not there
	found           *found // as it was judged; nil: not yet
}

func newReplay(j *juror, b *blobs, name string) *replay {
	return &replay{juror: j, blobs: b, name: name, now: map[string]*filed{}, cases: map[group]*replayCase{}}
}

// commit takes the events that arrived together.
func (r *replay) commit(events []event) error {
	var touched []string
	for i := range events {
		e := &events[i]
		list, isSignature := strings.CutSuffix(e.path, guixsigs.SignatureSuffix)
		if !strings.HasSuffix(list, guixsigs.Suffix) {
			continue // a key, a policy
		}
		if r.now[list] == nil {
			r.now[list] = &filed{}
		}
		if isSignature {
			r.now[list].signature = e.blob
		} else {
			r.now[list].list = e.blob
		}
		if !slices.Contains(touched, list) {
			touched = append(touched, list)
		}
	}
	for _, path := range touched {
		e := events[0]
		e.path = path
		r.arrive(&e, r.now[path])
	}
	return nil
}

// arrive judges what is at a path after it was touched.
func (r *replay) arrive(e *event, f *filed) {
	old := f.found
	if f.found = nil; f.list == "" {
		r.withdraw(e, old)
		return
	}
	if f.signature == "" {
		return // it comes with a later commit
	}
	b, err := r.bundle(e, f)
	if err != nil {
		say("rejected: %s: %s: %v", stamp(e.at), render.Text(e.path), err)
		return
	}
	r.arrived++
	f.found = r.read(b, e)
	r.supersede(e, old, f.found)
	if f.found.err != nil {
		say("rejected: %s: %s: %v", stamp(e.at), render.Text(e.path), f.found.err)
		return
	}
	r.counted++
	r.count(e, f.found, func(c evidence.Case) quorum.Observation { return f.found.vote.Observe(f.found.statement, c) })
}

func (r *replay) bundle(e *event, f *filed) (b evidence.Bundle, err error) {
	b.Kind, b.Path = evidence.GuixSigs, e.path
	if b.Body, err = r.blobs.read(f.list); err == nil {
		b.Signature, err = r.blobs.read(f.signature)
	}
	return b, err
}

// replayChange is a statement that was replaced or withdrawn. It is part of the
// interface.
type replayChange struct {
	Type    string    `json:"type"` // replaced or withdrawn
	At      time.Time `json:"at"`
	Path    string    `json:"path"`
	Commit  string    `json:"commit"`
	Counted bool      `json:"counted"` // the earlier statement counted
	Files   int       `json:"files"`   // that the earlier statement named
	Changed int       `json:"changed"` // digests that the later one changes
	Dropped int       `json:"dropped"` // files that the later one does not name
	Differs int       `json:"differs"` // digests that were not those of the largest group then
}

// supersede notes that a statement took another one's place.
func (r *replay) supersede(e *event, old, by *found) {
	if old == nil || old.statement == nil {
		return
	}
	r.replaced++
	c := r.change("replaced", e, old)
	if by.statement != nil {
		digest := map[string]statement.SHA256{}
		for _, a := range by.statement.Artifacts {
			digest[a.Name] = a.SHA256
		}
		for _, a := range old.statement.Artifacts {
			if d, there := digest[a.Name]; !there {
				c.Dropped++
			} else if d != a.SHA256 {
				c.Changed++
			}
		}
	}
	r.changes = append(r.changes, c)
}

func (r *replay) change(what string, e *event, old *found) replayChange {
	c := replayChange{Type: what, At: e.at, Path: e.path, Commit: e.commit, Counted: old.err == nil, Files: len(old.statement.Artifacts)}
	for _, oc := range old.naming.Cases(old.statement) {
		for _, ch := range r.channels(oc.Target) {
			if cs := r.cases[group{ch.Name, oc.Target, oc.Stage}]; cs != nil {
				c.Differs = cs.differs(oc.Files)
			}
		}
	}
	return c
}

// withdraw notes that a list was deleted, and takes its votes back.
func (r *replay) withdraw(e *event, old *found) {
	if old == nil || old.statement == nil {
		return
	}
	r.withdrawn++
	r.changes = append(r.changes, r.change("withdrawn", e, old))
	if old.err != nil {
		return
	}
	r.count(e, old, func(evidence.Case) quorum.Observation {
		o := old.vote.Observe(old.statement, evidence.Case{})
		o.ID, o.Status = sha256.Sum256([]byte("withdrawn\n"+e.commit+"\n"+e.path)), statement.Withdrawn
		return o
	})
}

func (r *replay) channels(target string) (list []*policy.Channel) {
	for _, ch := range r.juror.policy.Channels {
		if ch.Matches(target) {
			list = append(list, ch)
		}
	}
	return list
}

// count adds an observation to every case that the statement is about.
func (r *replay) count(e *event, f *found, observe func(evidence.Case) quorum.Observation) {
	for _, c := range f.naming.Cases(f.statement) {
		for _, ch := range r.channels(c.Target) {
			if ch.Index(f.vote.Builder.Operator) < 0 {
				continue
			}
			g := group{ch.Name, c.Target, c.Stage}
			if r.cases[g] == nil {
				r.cases[g] = &replayCase{group: g, channel: unsigned(ch), signed: map[string]quorum.Signature{}, history: map[string]*history{}}
			}
			r.seq++
			o := observe(c)
			o.Seq, o.Received = r.seq, e.at
			r.cases[g].add(o)
		}
	}
}

func (r *replay) sorted() []*replayCase {
	return slices.SortedFunc(maps.Values(r.cases), func(a, b *replayCase) int { return a.group.compare(b.group) })
}

// replayCase is one target with what arrived for it so far.
type replayCase struct {
	group   group
	channel *policy.Channel
	obs     []quorum.Observation
	signed  map[string]quorum.Signature
	latest  []quorum.Verdict
	history map[string]*history
}

// history is how the verdict on one artifact went.
type history struct {
	first time.Time // the first statement that names it
	steps []replayStep
}

// replayStep is a change of the verdict.
type replayStep struct {
	State quorum.State `json:"state"`
	At    time.Time    `json:"at"`
}

func (c *replayCase) add(o quorum.Observation) {
	c.settle(o.Received)
	for _, f := range o.Files {
		if c.history[f.Name] == nil {
			c.history[f.Name] = &history{first: o.Received}
		}
	}
	c.obs = append(c.obs, o)
	c.decide(o.Received)
}

// settle lets the settle times end that end before the time.
func (c *replayCase) settle(now time.Time) {
	for {
		var next time.Time
		for i := range c.latest {
			if u := c.latest[i].Until; !u.IsZero() && !u.After(now) && (next.IsZero() || u.Before(next)) {
				next = u
			}
		}
		if next.IsZero() {
			return
		}
		c.decide(next)
	}
}

// decide judges the case. What is agreed is signed at once; the record goes on
// behind it.
func (c *replayCase) decide(at time.Time) {
	c.latest = quorum.Decide(c.channel, c.obs, c.signed, at)
	agreed := false
	for i := range c.latest {
		v := &c.latest[i]
		c.history[v.Artifact].step(v.State, at)
		if v.State == quorum.Agreed {
			c.signed[v.Artifact] = quorum.Signature{SHA256: v.SHA256, Seq: c.obs[len(c.obs)-1].Seq, Complete: true}
			agreed = true
		}
	}
	if agreed {
		c.latest = quorum.Decide(c.channel, c.obs, c.signed, at)
	}
}

// step notes a change of the verdict. That what was agreed is signed is none.
func (h *history) step(s quorum.State, at time.Time) {
	if n := len(h.steps); s != quorum.Signed && (n == 0 || h.steps[n-1].State != s) {
		h.steps = append(h.steps, replayStep{s, at})
	}
}

// differs counts the files whose digest is not that of the largest group.
func (c *replayCase) differs(files []quorum.File) (n int) {
	for _, f := range files {
		for i := range c.latest {
			if v := &c.latest[i]; v.Artifact == f.Name && len(v.Groups) > 0 && v.Groups[0].SHA256 != f.SHA256 {
				n++
			}
		}
	}
	return n
}
