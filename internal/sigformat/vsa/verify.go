package vsa

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/sigformat"
	"quorate/quorum/statement"
)

// Verify reads an envelope that was made by [Sign] and checks its signature by the
// public key.
func Verify(pub crypto.PublicKey, raw []byte) (*Summary, error) {
	s, err := verify(pub, raw)
	if err != nil {
		return nil, fmt.Errorf("verification summary: %w", err)
	}
	return s, nil
}

func verify(pub crypto.PublicKey, raw []byte) (*Summary, error) {
	payload, sig, err := open(raw)
	if err != nil {
		return nil, err
	}
	// First the signature: the payload is nobody's word before.
	if err := sigformat.VerifyMessage(pub, hashOf(pub), statement.PAE(statement.PayloadType, payload), sig); err != nil {
		return nil, err
	}
	return decode(payload)
}

// open takes an envelope apart without believing any of it.
func open(raw []byte) (payload, sig []byte, err error) {
	if len(raw) > maxEnvelope {
		return nil, nil, fmt.Errorf("envelope: %d bytes, at most %d", len(raw), maxEnvelope)
	}
	var e envelope
	if err := json.Unmarshal(raw, &e, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, fmt.Errorf("envelope: %w", err)
	}
	if e.PayloadType != statement.PayloadType {
		return nil, nil, fmt.Errorf("payloadType: %q, want %q", clip(e.PayloadType), statement.PayloadType)
	}
	if len(e.Signatures) != 1 {
		return nil, nil, fmt.Errorf("signatures: %d, want 1", len(e.Signatures))
	}
	if payload, err = decodeBase64(e.Payload); err != nil {
		return nil, nil, fmt.Errorf("payload: %w", err)
	}
	if sig, err = decodeBase64(e.Signatures[0].Sig); err != nil {
		return nil, nil, fmt.Errorf("signatures[0].sig: %w", err)
	}
	return payload, sig, nil
}

func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errors.New("not base64")
	}
	return b, nil
}

// decode reads a payload and makes sure that there is no other way to write it.
func decode(payload []byte) (*Summary, error) {
	var d document
	if err := json.Unmarshal(payload, &d, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if d.Type != statement.TypeStatement || d.PredicateType != PredicateType || len(d.Subject) != 1 {
		return nil, errors.New("payload: not a verification summary of one file")
	}
	p := d.Predicate
	at, err := time.Parse(time.RFC3339, p.TimeVerified)
	if err != nil {
		return nil, errors.New("timeVerified: not a time")
	}
	s := &Summary{
		Version: p.Verifier.Version.Quorate, Time: at.UTC(),
		Artifact: d.Subject[0].Name, SHA256: d.Subject[0].Digest.SHA256, SHA512: d.Subject[0].Digest.SHA512,
		Target: p.ResourceURI, Channel: p.Quorum.Channel, PolicyURI: p.Policy.URI, PolicyDigest: p.Policy.Digest.SHA256,
		Agreed: p.Quorum.Agreed, Operators: p.Quorum.Operators,
	}
	s.Signer, _ = strings.CutPrefix(p.Verifier.ID, VerifierPrefix)
	for _, in := range p.InputAttestations {
		s.Inputs = append(s.Inputs, in.Digest.SHA256)
	}
	again, err := s.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, payload) {
		return nil, errors.New("payload: not as it is written here")
	}
	return s, nil
}
