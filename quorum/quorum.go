// Package quorum decides: given a policy, the verified statements of builders
// and the reading of a clock, has an artifact been built alike by enough
// independent operators?
//
// It is used three times and is the same code each time: by the coordinator to
// know when to ask for a signature, by the signer to check the request by itself
// before it touches a key ([Check]), and by anybody offline to check a signature
// years later.
//
// Guarantees: no I/O, no clock, no goroutine; equal input gives equal output; at
// most one digest of an artifact is ever [Agreed]; an operator has one vote
// however many keys and machines it has. Not guaranteed: that statements passed
// to [Decide] are genuine. [Admit] establishes that; it is the only maker of
// observations outside of tests and of the coordinator's database.
package quorum

import (
	"fmt"
	"time"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// MaxSkew is how far ahead of the receiver's clock a statement may say that its
// build finished.
const MaxSkew = 10 * time.Minute

// Why [Admit] refuses a statement that is well-formed.
const (
	CodeUnknownChannel    statement.Code = "unknown-channel"
	CodeUnknownBuilder    statement.Code = "unknown-builder"
	CodeBuilderChannel    statement.Code = "builder-not-in-channel"
	CodeTargetChannel     statement.Code = "target-not-in-channel"
	CodeKeyNotYetValid    statement.Code = "key-not-yet-valid"
	CodeKeyExpired        statement.Code = "key-expired"
	CodeKeyRevoked        statement.Code = "key-revoked"
	CodeTimeInFuture      statement.Code = "time-in-future"
	CodeSubjectMismatch   statement.Code = "wrong-subject" // published on another builder's subject
	pathFinished                         = "predicate.runDetails.metadata.finishedOn"
	pathBuilder                          = "predicate.runDetails.builder.id"
	pathExternalParameter                = "predicate.buildDefinition.externalParameters."
)

// Admit decides whether a parsed statement may be counted under the policy, as
// of the time it was received: its builder is known and belongs to the channel,
// the target belongs to the channel, the signature is by one of the builder's
// keys, and that key was valid when the build finished and is not revoked.
//
// The error is always a [*statement.Error]. The observation's Seq is zero; the
// caller knows the place in the record.
func Admit(p *policy.Policy, s *statement.Statement, received time.Time) (Observation, error) {
	operator, key, err := admitKnown(p, s, statement.PublicKey{}, received)
	if err != nil {
		return Observation{}, err
	}
	return observe(s, operator, key.Revoked, received, s.Artifacts), nil
}

// admitKnown is [Admit] for a statement that is known to verify under a key; under
// none, if that is zero.
func admitKnown(p *policy.Policy, s *statement.Statement, verified statement.PublicKey, received time.Time) (operator string, key policy.Key, err error) {
	ch := p.Channel(s.Channel)
	b := p.Builder(s.Builder)
	switch {
	case ch == nil:
		return deny(CodeUnknownChannel, pathExternalParameter+"channel", "the policy has no channel %q", s.Channel)
	case b == nil:
		return deny(CodeUnknownBuilder, pathBuilder, "the policy has no builder %q", s.Builder)
	case ch.Index(b.Operator) < 0:
		return deny(CodeBuilderChannel, pathBuilder, "operator %q of builder %q is not in the quorum of channel %q", b.Operator, b.Name, ch.Name)
	case !ch.Matches(s.Target):
		return deny(CodeTargetChannel, pathExternalParameter+"target", "%q matches no target of channel %q", s.Target, ch.Name)
	case s.Finished.After(received.Add(MaxSkew)):
		return deny(CodeTimeInFuture, pathFinished, "%s is ahead of the time of receipt", s.Finished.Format(time.RFC3339))
	}
	if key, err = signingKey(b, s, verified); err != nil {
		return "", key, err
	}
	return b.Operator, key, checkValidity(b, key, s.Finished, received)
}

// signingKey finds the builder's key that made the signature. The envelope's
// keyid is not asked: it is whatever the sender wrote there.
func signingKey(b *policy.Builder, s *statement.Statement, verified statement.PublicKey) (policy.Key, error) {
	for _, k := range b.Keys {
		if verified != (statement.PublicKey{}) && k.Public.Equal(verified) || s.Verify(k.Public) == nil {
			return k, nil
		}
	}
	return policy.Key{}, s.Verify(statement.PublicKey{}) // no key verifies nothing
}

func checkValidity(b *policy.Builder, k policy.Key, finished, received time.Time) (err error) {
	switch {
	case !k.Revoked.IsZero() && !received.Before(k.Revoked):
		_, _, err = deny(CodeKeyRevoked, "signatures[0]", "the key of builder %q is revoked since %s", b.Name, k.Revoked.Format(time.RFC3339))
	case !k.NotBefore.IsZero() && finished.Before(k.NotBefore):
		_, _, err = deny(CodeKeyNotYetValid, "signatures[0]", "the key of builder %q is valid from %s on", b.Name, k.NotBefore.Format(time.RFC3339))
	case !k.NotAfter.IsZero() && finished.After(k.NotAfter):
		_, _, err = deny(CodeKeyExpired, "signatures[0]", "the key of builder %q was valid until %s", b.Name, k.NotAfter.Format(time.RFC3339))
	}
	return err
}

// observe makes the observation, with the votes on these artifacts of the statement.
func observe(s *statement.Statement, operator string, revoked, received time.Time, artifacts []statement.Artifact) Observation {
	o := Observation{ID: s.ID(), Payload: s.PayloadID(), Operator: operator, Builder: s.Builder, Received: received, Revoked: revoked,
		Status: s.Status, Reason: s.Reason, Files: make([]File, len(artifacts))}
	for i := range artifacts {
		a := &artifacts[i]
		o.Files[i] = File{a.Name, a.SHA256, a.SHA512, digestsOf(a)}
	}
	return o
}

func deny(c statement.Code, field, format string, args ...any) (operator string, key policy.Key, err error) {
	return "", key, &statement.Error{Code: c, Field: field, Msg: fmt.Sprintf(format, args...)}
}
