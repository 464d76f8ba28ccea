// Package link reads in-toto links that are signed with OpenPGP, and the layouts
// that say whose links count.
//
// Guarantees: a signature covers the OLPC canonical JSON of "signed" and the
// hashed fields that stand beside it, and is judged by package openpgp. A layout
// that is past its expiry is refused: an expired policy is no policy. Not
// guaranteed: anything about inspections and artifact rules of a layout, which
// are not evaluated; nor that a layout is genuine, unless its own verdicts say so.
package link

import (
	"strconv"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/metablock"
	"quorate/quorum/evidence/openpgp"
)

// Limits, in bytes.
const (
	MaxSize      = 4 << 20
	maxSignature = 4096
	maxHashed    = 8192
)

const kind = evidence.Link

// Read reads a link and judges each of its signatures as of the time.
func Read(b evidence.Bundle, keys *openpgp.Ring, at time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	block, err := metablock.Parse(kind, b.Body)
	if err != nil {
		return nil, err
	}
	if err := block.Fill(s); err != nil {
		return nil, err
	}
	s.Verdicts, err = judge(block, keys, at)
	return s, err
}

func judge(b metablock.Block, keys *openpgp.Ring, at time.Time) ([]evidence.Verdict, error) {
	var verdicts []evidence.Verdict
	for i, sig := range b.Signatures {
		field := "signatures[" + strconv.Itoa(i) + "]."
		hashed, err := metablock.Hex(kind, field+"other_headers", sig.OtherHeaders, maxHashed)
		if err != nil {
			return nil, err
		}
		value, err := metablock.Hex(kind, field+"signature", sig.Signature, maxSignature)
		if err != nil {
			return nil, err
		}
		v := keys.JudgeParts(b.Canonical, hashed, value, at)
		if v.Hint == "" && len(sig.KeyID) <= 64 {
			v.Hint = sig.KeyID
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}
