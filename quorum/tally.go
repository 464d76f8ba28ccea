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

	several  []bool    // operators of which several builders speak
	answered []bool    // operators that said anything
	noVote   []*NoVote // the operator's latest answer without a vote, nil if a vote came later
	set      []bool    // scratch of votersFor
	place    []int     // scratch of group: operator -> group
	needs    variant   // what votes must be alike in besides SHA-256
	carrier  *File     // fill found it: a vote of the variant that carries the group that passes
	least    int       // operators that the quorum needs at least
	arrivals []arrival // the counted votes, in the order of their arrival
	seen     map[statement.SHA256]struct{}

	// Room that many artifacts share: one piece of memory is cheaper than hundreds.
	ballots []ballot
	members []Member
	groups  []Group // scratch of group
}

// slot is what is known of one artifact.
type slot struct {
	name      string
	ballots   []ballot // one for each operator of the roster
	signed    *Signature
	after     []later // what came after the signature
	undone    []later // votes for the signed digest that were gone before it was recorded
	changed   []Change
	late      []Late
	revoked   []Member
	beside    []beside
	withdrawn bool // a vote on this file was taken back
}

// ballot is an operator's vote that counts.
type ballot struct {
	file *File // nil: none
	obs  *Observation
}

// arrival is one statement that counted.
type arrival struct {
	op  int
	obs *Observation
}

// later is what an operator said besides the ballot that counts. A withdrawal
// has no file.
type later struct {
	op int
	ballot
}

func newTally(ch *policy.Channel, obs []Observation, signed map[string]Signature, at time.Time) *tally {
	d := &tally{ch: ch, at: at,
		index:    make(map[string]int, len(ch.Roster)),
		answered: make([]bool, len(ch.Roster)),
		noVote:   make([]*NoVote, len(ch.Roster)),
		set:      make([]bool, len(ch.Roster)),
		place:    make([]int, len(ch.Roster)),
		least:    ch.Rule.MinPass(),
		needs:    variantOf(ch),
		seen:     make(map[statement.SHA256]struct{}, 2*len(obs)),
	}
	for i, name := range ch.Roster {
		d.index[name] = i
	}
	d.findSeveral(obs)
	d.reserve(obs, len(signed))
	for name, s := range signed {
		d.slot(name).signed = &s
	}
	for i := range obs {
		d.add(&obs[i])
	}
	slices.SortStableFunc(d.arrivals, func(a, b arrival) int { return a.obs.Received.Compare(b.obs.Received) })
	return d
}

// reserve makes room for as many artifacts as the longest statement names.
func (d *tally) reserve(obs []Observation, n int) {
	for i := range obs {
		n = max(n, len(obs[i].Files))
	}
	d.slots, d.named = make([]slot, 0, n), make(map[string]int, n)
	d.ballots = make([]ballot, n*len(d.ch.Roster))
	d.arrivals = make([]arrival, 0, len(obs))
}

// slot returns the artifact's slot. The pointer is good until the next call.
func (d *tally) slot(name string) *slot {
	i, ok := d.named[name]
	if !ok {
		i = len(d.slots)
		d.named[name] = i
		d.slots = append(d.slots, slot{name: name, ballots: d.newBallots()})
	}
	return &d.slots[i]
}

// newBallots takes a slot's ballots out of the room, and makes more when that is
// used up.
func (d *tally) newBallots() []ballot {
	n := len(d.ch.Roster)
	if len(d.ballots) < n {
		d.ballots = make([]ballot, n)
	}
	list := d.ballots[:n:n]
	d.ballots = d.ballots[n:]
	return list
}

// slotAt is slot for the i-th file of a statement. Builders tend to list their
// files in the same order, so the slot is mostly found without the map.
func (d *tally) slotAt(i int, name string) *slot {
	if i < len(d.slots) && d.slots[i].name == name {
		return &d.slots[i]
	}
	return d.slot(name)
}

// add counts one statement. Statements must come in the order of the record.
func (d *tally) add(o *Observation) {
	op, ok := d.index[o.Operator]
	if !ok {
		return // not in this quorum: no say, whoever it is
	}
	if d.again(o) {
		return
	}
	if !o.Revoked.IsZero() && !d.at.Before(o.Revoked) {
		// A stolen key can write any date into a statement, so from the
		// revocation on nothing that it signed counts.
		for i := range o.Files {
			d.slot(o.Files[i].Name).revoke(member(o))
		}
		return
	}
	d.answered[op] = true
	if o.Status == "" {
		d.noVote[op] = nil
		d.arrivals = append(d.arrivals, arrival{op, o})
		for i := range o.Files {
			d.vote(d.slotAt(i, o.Files[i].Name), op, o, &o.Files[i])
		}
		return
	}
	d.noVote[op] = &NoVote{o.Operator, o.Builder, o.Status, o.Reason, o.ID}
	if o.Status == statement.Withdrawn {
		d.withdraw(op, o)
	}
}

// again reports whether the statement was counted before. Whoever carries
// statements can put an old one into another envelope; counted anew it would
// bring back a vote that its operator has since changed or withdrawn.
func (d *tally) again(o *Observation) bool {
	for _, id := range [...]statement.SHA256{o.ID, o.Payload} {
		if id == (statement.SHA256{}) {
			continue
		}
		if _, twice := d.seen[id]; twice {
			return true
		}
		d.seen[id] = struct{}{}
	}
	return false
}

func (d *tally) vote(s *slot, op int, o *Observation, f *File) {
	if d.several[op] {
		s.keepBeside(op, ballot{f, o})
	}
	if s.signed != nil && o.Seq > s.signed.Seq {
		s.after = append(s.after, later{op, ballot{f, o}})
		return
	}
	old := &s.ballots[op]
	if old.file != nil {
		same := old.file.SHA256 == f.SHA256 && old.file.SHA512 == f.SHA512
		if same && d.needs.sameSignables(old.file, f) || old.file.saysMore(f) {
			return // said again: the vote keeps its first arrival, so the settle time does not start anew
		}
		if !same && !f.saysMore(old.file) || d.needs.contradicts(old.file, f) { // else a digest or a signable came, or a signable went
			s.change(old, o, f)
			s.undo(op, old, ballot{f, o})
		}
	}
	*old = ballot{f, o}
}

// change keeps the first and the latest change of an operator: what a verdict
// holds must not grow with every statement that one key signs.
func (s *slot) change(old *ballot, o *Observation, f *File) {
	c := Change{Operator: o.Operator, Builder: o.Builder, From: old.file.SHA256, To: f.SHA256, Earlier: old.obs.ID}
	first := true
	for i := range s.changed {
		switch {
		case s.changed[i].Operator != o.Operator:
		case first:
			first = false
		default:
			c.More = s.changed[i].More + 1
			s.changed = append(slices.Delete(s.changed, i, i+1), c)
			return
		}
	}
	s.changed = append(s.changed, c)
}

// dissent keeps the first that an operator says against the signature.
func (s *slot) dissent(l Late) {
	for i := range s.late {
		if s.late[i].Operator == l.Operator {
			s.late[i].More++
			return
		}
	}
	s.late = append(s.late, l)
}

// revoke keeps one vote of each builder whose key is revoked.
func (s *slot) revoke(m Member) {
	if !slices.ContainsFunc(s.revoked, func(r Member) bool { return r.Builder == m.Builder }) {
		s.revoked = append(s.revoked, m)
	}
}

// undo keeps that a vote for the digest that is signed further on was gone by
// then: the signer cannot have known.
func (s *slot) undo(op int, old *ballot, by ballot) {
	if s.signed != nil && old.file.SHA256 == s.signed.SHA256 {
		s.undone = append(s.undone, later{op, by})
	}
}

// withdraw takes back an operator's votes on the whole case. After a signature
// it can no longer do that; then it is dissent.
func (d *tally) withdraw(op int, o *Observation) {
	for i := range d.slots {
		s := &d.slots[i]
		b := &s.ballots[op]
		s.beside = slices.DeleteFunc(s.beside, func(b beside) bool { return b.op == op })
		switch {
		case s.signed != nil && o.Seq > s.signed.Seq:
			s.after = append(s.after, later{op, ballot{nil, o}})
		case b.file != nil:
			s.withdrawn = true
			s.undo(op, b, ballot{nil, o})
			*b = ballot{}
		}
	}
}

// afterSignature judges what the signature did not take into account. Nothing of
// it touches a vote for the signed digest; who confirms it late is counted with
// those who agree, and who differs is kept as dissent.
func (d *tally) afterSignature(s *slot) {
	want, vote := s.signed.SHA512, d.carried(s, s.signed.SHA256, &d.needs)
	if want == (statement.SHA512{}) {
		want = d.carriedSHA512(s, s.signed.SHA256)
	}
	d.passedOver(s)
	for _, l := range s.after {
		old := &s.ballots[l.op]
		switch {
		case l.file == nil && (old.file == nil || old.file.SHA256 != s.signed.SHA256):
		case l.file == nil, l.file.SHA256 != s.signed.SHA256:
			s.dissent(l.late())
		case isOther(l.file.SHA512, want):
			late := l.late()
			late.OtherSHA512 = other(l.file)
			s.dissent(late)
		case vote != nil && d.needs.contradicts(l.file, vote):
			late := l.late()
			late.Signables = d.dissentOf(l.file, &Group{Signables: d.needs.digests(vote)})
			s.dissent(late)
		case old.file == nil:
			*old = l.ballot
		case old.file.SHA256 != l.file.SHA256:
			s.change(old, l.obs, l.file)
			*old = l.ballot
		case old.file.SHA512 == l.file.SHA512 && !d.needs.complete(old.file) && d.needs.complete(l.file):
			*old = l.ballot // what is missing for an output that is still to be signed
		}
	}
}

// passedOver finds dissent that was recorded before the signature and should
// have stopped it. It arrived while the signer was asked, or whoever asked left
// it out of the request; either way nobody must have to look for it.
func (d *tally) passedOver(s *slot) {
	missed := make([]*later, len(s.ballots))
	if !d.ch.Rule.Passes(d.votersFor(s, s.signed.SHA256)) {
		for i := range s.undone {
			missed[s.undone[i].op] = &s.undone[i]
		}
	}
	hold := d.ch.Dissent == policy.DissentHold
	for op, b := range s.ballots {
		switch {
		case b.file != nil && b.file.SHA256 == s.signed.SHA256: // it came back
		case missed[op] != nil:
			s.dissent(missed[op].late())
		case b.file != nil && hold:
			s.dissent((&later{op, b}).late())
		}
	}
}

// late writes it as dissent.
func (l *later) late() Late {
	if l.file == nil {
		return Late{Member: member(l.obs), Withdrawn: true}
	}
	return Late{Member: member(l.obs), SHA256: l.file.SHA256}
}

func (d *tally) explainSilence(op int, s *slot, v *Verdict) {
	switch {
	case slices.ContainsFunc(s.late, func(l Late) bool { return (!l.Withdrawn || l.More > 0) && l.Operator == d.ch.Roster[op] }):
		// It spoke on the file, too late to count.
	case !d.answered[op]:
		v.Missing = append(v.Missing, d.ch.Roster[op])
	case d.noVote[op] != nil:
		v.NoVotes = append(v.NoVotes, *d.noVote[op])
	default:
		v.Silent = append(v.Silent, d.ch.Roster[op])
	}
}

// votersFor marks the places in the roster of those who vote for the digest. The
// result is good until the next call.
func (d *tally) votersFor(s *slot, digest statement.SHA256) []bool {
	for op := range s.ballots {
		f := s.ballots[op].file
		d.set[op] = f != nil && f.SHA256 == digest
	}
	return d.set
}

func member(o *Observation) Member {
	return Member{Operator: o.Operator, Builder: o.Builder, Statement: o.ID, Received: o.Received}
}
