package hsmsigner

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/ledger"
	"quorate/internal/pgpsig"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// makeFunc makes one signature. It takes the approval itself, not what was
// approved, so that the token cannot be asked without one.
type makeFunc func(ctx context.Context, tok access, a *quorum.Approval, k Key, at time.Time, why reasons) ([]byte, error)

// checkFunc checks one signature once more as it stands in the answer.
type checkFunc func(p *permit, k Key, o quorum.SignedOutput) error

// formats are the signatures that can be made, and checkers how each is checked.
var (
	formats = map[policy.Format]makeFunc{
		format.OpenPGP: makeOpenPGP, format.Cleartext: makeCleartext, format.SSHSIG: makeFrom(format.SSHSIG), format.VSA: makeFrom(format.VSA),
		format.CMS: makeFrom(format.CMS), format.CMSSHA256: makeFrom(format.CMSSHA256), format.CMSPlain: makeFrom(format.CMSPlain),
		format.RawSHA256: makeFrom(format.RawSHA256), format.RawSHA512: makeFrom(format.RawSHA512),
	}
	checkers = map[policy.Format]checkFunc{
		format.OpenPGP: checkOpenPGP, format.Cleartext: checkCleartext, format.SSHSIG: checkDigests, format.VSA: checkSummary,
		format.CMS: checkDigests, format.CMSSHA256: checkDigests, format.CMSPlain: checkDigests,
		format.RawSHA256: checkDigests, format.RawSHA512: checkDigests,
	}
)

// access is the token as one request may use it. What it gives is verified when the
// whole answer is, so one time is enough as long as all is well. Once a signature was
// bad the token is doubted: then each place where something can go wrong verifies
// for itself, so that it is known which one it was.
type access struct {
	Token
	doubted bool
}

func (a access) sign(ctx context.Context, label string) pgpsig.SignFunc {
	if a.doubted {
		return signer(ctx, a.Token, label)
	}
	return func(hash crypto.Hash, digest []byte) ([]byte, error) {
		return a.SignUnverified(ctx, label, hash, digest)
	}
}

// handle is a key of the token as the formats beside OpenPGP sign with it.
func (a access) handle(ctx context.Context, k Key) (*sigformat.Key, error) {
	h, err := sigformat.NewKey(k.public, a.sign(ctx, k.Label))
	if err == nil && !a.doubted {
		h = h.Unverified()
	}
	return h, err
}

// sign has every output of the request made and verified. If one of them is bad,
// they are all made a second time.
func (s *Signer) sign(ctx context.Context, t *trace, p *permit) (*ledger.Record, *denial) {
	tok := access{Token: s.turns.of(s.token, p.approval.Request())}
	rec, den := s.attempt(ctx, t, p, tok)
	if den == nil || den.Code != quorum.RefuseSignatureCheck {
		return rec, den
	}
	s.log.Error("a signature does not verify; the token is asked again, and each step verified", "request", p.approval.Request().ID, "error", den.cause)
	tok.doubted = true
	return s.attempt(ctx, t, p, tok)
}

// attempt asks the token for every output of the request and writes the answer.
func (s *Signer) attempt(ctx context.Context, t *trace, p *permit, tok access) (*ledger.Record, *denial) {
	answer := p.answer()
	why := reasons{notations(p), func() *vsa.Summary { return summary(p) }}
	for _, o := range p.outputs {
		sig, err := o.make(ctx, tok, p.approval, o.key, p.at, why)
		if err != nil {
			return nil, tokenDenial(o.Key, err)
		}
		fingerprint, err := o.key.checker().Fingerprint(o.Format)
		if err != nil {
			return nil, tokenDenial(o.Key, err)
		}
		answer.Signatures = append(answer.Signatures, quorum.SignedOutput{Output: o.Output,
			Fingerprint: fingerprint, Signature: sig, SignedAt: p.at})
	}
	t.step("token")
	s.testOnlyStage("signed")
	data, err := json.Marshal(answer, json.Deterministic(true))
	if err == nil {
		err = checkRelease(p, data)
	}
	t.step("verify")
	if err != nil {
		return nil, unverified(err)
	}
	return record(answer, data), nil
}

// answer is one without signatures.
func (p *permit) answer() *quorum.Answer {
	r := p.approval.Request()
	return &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Stage: r.Stage,
		Artifact: r.Artifact, Digest: r.Digest, Policy: p.policy,
		Evidence: p.approval.EvidenceDigest(), Statements: p.evidence}
}

func unverified(err error) *denial {
	den := deny(quorum.RefuseSignatureCheck, "the answer does not verify; it was thrown away")
	den.cause, den.alarm = err, AlarmSignatureCheck
	return den
}

// store commits the answer to the ledger. What the ledger holds for this request
// is the answer, even if it is another one: then another process that shares
// the ledger was first. A crash before it loses a signature that nobody saw; a
// crash behind it is repaired by the next delivery, which finds the answer.
func (s *Signer) store(ctx context.Context, t *trace, rec *ledger.Record) ([]byte, *denial) {
	stored, err := s.ledger.Store(ctx, *rec)
	t.step("store")
	if err != nil {
		return nil, ledgerDenial(err)
	}
	s.testOnlyStage("stored")
	return stored, nil
}

func record(a *quorum.Answer, data []byte) *ledger.Record {
	rec := &ledger.Record{Request: a.ID, Channel: a.Channel, Target: a.Target, Stage: a.Stage, Artifact: a.Artifact,
		SHA256: a.Digest.SHA256, SHA512: a.Digest.SHA512, PolicyVersion: a.Policy.Version, PolicyDigest: a.Policy.Digest,
		Evidence: a.Evidence, Statements: a.Statements, Answer: data, At: a.Signatures[0].SignedAt}
	for _, o := range a.Signatures {
		rec.Signatures = append(rec.Signatures, ledger.Signature{Format: string(o.Format), Key: o.Key,
			Fingerprint: o.Fingerprint, Bytes: o.Signature, SignedAt: o.SignedAt})
	}
	return rec
}

// makeOpenPGP continues the hash of the file, which nobody here has ever seen,
// with the fields of the signature.
func makeOpenPGP(ctx context.Context, tok access, a *quorum.Approval, k Key, at time.Time, why reasons) ([]byte, error) {
	h, err := a.State().Resume()
	if err != nil {
		return nil, err
	}
	if tok.doubted {
		return pgpsig.SignDetached(k.Certificate, h, crypto.SHA512, at, why.notations, tok.sign(ctx, k.Label))
	}
	return pgpsig.MakeDetached(k.Certificate, h, crypto.SHA512, at, why.notations, tok.sign(ctx, k.Label))
}

// makeCleartext does the same with the text, of which the quorum gave the state.
func makeCleartext(ctx context.Context, tok access, a *quorum.Approval, k Key, at time.Time, why reasons) ([]byte, error) {
	h, err := a.TextState().Resume()
	if err != nil {
		return nil, err
	}
	if tok.doubted {
		return pgpsig.SignText(k.Certificate, h, crypto.SHA512, at, why.notations, tok.sign(ctx, k.Label))
	}
	return pgpsig.MakeText(k.Certificate, h, crypto.SHA512, at, why.notations, tok.sign(ctx, k.Label))
}

func isSignatureCheck(err error) bool { return errors.Is(err, pgpsig.ErrSignatureCheck) }

// checkRelease reads the answer as its receivers will and verifies what it holds
// from the start: nothing of what led to it is used but the approval.
func checkRelease(p *permit, data []byte) error {
	a, err := quorum.ParseAnswer(data)
	if err != nil {
		return err
	}
	r := p.approval.Request()
	if a.ID != r.ID || a.Digest != r.Digest || len(a.Signatures) != len(p.outputs) {
		return errors.New("check answer: it is not for this request")
	}
	for i, o := range a.Signatures {
		if o.Output != p.outputs[i].Output {
			return fmt.Errorf("check answer: signature %d is %s with key %q", i, o.Format, o.Key)
		}
		if err := checkers[o.Format](p, p.outputs[i].key, o); err != nil {
			return fmt.Errorf("check answer: %w", err)
		}
	}
	return nil
}

// checkOpenPGP takes the state from the request once more and finalises it, so
// that a state that was damaged since the check does not pass.
func checkOpenPGP(p *permit, k Key, o quorum.SignedOutput) error {
	a := p.approval
	st := a.State()
	sum, err := st.Sum()
	if err != nil {
		return err
	}
	if want := a.Request().Digest.SHA512; !bytes.Equal(sum, want[:]) {
		return errors.New("the state no longer finalises to the approved digest")
	}
	h, err := st.Resume()
	if err != nil {
		return err
	}
	sig, err := pgpsig.VerifyDetached(k.Certificate, h, o.Signature)
	return saysTheSame(sig, err, o)
}

// checkCleartext reads the state of the text out of the request once more.
func checkCleartext(p *permit, k Key, o quorum.SignedOutput) error {
	st, err := hashstate.Decode(hashstate.SHA512, p.approval.Request().Signables[statement.TextState])
	if err != nil {
		return err
	}
	if !st.Equal(p.approval.TextState()) {
		return errors.New("the state of the text is no longer the approved one")
	}
	h, err := st.Resume()
	if err != nil {
		return err
	}
	sig, err := pgpsig.VerifyText(k.Certificate, h, o.Signature)
	return saysTheSame(sig, err, o)
}

func saysTheSame(sig *pgpsig.Signature, err error, o quorum.SignedOutput) error {
	switch {
	case err != nil:
		return err
	case sig.Fingerprint != o.Fingerprint || !sig.Created.Equal(o.SignedAt):
		return errors.New("the answer says another key or time than the signature")
	}
	return nil
}
