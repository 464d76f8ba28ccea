package coordinator

import (
	"cmp"
	"slices"

	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// requestRoom is left for everything in a request but the statements, the acts and
// the signables.
const requestRoom = 64 << 10

// maxRequest is the largest request that both the bus and a signer take.
const maxRequest = min(bus.MaxRequest, quorum.MaxRequest)

// trim leaves out statements until the request fits into one message: first
// those that differ, then agreeing ones that the quorum can spare, largest first.
// It returns nil when even the fewest are too large. A request rarely needs it:
// the limit is several statements of the largest legal size.
func trim(ch *policy.Channel, v *quorum.Verdict, stmts []*statement.Statement, limit int) []*statement.Statement {
	if fits(stmts, limit) {
		return stmts
	}
	operators := agreeing(v)
	keep := slices.DeleteFunc(slices.Clone(stmts), func(s *statement.Statement) bool {
		_, agrees := operators[s.ID()]
		return !agrees
	})
	largest := slices.Clone(keep)
	slices.SortFunc(largest, func(a, b *statement.Statement) int { return cmp.Compare(sizeOf(b), sizeOf(a)) })
	for _, s := range largest {
		if fits(keep, limit) {
			return keep
		}
		without := slices.DeleteFunc(slices.Clone(keep), func(o *statement.Statement) bool { return o == s })
		if passes(ch, without, operators) {
			keep = without
		}
	}
	if !fits(keep, limit) {
		return nil
	}
	return keep
}

// encodedSize is what the bytes take in a request, in base64.
func encodedSize(list [][]byte) (size int) {
	for _, b := range list {
		size += 4*((len(b)+2)/3) + 4
	}
	return size
}

// signablesSize is what the signables take that the outputs are made from. The
// statements carry those once more: of a batch each copy is up to 427 kB.
func signablesSize(v *quorum.Verdict, outputs []policy.Output, stmts []*statement.Statement) (size int) {
	names := policy.Signables(outputs)
	for _, want := range v.Signables {
		if !slices.Contains(names, want.Name) {
			continue
		}
		for _, s := range stmts {
			if value := valueIn(s, v.Artifact, want); value != nil {
				size += len(value)
				break
			}
		}
	}
	return size
}

func valueIn(s *statement.Statement, artifact string, want quorum.SignableDigest) []byte {
	for i := range s.Artifacts {
		a := &s.Artifacts[i]
		if given := a.Signable(want.Name); a.Name == artifact && given != nil && given.Digest() == want.SHA256 {
			return given.Value
		}
	}
	return nil
}

func fits(stmts []*statement.Statement, limit int) bool {
	size := requestRoom
	for _, s := range stmts {
		size += 4*((sizeOf(s)+2)/3) + 64 // base64 inside of JSON
	}
	return size <= limit && len(stmts) <= quorum.MaxEvidence
}

// agreeing maps the statements for the agreed digest to their operators.
func agreeing(v *quorum.Verdict) map[statement.SHA256]string {
	operators := map[statement.SHA256]string{}
	for _, g := range v.Groups {
		if g.SHA256 != v.SHA256 {
			continue
		}
		for _, m := range g.Members {
			if m.Agrees() {
				operators[m.Statement] = m.Operator
			}
		}
	}
	return operators
}

func passes(ch *policy.Channel, stmts []*statement.Statement, operators map[statement.SHA256]string) bool {
	set := make([]bool, len(ch.Roster))
	for _, s := range stmts {
		if i := ch.Index(operators[s.ID()]); i >= 0 {
			set[i] = true
		}
	}
	return ch.Rule.Passes(set)
}
