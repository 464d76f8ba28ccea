package bus

import (
	"errors"
	"fmt"
	"strings"
)

// Subject prefixes. They are not exported: whoever builds a subject goes
// through a function that refuses names which would become several tokens or a
// wildcard, and so another subject than the permissions speak of.
const (
	prefixStatements = "quorate.statements."
	prefixSignatures = "quorate.signatures."
	prefixControl    = "quorate.control."
	prefixForeign    = "quorate.foreign."
	prefixJobs       = "quorate.jobs."
	prefixRequests   = "quorate.requests."
	prefixAlarms     = "quorate.alarms."
	prefixHave       = "quorate.have."
)

// SubjectRedrive is where tooling asks a coordinator to ask a signer again.
const SubjectRedrive = "quorate.redrive"

const maxName = 64

// ErrInvalidName says that a name cannot be one token of a subject.
var ErrInvalidName = errors.New("invalid name: want 1 to 64 of A-Z a-z 0-9 _ -, the first a letter or digit")

// ErrNotRecord says that a subject is none of the record stream's.
var ErrNotRecord = errors.New("not a subject of the record stream")

// Kind is what a message of the record stream is.
type Kind string

// The kinds, equal to the second token of the subject.
const (
	KindStatement Kind = "statements"
	KindSignature Kind = "signatures"
	KindControl   Kind = "control"
	KindForeign   Kind = "foreign"
)

// ValidName reports whether name may be a token of a subject: it matches
// [A-Za-z0-9][A-Za-z0-9_-]{0,63}.
func ValidName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// StatementSubject is where builder says what it built for channel.
func StatementSubject(channel, builder string) (string, error) {
	return subject(prefixStatements, channel, builder)
}

// ForeignSubject is where importer brings for channel what others stated.
func ForeignSubject(channel, importer string) (string, error) {
	return subject(prefixForeign, channel, importer)
}

// SignatureSubject is where signers answer for channel.
func SignatureSubject(channel string) (string, error) {
	return subject(prefixSignatures, channel)
}

// ControlSubject is where maintainers' signed holds and releases for channel go.
func ControlSubject(channel string) (string, error) {
	return subject(prefixControl, channel)
}

// JobSubject is where builds for channel are asked for.
func JobSubject(channel string) (string, error) {
	return subject(prefixJobs, channel)
}

// urgent marks the subject of jobs that go before others. It is no part of any
// name, so no channel has another one's subject; and the stream keeps it like the
// others, so old streams need no change.
const urgent = "+urgent"

// UrgentJobSubject is where builds for channel are asked for that go before the
// others.
func UrgentJobSubject(channel string) (string, error) {
	s, err := JobSubject(channel)
	return s + urgent, err
}

// AnswerSubjects matches the subjects of all answers, as a glob.
const AnswerSubjects = prefixSignatures + "*"

// RequestSubject is where signatures by key are asked for.
func RequestSubject(key string) (string, error) {
	return subject(prefixRequests, key)
}

// batch marks the subject of requests for batches, as urgent does for jobs.
const batch = "+batch"

// BatchSubject is where batches of signatures by key are asked for. They are large,
// and a signer takes only a few ahead: what is small passes them by on the subject
// of its own.
func BatchSubject(key string) (string, error) {
	s, err := RequestSubject(key)
	return s + batch, err
}

// AlarmSubject is where people are told about channel.
func AlarmSubject(channel string) (string, error) {
	return subject(prefixAlarms, channel)
}

// SignerAlarmSubject is where signer raises its alarms about channel. The server's
// permissions let it write under no other name.
func SignerAlarmSubject(channel, signer string) (string, error) {
	return subject(prefixAlarms, channel, signer)
}

// ErrNotAlarm says that a subject is none of [StreamSignerAlarms].
var ErrNotAlarm = errors.New("not a subject of the signers' alarms")

// ParseSignerAlarmSubject takes a subject of [StreamSignerAlarms] apart. The signer
// is vouched for by the server's permissions.
func ParseSignerAlarmSubject(subject string) (channel, signer string, err error) {
	tokens := strings.Split(subject, ".")
	if !strings.HasPrefix(subject, prefixAlarms) || len(tokens) != 4 || !ValidName(tokens[2]) || !ValidName(tokens[3]) {
		return "", "", fmt.Errorf("subject %.200q: %w", subject, ErrNotAlarm)
	}
	return tokens[2], tokens[3], nil
}

// HaveSubject is where builder asks which of its statements are recorded.
func HaveSubject(builder string) (string, error) {
	return subject(prefixHave, builder)
}

func subject(prefix string, names ...string) (string, error) {
	for _, name := range names {
		if !ValidName(name) {
			return "", fmt.Errorf("subject %s: %q: %w", prefix, name, ErrInvalidName)
		}
	}
	return prefix + strings.Join(names, "."), nil
}

// ParseRecordSubject takes a subject of the record stream apart. sender is the
// builder of a [KindStatement], the importer of a [KindForeign], else empty. The names in a subject are the
// sender's claim, held only by the server's permissions: what counts is the
// signed content.
func ParseRecordSubject(subject string) (kind Kind, channel, sender string, err error) {
	bad := func() (Kind, string, string, error) {
		return "", "", "", fmt.Errorf("subject %q: %w", subject, ErrNotRecord)
	}
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 || tokens[0] != "quorate" || !ValidName(tokens[2]) {
		return bad()
	}
	kind, channel = Kind(tokens[1]), tokens[2]
	switch {
	case (kind == KindStatement || kind == KindForeign) && len(tokens) == 4 && ValidName(tokens[3]):
		return kind, channel, tokens[3], nil
	case (kind == KindSignature || kind == KindControl) && len(tokens) == 3:
		return kind, channel, "", nil
	default:
		return bad()
	}
}

// streamOf names the stream that keeps subject, or "" when none does.
func streamOf(subject string) string {
	if _, _, err := ParseSignerAlarmSubject(subject); err == nil {
		return StreamSignerAlarms
	}
	for _, s := range []struct{ prefix, stream string }{
		{prefixStatements, StreamRecord},
		{prefixSignatures, StreamRecord},
		{prefixControl, StreamRecord},
		{prefixForeign, StreamRecord},
		{prefixJobs, StreamJobs},
		{prefixRequests, StreamRequests},
		{prefixAlarms, StreamAlarms},
		{prefixFiles, StreamFiles},
	} {
		if strings.HasPrefix(subject, s.prefix) {
			return s.stream
		}
	}
	return ""
}
