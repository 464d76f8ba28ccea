package hsmsigner

import (
	"fmt"
	"strings"

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

// agreeing counts the operators that voted for exactly what is signed. Where no
// SHA-512 is, nobody can differ in it.
func agreeing(r *quorum.Request, v quorum.Verdict) int {
	n, none := 0, statement.SHA512{}
	for _, g := range v.Groups {
		for _, m := range g.Members {
			if g.SHA256 == v.SHA256 && (m.OtherSHA512 == none || r.Digest.SHA512 == none) {
				n++
			}
		}
	}
	return n
}

// clip shortens a text to n bytes at most and shows that it did.
func clip(s string, n int) string {
	const cut = "..."
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(cut)], "") + cut // no half character
}
