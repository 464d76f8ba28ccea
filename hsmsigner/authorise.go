package hsmsigner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	_ "quorate/quorum/evidence/live" // verifies statements of other kinds
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// permit is the right to ask the token for the signatures of one request. Only
// authorise makes one.
type permit struct {
	approval *quorum.Approval
	channel  *policy.Channel
	policy   quorum.PolicyRef
	outputs  []permitted
	evidence []statement.SHA256 // the ids of all statements
	at       time.Time          // of the signatures, in whole seconds
	signer   string             // name of this process
}

// permitted is one signature that may be made.
type permitted struct {
	policy.Output
	key    Key
	make   makeFunc  // nil: it is a batch
	values batchFunc // of a batch
}

// authorise is the only way to a permit. Its last step is the commitment: from
// then on the artifact's name belongs to this digest, and to these signables. A crash right behind it
// leaves a commitment without a signature, which is harmless: the digest had
// its quorum, and only it can be signed later.
func (s *Signer) authorise(ctx context.Context, t *trace, r *quorum.Request) (*permit, *denial) {
	in, now := s.rules.Load(), s.now().UTC()
	p := in.policy
	approval, ref := s.memory.Check(p, r, now)
	t.step("check")
	if ref != nil {
		return nil, &denial{Refusal: ref}
	}
	at := now.Truncate(time.Second)
	outputs, den := s.permitOutputs(r, in.keys, at)
	if den != nil {
		return nil, den
	}
	s.testOnlyStage("checked")
	err := s.ledger.Commit(ctx, ledger.Commitment{
		Channel: r.Channel, Target: r.Target, Artifact: r.Artifact, Stage: r.Stage,
		SHA256: r.Digest.SHA256, SHA512: r.Digest.SHA512, Request: r.ID, At: now,
	}, signables(r)...)
	t.step("commit")
	var other *ledger.OtherDigestError
	switch {
	case errors.As(err, &other):
		return nil, otherDigest(r, other)
	case err != nil:
		return nil, ledgerDenial(err)
	}
	s.testOnlyStage("committed")
	return &permit{approval, p.Channel(r.Channel), quorum.PolicyRef{Version: p.Version, Digest: p.Digest}, outputs, approval.Statements(), at, s.name}, nil
}

// signables is what the outputs are made from that the digests do not settle. The
// state of the file itself is none: it gives the SHA-512 that is committed.
func signables(r *quorum.Request) (list []quorum.SignableDigest) {
	for _, name := range policy.Signables(r.Outputs) {
		list = append(list, quorum.SignableDigest{Name: name, SHA256: sha256.Sum256(r.Signables[name])})
	}
	return list
}

// permitOutputs finds the key and the maker of each signature. It comes before
// the commitment, so that a mistake in the configuration binds nothing.
func (s *Signer) permitOutputs(r *quorum.Request, keys map[string]Key, at time.Time) ([]permitted, *denial) {
	var out []permitted
	for _, o := range r.Outputs {
		maker, values := formats[o.Format], batchFormats[o.Format]
		if maker == nil && values == nil {
			return nil, deny(quorum.RefuseFormat, "this signer does not make format %q", o.Format)
		}
		k, ok := keys[o.Key]
		if !ok {
			return nil, deny(quorum.RefuseUnknownKey, "this signer does not hold key %q", o.Key)
		}
		if err := k.CheckToken(s.token); err != nil {
			return nil, tokenDenial(o.Key, err)
		}
		if err := canMake(k, o.Format); err != nil { // the policy was checked; this costs nothing
			return nil, deny(quorum.RefuseUnknownKey, "this signer cannot make %s with key %q: %v", o.Format, o.Key, err)
		}
		if den := usable(k, o.Format, at); den != nil {
			return nil, den
		}
		out = append(out, permitted{o, k, maker, values})
	}
	return out, nil
}

// usable looks at the certificate that the format's signatures are read with. The
// formats without one have nothing that could expire; but whoever revokes a key's
// OpenPGP certificate revokes the key, in whatever format it signs.
func usable(k Key, f policy.Format, at time.Time) *denial {
	if k.Certificate != nil && k.Certificate.RevokedAt(at) {
		return deny(quorum.RefuseKeyNotUsable, "key %q: its OpenPGP certificate is revoked", k.Label)
	}
	if format.IsOpenPGP(f) {
		return validity(k, k.Certificate.UsableAt(at), k.Certificate.Created(), at)
	}
	if !sigcheck.NeedsX509(f) {
		return nil
	}
	var err error
	if at.Before(k.X509.NotBefore) || at.After(k.X509.NotAfter) {
		err = fmt.Errorf("its X.509 certificate is valid from %s to %s",
			k.X509.NotBefore.Format(time.RFC3339), k.X509.NotAfter.Format(time.RFC3339))
	}
	return validity(k, err, k.X509.NotBefore, at)
}

// checkKeys reports the keys that the policy asks for and that a request would be
// refused for now, because of their certificates.
func (s *Signer) checkKeys() error {
	r, at := s.rules.Load(), s.now()
	var problems []error
	for _, label := range slices.Sorted(maps.Keys(r.keys)) {
		for _, f := range formatsIn(r.policy, label) {
			if den := usable(r.keys[label], f, at); den != nil {
				problems = append(problems, errors.New(den.Message))
				break
			}
		}
	}
	return errors.Join(problems...)
}

func validity(k Key, err error, since, at time.Time) *denial {
	if err == nil {
		return nil
	}
	den := deny(quorum.RefuseKeyNotUsable, "key %q: %v", k.Label, err)
	if at.Before(since) {
		den.Message = fmt.Sprintf("key %q was made on %s, and the signer's clock says %s; hint: set the signer's clock",
			k.Label, since.Format(time.RFC3339), at.Format(time.RFC3339))
		den.Retryable = true
	}
	return den
}

// denial is a refusal and what only the signer's own people get to see of it.
type denial struct {
	*quorum.Refusal
	cause error  // for the log; it may name paths and devices
	alarm string // code of an alarm to raise
}

func deny(c quorum.RefusalCode, format string, args ...any) *denial {
	return &denial{Refusal: &quorum.Refusal{Code: c, Message: fmt.Sprintf(format, args...)}}
}

// Codes of the alarms that a signer raises.
const (
	AlarmSecondDigest   = "second-digest"
	AlarmSignatureCheck = "signature-check-failed"
)

func otherDigest(r *quorum.Request, other *ledger.OtherDigestError) *denial {
	den := deny(quorum.RefuseOtherDigest, "%q of %s is bound to %s %s since %s, and is never signed with %s %s",
		r.Artifact, r.Target, other.What, other.Bound, other.At.Format(time.RFC3339), other.What, other.Asked)
	den.alarm = AlarmSecondDigest
	return den
}

func ledgerDenial(err error) *denial {
	return &denial{cause: err, Refusal: &quorum.Refusal{Code: quorum.RefuseLedger, Retryable: true,
		Message: "the signer cannot read or write its ledger; its log says more"}}
}

// tokenDenial sorts what the token said. The text of the error stays in the log.
func tokenDenial(label string, err error) *denial {
	var den *denial
	switch {
	case errors.Is(err, errOtherKey), errors.Is(err, token.ErrBadSignature), isSignatureCheck(err):
		den = deny(quorum.RefuseSignatureCheck, "what the token gave for key %q does not verify; it was thrown away", label)
		den.alarm = AlarmSignatureCheck
	case errors.Is(err, token.ErrKeyNotFound), errors.Is(err, token.ErrKeyAmbiguous), errors.Is(err, token.ErrKeyUnsupported):
		den = deny(quorum.RefuseUnknownKey, "key %q cannot be used in the signer's token; its log says more", label)
	default:
		den = deny(quorum.RefuseToken, "the token does not sign with key %q; the signer's log says more", label)
		den.Retryable = token.IsUnavailable(err)
	}
	den.cause = err
	return den
}
