package store

import (
	"database/sql"

	"fmt"
	"time"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// Request is a question to the holders of a key and what became of it.
type Request struct {
	Case       CaseID
	Artifact   string
	Key        string
	ID         statement.SHA256 // of the latest question; zero: not asked yet
	SHA256     statement.SHA256 // digest to be signed
	Evidence   statement.SHA256 // of the votes it would be asked with
	Attempts   int
	Asked      time.Time
	AskedSeq   uint64
	HandledSeq uint64
	Next       time.Time // zero: not by itself
	Problem    string    // why it could not even be asked

	Answer *Answer // latest one, if any

	Parts, Have int // of a batch, once there is one: all parts, and those that are there
}

const requestColumns = `q.case_id, q.artifact, q.key, q.id, q.sha256, q.evidence, q.attempts, q.asked, q.asked_seq, q.handled_seq, q.next, q.problem,
	a.seq, a.received, a.code, a.message, a.retryable, a.partly, b.parts, CASE WHEN b.parts THEN ` + partial + ` END FROM request q LEFT JOIN answer a ON a.request_id = q.id LEFT JOIN batch b ON b.request_id = q.id`

func scanRequest(r *sql.Rows) (*Request, error) {
	var q Request
	var id, key, digest, evidence []byte
	var asked int64
	var next, seq, received sql.NullInt64
	var code, message sql.NullString
	var retryable, partly sql.NullBool
	var count, have sql.NullInt64
	err := r.Scan(&id, &q.Artifact, &q.Key, &key, &digest, &evidence, &q.Attempts, &asked, &q.AskedSeq, &q.HandledSeq, &next, &q.Problem,
		&seq, &received, &code, &message, &retryable, &partly, &count, &have)
	if err != nil {
		return nil, err
	}
	copy(q.Case[:], id)
	copy(q.ID[:], key)
	copy(q.SHA256[:], digest)
	copy(q.Evidence[:], evidence)
	q.Asked, q.Next = instant(asked), instant(next.Int64)
	q.Parts, q.Have = int(count.Int64), int(have.Int64)
	if seq.Valid {
		q.Answer = &Answer{RequestID: q.ID, Seq: uint64(seq.Int64), Received: instant(received.Int64), Partly: partly.Bool}
		if code.String != "" {
			q.Answer.Refusal = &quorum.Refusal{Code: quorum.RefusalCode(code.String), Message: message.String, Retryable: retryable.Bool}
		}
	}
	return &q, nil
}

func requests(q queryer, where string, args ...any) (list []*Request, err error) {
	err = each(q, func(r *sql.Rows) error {
		one, err := scanRequest(r)
		list = append(list, one)
		return err
	}, "SELECT "+requestColumns+" WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read requests: %w", err)
	}
	return list, nil
}

// Requests reads the questions about a case.
func (tx *Tx) Requests(id CaseID) ([]*Request, error) {
	return requests(tx, "q.case_id = ? ORDER BY q.artifact, q.key", id[:])
}

// Requests reads the questions about a case, of one artifact unless artifact is
// empty.
func (db *DB) Requests(id CaseID, artifact string) ([]*Request, error) {
	return requests(db, ofArtifact("q.case_id", "q.artifact", artifact)+" ORDER BY q.artifact, q.key", id[:], artifact)
}

// DueRequests reads up to limit questions that are to be asked at the time.
func (db *DB) DueRequests(now time.Time, limit int) ([]*Request, error) {
	return requests(db, "q.next <= ? ORDER BY q.next LIMIT ?", nanos(now), limit)
}

// NextRequest is when the next question is due; zero when none waits.
func (db *DB) NextRequest() (time.Time, error) {
	var n sql.NullInt64
	err := one(db, []any{&n}, "SELECT min(next) FROM request WHERE next IS NOT NULL")
	return instant(n.Int64), err
}

// PutRequest stores the whole row.
func (tx *Tx) PutRequest(q *Request) error {
	var id any
	if q.ID != (statement.SHA256{}) {
		id = q.ID[:]
	}
	return tx.exec(`INSERT OR REPLACE INTO request
		(case_id, artifact, key, id, sha256, evidence, attempts, asked, asked_seq, handled_seq, next, problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		q.Case[:], q.Artifact, q.Key, id, q.SHA256[:], q.Evidence[:], q.Attempts, nanos(q.Asked), q.AskedSeq, q.HandledSeq, maybe(q.Next), q.Problem)
}

// Request reads one question, or nil.
func (tx *Tx) Request(id CaseID, artifact, key string) (*Request, error) {
	list, err := requests(tx, "q.case_id = ? AND q.artifact = ? AND q.key = ?", id[:], artifact, key)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// Asked reads the question with that id, or nil if it was not asked.
func (tx *Tx) Asked(id statement.SHA256) (*Request, error) {
	list, err := requests(tx, "q.id = ? LIMIT 1", id[:])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// Projected is the position of the projection.
func (tx *Tx) Projected() (seq uint64, err error) {
	err = one(tx, []any{&seq}, "SELECT projected FROM cursor WHERE id = 1")
	return seq, err
}

// Verdict reads a stored verdict, or [ErrNotFound].
func (tx *Tx) Verdict(id CaseID, artifact string) (*quorum.Verdict, error) {
	var text string
	err := one(tx, []any{&text}, "SELECT verdict FROM artifact WHERE case_id = ? AND name = ?", id[:], artifact)
	if err != nil {
		return nil, err
	}
	return decodeVerdict(text)
}

// Case reads a case by its id, or [ErrNotFound].
func (tx *Tx) Case(id CaseID) (c Case, err error) {
	c.ID = id
	err = one(tx, []any{&c.Channel, &c.Target, &c.Stage}, "SELECT channel, target, stage FROM target_case WHERE id = ?", id[:])
	return c, err
}

// Redrive makes every open question about a case due now, of one artifact unless
// artifact is empty, and returns how many there are.
func (tx *Tx) Redrive(id CaseID, artifact string, now time.Time) (int, error) {
	n, err := tx.changes(`UPDATE request SET next = ?1 WHERE case_id = ?2 AND (?3 = '' OR artifact = ?3)
		AND EXISTS (SELECT 1 FROM artifact a WHERE a.case_id = request.case_id AND a.name = request.artifact AND a.state = ?4)
		AND NOT EXISTS (SELECT 1 FROM answer w WHERE w.request_id = request.id AND w.code = '' AND NOT w.partly)`,
		nanos(now), id[:], artifact, string(quorum.Agreed))
	return int(n), err
}
