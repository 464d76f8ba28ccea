package coordinator

import (
	"crypto"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/vsa"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// answer applies a signer's answer. Who sent it counts for nothing: a signature
// is believed because it verifies and its request would pass again. It sets
// e.refusal when it is not.
func (a *application) answer(e *entry) (err error) {
	ans, heed, partly := e.answer, true, false
	id := store.NewCaseID(caseOf(ans))
	switch {
	case ans.Refusal != nil:
		e.refusal, heed, err = a.checkRefusal(ans, id)
	case ans.IsBatch():
		var complete bool
		complete, e.refusal, err = a.part(e, id)
		partly = !complete
	default:
		e.refusal, err = a.signatures(e, id)
	}
	if err != nil || e.refusal != nil {
		return err
	}
	if heed {
		a.dirty[id] = caseOf(ans)
		a.c.metrics.answered(ans)
		if a.fresh && ans.Refusal != nil {
			a.told.refused(ans)
		}
	}
	return a.tx.AddAnswer(&store.Answer{RequestID: ans.ID, Seq: e.Seq, Received: e.Received, Refusal: ans.Refusal, Partly: partly})
}

// checkRefusal judges a refusal, which nobody can verify: all that it may do is to
// have a question asked again later. One to a question that this coordinator never
// asked is kept, because every coordinator must keep the same, and does nothing:
// whoever may write to the subject could otherwise raise alarms without end.
func (a *application) checkRefusal(ans *quorum.Answer, id store.CaseID) (ref *refusal, heed bool, err error) {
	known, err := a.tx.HasStatements(id)
	if err != nil {
		return nil, false, err
	}
	if !known {
		return refuse(CodeUnknownArtifact, "refusal is about a target without admitted statements"), false, nil
	}
	q, err := a.tx.Asked(ans.ID)
	switch {
	case err != nil || q == nil:
		return nil, false, err
	case !sameQuestion(q, ans, id):
		return refuse(CodeUnknownArtifact, "the refusal is about something else than the request with its id"), false, nil
	case ans.Refusal.Code == quorum.RefuseOtherDigest:
		err = a.alarm(ans, alarmSecondDigest, "the signer's ledger has another digest: "+ans.Refusal.Message)
	}
	return nil, true, err
}

func sameQuestion(q *store.Request, ans *quorum.Answer, id store.CaseID) bool {
	return q.Case == id && q.Artifact == ans.Artifact && q.SHA256 == ans.Digest.SHA256
}

// signatures verifies all signatures of an answer and stores them, or none.
func (a *application) signatures(e *entry, id store.CaseID) (*refusal, error) {
	ans := e.answer
	stmts, file, ref, err := a.readEvidence(ans)
	if err != nil || ref != nil {
		return ref, err
	}
	list, ref := a.verifyAll(e, id, file)
	if ref != nil {
		if ref.code != CodeSignatureInvalid {
			return ref, nil
		}
		return ref, a.alarmIfAsked(ans, id, alarmInvalidSignature, ref.message)
	}
	if ref, err := a.prove(ans, file, stmts, list); err != nil || ref != nil {
		return ref, err
	}
	if ref, err := a.notOther(ans, id); err != nil || ref != nil {
		return ref, err
	}
	for i := range list {
		if err := a.tx.AddSignature(&list[i]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// verifyAll checks every signature of an answer with this coordinator's keys.
func (a *application) verifyAll(e *entry, id store.CaseID, file *statement.Artifact) ([]store.Signature, *refusal) {
	ans := e.answer
	list := make([]store.Signature, len(ans.Signatures))
	for i, o := range ans.Signatures {
		if slices.ContainsFunc(ans.Signatures[:i], func(b quorum.SignedOutput) bool { return b.Output == o.Output }) {
			return nil, refuse(CodeBadAnswer, "output %s with key %q stands twice", o.Format, o.Key)
		}
		verified, ref := a.c.verify(fileOf(ans, file), e, o)
		if ref != nil {
			return nil, ref
		}
		list[i] = store.Signature{Case: id, Artifact: ans.Artifact, Digests: ans.Digest, RequestID: ans.ID, Seq: e.Seq, SignedOutput: verified}
	}
	return list, nil
}

// verify checks one signature with this coordinator's own key. Fingerprint and time
// are taken from what was verified. Some formats have no time; then it is the
// signer's word, which must at least not be ahead of the record.
func (c *Coordinator) verify(file sigcheck.File, e *entry, o quorum.SignedOutput) (quorum.SignedOutput, *refusal) {
	k := c.key(o.Key)
	if k == nil {
		return o, unknownKey(o.Key)
	}
	sig, err := k.Verify(o.Format, file, o.Signature)
	switch {
	case errors.Is(err, sigcheck.ErrUnchecked):
		return o, refuse(CodeFormat, "signature by key %q: %v", o.Key, err)
	case err != nil:
		return o, refuse(CodeSignatureInvalid, "signature by key %q: %v", o.Key, err)
	case sig.Summary != nil && !isAbout(sig.Summary, e.answer):
		return o, refuse(CodeSignatureInvalid, "the verification summary by key %q is about something else than the answer", o.Key)
	case sig.OpenPGP != nil:
		if err := checkNotations(sig.OpenPGP, e.answer); err != nil {
			return o, refuse(CodeSignatureInvalid, "signature by key %q is about something else than the answer: %v", o.Key, err)
		}
	case sig.Time.IsZero() && (o.SignedAt.IsZero() || o.SignedAt.After(e.Received.Add(quorum.MaxSkew))):
		return o, refuse(CodeBadAnswer, "signature by key %q: signedAt is missing, or ahead of the record", o.Key)
	}
	o.Fingerprint = sig.Fingerprint
	if !sig.Time.IsZero() {
		o.SignedAt = sig.Time
	}
	return o, nil
}

func unknownKey(key string) *refusal {
	return refuse(CodeUnknownKey, "no certificate is configured for key %q", key)
}

// isAbout reports whether the summary says what the answer is about: its signature
// is good for whatever the key ever summarised.
func isAbout(s *vsa.Summary, a *quorum.Answer) bool {
	return s.Channel == a.Channel && s.Target == a.Target && s.Artifact == a.Artifact && s.PolicyDigest == a.Policy.Digest
}

// checkNotations wants the signature to say what the answer says.
func checkNotations(s *pgpsig.Signature, a *quorum.Answer) error {
	return sigcheck.CheckNotations(s.Notations, sigcheck.Notations(a.Channel, a.Target, a.Policy, a.Evidence))
}

// fileOf is what the signatures of an answer must be over.
func fileOf(ans *quorum.Answer, art *statement.Artifact) sigcheck.File {
	return sigcheck.File{Digests: ans.Digest,
		State: func(crypto.Hash) (hash.Hash, error) { return art.State512.Resume() },
		Text:  func() (hash.Hash, error) { return resumeText(art) }}
}

func resumeText(art *statement.Artifact) (hash.Hash, error) {
	s := art.Signable(statement.TextState)
	if s == nil {
		return nil, fmt.Errorf("the votes that the answer names give no %s", statement.TextState)
	}
	st, err := hashstate.Decode(hashstate.SHA512, s.Value)
	if err != nil {
		return nil, err
	}
	return st.Resume()
}

// notOther refuses an answer about another digest of the file than is signed.
func (a *application) notOther(ans *quorum.Answer, id store.CaseID) (*refusal, error) {
	signed, err := a.tx.SignedDigests(id, ans.Artifact)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && signed.Agree(ans.Digest):
		return nil, nil
	case err != nil:
		return nil, err
	}
	ref := refuse(CodeOtherDigest, "%q is already signed with sha256 %s, the answer is about %s", ans.Artifact, signed.SHA256, ans.Digest.SHA256)
	return ref, a.alarm(ans, alarmSecondDigest, ref.message)
}

// alarmIfAsked raises an alarm about an answer that is wrong, if there is such a
// question: else anybody's garbage would be one.
func (a *application) alarmIfAsked(ans *quorum.Answer, id store.CaseID, code, message string) error {
	q, err := a.tx.Asked(ans.ID)
	if err != nil || q == nil || !sameQuestion(q, ans, id) {
		return err
	}
	return a.alarm(ans, code, message)
}

// alarm raises at most one alarm of a code for an artifact and request.
func (a *application) alarm(ans *quorum.Answer, code, message string) error {
	isNew, err := a.c.raise(a.tx, caseOf(ans), ans.Artifact, code, message, ans.ID.String())
	if isNew {
		a.alarms++
	}
	return err
}

// Codes of the alarms that a coordinator raises.
const (
	alarmLateDissent  = "late-dissent"
	alarmSecondDigest = "second-digest"

	alarmInvalidSignature = "invalid-signature"
)

// raise puts an alarm into the transaction, unless the same was raised before.
// The detail is what makes two alarms of one code about one artifact differ.
func (c *Coordinator) raise(tx *store.Tx, cs statement.Case, artifact, code, message, detail string) (isNew bool, err error) {
	return c.raiseAlarm(tx, &wire.Alarm{Version: quorum.Version, Code: code, Channel: cs.Channel, Target: cs.Target, Stage: cs.Stage,
		Artifact: artifact, Message: message, From: userName, At: c.now().UTC()}, detail)
}

// raiseAlarm is raise for an alarm of whoever its From names.
func (c *Coordinator) raiseAlarm(tx *store.Tx, a *wire.Alarm, detail string) (isNew bool, err error) {
	a.Message = strings.ToValidUTF8(a.Message, "\uFFFD") // some of it is what others sent
	body, err := wire.Encode(a)
	if err != nil {
		return false, err
	}
	cs := statement.Case{Channel: a.Channel, Target: a.Target, Stage: a.Stage}
	row := &store.Alarm{ID: newsID(a.Code, cs, a.Artifact, detail), Channel: a.Channel, Body: body, Raised: a.At}
	if a.From != userName {
		row.Signer = a.From
	}
	if isNew, err = tx.AddAlarm(row); err != nil || !isNew {
		return false, err
	}
	shown := toAlarm(a)
	if err := tx.AddNews(&store.News{ID: row.ID, Case: cs, Kind: a.Code, Artifact: a.Artifact, Text: render.AlarmBy(shown) + a.Message, Updated: a.At}); err != nil {
		return false, err
	}
	c.metrics.alarms.WithLabelValues(a.From, alarmLabel(a.Code)).Inc()
	return true, c.addEvent(tx, &api.Event{Channel: a.Channel, Target: a.Target, Stage: a.Stage, TargetID: store.NewCaseID(cs).String(),
		Artifact: a.Artifact, Alarm: &shown})
}

func toAlarm(a *wire.Alarm) api.Alarm {
	return api.Alarm{Code: a.Code, Message: a.Message, From: a.From}
}

func toTargetAlarm(a *wire.Alarm) api.TargetAlarm {
	return api.TargetAlarm{Alarm: toAlarm(a), Artifact: a.Artifact, At: a.At}
}
