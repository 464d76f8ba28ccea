// Package vsa makes and reads SLSA Verification Summary Attestations: an in-toto
// statement v1 with the predicate https://slsa.dev/verification_summary/v1, in a
// DSSE v1 envelope. It says that a signer found enough builders to agree on a file,
// by which policy and from which statements.
//
// The signature covers DSSE's pre-authentication encoding: Ed25519 itself, P-256
// and RSA (PKCS#1 v1.5) by SHA-256, P-384 by SHA-384. That is what in-toto's and
// sigstore's verifiers expect; the RSA verifier of go-securesystemslib alone wants
// RSA-PSS, which is not made here.
//
// Guarantees: those of package sigformat. One summary has one payload: reading
// writes what it read once more and compares, so unknown, repeated or reordered
// members are refused, as is an envelope with a second signature.
//
// Not guaranteed: a SLSA level. How a builder works is not looked at; what was
// verified is agreement, and verifiedLevels says so in a word of its own,
// "QUORATE_AGREED_3_OF_5" (SLSA v1.1 allows words that do not begin with SLSA_).
// The envelope has no keyid: the libraries disagree about its form, and some
// refuse a signature whose keyid is not in theirs.
package vsa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"quorate/internal/sigformat"
	"quorate/quorum/statement"
)

// Names of the formats.
const (
	PredicateType  = "https://slsa.dev/verification_summary/v1"
	VerifierPrefix = "urn:quorate:signer:"

	slsaVersion = "1.1"
	passed      = "PASSED"
)

// Limits.
const (
	MaxInputs   = 1024
	maxEnvelope = 1 << 20
	maxText     = 2048
)

// Summary is what a signer says about one file.
type Summary struct {
	Signer  string    // name of the signer
	Version string    // version of its software; may be empty
	Time    time.Time // of the verification, in whole seconds

	Artifact string           // name of the file
	SHA256   statement.SHA256 // its digests
	SHA512   statement.SHA512 // zero: not known
	Target   string           // package URL of what was built

	Channel      string           // policy namespace that decided
	PolicyURI    string           // where the policy is, or its URN
	PolicyDigest statement.SHA256 // of the policy file

	Agreed    int                // operators that voted for exactly this file
	Operators int                // operators in the quorum's roster
	Inputs    []statement.SHA256 // statements that were counted
}

// The payload, in the order in which it is written.
type (
	document struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     predicate `json:"predicate"`
	}
	subject struct {
		Name   string  `json:"name"`
		Digest digests `json:"digest"`
	}
	digests struct {
		SHA256 statement.SHA256 `json:"sha256"`
		SHA512 statement.SHA512 `json:"sha512,omitzero"`
	}
	predicate struct {
		Verifier           verifier   `json:"verifier"`
		TimeVerified       string     `json:"timeVerified"`
		ResourceURI        string     `json:"resourceUri"`
		Policy             resource   `json:"policy"`
		InputAttestations  []resource `json:"inputAttestations"`
		VerificationResult string     `json:"verificationResult"`
		VerifiedLevels     []string   `json:"verifiedLevels"`
		SLSAVersion        string     `json:"slsaVersion"`
		Quorum             quorum     `json:"quorate_quorum"` // extension, with the vendor's prefix
	}
	verifier struct {
		ID      string   `json:"id"`
		Version versions `json:"version,omitzero"`
	}
	versions struct {
		Quorate string `json:"quorate"`
	}
	resource struct {
		URI    string       `json:"uri,omitzero"`
		Digest sha256Digest `json:"digest"`
	}
	sha256Digest struct {
		SHA256 statement.SHA256 `json:"sha256"`
	}
	quorum struct {
		Channel   string `json:"channel"`
		Agreed    int    `json:"agreed"`
		Operators int    `json:"operators"`
	}
)

type (
	envelope struct {
		PayloadType string     `json:"payloadType"`
		Payload     string     `json:"payload"`
		Signatures  []envelSig `json:"signatures"`
	}
	envelSig struct {
		Sig string `json:"sig"`
	}
)

// Sign writes the summary, signs it and returns the envelope in JSON.
func Sign(k *sigformat.Key, s *Summary) ([]byte, error) {
	raw, err := sign(k, s)
	if err != nil {
		return nil, fmt.Errorf("verification summary: %w", err)
	}
	if _, err := Verify(k.Public(), raw); err != nil {
		return nil, fmt.Errorf("%w: %w", sigformat.ErrSignatureCheck, err)
	}
	return raw, nil
}

func sign(k *sigformat.Key, s *Summary) ([]byte, error) {
	payload, err := s.encode()
	if err != nil {
		return nil, err
	}
	pae := statement.PAE(statement.PayloadType, payload)
	sig, err := k.SignMessage(nil, pae, sigformat.HashFor(k.Public(), hashOf(k.Public())))
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{
		PayloadType: statement.PayloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []envelSig{{base64.StdEncoding.EncodeToString(sig)}},
	})
}

// hashOf is the hash that verifiers take for a key.
func hashOf(pub crypto.PublicKey) crypto.Hash {
	if k, ok := pub.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P384() {
		return crypto.SHA384
	}
	return crypto.SHA256
}

// encode checks the summary and writes its payload.
func (s *Summary) encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	d := document{
		Type:          statement.TypeStatement,
		Subject:       []subject{{s.Artifact, digests{s.SHA256, s.SHA512}}},
		PredicateType: PredicateType,
		Predicate: predicate{
			Verifier:           verifier{VerifierPrefix + s.Signer, versions{s.Version}},
			TimeVerified:       s.Time.UTC().Truncate(time.Second).Format(time.RFC3339),
			ResourceURI:        s.Target,
			Policy:             resource{s.PolicyURI, sha256Digest{s.PolicyDigest}},
			InputAttestations:  []resource{},
			VerificationResult: passed,
			VerifiedLevels:     []string{s.level()},
			SLSAVersion:        slsaVersion,
			Quorum:             quorum{s.Channel, s.Agreed, s.Operators},
		},
	}
	for _, in := range s.Inputs {
		d.Predicate.InputAttestations = append(d.Predicate.InputAttestations, resource{Digest: sha256Digest{in}})
	}
	return json.Marshal(d)
}

func (s *Summary) level() string {
	return fmt.Sprintf("QUORATE_AGREED_%d_OF_%d", s.Agreed, s.Operators)
}

// check refuses what would say nothing or something false.
func (s *Summary) check() error {
	texts := []struct {
		field, text string
		optional    bool
	}{
		{"version", s.Version, true},
		{"artifact", s.Artifact, false},
		{"policy uri", s.PolicyURI, false},
	}
	for _, t := range texts {
		if t.text == "" && !t.optional || len(t.text) > maxText || !printable(t.text) {
			return fmt.Errorf("%s: %q is not a text of at most %d bytes", t.field, clip(t.text), maxText)
		}
	}
	switch {
	case !statement.ValidName(s.Signer):
		return fmt.Errorf("signer: %q is not a name", clip(s.Signer))
	case !statement.ValidName(s.Channel):
		return fmt.Errorf("channel: %q is not a name", clip(s.Channel))
	case !statement.ValidTarget(s.Target):
		return fmt.Errorf("target: %q is not a package URL", clip(s.Target))
	case !strings.Contains(s.PolicyURI, ":"):
		return fmt.Errorf("policy uri: %q is not a URI", clip(s.PolicyURI))
	case s.SHA256 == statement.SHA256{}:
		return errors.New("sha256: missing")
	case s.PolicyDigest == statement.SHA256{}:
		return errors.New("policy digest: missing")
	case s.Time.Year() < 1970 || s.Time.Year() > 9999:
		return errors.New("time: missing")
	case s.Agreed < 1 || s.Operators < s.Agreed:
		return fmt.Errorf("agreed: %d of %d operators", s.Agreed, s.Operators)
	case len(s.Inputs) < 1 || len(s.Inputs) > MaxInputs:
		return fmt.Errorf("inputs: %d, want 1 to %d", len(s.Inputs), MaxInputs)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "..."
	}
	return s
}
