package quorum

import (
	"fmt"
	"time"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// ForeignReader verifies evidence of a kind that package statement does not read
// and says whose vote it is on the case, as of the time. It must believe nothing
// but the policy: not the kind, not the keys that came along, unless the policy
// pins them. The observation's Seq is zero.
type ForeignReader func(p *policy.Policy, e Evidence, c statement.Case, at time.Time) (Observation, error)

// foreign is set once, while the program starts.
var foreign ForeignReader

// RegisterForeign lets requests carry evidence of other kinds. Package
// quorum/evidence/live does it when it is imported; without it every such
// request is refused. A program that could read one kind in two ways would have
// no verdict of its own, so a second registration panics.
func RegisterForeign(read ForeignReader) {
	if foreign != nil {
		panic("quorum: foreign evidence is read twice")
	}
	foreign = read
}

// AdmitEvidence decides whether one piece of evidence may be counted for the
// case: it verifies the bytes again, whoever carried them.
func AdmitEvidence(p *policy.Policy, c statement.Case, e Evidence, at time.Time) (Observation, error) {
	switch {
	case e.Kind != KindDSSE && foreign != nil:
		return foreign(p, e, c, at)
	case e.Kind != KindDSSE:
		return Observation{}, fmt.Errorf("kind %.64q is not known", e.Kind)
	case len(e.Keys) > 0:
		return Observation{}, fmt.Errorf("evidence of kind %q comes with keys, it needs none", e.Kind)
	}
	s, err := statement.Parse(e.Raw)
	if err != nil {
		return Observation{}, err
	}
	if s.Case != c {
		return Observation{}, errOtherCase(s)
	}
	return Admit(p, s, at)
}

func errOtherCase(s *statement.Statement) error {
	return fmt.Errorf("statement %s is about another channel, target or stage", s.ID())
}
