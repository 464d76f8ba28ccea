package sigcheck

import (
	"fmt"
	"strings"

	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// The notations that say inside of an OpenPGP signature why it was made. The
// domain is reserved for names that are no domain (RFC 2606): it promises no site.
const (
	notationDomain = "@quorate.invalid"

	NotationChannel  = "channel" + notationDomain
	NotationTarget   = "target" + notationDomain
	NotationPolicy   = "policy" + notationDomain   // version and digest
	NotationQuorum   = "quorum" + notationDomain   // such as "distro 2 of 3"; for people
	NotationEvidence = "evidence" + notationDomain // digest of the evidence set
)

// MaxNotation keeps a signature packet near a kilobyte. Only a target can be
// longer; the evidence digest stands for its whole text.
const MaxNotation = 256

// Notations are those by which a signature is tied to one question: the signer
// writes them, [CheckNotations] wants them. [NotationQuorum] is for people only.
func Notations(channel, target string, p quorum.PolicyRef, evidence statement.SHA256) []pgpsig.Notation {
	return []pgpsig.Notation{
		{Name: NotationChannel, Value: clipNotation(channel)},
		{Name: NotationTarget, Value: clipNotation(target)},
		{Name: NotationPolicy, Value: fmt.Sprintf("%d sha256:%s", p.Version, p.Digest)},
		{Name: NotationEvidence, Value: evidence.String()},
	}
}

// CheckNotations wants each notation exactly once and with that value. Without it
// a public signature of yesterday would be good for any other target whose
// builders are brought to vote for yesterday's file.
func CheckNotations(have, want []pgpsig.Notation) error {
	for _, w := range want {
		var values []string
		for _, h := range have {
			if h.Name == w.Name {
				values = append(values, h.Value)
			}
		}
		switch {
		case len(values) != 1:
			return fmt.Errorf("notation %s stands in the signature %d times", w.Name, len(values))
		case values[0] != w.Value:
			return fmt.Errorf("notation %s says %.80q, want %.80q", w.Name, values[0], w.Value)
		}
	}
	return nil
}

// clipNotation shortens a text and shows that it did.
func clipNotation(s string) string {
	const cut = "..."
	if len(s) <= MaxNotation {
		return s
	}
	return strings.ToValidUTF8(s[:MaxNotation-len(cut)], "") + cut // no half character
}
