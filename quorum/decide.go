package quorum

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// State is the verdict on one artifact.
type State string

// The verdicts.
const (
	Waiting     State = "waiting"     // too few builds yet
	Agreed      State = "agreed"      // enough independent builds gave these bytes
	Conflicting State = "conflicting" // two or more digests, and one of them can still pass
	Unreachable State = "unreachable" // no digest can pass any more
	Held        State = "held"        // agreed, but the settle time or the dissent rule holds it back
	Signed      State = "signed"      // the signatures exist
	Disputed    State = "disputed"    // signed, and somebody differed afterwards
	Withdrawn   State = "withdrawn"   // every vote was taken back
)

// States lists all verdicts.
var States = []State{Waiting, Agreed, Conflicting, Unreachable, Held, Signed, Disputed, Withdrawn}

// Observation is an admitted statement (see [Admit]) and its place in the record.
type Observation struct {
	ID       statement.SHA256 // a second observation with the same one changes nothing
	Payload  statement.SHA256 // nor does one of the same payload in another envelope; zero: not known
	Operator string
	Builder  string
	Seq      uint64    // place in the total order of the record
	Received time.Time // when the record took it in; zero where that is not known
	Revoked  time.Time // from when on the statement's key is revoked; zero: never
	Status   statement.Status
	Reason   string
	Files    []File
}

// File is one vote: the digests that a statement gives for an artifact.
type File struct {
	Name   string
	SHA256 statement.SHA256
	SHA512 statement.SHA512

	Signables []SignableDigest // in the order of the names
}

// Signature is what the record says was signed for an artifact.
type Signature struct {
	SHA256   statement.SHA256
	SHA512   statement.SHA512 // zero: found out from the votes
	Seq      uint64           // place in the record of the first signature: later votes change nothing
	Complete bool             // every output of the channel exists
}

// Verdict is the decision on one artifact, with everything that led to it.
type Verdict struct {
	Artifact string           `json:"artifact"`
	State    State            `json:"state"`
	SHA256   statement.SHA256 `json:"sha256,omitzero"` // the agreed or signed digest
	SHA512   statement.SHA512 `json:"sha512,omitzero"`
	// Signables are what is agreed besides, of those that the channel signs.
	Signables []SignableDigest `json:"signables,omitempty"`
	Groups    []Group          `json:"groups"`                // digests and who gave them, largest first
	Silent    []string         `json:"silent,omitempty"`      // operators that answered but did not list this file
	NoVotes   []NoVote         `json:"noVotes,omitempty"`     // operators that answered without a vote
	Missing   []string         `json:"missing,omitempty"`     // operators that did not answer
	Changed   []Change         `json:"changed,omitempty"`     // votes that were replaced by another digest
	Beside    []Beside         `json:"beside,omitempty"`      // what was given by builders whose operator's vote is by another one
	Late      []Late           `json:"late,omitempty"`        // dissent after the signature, or passed over by it
	Revoked   []Member         `json:"revoked,omitempty"`     // votes that no longer count: the key is revoked
	Stops     []Stop           `json:"stops,omitempty"`       // acts of maintainers that give the state, or would
	Reason    Reason           `json:"reason"`                // why the state is what it is
	Needs     []Need           `json:"needs,omitempty"`       // what would make it agreed
	Since     time.Time        `json:"since,omitzero"`        // when the quorum was complete
	Until     time.Time        `json:"until,omitzero"`        // held by the settle time until then
	Quorum    string           `json:"quorum"`                // name of the rule
	Diverge   bool             `json:"allDifferent,omitzero"` // several digests, no two operators alike
}

// Group is one digest and the operators that voted for it.
type Group struct {
	SHA256  statement.SHA256 `json:"sha256"`
	SHA512  statement.SHA512 `json:"sha512"`
	Passes  bool             `json:"passes"` // meets the quorum
	Members []Member         `json:"members"`
	// Signables are those that the channel signs, as the group's quorum gives them.
	Signables []SignableDigest `json:"signables,omitempty"`
}

// Member is an operator's vote.
type Member struct {
	Operator  string           `json:"operator"`
	Builder   string           `json:"builder"`
	Statement statement.SHA256 `json:"statement"`
	Received  time.Time        `json:"received,omitzero"`
	// OtherSHA512 is the vote's SHA-512 where it is not that of the group.
	OtherSHA512 *statement.SHA512 `json:"otherSHA512,omitzero"`
	// Signables is in which signables the vote is not that of the group.
	Signables *SignableDissent `json:"signables,omitzero"`
}

// NoVote is an operator's answer that is no vote.
type NoVote struct {
	Operator  string           `json:"operator"`
	Builder   string           `json:"builder"`
	Status    statement.Status `json:"status"`
	Reason    string           `json:"reason,omitzero"`
	Statement statement.SHA256 `json:"statement"`
}

// Change is an equivocation: one operator, one file, two digests. Of an operator
// that changes its vote again and again, the first and the latest are kept.
type Change struct {
	Operator string           `json:"operator"`
	Builder  string           `json:"builder"`
	From     statement.SHA256 `json:"from"` // the digest that no longer counts
	To       statement.SHA256 `json:"to"`
	Earlier  statement.SHA256 `json:"earlier"`       // the statement that was replaced
	More     int              `json:"more,omitzero"` // changes between the first and this one that are left out
}

// Late is dissent that came after the signature, or that came before it and did
// not stop it although by the channel's rule it should have. Of what an operator
// says, the first is kept.
type Late struct {
	Member
	SHA256    statement.SHA256 `json:"sha256,omitzero"`
	Withdrawn bool             `json:"withdrawn,omitzero"`
	More      int              `json:"more,omitzero"` // what the operator said afterwards
}

// Reason is the rule that gave the state.
type Reason string

// The reasons.
const (
	ReasonTooFew       Reason = "too-few"        // waiting: not enough votes yet
	ReasonDiffer       Reason = "digests-differ" // conflicting: more than one digest, none passes yet
	ReasonTwoPass      Reason = "two-digests-pass"
	ReasonNonePass     Reason = "no-digest-can-pass"
	ReasonMet          Reason = "quorum-met"
	ReasonSettling     Reason = "settling"          // held: the settle time is not over
	ReasonDissent      Reason = "dissent"           // held: an operator of the quorum differs
	ReasonSHA512       Reason = "sha512-differs"    // conflicting or held: alike in SHA-256, not in SHA-512
	ReasonSignable     Reason = "signables-differ"  // conflicting or held: alike in the digests, not in what is signed besides
	ReasonNoSignable   Reason = "signables-missing" // waiting: alike, but too few give what is signed besides
	ReasonSigned       Reason = "signed"
	ReasonPartlySigned Reason = "partly-signed" // agreed, or waiting when votes are gone: some outputs are still to be signed
	ReasonLateDissent  Reason = "late-dissent"
	ReasonWithdrawn    Reason = "withdrawn"
	ReasonStopped      Reason = "maintainer" // held, withdrawn or disputed: a maintainer said so
)

// Need says what would make a digest pass: More operators, the least that do, out of
// From. Each of From has a part in some choice of them that does.
type Need struct {
	SHA256 statement.SHA256 `json:"sha256,omitzero"` // zero: a digest that nobody gave yet
	More   int              `json:"more"`
	From   []string         `json:"from"`
	ByRule bool             `json:"byRule,omitzero"` // not any choice does: groups of the rule say which
}

// Decide judges every artifact of one case. It is a pure function: the channel's
// rule, the statements in the order of the record, what was signed, and the
// reading of a clock give the same verdicts everywhere and at any later time. So do
// the acts of maintainers that stand in the way of the case or of a part of it.
// Verdicts come sorted by the artifact's name.
func Decide(ch *policy.Channel, obs []Observation, signed map[string]Signature, at time.Time, stops ...Stop) []Verdict {
	d := newTally(ch, obs, signed, at)
	order, votes := make([]*slot, len(d.slots)), 0
	for i := range d.slots {
		order[i] = &d.slots[i]
		votes += len(order[i].ballots)
	}
	d.members = make([]Member, 0, votes)
	slices.SortFunc(order, func(a, b *slot) int { return cmp.Compare(a.name, b.name) })
	verdicts := make([]Verdict, len(order))
	for i, s := range order {
		d.judge(s, &verdicts[i])
		apply(stops, &verdicts[i], s.signed != nil)
	}
	return verdicts
}

// judge gives the verdict on one artifact.
func (d *tally) judge(s *slot, v *Verdict) {
	if s.signed != nil {
		d.afterSignature(s)
	}
	*v = Verdict{Artifact: s.name, Quorum: d.ch.Rule.Name, Changed: s.changed, Beside: s.besides(), Late: s.late, Revoked: s.revoked}
	d.group(s, v)
	v.Diverge = len(v.Groups) > 1 && largest(v.Groups) == 1
	groups, others := passing(v)
	switch {
	case s.signed != nil:
		d.judgeSigned(s, v)
	case groups > 1:
		v.State, v.Reason = Conflicting, ReasonTwoPass
	case groups == 1:
		d.judgePassing(s, v, others)
	default:
		d.judgeOpen(s, v)
	}
}

// judgeSigned judges what has a signature. As long as outputs are to come, the
// votes must still carry them: keys may have been revoked in the meantime.
func (d *tally) judgeSigned(s *slot, v *Verdict) {
	v.SHA256, v.SHA512 = s.signed.SHA256, s.signed.SHA512
	if v.SHA512 == (statement.SHA512{}) {
		v.SHA512 = d.carriedSHA512(s, v.SHA256)
	}
	vote := d.carried(s, v.SHA256, &d.needs)
	if vote != nil {
		v.Signables = d.needs.digests(vote)
	}
	switch {
	case len(v.Late) > 0:
		v.State, v.Reason = Disputed, ReasonLateDissent
	case s.signed.Complete:
		v.State, v.Reason = Signed, ReasonSigned
	case vote != nil && (v.SHA512 == vote.SHA512 || !d.needs.sha512):
		v.State, v.Reason = Agreed, ReasonPartlySigned
	default:
		d.findNeeds(s, v)
		v.State, v.Reason = Waiting, ReasonPartlySigned
	}
}

// passing returns how many groups meet the quorum, and how many operators voted
// for something else.
func passing(v *Verdict) (groups, others int) {
	for i := range v.Groups {
		if v.Groups[i].Passes {
			groups++
		} else {
			others += len(v.Groups[i].Members)
		}
	}
	return groups, others
}

func (d *tally) judgePassing(s *slot, v *Verdict, others int) {
	g := &v.Groups[0]
	if d.carrier == nil {
		d.judgeUncarried(s, v, g)
		return
	}
	v.SHA256, v.SHA512, v.Signables, v.Since = g.SHA256, g.SHA512, g.Signables, d.completedAt(s, g)
	settled := v.Since.Add(d.ch.Settle)
	hold := d.ch.Dissent == policy.DissentHold
	switch {
	case hold && others > 0:
		v.State, v.Reason = Held, ReasonDissent
	case hold && d.needs.sha512 && differOnSHA512(g):
		v.State, v.Reason = Held, ReasonSHA512
	case hold && differOnSignables(g):
		v.State, v.Reason = Held, ReasonSignable
	case d.ch.Settle > 0 && !v.Since.IsZero() && d.at.Before(settled):
		v.State, v.Reason, v.Until = Held, ReasonSettling, settled
	default:
		v.State, v.Reason = Agreed, ReasonMet
	}
}

// judgeOpen is for an artifact of which no digest passes.
func (d *tally) judgeOpen(s *slot, v *Verdict) {
	d.findNeeds(s, v)
	switch {
	case len(v.Groups) == 0 && s.withdrawn:
		v.State, v.Reason = Withdrawn, ReasonWithdrawn
	case len(v.Needs) == 0:
		v.State, v.Reason = Unreachable, ReasonNonePass
	case len(v.Groups) > 1:
		v.State, v.Reason = Conflicting, ReasonDiffer
	default:
		v.State, v.Reason = Waiting, ReasonTooFew
	}
}

// findNeeds lists what would make a digest pass. Whoever has no vote on the file
// may still give one, a failed build may be repeated; whoever voted stays by it.
func (d *tally) findNeeds(s *slot, v *Verdict) {
	can := make([]bool, len(d.ch.Roster))
	for i := range s.ballots {
		can[i] = s.ballots[i].file == nil
	}
	for i := range v.Groups {
		if n, ok := d.need(d.votersFor(s, v.Groups[i].SHA256), can); ok {
			n.SHA256 = v.Groups[i].SHA256
			v.Needs = append(v.Needs, n)
		}
	}
	if len(v.Needs) > 0 {
		return
	}
	if n, ok := d.need(make([]bool, len(can)), can); ok {
		v.Needs = append(v.Needs, n)
	}
}

// need finds the least number of operators out of can that would have to join the
// set; false: all of them would not do.
func (d *tally) need(set, can []bool) (Need, bool) {
	n := Need{More: d.ch.Rule.Missing(set, can), From: []string{}}
	if n.More < 0 {
		return n, false
	}
	who, anyOf := d.ch.Rule.Joining(set, can)
	for i, in := range who {
		if in {
			n.From = append(n.From, d.ch.Roster[i])
		}
	}
	n.ByRule = !anyOf
	return n, true
}

// completedAt returns when the vote arrived that completed the quorum, or the
// zero time when arrivals are not known.
func (d *tally) completedAt(s *slot, g *Group) time.Time {
	clear(d.set)
	n := 0
	for _, a := range d.arrivals {
		b := &s.ballots[a.op]
		if b.obs != a.obs || b.file.SHA256 != g.SHA256 || !d.needs.alike(b.file, d.carrier) {
			continue
		}
		d.set[a.op] = true
		if n++; n >= d.least && d.ch.Rule.Passes(d.set) {
			return a.obs.Received
		}
	}
	return time.Time{}
}

// compareGroups orders by what passes, by size, and by digest.
func compareGroups(a, b Group) int {
	switch {
	case a.Passes && !b.Passes:
		return -1
	case b.Passes && !a.Passes:
		return 1
	}
	if c := cmp.Compare(len(b.Members), len(a.Members)); c != 0 {
		return c
	}
	return bytes.Compare(a.SHA256[:], b.SHA256[:])
}

func largest(groups []Group) (n int) {
	for i := range groups {
		n = max(n, len(groups[i].Members))
	}
	return n
}
