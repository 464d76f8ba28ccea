package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// Case is a case with its id.
type Case struct {
	ID CaseID
	statement.Case
}

// Dirty lists up to limit cases whose verdicts must be reconsidered.
func (tx *Tx) Dirty(limit int) (list []Case, err error) {
	err = each(tx, func(r *sql.Rows) error {
		var c Case
		var id []byte
		if err := r.Scan(&id, &c.Channel, &c.Target, &c.Stage); err != nil {
			return err
		}
		copy(c.ID[:], id)
		list = append(list, c)
		return nil
	}, "SELECT case_id, channel, target, stage FROM dirty LIMIT ?", limit)
	return list, err
}

// HasDirty reports whether any verdict must be reconsidered.
func (db *DB) HasDirty() (bool, error) {
	var x int
	err := one(db, []any{&x}, "SELECT 1 FROM dirty LIMIT 1")
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// MarkDue marks the cases dirty whose verdict the clock alone changes: a settle
// time that is over, a key whose revocation has come.
func (tx *Tx) MarkDue(since, now time.Time) error {
	err := tx.exec(`INSERT OR IGNORE INTO dirty (case_id, channel, target, stage)
		SELECT c.id, c.channel, c.target, c.stage FROM artifact a JOIN target_case c ON c.id = a.case_id WHERE a.until <= ?`, nanos(now))
	if err != nil {
		return err
	}
	return tx.exec(`INSERT OR IGNORE INTO dirty (case_id, channel, target, stage)
		SELECT DISTINCT c.id, c.channel, c.target, c.stage FROM statement s JOIN target_case c ON c.id = s.case_id
		WHERE s.revoked > ? AND s.revoked <= ?`, nanos(since), nanos(now))
}

// NextUntil is when the next settle time ends; zero when none runs.
func (db *DB) NextUntil() (time.Time, error) {
	var n sql.NullInt64
	err := one(db, []any{&n}, "SELECT min(until) FROM artifact WHERE until IS NOT NULL")
	return instant(n.Int64), err
}

// Observations reads the admitted statements of a case in the order of the record.
func (tx *Tx) Observations(id CaseID) (list []quorum.Observation, err error) {
	err = each(tx, func(r *sql.Rows) error {
		var o quorum.Observation
		var sid, payload, files sql.RawBytes
		var received int64
		var revoked sql.NullInt64
		var status string
		if err := r.Scan(&o.Seq, &sid, &payload, &o.Operator, &o.Builder, &received, &revoked, &status, &o.Reason, &files); err != nil {
			return err
		}
		copy(o.ID[:], sid)
		copy(o.Payload[:], payload)
		o.Received, o.Revoked, o.Status = instant(received), instant(revoked.Int64), statement.Status(status)
		o.Files, err = decodeFiles(files)
		list = append(list, o)
		return err
	}, "SELECT seq, id, payload, operator, builder, received, revoked, status, reason, files FROM statement WHERE case_id = ? ORDER BY seq", id[:])
	if err != nil {
		return nil, fmt.Errorf("read statements of case %s: %w", id, err)
	}
	return list, nil
}

// Signatures reads the signatures of a case, of one artifact unless artifact is
// empty.
func (tx *Tx) Signatures(id CaseID, artifact string) ([]Signature, error) {
	return signatures(tx, id, artifact)
}

// Signatures reads the signatures of a case, of one artifact unless artifact is
// empty.
func (db *DB) Signatures(id CaseID, artifact string) ([]Signature, error) {
	return signatures(db, id, artifact)
}

func signatures(q queryer, id CaseID, artifact string) (list []Signature, err error) {
	err = each(q, func(r *sql.Rows) error {
		s := Signature{Case: id}
		var sha256, sha512, request []byte
		var at int64
		if err := r.Scan(&s.Artifact, &s.Format, &s.Key, &sha256, &sha512, &s.Fingerprint, &at, &request, &s.Seq, &s.Signature, &s.Count); err != nil {
			return err
		}
		copy(s.Digests.SHA256[:], sha256)
		copy(s.Digests.SHA512[:], sha512)
		copy(s.RequestID[:], request)
		s.SignedAt = instant(at)
		list = append(list, s)
		return nil
	}, `SELECT s.artifact, s.format, s.key, s.sha256, s.sha512, s.fingerprint, s.signed_at, s.request_id, s.seq, s.signature, coalesce(b.signatures, 0)
		FROM signature s LEFT JOIN batch b ON b.request_id = s.request_id
		WHERE `+ofArtifact("s.case_id", "s.artifact", artifact)+` ORDER BY s.artifact, s.seq, s.key, s.format`, id[:], artifact)
	return list, err
}

// ofArtifact is the condition for rows of the case ?1, of the artifact ?2 unless that is
// empty. It is written so that an index finds the one: an OR would look at all.
func ofArtifact(caseID, name, artifact string) string {
	if artifact == "" {
		return caseID + " = ?1 AND ?2 = ''"
	}
	return caseID + " = ?1 AND " + name + " = ?2"
}

// Verdicts reads a case's stored verdicts as JSON, and their states, by the
// artifact's name.
func (tx *Tx) Verdicts(id CaseID) (map[string]string, map[string]quorum.State, error) {
	verdicts, states := map[string]string{}, map[string]quorum.State{}
	err := each(tx, func(r *sql.Rows) error {
		var name, state, verdict string
		err := r.Scan(&name, &state, &verdict)
		verdicts[name], states[name] = verdict, quorum.State(state)
		return err
	}, "SELECT name, state, verdict FROM artifact WHERE case_id = ?", id[:])
	return verdicts, states, err
}

// lenient writes text that is not UTF-8 with replacement characters. What others
// sent must not be able to keep a transaction from being made: the record cannot let
// go of a message, so the coordinator would fail at it for ever.
var lenient = jsontext.AllowInvalidUTF8(true)

// EncodeVerdict is the form in which verdicts are stored and compared.
func EncodeVerdict(v *quorum.Verdict) (string, error) {
	b, err := json.Marshal(v, json.Deterministic(true), lenient)
	return string(b), err
}

// ReasonOf is the reason in a stored verdict, empty if there is none.
func ReasonOf(encoded string) quorum.Reason {
	var v struct {
		Reason quorum.Reason `json:"reason"`
	}
	if encoded == "" || json.Unmarshal([]byte(encoded), &v) != nil {
		return "" // it was read before it was stored
	}
	return v.Reason
}

// PutVerdict stores a verdict.
func (tx *Tx) PutVerdict(id CaseID, v *quorum.Verdict, encoded string) error {
	return tx.exec("INSERT OR REPLACE INTO artifact (case_id, name, state, until, verdict) VALUES (?, ?, ?, ?, ?)",
		id[:], v.Artifact, string(v.State), maybe(v.Until), encoded)
}

// RemoveVerdict drops the verdict on an artifact that no statement names any more.
func (tx *Tx) RemoveVerdict(id CaseID, artifact string) error {
	return tx.exec("DELETE FROM artifact WHERE case_id = ? AND name = ?", id[:], artifact)
}

// AddDigest makes the artifact findable by a digest that was voted for.
func (tx *Tx) AddDigest(d statement.SHA256, id CaseID, artifact string) error {
	return tx.exec("INSERT OR IGNORE INTO vote_digest (sha256, case_id, artifact) VALUES (?, ?, ?)", d[:], id[:], artifact)
}

// Summary is what a list shows of a case.
type Summary struct {
	State   quorum.State
	Counts  map[quorum.State]int
	Updated time.Time
	Listing
}

// Decided stores the summary of a case and takes it off the dirty list.
func (tx *Tx) Decided(c Case, s Summary) error {
	counts, err := json.Marshal(s.Counts, json.Deterministic(true))
	if err != nil {
		return err
	}
	err = tx.exec(`INSERT INTO target_case (id, channel, target, stage, updated, state, counts) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, state = excluded.state, counts = excluded.counts`,
		c.ID[:], c.Channel, c.Target, c.Stage, nanos(s.Updated), string(s.State), string(counts))
	if err != nil {
		return err
	}
	if err := tx.list(c, &s); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	return tx.exec("DELETE FROM dirty WHERE case_id = ?", c.ID[:])
}

// Forget removes a case of which no admitted statement is left.
func (tx *Tx) Forget(id CaseID) error {
	if err := tx.unlist(id); err != nil {
		return err
	}
	if err := tx.exec("DELETE FROM target_case WHERE id = ?", id[:]); err != nil {
		return err
	}
	return tx.exec("DELETE FROM dirty WHERE case_id = ?", id[:])
}

// AddEvent appends an event and drops those older than the newest keep.
func (tx *Tx) AddEvent(body []byte, keep int) error {
	if err := tx.exec("INSERT INTO event (body) VALUES (?)", string(body)); err != nil {
		return err
	}
	return tx.exec("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", keep)
}
