package quorum

import (
	"cmp"
	"slices"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// SignableDigest is what a vote says of a signable (see [statement.Signable]).
type SignableDigest struct {
	Name   string           `json:"name"`
	SHA256 statement.SHA256 `json:"sha256"` // of its value
}

// SignableDissent names the signables in which a vote is not that of its group.
// Only those that the channel signs are compared.
type SignableDissent struct {
	Other   []string `json:"other,omitempty"`   // the vote gives another one
	Missing []string `json:"missing,omitempty"` // the vote gives none
}

// Agrees reports whether the vote is for everything that its group stands for.
func (m *Member) Agrees() bool { return m.OtherSHA512 == nil && m.Signables == nil }

// signable returns what the vote says of a signable; zero: nothing.
func (f *File) signable(name string) statement.SHA256 {
	for i := range f.Signables {
		if f.Signables[i].Name == name {
			return f.Signables[i].SHA256
		}
	}
	return statement.SHA256{}
}

// digestsOf are the signables of an artifact as a vote has them.
func digestsOf(a *statement.Artifact) []SignableDigest {
	if len(a.Signables) == 0 {
		return nil
	}
	list := make([]SignableDigest, len(a.Signables))
	for i := range a.Signables {
		list[i] = SignableDigest{a.Signables[i].Name, a.Signables[i].Digest()}
	}
	return list
}

// variant is what votes for one SHA-256 digest must be alike in besides. What a
// signature is made from, and cannot be checked against that digest, must have the
// quorum by itself: else one liar would vote with everybody on SHA-256 and have
// something else signed.
type variant struct {
	sha512    bool
	signables []string
}

func variantOf(ch *policy.Channel) variant {
	return variant{ch.NeedsSHA512(), policy.Signables(ch.Sign)}
}

// complete reports whether the vote gives all of it. Foreign evidence may carry no
// SHA-512; that is no digest to agree on.
func (w *variant) complete(f *File) bool {
	if w.sha512 && f.SHA512 == (statement.SHA512{}) {
		return false
	}
	for _, name := range w.signables {
		if f.signable(name) == (statement.SHA256{}) {
			return false
		}
	}
	return true
}

// alike reports whether two votes for one SHA-256 digest are of one variant.
func (w *variant) alike(a, b *File) bool {
	return a == b || (!w.sha512 || a.SHA512 == b.SHA512) && w.sameSignables(a, b)
}

func (w *variant) sameSignables(a, b *File) bool {
	for _, name := range w.signables {
		if a.signable(name) != b.signable(name) {
			return false
		}
	}
	return true
}

// contradicts reports whether both votes give a signable, and not the same.
func (w *variant) contradicts(a, b *File) bool {
	for _, name := range w.signables {
		if x, y := a.signable(name), b.signable(name); x != y && x != (statement.SHA256{}) && y != (statement.SHA256{}) {
			return true
		}
	}
	return false
}

// digests are the vote's signables of the variant.
func (w *variant) digests(f *File) (list []SignableDigest) {
	for _, name := range w.signables {
		if sum := f.signable(name); sum != (statement.SHA256{}) {
			list = append(list, SignableDigest{name, sum})
		}
	}
	return list
}

// carried returns a vote of the one variant that meets the quorum by itself among
// the votes for a SHA-256 digest. When there are two, which only a channel with
// allow_split lets happen, none is returned.
func (d *tally) carried(s *slot, digest statement.SHA256, w *variant) (found *File) {
	for op := range s.ballots {
		f := s.ballots[op].file
		if f == nil || f.SHA256 != digest || !w.complete(f) || found != nil && w.alike(f, found) {
			continue
		}
		if !d.ch.Rule.Passes(d.votersAlike(s, f, w)) {
			continue
		}
		if found != nil {
			return nil
		}
		found = f
	}
	return found
}

// votersAlike marks the places of those whose vote is of the same variant. The
// result is good until the next call.
func (d *tally) votersAlike(s *slot, f *File, w *variant) []bool {
	for op := range s.ballots {
		b := s.ballots[op].file
		d.set[op] = b != nil && b.SHA256 == f.SHA256 && w.alike(b, f)
	}
	return d.set
}

// onlySHA512 is the variant by which the SHA-512 of a group is found where nothing
// is made from it.
var onlySHA512 = variant{sha512: true}

// carriedSHA512 returns the SHA-512 digest that meets the quorum by itself, or zero.
func (d *tally) carriedSHA512(s *slot, digest statement.SHA256) (sum statement.SHA512) {
	if f := d.carried(s, digest, &onlySHA512); f != nil {
		sum = f.SHA512
	}
	return sum
}

// settleGroup finds what a group that meets the quorum stands for: the variant that
// the quorum carries, and else the first vote's.
func (d *tally) settleGroup(s *slot, g *Group) {
	d.carrier = d.carried(s, g.SHA256, &d.needs)
	switch {
	case d.carrier != nil && d.needs.sha512:
		g.SHA512 = d.carrier.SHA512
	case d.needs.sha512 && len(d.needs.signables) == 0: // has just been looked for
	default:
		if sum := d.carriedSHA512(s, g.SHA256); sum != (statement.SHA512{}) {
			g.SHA512 = sum
		}
	}
	if d.carrier != nil {
		g.Signables = d.needs.digests(d.carrier)
	}
}

// dissentOf compares a vote with what its group stands for.
func (d *tally) dissentOf(f *File, g *Group) *SignableDissent {
	var x SignableDissent
	for _, name := range d.needs.signables {
		sum := f.signable(name)
		switch i := slices.IndexFunc(g.Signables, func(s SignableDigest) bool { return s.Name == name }); {
		case sum == statement.SHA256{}:
			x.Missing = append(x.Missing, name)
		case i < 0: // the first who gives it
			g.Signables = append(g.Signables, SignableDigest{name, sum})
		case g.Signables[i].SHA256 != sum:
			x.Other = append(x.Other, name)
		}
	}
	slices.SortFunc(g.Signables, func(a, b SignableDigest) int { return cmp.Compare(a.Name, b.Name) })
	if len(x.Other)+len(x.Missing) == 0 {
		return nil
	}
	return &x
}

// judgeUncarried is for a digest that meets the quorum and of which no variant does.
func (d *tally) judgeUncarried(s *slot, v *Verdict, g *Group) {
	if d.needs.sha512 && d.carriedSHA512(s, g.SHA256) == (statement.SHA512{}) {
		v.State, v.Reason = Conflicting, ReasonSHA512
		return
	}
	if differOnSignables(g) {
		v.State, v.Reason = Conflicting, ReasonSignable
		return
	}
	if need, ok := d.needSignables(s, g.SHA256); ok {
		v.State, v.Reason, v.Needs = Waiting, ReasonNoSignable, []Need{need}
		return
	}
	v.State, v.Reason = Conflicting, ReasonSHA512 // those with the signables differ in it
}

// needSignables finds who would have to give the signables: whoever has no vote on
// the file, or one for this digest without them.
func (d *tally) needSignables(s *slot, digest statement.SHA256) (Need, bool) {
	can := make([]bool, len(d.ch.Roster))
	need := Need{More: -1}
	for op := range s.ballots {
		f := s.ballots[op].file
		can[op] = f == nil || f.SHA256 == digest && !d.needs.complete(f)
	}
	try := func(set []bool) {
		if n, ok := d.need(set, can); ok && (need.More < 0 || n.More < need.More) {
			need = n
		}
	}
	clear(d.set)
	try(d.set)
	for op := range s.ballots {
		if f := s.ballots[op].file; f != nil && f.SHA256 == digest && d.needs.complete(f) {
			try(d.votersAlike(s, f, &d.needs))
		}
	}
	need.SHA256 = digest
	return need, need.More >= 0
}

func differOnSHA512(g *Group) bool {
	return slices.ContainsFunc(g.Members, func(m Member) bool { return m.OtherSHA512 != nil })
}

func differOnSignables(g *Group) bool {
	return slices.ContainsFunc(g.Members, func(m Member) bool { return m.Signables != nil && len(m.Signables.Other) > 0 })
}
