package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Message is one message of the record stream as it was received.
type Message struct {
	Seq      uint64
	Subject  string
	Received time.Time
	SHA256   statement.SHA256 // of Raw
	Raw      []byte
	First    uint64 // of a repetition: where the bytes were first; read by Messages alone
}

// Cursor says how far the database has come.
type Cursor struct {
	Stream     time.Time // creation time of the stream; zero: none seen yet
	Recorded   uint64    // last message in the record
	Projected  uint64    // last message whose effects are in the projection
	Basis      statement.SHA256
	Considered time.Time // revocations up to here were applied
	Epoch      string
}

// Cursor reads the cursor.
func (db *DB) Cursor() (Cursor, error) {
	var c Cursor
	var stream, considered int64
	var basis []byte
	err := one(db, []any{&stream, &c.Recorded, &c.Projected, &basis, &considered, &c.Epoch},
		"SELECT stream, recorded, projected, basis, considered, epoch FROM cursor WHERE id = 1")
	if err != nil {
		return c, fmt.Errorf("read cursor: %w", err)
	}
	c.Stream, c.Considered = instant(stream), instant(considered)
	copy(c.Basis[:], basis)
	return c, nil
}

// SetStream remembers which stream the record was read from.
func (tx *Tx) SetStream(created time.Time) error {
	return tx.exec("UPDATE cursor SET stream = ? WHERE id = 1", nanos(created))
}

// SetConsidered remembers up to when revocations were applied.
func (tx *Tx) SetConsidered(at time.Time) error {
	return tx.exec("UPDATE cursor SET considered = ? WHERE id = 1", nanos(at))
}

// Advance moves the cursor. It belongs into the transaction that holds the
// effects of the messages up to there.
func (tx *Tx) Advance(recorded, projected uint64) error {
	return tx.exec("UPDATE cursor SET recorded = max(recorded, ?), projected = ? WHERE id = 1", recorded, projected)
}

// AddMessage puts a message into the record. It reports whether its bytes are
// new. A repetition keeps its place, but its bytes are those of the first.
func (tx *Tx) AddMessage(m *Message) (isNew bool, err error) {
	n, err := tx.changes("INSERT INTO record (seq, subject, received, sha256, raw) VALUES (?, ?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
		m.Seq, m.Subject, nanos(m.Received), m.SHA256[:], m.Raw)
	if err != nil || n == 1 {
		return err == nil, err
	}
	return false, tx.exec(`INSERT INTO record (seq, subject, received, first)
		SELECT ?, ?, ?, seq FROM record WHERE sha256 = ?`, m.Seq, m.Subject, nanos(m.Received), m.SHA256[:])
}

// AddForeign records a message that stands on a subject it does not belong to.
// It does not take the identity of its bytes: whoever publishes somebody's
// statement on their own subject first must not make the true one a repetition.
func (tx *Tx) AddForeign(m *Message) error {
	return tx.exec("INSERT INTO record (seq, subject, received, raw) VALUES (?, ?, ?, ?)", m.Seq, m.Subject, nanos(m.Received), m.Raw)
}

// AddStatement adds an admitted statement to the projection, and returns how many
// bytes its votes are.
func (tx *Tx) AddStatement(id CaseID, o *quorum.Observation, started, finished time.Time) (votes int, err error) {
	files := encodeFiles(o.Files)
	return len(files), tx.exec(`INSERT INTO statement (case_id, seq, id, payload, operator, builder, received, revoked, started, finished, status, reason, files)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id[:], o.Seq, o.ID[:], o.Payload[:], o.Operator, o.Builder, nanos(o.Received), maybe(o.Revoked), nanos(started), nanos(finished),
		string(o.Status), o.Reason, files)
}

// Said returns how many admitted statements of a builder about a case there are, and
// how many bytes of votes.
func (tx *Tx) Said(id CaseID, builder string) (count, bytes int, err error) {
	err = one(tx, []any{&count, &bytes}, "SELECT count(1), coalesce(sum(length(files)), 0) FROM statement WHERE case_id = ? AND builder = ?", id[:], builder)
	return count, bytes, err
}

// SaidNames returns the names of the files in a builder's admitted statements about a
// case.
func (tx *Tx) SaidNames(id CaseID, builder string) (map[string]struct{}, error) {
	names := map[string]struct{}{}
	err := each(tx, func(r *sql.Rows) error {
		var b sql.RawBytes
		if err := r.Scan(&b); err != nil {
			return err
		}
		files, err := decodeFiles(b)
		for i := range files {
			names[files[i].Name] = struct{}{}
		}
		return err
	}, "SELECT files FROM statement WHERE case_id = ? AND builder = ?", id[:], builder)
	return names, err
}

// MarkDirty says that the verdicts of a case must be reconsidered.
func (tx *Tx) MarkDirty(id CaseID, c statement.Case) error {
	return tx.exec("INSERT OR IGNORE INTO dirty (case_id, channel, target, stage) VALUES (?, ?, ?, ?)", id[:], c.Channel, c.Target, c.Stage)
}

// Reject says why a message of the record can never be accepted.
func (tx *Tx) Reject(seq uint64, code statement.Code, message string) error {
	return tx.exec("INSERT INTO rejected (seq, code, message) VALUES (?, ?, ?)", seq, string(code), message)
}

// Rejected returns the code with which the message with these bytes was rejected;
// it is empty when it was not.
func (tx *Tx) Rejected(id statement.SHA256) (code statement.Code, err error) {
	err = one(tx, []any{&code}, "SELECT j.code FROM record r JOIN rejected j ON j.seq = r.seq WHERE r.sha256 = ?", id[:])
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return code, err
}

// Signature is a verified signature over an artifact.
type Signature struct {
	Case      CaseID
	Artifact  string
	Digests   quorum.Digests // of the signed file
	RequestID statement.SHA256
	Seq       uint64
	Count     int // of signatures, if it is a batch: they are in its parts. Else 0
	quorum.SignedOutput
}

// AddSignature adds a verified signature. The first one of an output stays.
func (tx *Tx) AddSignature(s *Signature) error {
	return tx.exec(`INSERT OR IGNORE INTO signature
		(case_id, artifact, format, key, sha256, sha512, fingerprint, signed_at, request_id, seq, signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.Case[:], s.Artifact, string(s.Format), s.Key, s.Digests.SHA256[:], s.Digests.SHA512[:], s.Fingerprint, nanos(s.SignedAt), s.RequestID[:], s.Seq, s.Signature)
}

// SignedDigests returns what is signed for an artifact, parts of a batch included, or
// [ErrNotFound]. Of signatures that were made without a SHA-512 and with one, it is the
// latter.
func (tx *Tx) SignedDigests(id CaseID, artifact string) (d quorum.Digests, err error) {
	var sha256, sha512 []byte
	err = one(tx, []any{&sha256, &sha512}, `SELECT sha256, sha512 FROM signature WHERE case_id = ?1 AND artifact = ?2
		UNION ALL SELECT sha256, sha512 FROM batch WHERE case_id = ?1 AND artifact = ?2 ORDER BY sha512 DESC LIMIT 1`, id[:], artifact)
	copy(d.SHA256[:], sha256)
	copy(d.SHA512[:], sha512)
	return d, err
}

// Answer is the latest answer to a request.
type Answer struct {
	RequestID statement.SHA256
	Seq       uint64
	Received  time.Time
	Refusal   *quorum.Refusal // nil: signed
	Partly    bool            // it is a part of a batch, and others are to come
}

// AddAnswer remembers the answer to a request. A refusal, which anybody could have
// made up, does not take the place of a signature; that of some parts it does, because
// others have to be asked for.
func (tx *Tx) AddAnswer(a *Answer) error {
	var r quorum.Refusal
	if a.Refusal != nil {
		r = *a.Refusal
	}
	return tx.exec(`INSERT INTO answer (request_id, seq, received, code, message, retryable, partly) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (request_id) DO UPDATE SET seq = excluded.seq, received = excluded.received, code = excluded.code,
		message = excluded.message, retryable = excluded.retryable, partly = excluded.partly WHERE answer.code <> '' OR answer.partly OR excluded.code = ''`,
		a.RequestID[:], a.Seq, nanos(a.Received), string(r.Code), r.Message, r.Retryable, a.Partly)
}

// Raw returns the bytes of a recorded message by their digest.
func (tx *Tx) Raw(id statement.SHA256) ([]byte, error) { return raw(tx, id) }

// Raw returns the bytes of a recorded message by their digest.
func (db *DB) Raw(id statement.SHA256) ([]byte, error) { return raw(db, id) }

// RawSeq is Raw with the place in the record.
func (tx *Tx) RawSeq(id statement.SHA256) (seq uint64, b []byte, err error) { return rawSeq(tx, id) }

// Seq returns the place of a recorded message, or [ErrNotFound].
func (tx *Tx) Seq(id statement.SHA256) (uint64, error) { return seqOf(tx, id) }

// Seq returns the place of a recorded message, or [ErrNotFound].
func (db *DB) Seq(id statement.SHA256) (uint64, error) { return seqOf(db, id) }

func seqOf(q queryer, id statement.SHA256) (seq uint64, err error) {
	err = one(q, []any{&seq}, "SELECT seq FROM record WHERE sha256 = ?", id[:])
	return seq, err
}

func rawSeq(q queryer, id statement.SHA256) (seq uint64, b []byte, err error) {
	err = one(q, []any{&seq, &b}, "SELECT seq, raw FROM record WHERE sha256 = ?", id[:])
	return seq, b, err
}

func raw(q queryer, id statement.SHA256) (b []byte, err error) {
	err = one(q, []any{&b}, "SELECT raw FROM record WHERE sha256 = ?", id[:])
	return b, err
}

// Messages reads up to limit messages of the record that follow after, without
// repetitions other than those of answers, and at most about size bytes.
func (db *DB) Messages(after uint64, limit, size int) (list []Message, err error) {
	enough := errors.New("enough")
	err = each(db, func(r *sql.Rows) error {
		var m Message
		var received int64
		if err := r.Scan(&m.Seq, &m.Subject, &received, &m.First, &m.Raw); err != nil {
			return err
		}
		m.Received, m.SHA256 = instant(received), statement.ID(m.Raw)
		list = append(list, m)
		if size -= len(m.Raw); size < 0 {
			return enough
		}
		return nil
	}, `SELECT r.seq, r.subject, r.received, coalesce(r.first, 0), coalesce(r.raw, f.raw) FROM record r LEFT JOIN record f ON f.seq = r.first
		WHERE r.seq > ? AND (r.raw IS NOT NULL OR r.subject GLOB ?) ORDER BY r.seq LIMIT ?`, after, bus.AnswerSubjects, limit)
	if errors.Is(err, enough) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	return list, nil
}

// SizesSince calls each with the subject, time and size of every message that was
// received then or later, the newest first.
func (db *DB) SizesSince(then time.Time, take func(subject string, received time.Time, size int64)) error {
	enough := errors.New("enough")
	err := each(db, func(r *sql.Rows) error {
		var subject string
		var received, size int64
		if err := r.Scan(&subject, &received, &size); err != nil {
			return err
		}
		if instant(received).Before(then) {
			return enough // the stream's times grow
		}
		take(subject, instant(received), size)
		return nil
	}, // The length of a column is known without its pages; that of an expression is not.
		`SELECT r.subject, r.received, coalesce(length(r.raw), length(f.raw)) FROM record r LEFT JOIN record f ON f.seq = r.first ORDER BY r.seq DESC`)
	if errors.Is(err, enough) {
		err = nil
	}
	return err
}

// MessageAt returns the subject and bytes of the message with that sequence; for
// a repetition those of the first.
func (db *DB) MessageAt(seq uint64) (m Message, err error) {
	var received int64
	err = one(db, []any{&m.Seq, &m.Subject, &received, &m.Raw}, `SELECT r.seq, r.subject, r.received, coalesce(r.raw, f.raw)
		FROM record r LEFT JOIN record f ON f.seq = r.first WHERE r.seq = ?`, seq)
	m.Received, m.SHA256 = instant(received), statement.ID(m.Raw)
	return m, err
}

// ClearProjection throws away what follows from the record, so that it can be
// projected again by another basis. Verdicts stay until they are decided anew:
// readers see the old ones meanwhile. What a digest was voted for stays, too: it is not
// written again for a verdict that comes out as it was.
func (tx *Tx) ClearProjection(basis statement.SHA256) error {
	for _, q := range []string{
		"INSERT OR IGNORE INTO dirty (case_id, channel, target, stage) SELECT id, channel, target, stage FROM target_case",
		"DELETE FROM statement", "DELETE FROM rejected", "DELETE FROM signature", "DELETE FROM answer", "DELETE FROM batch", "DELETE FROM batch_part",
		"DELETE FROM act", "DELETE FROM act_chain", "DELETE FROM foreign_latest",
		"UPDATE builder_tally SET last = 0",
	} {
		if err := tx.exec(q); err != nil {
			return fmt.Errorf("clear projection: %w", err)
		}
	}
	return tx.exec("UPDATE cursor SET projected = 0, basis = ? WHERE id = 1", basis[:])
}

// SavePolicy keeps a policy file by its digest, for evidence of later days.
func (tx *Tx) SavePolicy(digest statement.SHA256, raw []byte, at time.Time) error {
	return tx.exec("INSERT OR IGNORE INTO policy (digest, loaded, raw) VALUES (?, ?, ?)", digest[:], nanos(at), raw)
}

// Policy returns a policy file by its digest.
func (db *DB) Policy(digest statement.SHA256) ([]byte, error) { return policyFile(db, digest) }

// Policy returns a policy file by its digest, or [ErrNotFound].
func (tx *Tx) Policy(digest statement.SHA256) ([]byte, error) { return policyFile(tx, digest) }

func policyFile(q queryer, digest statement.SHA256) (b []byte, err error) {
	err = one(q, []any{&b}, "SELECT raw FROM policy WHERE digest = ?", digest[:])
	return b, err
}

// Admission of a statement id.
type Admission struct {
	Rejected bool
	Code     statement.Code
	Message  string
}

// Admissions tells what became of recorded messages. What it leaves out is not
// recorded.
func (db *DB) Admissions(ids []statement.SHA256) (map[statement.SHA256]Admission, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	found := map[statement.SHA256]Admission{}
	err = each(db, func(r *sql.Rows) error {
		var id []byte
		var code, message sql.NullString
		if err := r.Scan(&id, &code, &message); err != nil {
			return err
		}
		found[statement.SHA256(id)] = Admission{code.Valid, statement.Code(code.String), message.String}
		return nil
	}, `SELECT r.sha256, j.code, j.message FROM json_each(?) q JOIN record r ON r.sha256 = unhex(q.value) LEFT JOIN rejected j ON j.seq = r.seq`, string(list))
	return found, err
}

// HasStatements reports whether an admitted statement about the case is known.
func (tx *Tx) HasStatements(id CaseID) (bool, error) {
	var x int
	err := one(tx, []any{&x}, "SELECT 1 FROM statement WHERE case_id = ? LIMIT 1", id[:])
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
