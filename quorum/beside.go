package quorum

import (
	"cmp"
	"slices"

	"quorate/quorum/statement"
)

// Beside is what a builder gave whose operator's vote is by another of its builders.
// It has no part in the verdict: it shows that an operator's machines agree, or do
// not.
type Beside struct {
	Member
	SHA256 statement.SHA256 `json:"sha256"`
}

// besides tells of operators whose builders differ from each other, unless it is
// told as late dissent.
func (v *Verdict) besides(say func(format string, args ...any)) {
	shown, more := told(v.Beside) // before they are compared with all else
	for _, b := range shown {
		late := slices.ContainsFunc(v.Late, func(l Late) bool { return l.Builder == b.Builder && l.SHA256 == b.SHA256 })
		if late || v.voteOf(b.Operator) == b.SHA256 {
			continue
		}
		say("Builder %s of %s gave %s; that is not the vote of %s, which is by another of its builders.",
			safeName(b.Builder), safeName(b.Operator), v.Short(b.SHA256), safeName(b.Operator))
	}
	left(say, more, "other builder")
}

// voteOf returns the digest that counts for an operator, or zero.
func (v *Verdict) voteOf(operator string) statement.SHA256 {
	for i := range v.Groups {
		if slices.ContainsFunc(v.Groups[i].Members, func(m Member) bool { return m.Operator == operator }) {
			return v.Groups[i].SHA256
		}
	}
	return statement.SHA256{}
}

// beside is the latest that one builder of an operator with several said of a file.
type beside struct {
	op int
	ballot
}

// findSeveral marks the operators of which several builders speak.
func (d *tally) findSeveral(obs []Observation) {
	first := make([]string, len(d.ch.Roster))
	d.several = make([]bool, len(d.ch.Roster))
	for i := range obs {
		op, ok := d.index[obs[i].Operator]
		switch {
		case !ok:
		case first[op] == "":
			first[op] = obs[i].Builder
		case first[op] != obs[i].Builder:
			d.several[op] = true
		}
	}
}

// keepBeside keeps the latest of each builder.
func (s *slot) keepBeside(op int, b ballot) {
	i := slices.IndexFunc(s.beside, func(have beside) bool { return have.op == op && have.obs.Builder == b.obs.Builder })
	if i < 0 {
		s.beside = append(s.beside, beside{op, b})
		return
	}
	s.beside[i].ballot = b
}

// besides lists what was given beside the votes that count.
func (s *slot) besides() (list []Beside) {
	slices.SortFunc(s.beside, func(a, b beside) int {
		return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.obs.Builder, b.obs.Builder))
	})
	for _, b := range s.beside {
		if vote := s.ballots[b.op]; vote.file != nil && vote.obs.Builder != b.obs.Builder {
			list = append(list, Beside{member(b.obs), b.file.SHA256})
		}
	}
	return list
}
