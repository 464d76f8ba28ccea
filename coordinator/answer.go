package coordinator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"quorate/coordinator/store"
	"quorate/internal/pgpsig"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
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
	if err == nil && signed != ans.Digest {
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
		verified, ref := a.c.verify(art.State512, o)
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
			if art.Name == ans.Artifact && art.SHA256 == ans.Digest.SHA256 && art.SHA512 == ans.Digest.SHA512 {
				return art, nil, nil
			}
		}
	}
	return nil, refuse(CodeUnknownArtifact, "no recorded statement that the answer names votes on %q with its digest", ans.Artifact), nil
}

// verify checks one signature with this coordinator's own certificate. Time and
// fingerprint are taken from what was verified, not from the answer.
func (c *Coordinator) verify(state hashstate.State, o quorum.SignedOutput) (quorum.SignedOutput, *refusal) {
	cert := c.certs[o.Key]
	switch {
	case cert == nil:
		return o, refuse(CodeUnknownKey, "no certificate is configured for key %q", o.Key)
	case o.Format != policy.OpenPGP:
		return o, refuse(CodeFormat, "format %q cannot be verified by this version", o.Format)
	}
	h, err := state.Resume()
	if err != nil {
		return o, refuse(CodeSignatureInvalid, "%v", err)
	}
	sig, err := pgpsig.VerifyDetached(cert, h, o.Signature)
	if err != nil {
		return o, refuse(CodeSignatureInvalid, "signature by key %q: %v", o.Key, err)
	}
	o.Fingerprint, o.SignedAt = sig.Fingerprint, sig.Created
	return o, nil
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
