package quorum

import (
	"slices"

	"quorate/quorum/statement"
)

// lacksSHA512 reports whether no two votes for the first digest name different
// SHA-512 digests: then it is not that somebody is wrong, but that too few gave one.
func (v *Verdict) lacksSHA512() bool {
	return v.State == Conflicting && len(v.Groups) > 0 &&
		!slices.ContainsFunc(v.Groups[0].Members, func(m Member) bool { return m.OtherSHA512 != nil })
}

// saysMore reports whether the vote is for the same bytes as another and has the
// SHA-512 that the other lacks. Statements of other kinds often have none; one that
// comes after an agent's must not take the agent's away.
func (f *File) saysMore(o *File) bool {
	none := statement.SHA512{}
	return f.SHA256 == o.SHA256 && f.SHA512 != none && o.SHA512 == none
}

const (
	explainLacks = "They are alike in SHA-256. The channel's signature is made from SHA-512, and too few of them give one: lists and other statements that importers bring often have SHA-256 alone."
	nextLacks    = "It is agreed when enough operators give one SHA-512 digest too, which agents do; or the channel signs what is made from SHA-256, such as raw-sha256 or vsa."
)
