package act

import (
	"bytes"
	"slices"

	"quorate/quorum/statement"
)

// Why [Chain.Next] refuses an act.
const (
	CodeRepeated  statement.Code = "act-repeated"  // the same act once more: it has had its effect
	CodeOutOfDate statement.Code = "act-outdated"  // somebody held or released in between
	CodeNotHeld   statement.Code = "act-not-held"  // there is no hold to release
	CodeWithdrawn statement.Code = "act-withdrawn" // the subject was withdrawn, which is for ever
)

// Chain is how far the holds and releases of one subject have come. The zero value
// is a subject that nobody acted on.
type Chain struct {
	Head      statement.SHA256 // id of the newest hold or release; zero: none
	Held      bool             // the head is a hold
	Withdrawn bool
}

// Next says what the chain is after an act on its subject, or refuses the act. The
// acts of a subject come in the order of the record, those already in it left out;
// so everybody who has the record has the same chain, whoever carried an act and
// however often.
//
// A hold or release counts only if it names the newest one before it. So none that
// was recorded before, and none that was signed before somebody else acted, has an
// effect.
func (c Chain) Next(a *Act, id statement.SHA256) (Chain, error) {
	switch {
	case c.Withdrawn && (a.Kind.Chained() || a.Kind == Withdraw):
		return c, refuse(CodeWithdrawn, "", "it was withdrawn before, which no %s changes", a.Kind)
	case a.Kind == Withdraw:
		c.Withdrawn = true
	case !a.Kind.Chained():
	case a.After != c.Head:
		return c, refuse(CodeOutOfDate, "after", "it follows %s, and the newest hold or release is %s", short(a.After), short(c.Head))
	case a.Kind == Release && !c.Held:
		return c, refuse(CodeNotHeld, "", "there is no hold to release")
	default:
		c.Head, c.Held = id, a.Kind == Hold
	}
	return c, nil
}

func short(id statement.SHA256) string {
	if id == (statement.SHA256{}) {
		return "none"
	}
	return id.String()[:12]
}

// Standing picks, of a set of verified acts, those that keep the artifact from
// being signed: every withdrawal that covers it, and every hold that covers it and
// that no hold or release of the set on the same subject follows. Order and
// repetition change nothing. For acts that a [Chain] took it says what the chain
// says; a set in which something is missing can only hold more.
//
// The result is sorted by id.
func Standing(acts []*Signed, c statement.Case, artifact string) []*Signed {
	type link struct {
		s     Subject
		after statement.SHA256
	}
	followed := map[link]bool{}
	for _, a := range acts {
		if a.Kind.Chained() {
			followed[link{a.Subject, a.After}] = true
		}
	}
	var out []*Signed
	for _, a := range acts {
		stands := a.Kind == Withdraw || a.Kind == Hold && !followed[link{a.Subject, a.ID()}]
		if stands && a.Covers(c, artifact) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *Signed) int { return compareIDs(a.ID(), b.ID()) })
	return slices.CompactFunc(out, func(a, b *Signed) bool { return a.ID() == b.ID() })
}

func compareIDs(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) }
