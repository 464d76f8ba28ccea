package store

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
	"quorate/quorum/statement"
)

func decodeVerdict(text string) (*quorum.Verdict, error) {
	v := new(quorum.Verdict)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return nil, fmt.Errorf("stored verdict: %w", err)
	}
	return v, nil
}

// Target is a case with its summary.
type Target struct {
	Case
	Summary
	place int64 // in lists
}

const targetColumns = `SELECT c.id, c.channel, c.target, c.stage, c.updated, c.state, c.counts, l.n, l.since
	FROM target_case c JOIN listed l ON l.case_id = c.id`

func scanTarget(r *sql.Rows) (t Target, err error) {
	var id []byte
	var updated, since int64
	var counts string
	if err := r.Scan(&id, &t.Channel, &t.Case.Target, &t.Stage, &updated, &t.State, &counts, &t.place, &since); err != nil {
		return t, err
	}
	copy(t.ID[:], id)
	t.Updated, t.Since, t.First = instant(updated), instant(since), uint64(t.place)/atOneSequence
	err = json.Unmarshal([]byte(counts), &t.Counts)
	return t, err
}

// Target reads one target, or [ErrNotFound].
func (db *DB) Target(id CaseID) (t Target, err error) {
	err = ErrNotFound
	qerr := each(db, func(r *sql.Rows) error {
		t, err = scanTarget(r)
		return err
	}, targetColumns+" WHERE c.id = ?", id[:])
	if qerr != nil {
		return t, qerr
	}
	return t, err
}

// Verdicts reads the verdicts of a case, of one artifact unless artifact is empty.
func (db *DB) Verdicts(id CaseID, artifact string) (list []*quorum.Verdict, err error) {
	err = each(db, func(r *sql.Rows) error {
		var text string
		if err := r.Scan(&text); err != nil {
			return err
		}
		v, err := decodeVerdict(text)
		list = append(list, v)
		return err
	}, "SELECT verdict FROM artifact WHERE "+ofArtifact("case_id", "name", artifact)+" ORDER BY name", id[:], artifact)
	return list, err
}

// Place is an artifact of a case.
type Place struct {
	Case     CaseID
	Artifact string
}

// PlaceFilter chooses artifacts; nil and empty values choose all.
type PlaceFilter struct {
	Channel, Target, Name string
	Stage                 *string // the empty stage is one, too
}

// ByDigest lists up to limit artifacts that a digest was ever voted for. Where the
// digest is what was agreed on comes first, what is signed before the rest: a
// builder who votes for the digest under hundreds of other names must not push
// the signed file off the list.
func (db *DB) ByDigest(d statement.SHA256, f PlaceFilter, limit int) ([]Place, error) {
	return db.byDigest("sha256", d[:], f, limit)
}

// StatementInfo is one admitted statement, without its votes.
type StatementInfo struct {
	ID                          statement.SHA256
	Seq                         uint64
	Operator, Builder           string
	Received, Started, Finished time.Time
	Status                      statement.Status
	Reason                      string
}

// Statements lists the admitted statements of a case in the order of the record.
func (db *DB) Statements(id CaseID) (list []StatementInfo, err error) {
	err = each(db, func(r *sql.Rows) error {
		var s StatementInfo
		var sid []byte
		var received, started, finished int64
		if err := r.Scan(&sid, &s.Seq, &s.Operator, &s.Builder, &received, &started, &finished, &s.Status, &s.Reason); err != nil {
			return err
		}
		copy(s.ID[:], sid)
		s.Received, s.Started, s.Finished = instant(received), instant(started), instant(finished)
		list = append(list, s)
		return nil
	}, "SELECT id, seq, operator, builder, received, started, finished, status, reason FROM statement WHERE case_id = ? ORDER BY seq", id[:])
	return list, err
}

// Rejection is a message that was refused.
type Rejection struct {
	Message
	Code   statement.Code
	Reason string
}

// Rejected lists refused messages older than before, newest first. Zero means
// from the newest on.
func (db *DB) Rejected(before uint64, limit int) (list []Rejection, err error) {
	err = each(db, func(r *sql.Rows) error {
		var j Rejection
		var received int64
		var sum, raw []byte
		if err := r.Scan(&j.Seq, &j.Subject, &received, &sum, &raw, &j.Code, &j.Reason); err != nil {
			return err
		}
		if j.Received = instant(received); copy(j.SHA256[:], sum) == 0 {
			j.SHA256 = statement.ID(raw)
		}
		list = append(list, j)
		return nil
		// Only what has no digest is hashed: else whoever asks costs us the bytes of
		// a whole page each time.
	}, `SELECT r.seq, r.subject, r.received, r.sha256, CASE WHEN r.sha256 IS NULL THEN r.raw END, j.code, j.message FROM rejected j JOIN record r ON r.seq = j.seq
		WHERE ?1 = 0 OR j.seq < ?1 ORDER BY j.seq DESC LIMIT ?2`, before, limit)
	return list, err
}

// Event is a stored event.
type Event struct {
	ID   int64
	Body []byte
}

// Events reads up to limit events that follow after.
func (db *DB) Events(after int64, limit int) (list []Event, err error) {
	err = each(db, func(r *sql.Rows) error {
		var e Event
		var body string
		err := r.Scan(&e.ID, &body)
		e.Body = []byte(body)
		list = append(list, e)
		return err
	}, "SELECT id, body FROM event WHERE id > ? ORDER BY id LIMIT ?", after, limit)
	return list, err
}

// EventRange returns the ids of the oldest and the newest event that is kept;
// both are 0 when there was none yet.
func (db *DB) EventRange() (first, last int64, err error) {
	var a, b sql.NullInt64
	err = one(db, []any{&a, &b}, "SELECT min(id), max(id) FROM event")
	return a.Int64, b.Int64, err
}

// Recorded counts the messages in the record and those refused.
func (db *DB) Recorded() (messages, rejected int, err error) {
	err = one(db, []any{&messages, &rejected}, "SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM rejected)")
	return messages, rejected, err
}

// Touch takes the lock for writing and changes nothing that counts.
func (tx *Tx) Touch() error {
	return tx.exec("UPDATE cursor SET recorded = recorded WHERE id = 1")
}
