package quorum

import "quorate/quorum/act"

// stopped says which kind of act gave the verdict.
func (v *Verdict) stopped() string {
	switch v.State {
	case Disputed:
		return "A maintainer withdrew it after it was signed: it is not to be used, although nothing takes the signature back."
	case Withdrawn:
		return "A maintainer withdrew it before it was signed: it is not to be used and will not be signed."
	}
	return "A maintainer holds it."
}

// acts tells who stands in the way, and why.
func (v *Verdict) acts(say func(format string, args ...any)) {
	stops, more := told(v.Stops)
	for _, s := range stops {
		verb := "holds it"
		if s.Kind == act.Withdraw {
			verb = "withdrew it"
		}
		if s.Received.IsZero() {
			say("Maintainer %s %s: %s.", safeName(s.By), verb, quote(s.Reason))
			continue
		}
		say("Maintainer %s %s on %s: %s.", safeName(s.By), verb, stamp(s.Received), quote(s.Reason))
	}
	left(say, more, "act")
}

func (v *Verdict) nextStopped() []string {
	switch v.State {
	case Disputed:
		return []string{"Nothing takes the signature or the withdrawal back. Publish a new version and tell your users."}
	case Withdrawn:
		return []string{"Nothing: a withdrawal is for ever. Build a new version."}
	}
	return []string{"It is agreed when a maintainer releases it: quorate release."}
}
