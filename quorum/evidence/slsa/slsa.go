// Package slsa reads DSSE envelopes over in-toto Statements (v0.1 and v1) with
// SLSA provenance (v0.1, v0.2 and v1), bare or inside a Sigstore bundle or the
// answer of Google Cloud's "describe".
//
// Guarantees: a signature is accepted only when it covers DSSE's
// pre-authentication encoding and verifies with a pinned key. Real envelopes
// carry further signatures over the payload alone: those are told apart and do
// not count. Statements with other predicates are refused, so that "equivalent
// after normalising" is never read as a vote for bytes.
//
// Not guaranteed: anything that a certificate or a transparency log would say. A
// Sigstore bundle is judged by pinned keys only; without one there is no
// accepted signature. Extra signatures are further people who vouch for the same
// statement, and still one vote.
package slsa

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/strict"
	"quorate/quorum/statement"
)

// Limits.
const (
	MaxSize        = 8 << 20
	maxSignatures  = 32
	maxEnvelopes   = 64
	maxDependences = 65536
)

// Names of the formats (in-toto attestation spec, SLSA provenance).
const (
	StatementV01  = "https://in-toto.io/Statement/v0.1"
	StatementV1   = statement.TypeStatement
	ProvenanceV01 = "https://slsa.dev/provenance/v0.1"
	ProvenanceV02 = "https://slsa.dev/provenance/v0.2"
	ProvenanceV1  = statement.PredicateProvenance
)

const kind = evidence.DSSE

type (
	envelope struct {
		Payload     *string     `json:"payload"`
		PayloadType string      `json:"payloadType"`
		Signatures  []signature `json:"signatures"`
	}
	signature struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	inTotoStatement struct {
		Type          string         `json:"_type"`
		PredicateType string         `json:"predicateType"`
		Subject       []subject      `json:"subject"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	subject struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
)

// Read reads the one envelope in the bundle and judges each of its signatures.
// The time is not used: a DSSE signature has none. A container with several
// envelopes is refused; see [Envelopes].
func Read(b evidence.Bundle, keys []evidence.Key, _ time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	found, err := Envelopes(b.Body)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, evidence.Refuse(kind, evidence.CodeBadField, "envelopes", "%d in one file; give each by itself", len(found))
	}
	var env envelope
	if err := strict.Unmarshal(kind, "envelope", found[0], &env); err != nil {
		return nil, err
	}
	payload, err := env.open()
	if err != nil {
		return nil, err
	}
	if err := readStatement(s, payload); err != nil {
		return nil, err
	}
	s.Verdicts, err = env.judge(keys, payload)
	return s, err
}

// Envelopes returns the DSSE envelopes in a file: the file itself, the one in a
// Sigstore bundle (any 0.x version), or those in the provenance summary of
// Google Cloud. Each is the bytes as they stand in the file.
func Envelopes(file []byte) ([][]byte, error) {
	if len(file) > MaxSize {
		return nil, evidence.Refuse(kind, statement.CodeTooLarge, "body", "%d bytes, at most %d", len(file), MaxSize)
	}
	var c struct {
		Payload    jsontext.Value `json:"payload"`
		MediaType  string         `json:"mediaType"`
		Envelope   jsontext.Value `json:"dsseEnvelope"`
		Provenance struct {
			Provenance []struct {
				Envelope jsontext.Value `json:"envelope"`
			} `json:"provenance"`
		} `json:"provenance_summary"`
	}
	if err := strict.Unmarshal(kind, "body", file, &c); err != nil {
		return nil, err
	}
	var found [][]byte
	for _, p := range c.Provenance.Provenance {
		if len(p.Envelope) > 0 {
			found = append(found, p.Envelope)
		}
	}
	switch forms := btoi(c.Payload != nil) + btoi(c.Envelope != nil) + btoi(len(found) > 0); {
	case forms == 0:
		return nil, evidence.Refuse(kind, evidence.CodeWrongKind, "payload", "is missing: neither a DSSE envelope nor a file that holds one")
	case forms > 1:
		return nil, evidence.Refuse(kind, evidence.CodeBadField, "dsseEnvelope", "the file holds envelopes in more than one place")
	case len(found) > maxEnvelopes:
		return nil, evidence.Refuse(kind, statement.CodeTooLarge, "provenance_summary.provenance", "%d envelopes, at most %d", len(found), maxEnvelopes)
	case c.Envelope != nil && !strings.HasPrefix(c.MediaType, "application/vnd.dev.sigstore.bundle"):
		return nil, evidence.Refuse(kind, evidence.CodeWrongKind, "mediaType", "%q is not that of a Sigstore bundle", evidence.Clip(c.MediaType))
	case c.Envelope != nil:
		found = [][]byte{c.Envelope}
	case c.Payload != nil:
		found = [][]byte{file}
	}
	return found, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// open returns the payload.
func (e envelope) open() ([]byte, error) {
	switch {
	case e.Payload == nil:
		return nil, evidence.Refuse(kind, evidence.CodeWrongKind, "payload", "is missing")
	case e.PayloadType != statement.PayloadType:
		return nil, evidence.Refuse(kind, statement.CodePayloadType, "payloadType", "%q, want %q", evidence.Clip(e.PayloadType), statement.PayloadType)
	case len(e.Signatures) == 0 || len(e.Signatures) > maxSignatures:
		return nil, evidence.Refuse(kind, statement.CodeBadEnvelope, "signatures", "%d signatures, want 1 to %d", len(e.Signatures), maxSignatures)
	}
	payload, err := strict.Base64(*e.Payload)
	if err != nil {
		return nil, evidence.Refuse(kind, statement.CodeBadEnvelope, "payload", "%v", err)
	}
	return payload, nil
}

// judge gives the verdict on each signature.
func (e envelope) judge(keys []evidence.Key, payload []byte) ([]evidence.Verdict, error) {
	pae := statement.PAE(e.PayloadType, payload)
	verdicts := make([]evidence.Verdict, len(e.Signatures))
	for i, s := range e.Signatures {
		sig, err := strict.Base64(s.Sig)
		if err != nil || len(sig) == 0 {
			return nil, evidence.Refuse(kind, statement.CodeBadEnvelope, "signatures["+strconv.Itoa(i)+"].sig", "is not base64")
		}
		v := evidence.JudgeKeys(keys, pae, sig, s.KeyID)
		if v.Status == evidence.NoKey {
			if raw := evidence.JudgeKeys(keys, payload, sig, s.KeyID); raw.Status == evidence.Good {
				v.Status, v.Reason = evidence.Bad, "covers the payload without its type and not the DSSE encoding; by "+raw.Key
			}
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// readStatement reads the in-toto Statement.
func readStatement(s *evidence.Statement, payload []byte) error {
	var js inTotoStatement
	if err := strict.Unmarshal(kind, "payload", payload, &js); err != nil {
		return err
	}
	if js.Type != StatementV01 && js.Type != StatementV1 {
		return evidence.Refuse(kind, statement.CodeStatementType, "_type", "%q is not known", evidence.Clip(js.Type))
	}
	if err := readSubjects(s, js.Subject); err != nil {
		return err
	}
	switch js.PredicateType {
	case ProvenanceV1:
		return readV1(s, js.Predicate)
	case ProvenanceV01, ProvenanceV02:
		return readV0(s, js.Predicate)
	}
	return evidence.Refuse(kind, statement.CodePredicateType, "predicateType", "%q is not SLSA provenance v0.1, v0.2 or v1", evidence.Clip(js.PredicateType))
}

func readSubjects(s *evidence.Statement, subjects []subject) error {
	for i, js := range subjects {
		field := "subject[" + strconv.Itoa(i) + "]."
		if err := evidence.CheckName(js.Name); err != nil {
			return evidence.Refuse(kind, evidence.CodeBadField, field+"name", "%v", err)
		}
		a := evidence.Artifact{Name: js.Name}
		if err := a.ReadDigests(kind, field+"digest", js.Digest); err != nil {
			return err
		}
		s.Artifacts = append(s.Artifacts, a)
		if len(s.Artifacts) > evidence.MaxArtifacts {
			break // refused by the next check
		}
	}
	return s.CheckArtifacts("subject")
}
