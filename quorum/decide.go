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
	ID       statement.SHA256
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
}

// Signature is what the record says was signed for an artifact.
type Signature struct {
	SHA256   statement.SHA256
	Seq      uint64 // place in the record of the first signature: later votes change nothing
	Complete bool   // every output of the channel exists
}

// Verdict is the decision on one artifact, with everything that led to it.
type Verdict struct {
	Artifact string           `json:"artifact"`
	State    State            `json:"state"`
	SHA256   statement.SHA256 `json:"sha256,omitzero"` // the agreed or signed digest
	SHA512   statement.SHA512 `json:"sha512,omitzero"`
	Groups   []Group          `json:"groups"`                // digests and who gave them, largest first
	Silent   []string         `json:"silent,omitempty"`      // operators that answered but did not list this file
	NoVotes  []NoVote         `json:"noVotes,omitempty"`     // operators that answered without a vote
	Missing  []string         `json:"missing,omitempty"`     // operators that did not answer
	Changed  []Change         `json:"changed,omitempty"`     // votes that were replaced by another digest
	Late     []Late           `json:"late,omitempty"`        // dissent after the signature
	Revoked  []Member         `json:"revoked,omitempty"`     // votes that no longer count: the key is revoked
	Reason   Reason           `json:"reason"`                // why the state is what it is
	Needs    []Need           `json:"needs,omitempty"`       // what would make it agreed
	Since    time.Time        `json:"since,omitzero"`        // when the quorum was complete
	Until    time.Time        `json:"until,omitzero"`        // held by the settle time until then
	Quorum   string           `json:"quorum"`                // name of the rule
	Diverge  bool             `json:"allDifferent,omitzero"` // several digests, no two operators alike
}

// Group is one digest and the operators that voted for it.
type Group struct {
	SHA256  statement.SHA256 `json:"sha256"`
	SHA512  statement.SHA512 `json:"sha512"`
	Passes  bool             `json:"passes"` // meets the quorum
	Members []Member         `json:"members"`
}

// Member is an operator's vote.
type Member struct {
	Operator  string           `json:"operator"`
	Builder   string           `json:"builder"`
	Statement statement.SHA256 `json:"statement"`
	Received  time.Time        `json:"received,omitzero"`

	sha512 *statement.SHA512 // of the vote; nil outside of one
}

// NoVote is an operator's answer that is no vote.
type NoVote struct {
	Operator  string           `json:"operator"`
	Builder   string           `json:"builder"`
	Status    statement.Status `json:"status"`
	Reason    string           `json:"reason,omitzero"`
	Statement statement.SHA256 `json:"statement"`
}

// Change is an equivocation: one operator, one file, two digests.
type Change struct {
	Operator string           `json:"operator"`
	Builder  string           `json:"builder"`
	From     statement.SHA256 `json:"from"` // the digest that no longer counts
	To       statement.SHA256 `json:"to"`
	Earlier  statement.SHA256 `json:"earlier"` // the statement that was replaced
}

// Late is dissent that came after the signature.
type Late struct {
	Member
	SHA256    statement.SHA256 `json:"sha256,omitzero"`
	Withdrawn bool             `json:"withdrawn,omitzero"`
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
	ReasonSettling     Reason = "settling" // held: the settle time is not over
	ReasonDissent      Reason = "dissent"  // held: an operator of the quorum differs
	ReasonSHA512       Reason = "sha512-differs"
	ReasonSigned       Reason = "signed"
	ReasonPartlySigned Reason = "partly-signed" // agreed: some outputs are still to be signed
	ReasonLateDissent  Reason = "late-dissent"
	ReasonWithdrawn    Reason = "withdrawn"
)

// Need says what would make a digest pass: More operators out of From.
type Need struct {
	SHA256 statement.SHA256 `json:"sha256,omitzero"` // zero: a digest that nobody gave yet
	More   int              `json:"more"`
	From   []string         `json:"from"`
}

// Decide judges every artifact of one case. It is a pure function: the channel's
// rule, the statements in the order of the record, what was signed, and the
// reading of a clock give the same verdicts everywhere and at any later time.
// Verdicts come sorted by the artifact's name.
func Decide(ch *policy.Channel, obs []Observation, signed map[string]Signature, at time.Time) []Verdict {
	d := newTally(ch, obs, signed, at)
	verdicts := make([]Verdict, len(d.slots))
	for i := range d.slots {
		verdicts[i] = d.judge(&d.slots[i])
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int { return cmp.Compare(a.Artifact, b.Artifact) })
	return verdicts
}

// judge gives the verdict on one artifact.
func (d *tally) judge(s *slot) Verdict {
	v := Verdict{Artifact: s.name, Quorum: d.ch.Rule.Name, Changed: s.changed, Late: s.late, Revoked: s.revoked}
	d.group(s, &v)
	v.Diverge = len(v.Groups) > 1 && len(v.Groups[0].Members) == 1
	if s.signed != nil {
		d.judgeSigned(s, &v)
		return v
	}
	passing, others := d.passing(&v)
	switch {
	case passing > 1:
		v.State, v.Reason = Conflicting, ReasonTwoPass
	case passing == 1:
		d.judgePassing(&v, others)
	default:
		d.judgeOpen(s, &v)
	}
	return v
}

func (d *tally) judgeSigned(s *slot, v *Verdict) {
	v.SHA256 = s.signed.SHA256
	for i := range v.Groups {
		if v.Groups[i].SHA256 == v.SHA256 {
			v.SHA512 = v.Groups[i].SHA512
		}
	}
	switch {
	case len(s.late) > 0:
		v.State, v.Reason = Disputed, ReasonLateDissent
	case !s.signed.Complete:
		v.State, v.Reason = Agreed, ReasonPartlySigned
	default:
		v.State, v.Reason = Signed, ReasonSigned
	}
}

// passing marks the groups that meet the quorum and moves them to the front. It
// returns how many there are, and how many operators voted for something else.
func (d *tally) passing(v *Verdict) (passing, others int) {
	for i := range v.Groups {
		g := &v.Groups[i]
		if g.Passes = d.ch.Rule.Passes(d.setOf(g.Members)); g.Passes {
			passing++
		} else {
			others += len(g.Members)
		}
	}
	slices.SortStableFunc(v.Groups, func(a, b Group) int {
		if a.Passes != b.Passes {
			if a.Passes {
				return -1
			}
			return 1
		}
		return 0
	})
	return passing, others
}

func (d *tally) judgePassing(v *Verdict, others int) {
	g := &v.Groups[0]
	if d.ch.NeedsSHA512() && !d.agreeOnSHA512(g) {
		v.State, v.Reason = Conflicting, ReasonSHA512
		return
	}
	v.SHA256, v.SHA512, v.Since = g.SHA256, g.SHA512, d.completedAt(g)
	settled := v.Since.Add(d.ch.Settle)
	switch {
	case others > 0 && d.ch.Dissent == policy.DissentHold:
		v.State, v.Reason = Held, ReasonDissent
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
	var from []string
	for i, b := range s.ballots {
		if can[i] = b.file == nil; can[i] {
			from = append(from, d.ch.Roster[i])
		}
	}
	for i := range v.Groups {
		if more := d.ch.Rule.Missing(d.setOf(v.Groups[i].Members), can); more >= 0 {
			v.Needs = append(v.Needs, Need{v.Groups[i].SHA256, more, from})
		}
	}
	if len(v.Needs) > 0 {
		return
	}
	if more := d.ch.Rule.Missing(make([]bool, len(can)), can); more >= 0 {
		v.Needs = append(v.Needs, Need{More: more, From: from})
	}
}

// agreeOnSHA512 reports whether one SHA-512 digest in the group meets the quorum
// by itself, and puts it into the group. The signature is made from the SHA-512
// state, so SHA-256 votes alone must not carry it.
func (d *tally) agreeOnSHA512(g *Group) bool {
	for _, candidate := range sha512s(g) {
		set := make([]bool, len(d.ch.Roster))
		for _, m := range g.Members {
			set[d.index[m.Operator]] = *m.sha512 == candidate
		}
		if d.ch.Rule.Passes(set) {
			g.SHA512 = candidate
			return true
		}
	}
	return false
}

// sha512s lists the digests that the group's members gave. Foreign evidence may
// carry none; that is no digest that could be agreed on.
func sha512s(g *Group) (out []statement.SHA512) {
	for _, m := range g.Members {
		if *m.sha512 != (statement.SHA512{}) && !slices.Contains(out, *m.sha512) {
			out = append(out, *m.sha512)
		}
	}
	return out
}

// completedAt returns when the vote arrived that completed the quorum, or the
// zero time when arrivals are not known.
func (d *tally) completedAt(g *Group) time.Time {
	order := slices.Clone(g.Members)
	slices.SortStableFunc(order, func(a, b Member) int { return a.Received.Compare(b.Received) })
	set := make([]bool, len(d.ch.Roster))
	for _, m := range order {
		set[d.index[m.Operator]] = true
		if d.ch.Rule.Passes(set) {
			return m.Received
		}
	}
	return time.Time{}
}

func compareGroups(a, b Group) int {
	if c := cmp.Compare(len(b.Members), len(a.Members)); c != 0 {
		return c
	}
	return bytes.Compare(a.SHA256[:], b.SHA256[:])
}
