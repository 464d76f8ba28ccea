package store

import (
	"database/sql"
	"time"

	"quorate/quorum/statement"
)

// Alarms lists up to limit alarms that were raised before a time, newest first.
// The zero time means from the newest on.
func (db *DB) Alarms(before time.Time, limit int) (list []Alarm, err error) {
	err = each(db, func(r *sql.Rows) error {
		var a Alarm
		var id []byte
		var raised int64
		if err := r.Scan(&id, &a.Channel, &a.Signer, &a.Body, &raised); err != nil {
			return err
		}
		copy(a.ID[:], id)
		a.Raised = instant(raised)
		list = append(list, a)
		return nil
	}, "SELECT id, channel, signer, body, raised FROM alarm WHERE ?1 = 0 OR raised < ?1 ORDER BY raised DESC, id LIMIT ?2", nanos(before), limit)
	return list, err
}

// Said is a statement with the case that it is about.
type Said struct {
	StatementInfo
	Case Case
}

// Said lists what a builder said about the limit cases that are newest of those it
// said anything about.
func (db *DB) Said(builder string, limit int) (list []Said, err error) {
	err = each(db, func(r *sql.Rows) error {
		var s Said
		var id, cs []byte
		var received, started, finished int64
		err := r.Scan(&id, &s.Seq, &s.Operator, &s.Builder, &received, &started, &finished, &s.Status, &s.Reason, &cs, &s.Case.Channel, &s.Case.Target, &s.Case.Stage)
		if err != nil {
			return err
		}
		copy(s.ID[:], id)
		copy(s.Case.ID[:], cs)
		s.Received, s.Started, s.Finished = instant(received), instant(started), instant(finished)
		list = append(list, s)
		return nil
	}, `SELECT s.id, s.seq, s.operator, s.builder, s.received, s.started, s.finished, s.status, s.reason, c.id, c.channel, c.target, c.stage
		FROM (SELECT n FROM posting WHERE term = ?1 ORDER BY n DESC LIMIT ?2) p JOIN listed l ON l.n = p.n
		JOIN statement s ON s.case_id = l.case_id AND s.builder = ?3 JOIN target_case c ON c.id = l.case_id
		ORDER BY s.seq DESC LIMIT ?2`, term(termBuilder, builder), limit, builder)
	return list, err
}

// News is something that the feed tells of.
type News struct {
	ID       statement.SHA256
	Case     statement.Case
	Kind     string // "disagreement", or the code of an alarm
	Artifact string
	Text     string
	First    time.Time // when it was told of first
	Updated  time.Time
}

// AddNews tells of something, or says that what was told of has gone on. Its id
// and its first time stay.
func (tx *Tx) AddNews(n *News) error {
	id := NewCaseID(n.Case)
	return tx.exec(`INSERT INTO news (id, channel, kind, case_id, target, stage, artifact, text, first, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET text = excluded.text, updated = excluded.updated WHERE excluded.updated > updated`,
		n.ID[:], n.Case.Channel, n.Kind, id[:], n.Case.Target, n.Case.Stage, n.Artifact, n.Text, nanos(n.Updated), nanos(n.Updated))
}

// News lists up to limit things that the feed of a channel tells of, the latest
// first.
func (db *DB) News(channel string, limit int) (list []News, err error) {
	err = each(db, func(r *sql.Rows) error {
		var n News
		var id []byte
		var first, updated int64
		if err := r.Scan(&id, &n.Kind, &n.Case.Channel, &n.Case.Target, &n.Case.Stage, &n.Artifact, &n.Text, &first, &updated); err != nil {
			return err
		}
		copy(n.ID[:], id)
		n.First, n.Updated = instant(first), instant(updated)
		list = append(list, n)
		return nil
	}, "SELECT id, kind, channel, target, stage, artifact, text, first, updated FROM news WHERE channel = ? ORDER BY updated DESC, id LIMIT ?", channel, limit)
	return list, err
}
