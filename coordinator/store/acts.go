package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// Act is an act of a maintainer that was taken into the projection.
type Act struct {
	Seq         uint64
	ID          statement.SHA256 // of what was signed
	Message     statement.SHA256 // of the received bytes
	Kind        act.Kind
	Subject     act.Subject
	Builder     string
	Maintainer  string
	Fingerprint string
	Reason      string
	Attachment  string // of a note that was read; the projection leaves it in the record
	Said        time.Time
	Received    time.Time
	After       statement.SHA256
	Stands      bool // a hold without a release, or a withdrawal
}

// actColumns ends with whether the act stands, and with a note as it was received.
const actColumns = `SELECT a.seq, a.id, a.message, a.kind, a.channel, a.target, a.stage, a.artifact, a.builder, a.maintainer, a.fingerprint,
	a.reason, a.said, a.received, a.after, coalesce(a.seq = c.withdrawn OR c.held AND a.seq = c.hold, 0),
	CASE WHEN a.kind = 'note' THEN (SELECT r.raw FROM record r WHERE r.seq = a.seq) END
	FROM act a LEFT JOIN act_chain c ON c.channel = a.channel AND c.target = a.target AND c.stage = a.stage AND c.artifact = a.artifact `

func acts(q queryer, where string, args ...any) (list []Act, err error) {
	err = each(q, func(r *sql.Rows) error {
		var a Act
		var id, message, after, raw []byte
		var said, received int64
		s := &a.Subject
		if err := r.Scan(&a.Seq, &id, &message, &a.Kind, &s.Channel, &s.Target, &s.Stage, &s.Artifact, &a.Builder, &a.Maintainer, &a.Fingerprint,
			&a.Reason, &said, &received, &after, &a.Stands, &raw); err != nil {
			return err
		}
		if raw != nil {
			s, err := act.Parse(raw)
			if err != nil {
				return fmt.Errorf("stored note: %w", err)
			}
			a.Attachment = s.Attachment
		}
		copy(a.ID[:], id)
		copy(a.Message[:], message)
		copy(a.After[:], after)
		a.Said, a.Received = instant(said), instant(received)
		list = append(list, a)
		return nil
	}, actColumns+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read acts: %w", err)
	}
	return list, nil
}

// AddAct adds an act and what the chain of its subject is after it.
func (tx *Tx) AddAct(a *Act, c act.Chain) error {
	s := &a.Subject
	err := tx.exec(`INSERT INTO act (seq, id, message, kind, channel, target, stage, artifact, builder, maintainer, fingerprint, reason, said, received, after)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.Seq, a.ID[:], a.Message[:], string(a.Kind), s.Channel, s.Target, s.Stage, s.Artifact,
		a.Builder, a.Maintainer, a.Fingerprint, a.Reason, nanos(a.Said), nanos(a.Received), a.After[:])
	if err != nil || !a.Kind.Chained() && a.Kind != act.Withdraw {
		return err
	}
	at := map[act.Kind]uint64{a.Kind: a.Seq}
	return tx.exec(`INSERT INTO act_chain (channel, target, stage, artifact, head, held, hold, released, withdrawn) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET head = excluded.head, held = excluded.held, withdrawn = max(withdrawn, excluded.withdrawn),
		hold = max(hold, excluded.hold), released = CASE WHEN excluded.hold > 0 THEN 0 ELSE max(released, excluded.released) END`,
		s.Channel, s.Target, s.Stage, s.Artifact, c.Head[:], c.Held, at[act.Hold], at[act.Release], at[act.Withdraw])
}

// HasAct reports whether the act was taken before.
func (tx *Tx) HasAct(id statement.SHA256) (bool, error) {
	var x int
	err := one(tx, []any{&x}, "SELECT 1 FROM act WHERE id = ?", id[:])
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Chain reads how far the acts on a subject have come.
func (tx *Tx) Chain(s act.Subject) (act.Chain, error) { return chain(tx, s) }

// Chain reads how far the acts on a subject have come.
func (db *DB) Chain(s act.Subject) (act.Chain, error) { return chain(db, s) }

func chain(q queryer, s act.Subject) (c act.Chain, err error) {
	var head []byte
	err = one(q, []any{&head, &c.Held, &c.Withdrawn}, "SELECT head, held, withdrawn > 0 FROM act_chain WHERE channel = ? AND target = ? AND stage = ? AND artifact = ?",
		s.Channel, s.Target, s.Stage, s.Artifact)
	copy(c.Head[:], head)
	if errors.Is(err, ErrNotFound) {
		return c, nil
	}
	return c, err
}

// covering chooses the chains of a case and of its channel.
const covering = "(c.channel, c.target, c.stage) IN (VALUES (?1, '', ''), (?1, ?2, ?3))"

// Standing reads the acts that stand in the way of a case or of its artifacts, in
// the order of the record.
func (tx *Tx) Standing(c statement.Case) ([]Act, error) {
	// The chains are few and have their key; the acts are found by theirs.
	return acts(tx, "WHERE a.seq IN (SELECT CASE WHEN c.withdrawn > 0 THEN c.withdrawn ELSE c.hold END FROM act_chain c WHERE "+covering+
		" AND (c.withdrawn > 0 OR c.held)) ORDER BY a.seq", c.Channel, c.Target, c.Stage)
}

// ActMessages reads the acts that a signer should see about an artifact, as they
// were received: the newest hold on each subject that covers it, what released it,
// and withdrawals.
func (tx *Tx) ActMessages(c statement.Case, artifact string) ([][]byte, error) {
	return actMessages(tx, c, artifact)
}

// ActMessages is [Tx.ActMessages] outside of a transaction.
func (db *DB) ActMessages(c statement.Case, artifact string) ([][]byte, error) {
	return actMessages(db, c, artifact)
}

func actMessages(q queryer, c statement.Case, artifact string) (list [][]byte, err error) {
	err = each(q, func(r *sql.Rows) error {
		var b []byte
		err := r.Scan(&b)
		list = append(list, b)
		return err
	}, `SELECT r.raw FROM act_chain c JOIN record r ON r.seq IN (c.hold, c.released, c.withdrawn) WHERE `+covering+`
		AND c.artifact IN ('', ?4) AND r.raw IS NOT NULL ORDER BY r.seq`, c.Channel, c.Target, c.Stage, artifact)
	return list, err
}

// MarkChannel makes the cases of a channel dirty for which a hold on all of it
// makes a difference.
func (tx *Tx) MarkChannel(channel string) error {
	return tx.exec(`INSERT OR IGNORE INTO dirty (case_id, channel, target, stage) SELECT id, channel, target, stage FROM target_case
		WHERE channel = ?1 AND (json_extract(counts, '$.' || ?2) > 0 OR json_extract(counts, '$.' || ?3) > 0)`,
		channel, string(quorum.Agreed), string(quorum.Held))
}

// ActsOn reads up to limit acts on a case and its artifacts, and those on the whole
// channel that stand, newest first.
func (db *DB) ActsOn(c statement.Case, limit int) ([]Act, error) {
	return acts(db, `WHERE a.channel = ?1 AND (a.target = ?2 AND a.stage = ?3 OR a.target = '' AND c.held AND a.seq = c.hold)
		ORDER BY a.seq DESC LIMIT ?4`, c.Channel, c.Target, c.Stage, limit)
}

// Acts lists acts older than before, newest first; zero means from the newest on.
// Empty fields of the subject choose all.
func (db *DB) Acts(s act.Subject, before uint64, limit int) ([]Act, error) {
	return acts(db, `WHERE (?1 = '' OR a.channel = ?1) AND (?2 = '' OR a.target = ?2) AND (?3 = '' OR a.stage = ?3) AND (?4 = '' OR a.artifact = ?4)
		AND (?5 = 0 OR a.seq < ?5) ORDER BY a.seq DESC LIMIT ?6`, s.Channel, s.Target, s.Stage, s.Artifact, before, limit)
}

// ActBy reads the act with that id, or [ErrNotFound].
func (db *DB) ActBy(id statement.SHA256) (Act, error) {
	list, err := acts(db, "WHERE a.id = ?", id[:])
	if err == nil && len(list) == 0 {
		return Act{}, ErrNotFound
	}
	if err != nil {
		return Act{}, err
	}
	return list[0], nil
}

// AddRebuild says that a job follows from an act, unless that was said before.
func (tx *Tx) AddRebuild(id statement.SHA256, seq uint64, published bool) (isNew bool, err error) {
	n, err := tx.changes("INSERT OR IGNORE INTO rebuild (act, seq, published) VALUES (?, ?, ?)", id[:], seq, published)
	return n == 1, err
}

// DueRebuilds lists up to limit acts whose jobs are not published yet.
func (db *DB) DueRebuilds(limit int) (list []statement.SHA256, err error) {
	err = each(db, func(r *sql.Rows) error {
		var id []byte
		if err := r.Scan(&id); err != nil {
			return err
		}
		list = append(list, statement.SHA256(id))
		return nil
	}, "SELECT act FROM rebuild WHERE published = 0 LIMIT ?", limit)
	return list, err
}

// RebuildPublished remembers that the job of an act is in its stream.
func (tx *Tx) RebuildPublished(id statement.SHA256) error {
	return tx.exec("UPDATE rebuild SET published = 1 WHERE act = ?", id[:])
}

// Knows reports whether there is a verdict on the target, or on the artifact if the
// subject names one.
func (db *DB) Knows(s act.Subject) (bool, error) {
	var x int
	id := NewCaseID(s.Case())
	err := one(db, []any{&x}, `SELECT 1 FROM target_case WHERE id = ?1
		AND (?2 = '' OR EXISTS (SELECT 1 FROM artifact WHERE case_id = ?1 AND name = ?2))`, id[:], s.Artifact)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// AlarmsOn reads the bodies of up to limit alarms about a case.
func (db *DB) AlarmsOn(c statement.Case, limit int) (list [][]byte, err error) {
	err = each(db, func(r *sql.Rows) error {
		var b []byte
		err := r.Scan(&b)
		list = append(list, b)
		return err
	}, "SELECT body FROM alarm WHERE channel = ?1 AND "+alarmTarget+" = ?2 AND "+alarmStage+" = ?3 LIMIT ?4", c.Channel, c.Target, c.Stage, limit)
	return list, err
}

// What an alarm is about, from its message: the index has the same expression.
const (
	alarmTarget = "coalesce(json_extract(CAST(body AS TEXT), '$.target'), '')"
	alarmStage  = "coalesce(json_extract(CAST(body AS TEXT), '$.stage'), '')"
)
