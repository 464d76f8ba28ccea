package coordinator

import (
	"cmp"
	"errors"
	"runtime/debug"
	"slices"

	"quorate/coordinator/store"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/live"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// CodeSuperseded refuses a foreign statement that is older than one of the same
// operator about the same target: whoever carries statements must not be able to
// bring back what its author replaced.
const CodeSuperseded statement.Code = "superseded"

// judge says what judged, for the row of a judgement.
var judge = linked("github.com/ProtonMail/go-crypto")

// linked is the version of a module that this program was built with.
func linked(module string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return module
	}
	i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == module })
	if i < 0 {
		return module
	}
	return module + " " + info.Deps[i].Version
}

// foreignEntry is what can be said of an importer's message.
type foreignEntry struct {
	row     store.Foreign
	stored  bool // the judgement in row is that of the database
	ballots []live.Ballot
}

// examineForeign reads what an importer brought and judges its signatures as of
// the time of receipt; or takes the judgement that stands in the database, if it
// is about a key that the policy still pins.
func (e *entry) examineForeign(r *live.Reader, channel, importer string, judged *store.Foreign) {
	f, err := wire.ParseForeign(e.Raw)
	if err != nil {
		e.refusal = refuse(statement.CodeBadEnvelope, "%v", err)
		return
	}
	if f.Channel != channel {
		e.foreign, e.refusal = true, refuse(quorum.CodeSubjectMismatch, "statement for channel %q was published on %s", f.Channel, e.Subject)
		return
	}
	keys, stands := f.Keys, judged != nil && r.Pinned(judged.Verdicts)
	if stands {
		keys = nil // nothing is verified again
	}
	s, err := r.Read(f.Evidence, keys, e.Received)
	if err != nil {
		e.refuse(err)
		return
	}
	if judged != nil {
		s.Verdicts = keepFound(judged.Verdicts, s.Verdicts)
	}
	e.brought = &foreignEntry{stored: stands, row: store.Foreign{Seq: e.Seq, ID: s.ID, Kind: live.KindOf(s.Kind), Importer: importer,
		Origin: f.Origin, Fetched: f.Fetched, Judged: e.Received, Program: judge, Verdicts: s.Verdicts}}
	e.brought.row.Good = len(s.Accepted(evidence.Accept{ExpiredSince: true, RevokedSince: true})) > 0
	if e.brought.ballots, err = r.Ballots(channel, s, e.Received); err != nil {
		e.refuse(err)
	}
}

// keepFound takes what was found of a signature by a pinned key from the older
// judgement, whatever the newer one says, and the rest from the newer one.
func keepFound(old, now []evidence.Verdict) []evidence.Verdict {
	for i := range now {
		if i < len(old) && old[i].Key != "" {
			now[i] = old[i]
		}
	}
	return now
}

// brought stores the judgement and adds the votes of a foreign statement. It sets
// e.refusal when there are none.
func (a *application) brought(e *entry) (added int, err error) {
	b := e.brought
	if !b.stored {
		if err := a.tx.PutForeign(&b.row); err != nil {
			return 0, err
		}
	}
	if e.refusal != nil {
		return 0, nil
	}
	older, tooMany := 0, (*refusal)(nil)
	for i := range b.ballots {
		state, ref, err := a.ballot(e, &b.ballots[i])
		if err != nil {
			return added, err
		}
		switch state {
		case ballotTooMany:
			tooMany = ref
		case ballotNew:
			added++
		case ballotOlder:
			older++
		}
	}
	switch {
	case added > 0:
	case tooMany != nil:
		e.refusal = tooMany
	case older > 0:
		e.refusal = refuse(CodeSuperseded, "its builder has said something newer about the same target, which counts")
	}
	return added, nil
}

// What became of one vote.
type ballotState int

const (
	ballotNew   ballotState = iota
	ballotKnown             // another importer brought the same
	ballotOlder
	ballotTooMany
)

func (a *application) ballot(e *entry, b *live.Ballot) (ballotState, *refusal, error) {
	id := store.NewCaseID(b.Case)
	known, err := a.tx.Admitted(id, b.Observation.ID)
	if err != nil || known {
		return ballotKnown, nil, err
	}
	latest, err := a.tx.LatestForeign(id, b.Observation.Operator)
	if err != nil || !b.Made.IsZero() && b.Made.Before(latest) {
		return ballotOlder, nil, err
	}
	if ref, err := a.tooMany(id, &b.Observation); err != nil || ref != nil {
		return ballotTooMany, ref, err
	}
	if !b.Made.IsZero() {
		if err := a.tx.SetLatestForeign(id, b.Observation.Operator, b.Made); err != nil {
			return ballotNew, nil, err
		}
	}
	o := b.Observation
	o.Seq, o.Received = e.Seq, e.Received
	return ballotNew, nil, a.add(b.Case, &o, b.Made, b.Made)
}

// source reads messages by their identity: inside of a transaction or not.
type source interface {
	RawSeq(statement.SHA256) (uint64, []byte, error)
	Seq(statement.SHA256) (uint64, error)
	RawForeign(statement.SHA256) (uint64, []byte, error)
}

// evidenceFor reads a statement of any kind, with its place in the record, as it
// takes part in a request about the case. What importers brought is looked for
// first: anybody may publish bytes that have the identity of somebody's evidence.
// Callers must not change the statement.
func (c *Coordinator) evidenceFor(q source, p *policy.Policy, cs statement.Case, id statement.SHA256) (seq uint64, s *statement.Statement, err error) {
	seq, raw, err := q.RawForeign(id)
	if err == nil {
		f, err := wire.ParseForeign(raw)
		if err != nil {
			return 0, nil, err
		}
		s, err = live.Claims(p, cs, f.Evidence, f.Keys)
		return seq, s, err
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, nil, err
	}
	if s = c.memory.Statement(id); s != nil {
		seq, err = q.Seq(id)
		return seq, s, err
	}
	if seq, raw, err = q.RawSeq(id); err != nil {
		return 0, nil, err
	}
	if s, err = statement.Parse(raw); err == nil {
		c.memory.Keep(s)
	}
	return seq, s, err
}

// isAboutBytes reports whether the error says what is wrong with a statement, and
// not that it could not be looked up.
func isAboutBytes(err error) bool {
	var own *statement.Error
	var other *evidence.Error
	return errors.As(err, &own) || errors.As(err, &other)
}

// sizeOf is how many bytes of evidence a statement brings into a request.
func sizeOf(s *statement.Statement) int {
	n := len(s.Raw())
	for _, k := range s.Keys() {
		n += len(k)
	}
	return n
}

// byPlace puts statements into the order of the record.
func byPlace(list []placed) []*statement.Statement {
	slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.seq, b.seq) })
	stmts := make([]*statement.Statement, len(list))
	for i := range list {
		stmts[i] = list[i].s
	}
	return stmts
}

// placed is a statement with its place in the record.
type placed struct {
	seq uint64
	s   *statement.Statement
}
