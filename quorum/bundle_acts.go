package quorum

import (
	"errors"
	"slices"
	"time"

	"quorate/quorum/act"
	"quorate/quorum/policy"
)

// BundleAct is what an act in an evidence file comes to under somebody's own policy.
type BundleAct struct {
	Act    *act.Signed // nil if it cannot be read
	By     string      // the maintainer; empty if it does not count
	Err    error       // why it does not count
	Stands bool        // it is a withdrawal, or a hold that no act of the file released
}

// Against reports whether the act says that the file should not have been signed, or
// should no longer be used, given the time of the signature: a withdrawal always, a
// hold if it was said before and stands. A hold that was said afterwards stops only what
// is not signed yet.
//
// The time of an act is its maintainer's word, like that of a signature.
func (a *BundleAct) Against(signed time.Time) bool {
	return a.Stands && (a.Act.Kind == act.Withdraw || !a.Act.Time.After(signed))
}

// JudgeActs verifies the acts of an evidence file by p. Whoever made the file may have
// left acts out: that there are none says nothing.
func (b *Bundle) JudgeActs(p *policy.Policy) []BundleAct {
	out := make([]BundleAct, len(b.Acts))
	var counting []*act.Signed
	for i, raw := range b.Acts {
		if out[i] = b.judgeAct(p, raw); out[i].Err == nil {
			counting = append(counting, out[i].Act)
		}
	}
	standing := act.Standing(counting, b.Request.Case(), b.Request.Artifact)
	for i := range out {
		a := &out[i]
		a.Stands = a.Err == nil && slices.ContainsFunc(standing, func(s *act.Signed) bool { return s.ID() == a.Act.ID() })
	}
	return out
}

func (b *Bundle) judgeAct(p *policy.Policy, raw []byte) (a BundleAct) {
	if a.Act, a.Err = act.Parse(raw); a.Err != nil {
		return a
	}
	if !a.Act.Covers(b.Request.Case(), b.Request.Artifact) {
		a.Err = errors.New("it is about something else")
		return a
	}
	// When it was received nobody can prove; the record did not take it before its time.
	m, err := AdmitAct(p, a.Act, a.Act.Time)
	if err != nil {
		a.Err = err
		return a
	}
	a.By = m.Name
	return a
}
