package coordinator

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sourcegraph/conc/iter"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/live"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Why a message of the record is refused, beside the codes of a statement.
const (
	CodeBadSubject       statement.Code = "bad-subject"
	CodeNotSupported     statement.Code = "not-supported" // a kind of message that this version does not know
	CodeBadAnswer        statement.Code = "bad-answer"
	CodeUnknownArtifact  statement.Code = "unknown-artifact"
	CodeUnknownKey       statement.Code = "unknown-key"
	CodeFormat           statement.Code = "format-not-allowed"
	CodeSignatureInvalid statement.Code = "signature-invalid"
	CodeOtherDigest      statement.Code = "already-signed-other-digest"
	CodePolicyUnknown    statement.Code = "policy-unknown" // the policy of the answer was never this coordinator's
	CodeNotApproved      statement.Code = "not-approved"   // its statements do not give a request that passes
	CodeUnreadable       statement.Code = "unreadable"     // reading it broke the coordinator's reader
)

// refusal says why a message can never be accepted.
type refusal struct {
	code    statement.Code
	message string
}

func refuse(code statement.Code, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// entry is a message of the record and what can be said of it without looking
// at any other message.
type entry struct {
	store.Message

	foreign bool // on a subject that is not its own: does not take the identity of its bytes
	refusal *refusal

	// One of these is set when refusal is nil.
	stmt   *statement.Statement
	obs    quorum.Observation // of stmt
	answer *quorum.Answer
	act    *act.Signed

	maintainer string // who signed act

	brought *foreignEntry // by an importer; set also when refusal is, once it was read
}

// examine parses and verifies a batch on all processors. The order stays.
func (c *Coordinator) examine(batch []entry) error {
	judged, err := c.db.Judged(batch[0].Seq, batch[len(batch)-1].Seq)
	if err != nil {
		return fmt.Errorf("read judgements: %w", err)
	}
	iter.ForEach(batch, func(e *entry) {
		c.survive(e, func() { e.examine(c.policy, c.reader, judged[e.Seq]) })
		e.identify()
	})
	return nil
}

// identify names the message by its bytes, which are hashed once.
func (e *entry) identify() {
	if e.stmt != nil {
		e.SHA256 = e.stmt.ID()
		return
	}
	e.SHA256 = statement.ID(e.Raw)
}

// survive refuses a message that breaks whatever reads it. The record cannot let go
// of it: a coordinator that ended here would end here at each start.
func (c *Coordinator) survive(e *entry, read func()) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("message broke its reader", "sequence", e.Seq, "subject", e.Subject, "panic", p, "stack", string(debug.Stack()))
			*e = entry{Message: e.Message, refusal: refuse(CodeUnreadable, "reading it failed inside the coordinator; its log says how")}
		}
	}()
	read()
}

func (e *entry) examine(p *policy.Policy, r *live.Reader, judged *store.Foreign) {
	kind, channel, sender, err := bus.ParseRecordSubject(e.Subject)
	switch {
	case err != nil:
		e.foreign, e.refusal = true, refuse(CodeBadSubject, "%v", err)
	case kind == bus.KindStatement:
		e.examineStatement(p, channel, sender)
	case kind == bus.KindForeign:
		e.examineForeign(r, channel, sender, judged)
	case kind == bus.KindSignature:
		e.examineAnswer(channel)
	case kind == bus.KindControl:
		e.examineAct(p, channel)
	default:
		e.refusal = refuse(CodeNotSupported, "messages of kind %q are not known to this version", kind)
	}
}

func (e *entry) examineStatement(p *policy.Policy, channel, builder string) {
	s, err := statement.Parse(e.Raw)
	if err != nil {
		e.foreign = isAct(e.Raw)
		e.refuse(err)
		return
	}
	if s.Channel != channel || s.Builder != builder {
		// Server permissions keep builders to their own subjects. This is for
		// the day on which they do not.
		e.foreign, e.refusal = true, refuse(quorum.CodeSubjectMismatch, "statement of builder %q for channel %q was published on %s", s.Builder, s.Channel, e.Subject)
		return
	}
	if e.obs, err = quorum.Admit(p, s, e.Received); err != nil {
		e.refuse(err)
		return
	}
	e.stmt, e.obs.Seq = s, e.Seq
}

func (e *entry) examineAnswer(channel string) {
	a, err := quorum.ParseAnswer(e.Raw)
	if err != nil {
		e.foreign = isAct(e.Raw)
		e.refusal = refuse(CodeBadAnswer, "%v", err)
		return
	}
	c := caseOf(a)
	if err := c.Check(); err != nil {
		e.refusal = refuse(CodeBadAnswer, "%v", err)
		return
	}
	if a.Channel != channel {
		e.foreign, e.refusal = true, refuse(quorum.CodeSubjectMismatch, "answer for channel %q was published on %s", a.Channel, e.Subject)
		return
	}
	e.answer = a
}

func (e *entry) refuse(err error) {
	e.refusal = &refusal{statement.CodeBadEnvelope, err.Error()}
	var se *statement.Error
	var ae *act.Error
	switch {
	case errors.As(err, &se):
		e.refusal.code = se.Code
	case errors.As(err, &ae):
		e.refusal.code = ae.Code
	}
	var fe *evidence.Error
	if errors.As(err, &fe) {
		e.refusal.code = fe.Code
	}
}

func caseOf(a *quorum.Answer) statement.Case {
	return statement.Case{Channel: a.Channel, Target: a.Target, Stage: a.Stage}
}
