package quorum

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"quorate/quorum/policy"
)

// Bundle is what stands beside a signed file so that anyone can check offline why
// it was signed: the policy file, the request with the statements as they were
// received, and the signer's answer.
type Bundle struct {
	Version int      `json:"version"`
	Policy  []byte   `json:"policy"` // the file that the request names
	Request *Request `json:"request"`
	Answer  *Answer  `json:"answer"` // of a batch: one of its parts

	// Acts are those that a signer would see about the file when the evidence was put
	// together, as they were received: also what was said after the signature.
	Acts [][]byte `json:"acts,omitempty"`
}

// MaxBundle bounds an evidence file, in bytes.
const MaxBundle = 2*MaxRequest + 2*policy.MaxSize

// ParseBundle reads an evidence file. What it holds still has to be checked.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, fmt.Errorf("evidence file: %d bytes, at most %d", len(data), MaxBundle)
	}
	if err := bounded(data); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	b := new(Bundle)
	if err := json.Unmarshal(data, b, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	switch {
	case b.Version != Version:
		return nil, fmt.Errorf("evidence file: version %d, want %d", b.Version, Version)
	case b.Request == nil || b.Answer == nil:
		return nil, fmt.Errorf("evidence file: request or answer is missing")
	case len(b.Request.Outputs) > MaxOutputs || len(b.Answer.Signatures) > MaxOutputs:
		return nil, fmt.Errorf("evidence file: %d outputs and %d signatures, at most %d", len(b.Request.Outputs), len(b.Answer.Signatures), MaxOutputs)
	case len(b.Acts) > MaxActs:
		return nil, fmt.Errorf("evidence file: %d acts, at most %d", len(b.Acts), MaxActs)
	}
	if err := b.Answer.checkParts(); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	if err := b.Request.compact(); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	return b, nil
}
