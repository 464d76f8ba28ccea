// Package statement makes, reads and verifies what builders say: a DSSE
// envelope over an in-toto Statement v1 that carries either SLSA provenance v1
// (a vote for the digests of the files that a build gave) or Quorate's no-vote
// predicate (the build failed, or an earlier vote is taken back).
//
// Guarantees: [Parse] accepts one meaning only. It refuses duplicate JSON keys,
// trailing bytes, a second signature, and a hash state that does not finalise
// to the digest beside it, each with an [Error] that has a stable code and names
// the field. A [Statement] keeps the bytes it was read from; nothing is ever
// encoded again to be verified. Not guaranteed: that the statement is genuine.
// Until [Statement.Verify] returned nil it is only what somebody sent.
package statement

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/hashstate"
)

// Names of the formats (in-toto attestation spec, "Statement"; SLSA v1.0
// provenance) and of what Quorate adds to them.
const (
	PayloadType         = "application/vnd.in-toto+json"
	TypeStatement       = "https://in-toto.io/Statement/v1"
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	PredicateNoVote     = "urn:quorate:no-vote:v1"
	BuildType           = "urn:quorate:build:v1"
	BuilderPrefix       = "urn:quorate:builder:"
)

// Limits on what one statement may carry.
const (
	MaxEnvelope = 1 << 20 // bytes of the envelope
	MaxSubjects = 4096    // artifacts in one statement
	MaxName     = 255     // bytes of an artifact's name
	MaxTarget   = 512     // bytes of a package URL
	MaxReason   = 4096    // bytes of a no-vote's reason

	maxSourceURI  = 2048
	maxInvocation = 2048 // it may be a URI
	maxVersion    = 256
)

// SHA256 is a SHA-256 digest. Its text form is lower-case hex.
type SHA256 [32]byte

// SHA512 is a SHA-512 digest. Its text form is lower-case hex.
type SHA512 [64]byte

func (d SHA256) String() string               { return hex.EncodeToString(d[:]) }
func (d SHA512) String() string               { return hex.EncodeToString(d[:]) }
func (d SHA256) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }
func (d SHA512) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText accepts exactly 64 lower-case hex digits.
func (d *SHA256) UnmarshalText(text []byte) error { return decodeDigest(d[:], text) }

// UnmarshalText accepts exactly 128 lower-case hex digits.
func (d *SHA512) UnmarshalText(text []byte) error { return decodeDigest(d[:], text) }

func decodeDigest(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("digest has %d hex digits, want %d", len(text), 2*len(dst))
	}
	if _, err := hex.Decode(dst, text); err != nil || string(hex.AppendEncode(nil, dst)) != string(text) {
		return fmt.Errorf("digest is not lower-case hex")
	}
	return nil
}

// ParseSHA256 reads 64 lower-case hex digits.
func ParseSHA256(s string) (SHA256, error) {
	var d SHA256
	return d, d.UnmarshalText([]byte(s))
}

// ID is the identity of a statement: the SHA-256 of the bytes as received.
func ID(raw []byte) SHA256 { return sha256.Sum256(raw) }

// Status says why a builder gives no vote.
type Status string

// The reasons for giving no vote.
const (
	Failed       Status = "failed"        // the build command said no
	Timeout      Status = "timeout"       // the build ran into its time limit
	MissingInput Status = "missing-input" // the source or an expected output was not there
	Cancelled    Status = "cancelled"     // a person or a shutdown stopped it
	Withdrawn    Status = "withdrawn"     // the operator takes its vote back
)

func (s Status) valid() bool {
	switch s {
	case Failed, Timeout, MissingInput, Cancelled, Withdrawn:
		return true
	}
	return false
}

// Case names what a statement is about: one target of one channel, at one stage.
type Case struct {
	Channel string // policy namespace
	Target  string // package URL of what is built, compared byte for byte
	Stage   string // empty, or a word such as "noncodesigned"
}

// Source is where the build's input came from.
type Source struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Artifact is one output file of a build.
type Artifact struct {
	Name     string // file name without a directory
	Size     uint64 // bytes
	SHA256   SHA256
	SHA512   SHA512
	State256 hashstate.State // state of SHA-256 at the end of the file
	State512 hashstate.State // state of SHA-512 at the end of the file

	Signables []Signable // what else can be signed of it, in the order of the names

	// Manifest is JSON that says what is inside the file, or nil. It is
	// information and no part of the vote: whatever is in it, it is not looked at
	// here and makes no statement bad.
	Manifest jsontext.Value
}

// Dependency is something the build used.
type Dependency struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Byproduct is something the build left that is not an artifact, such as its log.
type Byproduct struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Statement is what one builder says about one [Case].
type Statement struct {
	Case
	Builder string  // name of the builder, without the URN prefix
	Source  *Source // nil when the builder did not say

	Artifacts []Artifact // a vote for each; empty when Status is set
	Status    Status     // empty for a vote
	Reason    string     // for people, with a Status

	Dependencies []Dependency
	Environment  map[string]string // what the build ran on; information like Artifact.Manifest
	Byproducts   []Byproduct
	Invocation   string // the builder's own id of the build
	Started      time.Time
	Finished     time.Time
	Version      string // version of the software that made the statement

	raw     []byte // the envelope as received
	id      SHA256
	payload SHA256
	pae     []byte // what the signature covers
	sig     []byte

	kind string   // of a foreign statement; empty: our own
	keys [][]byte // of a foreign statement
}

// IsVote reports whether the statement votes for digests.
func (s *Statement) IsVote() bool { return s.Status == "" }

// ID is the SHA-256 of [Statement.Raw].
func (s *Statement) ID() SHA256 { return s.id }

// PayloadID is the SHA-256 of what the builder signed. Unlike [Statement.ID] it
// stays the same when somebody else puts the payload into another envelope: with
// another keyid, other white space, or a second signature value that ECDSA lets
// anyone compute from the first. Two statements with one PayloadID were said once.
func (s *Statement) PayloadID() SHA256 { return s.payload }

// Raw returns the envelope as it was received. Callers must not change it.
func (s *Statement) Raw() []byte { return s.raw }
