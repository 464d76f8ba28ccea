package quorum

import (
	"fmt"

	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const (
	// PartSize is how many signatures one part of a batch has; the last part has what
	// is left. It is the same whoever makes the parts and whatever the key is, so the
	// parts of a request are always the same. A signer that is killed signs at most
	// this many again for each part that it was making. SSH signatures by an RSA key of
	// 8192 bits, the largest that a signer takes, fit into [MaxAnswer].
	PartSize = 256

	// MaxParts is how many parts the largest batch has.
	MaxParts = (statement.MaxDigests + PartSize - 1) / PartSize
)

// Part says which signatures of a batch an answer has. It is answered when all parts
// are there; they come in any order, and each is verified for itself.
type Part struct {
	Index int `json:"index"` // from 0
	Count int `json:"count"` // of all parts of the request
	First int `json:"first"` // number of the first digest in the [statement.DigestSet]: Index * PartSize
}

// PartCount returns in how many parts n signatures are answered.
func PartCount(n int) int { return (n + PartSize - 1) / PartSize }

// NewPart returns a part of n signatures and the number behind that of its last
// digest: the part has those from First up to, and not including, end. It panics
// when there is no such part.
func NewPart(n, index int) (p Part, end int) {
	p = Part{Index: index, Count: PartCount(n), First: index * PartSize}
	if index < 0 || index >= p.Count || n > statement.MaxDigests {
		panic(fmt.Sprintf("quorum: part %d of %d signatures", index, n))
	}
	return p, min(p.First+PartSize, n)
}

// IsBatch reports whether the request is for a batch: one output, and a signature for
// each digest of its [statement.DigestSet].
func (r *Request) IsBatch() bool { return policy.IsBatch(r.Outputs) }

// Batch returns the digests that a batch is asked for; the empty set, if the request
// is for none. [Approval.Batch] gives those that may be signed.
func (r *Request) Batch() (statement.DigestSet, error) {
	if !r.IsBatch() {
		return statement.DigestSet{}, nil
	}
	set, err := statement.ParseDigestSet(r.Signables[statement.FileDigests])
	if err != nil {
		return set, fmt.Errorf("request: signables: %s: %w", statement.FileDigests, err)
	}
	return set, nil
}

// Batch returns the digests on which the quorum agreed by itself, of which each gets a
// signature; the empty set, if the request was for no batch.
func (a *Approval) Batch() statement.DigestSet { return a.batch }

// checkBatch wants a batch to be alone: what is small must not wait for it, and its
// answer has room for one output.
func checkBatch(r *Request) *Refusal {
	if r.IsBatch() && len(r.Outputs) > 1 {
		return refuseRequest(RefuseBadRequest, "request: outputs: a batch is asked for in a request of its own")
	}
	return nil
}

// readBatch reads the digests of a batch. They are those that the evidence agrees on:
// [checkAgreed] has compared them as bytes.
func readBatch(r *Request) (statement.DigestSet, *Refusal) {
	set, err := r.Batch()
	if err != nil {
		return set, refuseRequest(RefuseState, "%v", err)
	}
	return set, nil
}

// IsBatch reports whether the answer is one part of a batch.
func (a *Answer) IsBatch() bool { return a.Part != nil }

// CheckPart reports what is wrong with a part as an answer to a batch of those
// digests. What it says of itself was checked when it was parsed; whether its values
// are signatures is for whoever has the key.
func (a *Answer) CheckPart(set statement.DigestSet) error {
	switch n := set.Len(); {
	case a.Part == nil:
		return fmt.Errorf("answer: part: is missing, the request is for a batch")
	case a.Part.Count != PartCount(n):
		return fmt.Errorf("answer: part.count: %d, and %d digests are answered in %d", a.Part.Count, n, PartCount(n))
	default:
		p, end := NewPart(n, a.Part.Index)
		if have := len(a.Signatures[0].Values); have != end-p.First {
			return fmt.Errorf("answer: signatures[0].values: %d in part %d of %d digests, want %d", have, p.Index, n, end-p.First)
		}
		return nil
	}
}

// checkParts holds answers in parts and whole ones apart, by what can be told without
// the request.
func (a *Answer) checkParts() error {
	batch := false
	for i, s := range a.Signatures {
		batch = batch || format.IsBatch(s.Format)
		if a.Part == nil && s.Values != nil {
			return fmt.Errorf("answer: signatures[%d].values: only a part of a batch has values", i)
		}
	}
	switch {
	case a.Part == nil && batch:
		return fmt.Errorf("answer: part: is missing, a batch is answered in parts")
	case a.Part == nil:
		return nil
	case a.Refusal != nil:
		return fmt.Errorf("answer: part: a refusal is of the whole request")
	case !batch || len(a.Signatures) != 1:
		return fmt.Errorf("answer: part: want one output, of a format that is a batch")
	}
	return a.Part.check(&a.Signatures[0])
}

// check holds a part to the one way in which a batch is divided.
func (p *Part) check(s *SignedOutput) error {
	last, most := p.Index == p.Count-1, PartSize
	if p.Count == MaxParts && last {
		most = statement.MaxDigests - (MaxParts-1)*PartSize
	}
	switch n := len(s.Values); {
	case p.Count < 1 || p.Count > MaxParts:
		return fmt.Errorf("answer: part.count: %d, want 1 to %d", p.Count, MaxParts)
	case p.Index < 0 || p.Index >= p.Count:
		return fmt.Errorf("answer: part.index: %d, want 0 to %d", p.Index, p.Count-1)
	case p.First != p.Index*PartSize:
		return fmt.Errorf("answer: part.first: %d, want %d", p.First, p.Index*PartSize)
	case n < 1 || n > most || n < most && !last:
		return fmt.Errorf("answer: signatures[0].values: %d in part %d of %d", n, p.Index, p.Count)
	case len(s.Signature) != 0:
		return fmt.Errorf("answer: signatures[0].signature: a part has values instead")
	}
	for i, value := range s.Values {
		if len(value) == 0 {
			return fmt.Errorf("answer: signatures[0].values[%d]: is empty", i)
		}
	}
	return nil
}
