package quorum

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// RefusalCode is a stable word for why a signer refuses.
type RefusalCode string

// valid tells codes from what would pass for no refusal, or for a page of text,
// where codes are kept and shown. Those of a later version are valid, too.
func (c RefusalCode) valid() bool {
	return len(c) > 0 && len(c) <= maxRefusalCode && strings.Trim(string(c), "abcdefghijklmnopqrstuvwxyz-") == "" && c[0] != '-'
}

const maxRefusalCode = 64

// MaxRefusalMessage bounds the text of a refusal, in bytes.
const MaxRefusalMessage = 4 << 10

// Why a signer refuses.
const (
	RefuseBadRequest     RefusalCode = "bad-request"
	RefuseTooLarge       RefusalCode = "too-large"
	RefusePolicyMismatch RefusalCode = "policy-mismatch"
	RefusePolicyExpired  RefusalCode = "policy-expired"
	RefuseEvidence       RefusalCode = "evidence-invalid"
	RefuseQuorum         RefusalCode = "quorum-not-met"
	RefuseHeld           RefusalCode = "held"
	RefuseState          RefusalCode = "state-digest-mismatch"
	RefuseOtherDigest    RefusalCode = "already-signed-other-digest"
	RefuseUnknownKey     RefusalCode = "unknown-key"
	RefuseKeyNotUsable   RefusalCode = "key-not-usable" // its certificate expired or is revoked, or the clock is behind it
	RefuseFormat         RefusalCode = "format-not-allowed"
	RefuseToken          RefusalCode = "token-unavailable"
	RefuseSignatureCheck RefusalCode = "signature-check-failed"
	RefuseLedger         RefusalCode = "ledger-unavailable"
)

// Refusal is a signer's no. Retryable means that the same request may succeed
// later without a person changing the evidence.
type Refusal struct {
	Code      RefusalCode `json:"code"`
	Message   string      `json:"message"`
	Retryable bool        `json:"retryable"`
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

func refuseRequest(c RefusalCode, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Answer is what a signer publishes for a request: signatures or a refusal. A batch
// has one for each part, and one for the whole if it is refused.
type Answer struct {
	Version  int              `json:"version"`
	ID       statement.SHA256 `json:"id"`
	Channel  string           `json:"channel"`
	Target   string           `json:"target"`
	Stage    string           `json:"stage"`
	Artifact string           `json:"artifact"`
	Digest   Digests          `json:"digest"`
	Policy   PolicyRef        `json:"policy"`
	Evidence statement.SHA256 `json:"evidence,omitzero"` // SHA-256 of the evidence set
	// Statements names the evidence, so that everybody who has the record can
	// put together what the signer saw.
	Statements []statement.SHA256 `json:"statements,omitempty"`
	Part       *Part              `json:"part,omitzero"`
	Signatures []SignedOutput     `json:"signatures,omitempty"`
	Refusal    *Refusal           `json:"refusal,omitzero"`
	// At is when the signer refused. It makes two refusals of one request two
	// messages, which the record would otherwise take for one. Answers with
	// signatures have none: they are the same bytes each time.
	At time.Time `json:"at,omitzero"`
}

// SignedOutput is one signature, or those of a part.
type SignedOutput struct {
	policy.Output
	Fingerprint string    `json:"fingerprint"` // of the key's certificate
	Signature   []byte    `json:"signature,omitempty"`
	Values      [][]byte  `json:"values,omitempty"` // of a part: one for each of its digests, in their order
	SignedAt    time.Time `json:"signedAt"`
}

// ParseAnswer reads an answer from the record.
func ParseAnswer(data []byte) (*Answer, error) {
	if len(data) > MaxAnswer {
		return nil, fmt.Errorf("answer: %d bytes, at most %d", len(data), MaxAnswer)
	}
	if err := bounded(data); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	a := new(Answer)
	if err := json.Unmarshal(data, a, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	switch {
	case a.Version != Version:
		return nil, fmt.Errorf("answer: version %d, want %d", a.Version, Version)
	case (a.Refusal == nil) == (len(a.Signatures) == 0):
		return nil, fmt.Errorf("answer: want either signatures or a refusal")
	case len(a.Signatures) > MaxOutputs:
		return nil, fmt.Errorf("answer: %d signatures, at most %d", len(a.Signatures), MaxOutputs)
	case a.Refusal != nil && !a.Refusal.Code.valid():
		return nil, fmt.Errorf("answer: the code of the refusal is no word of a-z and -")
	case a.Refusal != nil && len(a.Refusal.Message) > MaxRefusalMessage:
		return nil, fmt.Errorf("answer: the refusal's message has %d bytes, at most %d", len(a.Refusal.Message), MaxRefusalMessage)
	}
	if err := a.checkParts(); err != nil {
		return nil, err
	}
	return a, nil
}
