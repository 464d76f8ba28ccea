package coordinator

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"

	"quorate/coordinator/store"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/vsa"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// answer applies a signer's answer. Who sent it counts for nothing: a signature
// is believed because it verifies. It sets e.refusal when it is not.
func (a *application) answer(e *entry) (err error) {
	ans := e.answer
	id := store.NewCaseID(caseOf(ans))
	if ans.Refusal != nil {
		e.refusal, err = a.checkRefusal(ans, id)
	} else {
		e.refusal, err = a.signatures(e, id)
	}
	if err != nil || e.refusal != nil {
		return err
	}
	a.dirty[id] = caseOf(ans)
	a.c.metrics.answered(ans)
	return a.tx.AddAnswer(&store.Answer{RequestID: ans.ID, Seq: e.Seq, Received: e.Received, Refusal: ans.Refusal})
}

// checkRefusal lets refusals pass that are about something known. They change
// nothing but when the question is asked again.
func (a *application) checkRefusal(ans *quorum.Answer, id store.CaseID) (*refusal, error) {
	known, err := a.tx.HasStatements(id)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return refuse(CodeUnknownArtifact, "refusal is about a target without admitted statements"), nil
	case ans.Refusal.Code == quorum.RefuseOtherDigest:
		return nil, a.alarm(ans, alarmSecondDigest, "the signer's ledger has another digest: "+ans.Refusal.Message)
	}
	return nil, nil
}

// signatures verifies all signatures of an answer and stores them, or none.
func (a *application) signatures(e *entry, id store.CaseID) (*refusal, error) {
	ans := e.answer
	art, ref, err := a.findArtifact(ans)
	if err != nil || ref != nil {
		return ref, err
	}
	signed, err := a.tx.SignedDigests(id, ans.Artifact)
	if err == nil && !signed.Agree(ans.Digest) {
		return a.otherDigest(ans, signed)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	list := make([]store.Signature, len(ans.Signatures))
	for i, o := range ans.Signatures {
		if slices.ContainsFunc(ans.Signatures[:i], func(b quorum.SignedOutput) bool { return b.Output == o.Output }) {
			return refuse(CodeBadAnswer, "output %s with key %q stands twice", o.Format, o.Key), nil
		}
		verified, ref := a.c.verify(fileOf(ans, art), e, o)
		if ref != nil {
			return ref, a.alarm(ans, "invalid-signature", ref.message)
		}
		list[i] = store.Signature{Case: id, Artifact: ans.Artifact, Digests: ans.Digest, RequestID: ans.ID, Seq: e.Seq, SignedOutput: verified}
	}
	for i := range list {
		if err := a.tx.AddSignature(&list[i]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// findArtifact looks among the statements that the answer names for one that
// carries the state of the signed file. Whether it was admitted plays no part: a
// signature that exists stays what it is when the policy changes.
func (a *application) findArtifact(ans *quorum.Answer) (*statement.Artifact, *refusal, error) {
	if len(ans.Statements) > quorum.MaxEvidence {
		return nil, refuse(CodeBadAnswer, "%d statements, at most %d", len(ans.Statements), quorum.MaxEvidence), nil
	}
	for _, id := range ans.Statements {
		raw, err := a.tx.Raw(id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		s, err := statement.Parse(raw)
		if err != nil || s.Case != caseOf(ans) {
			continue
		}
		for i := range s.Artifacts {
			art := &s.Artifacts[i]
			if art.Name == ans.Artifact && ans.Digest.In(art) {
				return art, nil, nil
			}
		}
	}
	return nil, refuse(CodeUnknownArtifact, "no recorded statement that the answer names votes on %q with its digest", ans.Artifact), nil
}

// verify checks one signature with this coordinator's own key. Fingerprint and time
// are taken from what was verified. Some formats have no time; then it is the
// signer's word, which must at least not be ahead of the record.
func (c *Coordinator) verify(file sigcheck.File, e *entry, o quorum.SignedOutput) (quorum.SignedOutput, *refusal) {
	k := c.keys[o.Key]
	if k == nil {
		return o, refuse(CodeUnknownKey, "no certificate is configured for key %q", o.Key)
	}
	sig, err := k.Verify(o.Format, file, o.Signature)
	switch {
	case errors.Is(err, sigcheck.ErrUnchecked):
		return o, refuse(CodeFormat, "signature by key %q: %v", o.Key, err)
	case err != nil:
		return o, refuse(CodeSignatureInvalid, "signature by key %q: %v", o.Key, err)
	case sig.Summary != nil && !isAbout(sig.Summary, e.answer):
		return o, refuse(CodeSignatureInvalid, "the verification summary by key %q is about something else than the answer", o.Key)
	case sig.Time.IsZero() && (o.SignedAt.IsZero() || o.SignedAt.After(e.Received.Add(quorum.MaxSkew))):
		return o, refuse(CodeBadAnswer, "signature by key %q: signedAt is missing, or ahead of the record", o.Key)
	}
	o.Fingerprint = sig.Fingerprint
	if !sig.Time.IsZero() {
		o.SignedAt = sig.Time
	}
	return o, nil
}

// isAbout reports whether the summary says what the answer is about: its signature
// is good for whatever the key ever summarised.
func isAbout(s *vsa.Summary, a *quorum.Answer) bool {
	return s.Channel == a.Channel && s.Target == a.Target && s.Artifact == a.Artifact && s.PolicyDigest == a.Policy.Digest
}

// fileOf is what the signatures of an answer must be over.
func fileOf(ans *quorum.Answer, art *statement.Artifact) sigcheck.File {
	return sigcheck.File{Digests: ans.Digest, State: func(crypto.Hash) (hash.Hash, error) { return art.State512.Resume() }}
}

func (a *application) otherDigest(ans *quorum.Answer, signed quorum.Digests) (*refusal, error) {
	ref := refuse(CodeOtherDigest, "%q is already signed with sha256 %s, the answer is about %s", ans.Artifact, signed.SHA256, ans.Digest.SHA256)
	return ref, a.alarm(ans, alarmSecondDigest, ref.message)
}

func (a *application) alarm(ans *quorum.Answer, code, message string) error {
	isNew, err := a.c.raise(a.tx, caseOf(ans), ans.Artifact, code, message, ans.Digest.SHA256.String())
	if isNew {
		a.alarms++
	}
	return err
}

// Codes of the alarms that a coordinator raises.
const (
	alarmLateDissent  = "late-dissent"
	alarmSecondDigest = "second-digest"
)

// raise puts an alarm into the transaction, unless the same was raised before.
// The detail is what makes two alarms of one code about one artifact differ.
func (c *Coordinator) raise(tx *store.Tx, cs statement.Case, artifact, code, message, detail string) (isNew bool, err error) {
	body, err := wire.Encode(&wire.Alarm{Version: quorum.Version, Code: code, Channel: cs.Channel, Target: cs.Target, Stage: cs.Stage,
		Artifact: artifact, Message: message, From: userName, At: c.now().UTC()})
	if err != nil {
		return false, err
	}
	h := sha256.New()
	for _, s := range []string{code, cs.Channel, cs.Target, cs.Stage, artifact, detail} {
		fmt.Fprintf(h, "%d:%s\n", len(s), s)
	}
	return tx.AddAlarm(&store.Alarm{ID: statement.SHA256(h.Sum(nil)), Channel: cs.Channel, Body: body})
}
