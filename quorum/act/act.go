// Package act has what maintainers say with their own SSH keys: hold, release,
// withdraw, rebuild and note.
//
// Guarantees: an act is read strictly and within limits; its identity is the
// SHA-256 of what was signed, so that the same words in another envelope are the
// same act; [Standing] is a pure function of a set of acts, in whatever order and
// however often they are given. Not guaranteed: that the key in it belongs to
// anybody: package quorum asks the policy.
package act

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"quorate/quorum/sshsig"
	"quorate/quorum/statement"
)

// Namespace is the one in which acts are signed. A key that signs files or
// commits signs in others, so none of those signatures is an act.
const Namespace = "quorate-act"

// Version is the version of acts.
const Version = 1

// Limits, in bytes.
const (
	MaxSize   = 32 << 10 // of an act with its signature
	MaxReason = 4 << 10
	// MaxAttachment leaves room in MaxSize for the reason, the subject and the
	// signature, in base64.
	MaxAttachment = 16 << 10
	maxPayload    = (MaxSize - 3<<10) / 4 * 3 // 3 KiB: the signature of a large RSA key
	nonceSize     = 16
)

// Kind is what a maintainer does.
type Kind string

// The kinds. Each is also the name of the right to do it.
const (
	Hold     Kind = "hold"     // nothing of the subject is signed until a release
	Release  Kind = "release"  // takes the newest hold on the subject away
	Withdraw Kind = "withdraw" // the subject is not to be used, for ever
	Rebuild  Kind = "rebuild"  // builders are asked again
	Note     Kind = "note"     // something for people to read
)

// Kinds lists every kind.
var Kinds = []Kind{Hold, Release, Withdraw, Rebuild, Note}

// Valid reports whether this version knows the kind.
func (k Kind) Valid() bool {
	switch k {
	case Hold, Release, Withdraw, Rebuild, Note:
		return true
	}
	return false
}

// Chained reports whether acts of the kind name their predecessor.
func (k Kind) Chained() bool { return k == Hold || k == Release }

// Subject is what an act is about: a whole channel (no target), a target at one
// stage, or one artifact of it.
type Subject struct {
	Channel  string `json:"channel"`
	Target   string `json:"target"`
	Stage    string `json:"stage"`
	Artifact string `json:"artifact"`
}

// Case returns the target of the subject.
func (s Subject) Case() statement.Case {
	return statement.Case{Channel: s.Channel, Target: s.Target, Stage: s.Stage}
}

// Covers reports whether the artifact of the case is the subject or part of it.
func (s Subject) Covers(c statement.Case, artifact string) bool {
	return s.Channel == c.Channel && (s.Target == "" || s.Case() == c) && (s.Artifact == "" || s.Artifact == artifact)
}

// Act is what a maintainer says.
type Act struct {
	Version int  `json:"version"`
	Kind    Kind `json:"kind"`
	Subject
	Builder    string           `json:"builder,omitzero"` // rebuild only: this one; empty: all of the channel
	Reason     string           `json:"reason"`
	Time       time.Time        `json:"time"`
	Attachment string           `json:"attachment,omitzero"` // note on a target only: plain text for people, such as what a tool printed
	Nonce      string           `json:"nonce"`               // 32 lower-case hex digits: two acts are never one by chance
	After      statement.SHA256 `json:"after,omitzero"`      // hold and release: the newest of them on the subject; zero: there was none
}

// Why [Parse], [Act.Check] and [Signed.Verify] refuse, beside the codes of a statement.
const (
	CodeNamespace statement.Code = "wrong-namespace"
)

// Signed is an act with its signature.
type Signed struct {
	Act
	raw     []byte
	payload []byte
	sig     *sshsig.Signature
}

// envelope is the act as it travels. The payload is what was signed, byte for byte.
type envelope struct {
	Version   int    `json:"version"`
	Payload   []byte `json:"payload"`
	Signature string `json:"signature"`
}

// ID is the SHA-256 of what was signed. Whoever carries an act can put it into
// another envelope, or give an ECDSA signature its other value; it stays this act.
func (s *Signed) ID() statement.SHA256 { return sha256.Sum256(s.payload) }

// Raw returns the bytes as received. Callers must not change them.
func (s *Signed) Raw() []byte { return s.raw }

// Key is the key that the signature names. It counts after [Signed.Verify].
func (s *Signed) Key() sshsig.PublicKey { return s.sig.Key }

// Verify checks the signature with the key in it.
func (s *Signed) Verify() error {
	if s.sig.Namespace != Namespace {
		return refuse(CodeNamespace, "signature", "it was made in namespace %.80q, want %q", s.sig.Namespace, Namespace)
	}
	if err := s.sig.Verify(Namespace, s.payload); err != nil {
		return refuse(statement.CodeBadSignature, "signature", "%v", err)
	}
	return nil
}

// Encode writes the payload that is to be signed. It refuses what [Parse] would,
// and what would not fit into an envelope with its signature.
func Encode(a *Act) ([]byte, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(a, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("act: %w", err)
	}
	if len(data) > maxPayload {
		return nil, refuse(statement.CodeTooLarge, "", "%d bytes to sign, at most %d: shorten the reason or the attachment", len(data), maxPayload)
	}
	return data, nil
}

// Seal puts a payload and its armoured signature together, and reads the result
// again: what it returns, others can read.
func Seal(payload, signature []byte) (*Signed, error) {
	data, err := json.Marshal(envelope{Version, payload, string(signature)}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("act: %w", err)
	}
	return Parse(data)
}

// Parse reads an act with its signature. It verifies nothing. The error is always
// an [*Error].
func Parse(data []byte) (*Signed, error) {
	if len(data) > MaxSize {
		return nil, refuse(statement.CodeTooLarge, "", "%d bytes, at most %d", len(data), MaxSize)
	}
	var e envelope
	if err := json.Unmarshal(data, &e, json.RejectUnknownMembers(true)); err != nil {
		return nil, refuse(statement.CodeBadJSON, "", "%v", err)
	}
	if e.Version != Version {
		return nil, refuse(statement.CodeBadField, "version", "%d, want %d", e.Version, Version)
	}
	s := &Signed{raw: data, payload: e.Payload}
	if err := json.Unmarshal(e.Payload, &s.Act, json.RejectUnknownMembers(true)); err != nil {
		return nil, refuse(statement.CodeBadJSON, "payload", "%v", err)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	var err error
	if s.sig, err = sshsig.Parse([]byte(e.Signature)); err != nil {
		return nil, refuse(statement.CodeBadSignature, "signature", "%v", err)
	}
	return s, nil
}

// Check refuses an act that says nothing, or two things.
func (a *Act) Check() error {
	switch {
	case a.Version != Version:
		return bad("version", "%d, want %d", a.Version, Version)
	case !a.Kind.Valid():
		return bad("kind", "%.40q is not known", string(a.Kind))
	case a.Time.Year() < 1970 || a.Time.Year() > 2261:
		return bad("time", "missing, or not between 1970 and 2261")
	case a.Builder != "" && a.Kind != Rebuild:
		return bad("builder", "is for a rebuild only")
	case a.Builder != "" && !statement.ValidName(a.Builder):
		return bad("builder", "%.80q is not a name", a.Builder)
	case a.After != statement.SHA256{} && !a.Kind.Chained():
		return bad("after", "a %s names no predecessor", a.Kind)
	}
	if nonce, err := hex.DecodeString(a.Nonce); err != nil || len(nonce) != nonceSize || strings.ToLower(a.Nonce) != a.Nonce {
		return bad("nonce", "want %d lower-case hex digits", 2*nonceSize)
	}
	if err := checkReason(a.Reason); err != nil {
		return err
	}
	if err := a.checkAttachment(); err != nil {
		return err
	}
	return a.checkSubject()
}

// checkAttachment wants plain text. Characters that turn others around may stand
// in it; whoever shows it escapes them.
func (a *Act) checkAttachment() error {
	switch s := a.Attachment; {
	case s == "":
		return nil
	case a.Kind != Note:
		return bad("attachment", "is for a note only")
	case a.Target == "":
		return bad("attachment", "is for a note on a target only")
	case len(s) > MaxAttachment:
		return bad("attachment", "%d bytes, at most %d", len(s), MaxAttachment)
	case !utf8.ValidString(s):
		return bad("attachment", "is not UTF-8")
	}
	for i, r := range a.Attachment {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return bad("attachment", "has the control character %U at byte %d", r, i)
		}
	}
	return nil
}

func (a *Act) checkSubject() error {
	if a.Target == "" {
		switch {
		case !statement.ValidName(a.Channel):
			return bad("channel", "%.80q is not a name", a.Channel)
		case a.Stage != "" || a.Artifact != "":
			return bad("target", "missing, but there is a stage or an artifact")
		case a.Kind == Withdraw || a.Kind == Rebuild:
			return bad("target", "missing: a %s is about one target", a.Kind)
		}
		return nil
	}
	if err := a.Case().Check(); err != nil {
		return bad("target", "%v", err)
	}
	if a.Artifact == "" {
		return nil
	}
	if a.Kind == Rebuild {
		return bad("artifact", "a rebuild is about a whole target")
	}
	if !statement.ValidArtifactName(a.Artifact) {
		return bad("artifact", "%.80q is not the name of a file", a.Artifact)
	}
	return nil
}

// checkReason wants a reason, because others will have to live with the act.
func checkReason(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return bad("reason", "missing")
	case len(s) > MaxReason:
		return bad("reason", "%d bytes, at most %d", len(s), MaxReason)
	case bytes.ContainsRune([]byte(s), 0):
		return bad("reason", "has a zero byte")
	}
	return nil
}

func bad(field, format string, args ...any) error {
	return refuse(statement.CodeBadField, field, format, args...)
}

func refuse(c statement.Code, field, format string, args ...any) error {
	return &Error{c, field, fmt.Sprintf(format, args...)}
}

// Error says which field of an act is wrong and how.
type Error struct {
	Code  statement.Code
	Field string // empty for the whole
	Msg   string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("act: %s (%s)", e.Msg, e.Code)
	}
	return fmt.Sprintf("act: %s: %s (%s)", e.Field, e.Msg, e.Code)
}
