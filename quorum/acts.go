package quorum

import (
	"fmt"
	"slices"
	"time"

	"quorate/quorum/act"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// MaxActs bounds the acts of one request.
const MaxActs = 64

// Why [AdmitAct] refuses an act that is well-formed, beside the codes of [Admit].
const (
	CodeUnknownMaintainer statement.Code = "unknown-maintainer"
	CodeNoRight           statement.Code = "no-right"
)

// Stop is an act that stands in the way of an artifact.
type Stop struct {
	Act      statement.SHA256 `json:"act"`
	Kind     act.Kind         `json:"kind"` // hold or withdraw
	By       string           `json:"by"`   // the maintainer
	Reason   string           `json:"reason"`
	Received time.Time        `json:"received,omitzero"`
	Artifact string           `json:"-"` // empty: every artifact of the case
}

// AdmitAct decides whether an act may have an effect under the policy, as of the
// time it was received: its signature verifies, the key is a maintainer's, who has
// the right in that channel, and the target belongs to the channel. Whether it
// follows what was said before is for [act.Chain].
//
// The error is always an [*act.Error].
func AdmitAct(p *policy.Policy, s *act.Signed, received time.Time) (*policy.Maintainer, error) {
	ch := p.Channel(s.Channel)
	switch {
	case ch == nil:
		return denyAct(CodeUnknownChannel, "channel", "the policy has no channel %q", s.Channel)
	case s.Target != "" && !ch.Matches(s.Target):
		return denyAct(CodeTargetChannel, "target", "%q matches no target of channel %q", s.Target, ch.Name)
	case s.Time.After(received.Add(MaxSkew)):
		return denyAct(CodeTimeInFuture, "time", "%s is ahead of the time of receipt; is the clock right?", s.Time.Format(time.RFC3339))
	}
	// The key is compared first: verifying costs more, and anybody can sign.
	m := p.MaintainerOf(s.Key())
	if m == nil {
		return denyAct(CodeUnknownMaintainer, "signature", "%s is no maintainer's key in the policy", s.Key().Fingerprint())
	}
	if err := s.Verify(); err != nil {
		return nil, err
	}
	if !ch.May(m.Name, s.Kind) {
		return denyAct(CodeNoRight, "kind", "maintainer %q has no right to %s in channel %q", m.Name, s.Kind, ch.Name)
	}
	if b := p.Builder(s.Builder); s.Builder != "" && (b == nil || ch.Index(b.Operator) < 0) {
		return denyAct(CodeUnknownBuilder, "builder", "channel %q has no builder %q", ch.Name, s.Builder)
	}
	return m, nil
}

func denyAct(c statement.Code, field, format string, args ...any) (*policy.Maintainer, error) {
	return nil, &act.Error{Code: c, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// apply lets acts stand in the way. A hold changes only what would be signed next:
// the other states say more than it does. A withdrawal is for ever; it un-signs
// nothing, so what is signed becomes disputed.
func apply(stops []Stop, v *Verdict, signed bool) {
	var holds, withdrawals []Stop
	for _, s := range stops {
		switch {
		case s.Artifact != "" && s.Artifact != v.Artifact:
		case s.Kind == act.Withdraw:
			withdrawals = append(withdrawals, s)
		default:
			holds = append(holds, s)
		}
	}
	switch {
	case len(withdrawals) > 0:
		v.Stops, v.Needs, v.Until = slices.Concat(withdrawals, holds), nil, time.Time{}
		if v.State == Disputed {
			return // late dissent is the reason already
		}
		v.State, v.Reason = Withdrawn, ReasonStopped
		if signed {
			v.State = Disputed
		}
	case len(holds) > 0 && (v.State == Agreed || v.State == Held):
		v.Stops, v.Until = holds, time.Time{}
		if v.State == Agreed || v.Reason == ReasonSettling {
			v.State, v.Reason = Held, ReasonStopped
		}
	}
}

// checkActs refuses what a maintainer holds or withdrew by the acts in the request.
// One that does not verify is no reason to sign: it may be a hold that somebody
// damaged on the way.
func checkActs(p *policy.Policy, r *Request, at time.Time) *Refusal {
	if len(r.Acts) > MaxActs {
		return refuseRequest(RefuseTooLarge, "request: %d acts, at most %d", len(r.Acts), MaxActs)
	}
	acts, by := make([]*act.Signed, 0, len(r.Acts)), map[statement.SHA256]string{}
	for i, raw := range r.Acts {
		s, err := act.Parse(raw)
		if err != nil {
			return refuseRequest(RefuseEvidence, "acts[%d]: %v", i, err)
		}
		if !s.Covers(r.Case(), r.Artifact) {
			return refuseRequest(RefuseEvidence, "acts[%d]: it is about something else", i)
		}
		m, err := AdmitAct(p, s, at)
		if err != nil {
			return refuseRequest(RefuseEvidence, "acts[%d]: %v", i, err)
		}
		acts, by[s.ID()] = append(acts, s), m.Name
	}
	standing := act.Standing(acts, r.Case(), r.Artifact)
	if len(standing) == 0 {
		return nil
	}
	s := standing[0]
	return refuseRequest(RefuseHeld, "maintainer %q said %s: %.300q", by[s.ID()], s.Kind, s.Reason)
}
