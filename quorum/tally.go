package quorum

import (
	"slices"
	"time"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// tally is the count for one case: who said what of which file.
type tally struct {
	ch    *policy.Channel
	at    time.Time
	index map[string]int // operator -> place in the roster

	slots []slot
	named map[string]int // artifact -> slot

	answered []bool    // operators that said anything
	noVote   []*NoVote // the operator's latest answer without a vote, nil if a vote came later
	set      []bool    // scratch of setOf
}

// slot is what is known of one artifact.
type slot struct {
	name      string
	ballots   []ballot // one for each operator of the roster
	signed    *Signature
	changed   []Change
	late      []Late
	revoked   []Member
	withdrawn bool // a vote on this file was taken back
}

// ballot is an operator's vote that counts.
type ballot struct {
	file *File // nil: none
	obs  *Observation
}

func newTally(ch *policy.Channel, obs []Observation, signed map[string]Signature, at time.Time) *tally {
	d := &tally{ch: ch, at: at,
		index:    make(map[string]int, len(ch.Roster)),
		named:    map[string]int{},
		answered: make([]bool, len(ch.Roster)),
		noVote:   make([]*NoVote, len(ch.Roster)),
		set:      make([]bool, len(ch.Roster)),
	}
	for i, name := range ch.Roster {
		d.index[name] = i
	}
	for name, s := range signed {
		d.slot(name).signed = &s
	}
	for i := range obs {
		d.add(&obs[i])
	}
	return d
}

// slot returns the artifact's slot. The pointer is good until the next call.
func (d *tally) slot(name string) *slot {
	i, ok := d.named[name]
	if !ok {
		i = len(d.slots)
		d.named[name] = i
		d.slots = append(d.slots, slot{name: name, ballots: make([]ballot, len(d.ch.Roster))})
	}
	return &d.slots[i]
}

// add counts one statement. Statements must come in the order of the record.
func (d *tally) add(o *Observation) {
	op, ok := d.index[o.Operator]
	if !ok {
		return // not in this quorum: no say, whoever it is
	}
	if !o.Revoked.IsZero() && !d.at.Before(o.Revoked) {
		// A stolen key can write any date into a statement, so from the
		// revocation on nothing that it signed counts.
		for i := range o.Files {
			s := d.slot(o.Files[i].Name)
			s.revoked = append(s.revoked, member(o))
		}
		return
	}
	d.answered[op] = true
	if o.Status == "" {
		d.noVote[op] = nil
		for i := range o.Files {
			d.vote(d.slot(o.Files[i].Name), op, o, &o.Files[i])
		}
		return
	}
	d.noVote[op] = &NoVote{o.Operator, o.Builder, o.Status, o.Reason, o.ID}
	if o.Status == statement.Withdrawn {
		d.withdraw(op, o)
	}
}

func (d *tally) vote(s *slot, op int, o *Observation, f *File) {
	if s.signed != nil && o.Seq > s.signed.Seq {
		if f.SHA256 != s.signed.SHA256 {
			s.late = append(s.late, Late{Member: member(o), SHA256: f.SHA256})
		}
		return
	}
	old := &s.ballots[op]
	if old.file != nil && old.file.SHA256 == f.SHA256 && old.file.SHA512 == f.SHA512 {
		return // said again: the vote keeps its first arrival, so the settle time does not start anew
	}
	if old.file != nil {
		s.changed = append(s.changed, Change{o.Operator, o.Builder, old.file.SHA256, f.SHA256, old.obs.ID})
	}
	*old = ballot{f, o}
}

// withdraw takes back an operator's votes on the whole case. After a signature
// it can no longer do that; then it is dissent.
func (d *tally) withdraw(op int, o *Observation) {
	for i := range d.slots {
		s := &d.slots[i]
		b := &s.ballots[op]
		switch {
		case b.file == nil:
		case s.signed != nil && o.Seq > s.signed.Seq:
			if b.file.SHA256 == s.signed.SHA256 {
				s.late = append(s.late, Late{Member: member(o), Withdrawn: true})
			}
		default:
			s.withdrawn = true
			*b = ballot{}
		}
	}
}

// group sorts the ballots on one artifact into digest groups, and everybody else
// into silent, without a vote, and missing.
func (d *tally) group(s *slot, v *Verdict) {
	for op, b := range s.ballots {
		if b.file == nil {
			d.explainSilence(op, v)
			continue
		}
		i := slices.IndexFunc(v.Groups, func(g Group) bool { return g.SHA256 == b.file.SHA256 })
		if i < 0 {
			i = len(v.Groups)
			v.Groups = append(v.Groups, Group{SHA256: b.file.SHA256, SHA512: b.file.SHA512,
				Members: make([]Member, 0, len(s.ballots)-op)})
		}
		m := member(b.obs)
		m.sha512 = &b.file.SHA512
		v.Groups[i].Members = append(v.Groups[i].Members, m)
	}
	slices.SortFunc(v.Groups, compareGroups)
}

func (d *tally) explainSilence(op int, v *Verdict) {
	switch {
	case !d.answered[op]:
		v.Missing = append(v.Missing, d.ch.Roster[op])
	case d.noVote[op] != nil:
		v.NoVotes = append(v.NoVotes, *d.noVote[op])
	default:
		v.Silent = append(v.Silent, d.ch.Roster[op])
	}
}

// setOf marks the members' places in the roster. The result is good until the
// next call.
func (d *tally) setOf(members []Member) []bool {
	clear(d.set)
	for i := range members {
		d.set[d.index[members[i].Operator]] = true
	}
	return d.set
}

func member(o *Observation) Member {
	return Member{Operator: o.Operator, Builder: o.Builder, Statement: o.ID, Received: o.Received}
}
