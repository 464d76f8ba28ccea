package hsmsigner

import (
	"fmt"
	"strings"

	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// The notations that say inside of a signature why it was made. The domain is
// reserved for names that are no domain (RFC 2606): it promises no site.
const (
	notationDomain = "@quorate.invalid"

	NotationChannel  = "channel" + notationDomain
	NotationTarget   = "target" + notationDomain
	NotationPolicy   = "policy" + notationDomain   // version and digest
	NotationQuorum   = "quorum" + notationDomain   // such as "distro 2 of 3"
	NotationEvidence = "evidence" + notationDomain // digest of the evidence set
)

// maxNotation keeps a signature packet near a kilobyte. Only a target can be
// longer; its whole text is in the evidence.
const maxNotation = 256

// notations are a function of the permit alone: equal requests under equal
// policies give equal bytes as far as the key allows it.
func notations(p *permit) []pgpsig.Notation {
	r, v := p.approval.Request(), p.approval.Verdict()
	return []pgpsig.Notation{
		{Name: NotationChannel, Value: clip(r.Channel, maxNotation)},
		{Name: NotationTarget, Value: clip(r.Target, maxNotation)},
		{Name: NotationPolicy, Value: fmt.Sprintf("%d sha256:%s", p.policy.Version, p.policy.Digest)},
		{Name: NotationQuorum, Value: fmt.Sprintf("%s %d of %d", v.Quorum, agreeing(r, v), len(p.channel.Roster))},
		{Name: NotationEvidence, Value: p.approval.EvidenceDigest().String()},
	}
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
