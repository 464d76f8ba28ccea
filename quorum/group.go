package quorum

import (
	"slices"

	"quorate/quorum/statement"
)

// group sorts the ballots on one artifact into digest groups, those that meet
// the quorum first, and everybody else into silent, without a vote, and missing.
func (d *tally) group(s *slot, v *Verdict) {
	v.Groups = d.groups[:0]
	for op := range s.ballots {
		f := s.ballots[op].file
		d.place[op] = -1
		if f == nil {
			d.explainSilence(op, s, v)
			continue
		}
		d.place[op] = groupOf(v, f)
	}
	d.groups, v.Groups = v.Groups, slices.Clone(v.Groups)
	if len(v.Groups) == 0 {
		v.Groups = nil
	}
	for i := range v.Groups {
		d.fill(s, &v.Groups[i], i)
	}
	slices.SortFunc(v.Groups, compareGroups)
}

// groupOf returns the place of the group that the vote is in.
func groupOf(v *Verdict, f *File) int {
	for i := range v.Groups {
		if v.Groups[i].SHA256 == f.SHA256 {
			return i
		}
	}
	v.Groups = append(v.Groups, Group{SHA256: f.SHA256, SHA512: f.SHA512})
	return len(v.Groups) - 1
}

// fill completes the i-th group. Its SHA-512 is the one that the quorum carries,
// else that of the first vote.
func (d *tally) fill(s *slot, g *Group, i int) {
	for op := range d.place {
		d.set[op] = d.place[op] == i
	}
	if g.Passes = d.ch.Rule.Passes(d.set); g.Passes {
		d.settleGroup(s, g)
	}
	from := len(d.members)
	for op := range d.place {
		if d.place[op] != i {
			continue
		}
		b := &s.ballots[op]
		d.members = append(d.members, member(b.obs))
		if b.file.SHA512 != g.SHA512 && isOther(b.file.SHA512, g.SHA512) {
			d.members[len(d.members)-1].OtherSHA512 = other(b.file)
		}
		if len(d.needs.signables) > 0 {
			d.members[len(d.members)-1].Signables = d.dissentOf(b.file, g)
		}
	}
	g.Members = d.members[from:len(d.members):len(d.members)]
}

// other is a copy: a verdict must not hold on to the votes that led to it.
func other(f *File) *statement.SHA512 {
	sum := f.SHA512
	return &sum
}

// isOther reports whether two votes name different SHA-512 digests. A vote that
// names none differs from nothing.
func isOther(a, b statement.SHA512) bool {
	return a != b && a != (statement.SHA512{}) && b != (statement.SHA512{})
}
