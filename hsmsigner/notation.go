package hsmsigner

import (
	"fmt"
	"slices"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// The notations that say inside of a signature why it was made. Coordinators want
// to find them there, so their form is written down where both read it.
const (
	NotationChannel  = sigcheck.NotationChannel
	NotationTarget   = sigcheck.NotationTarget
	NotationPolicy   = sigcheck.NotationPolicy
	NotationQuorum   = sigcheck.NotationQuorum
	NotationEvidence = sigcheck.NotationEvidence
)

// notations are a function of the permit alone: equal requests under equal
// policies give equal bytes as far as the key allows it.
func notations(p *permit) []pgpsig.Notation {
	r, v := p.approval.Request(), p.approval.Verdict()
	tie := sigcheck.Notations(r.Channel, r.Target, p.policy, p.approval.EvidenceDigest())
	return append(tie, pgpsig.Notation{Name: NotationQuorum,
		Value: fmt.Sprintf("%s %d of %d", v.Quorum, agreeing(r, v), len(p.channel.Roster))})
}

// agreeing counts the operators that voted for exactly what is signed. In what the
// request does not have nobody can differ.
func agreeing(r *quorum.Request, v quorum.Verdict) int {
	n, none := 0, statement.SHA512{}
	for _, g := range v.Groups {
		for _, m := range g.Members {
			if g.SHA256 == v.SHA256 && (m.OtherSHA512 == nil || r.Digest.SHA512 == none) && givesAll(r, m.Signables) {
				n++
			}
		}
	}
	return n
}

func givesAll(r *quorum.Request, d *quorum.SignableDissent) bool {
	return d == nil || !slices.ContainsFunc(slices.Concat(d.Other, d.Missing), func(name string) bool {
		_, asked := r.Signables[name]
		return asked
	})
}
