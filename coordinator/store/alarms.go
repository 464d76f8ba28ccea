package store

import (
	"database/sql"
	"time"

	"quorate/quorum/statement"
)

// Alarm is an alarm that was raised, and its message.
type Alarm struct {
	ID      statement.SHA256
	Channel string
	Signer  string // who raised it; empty: this coordinator
	Body    []byte
	Raised  time.Time
}

// AddAlarm raises an alarm unless it was raised before. The row is what makes
// sure that it is published: a crash before that finds it again.
func (tx *Tx) AddAlarm(a *Alarm) (isNew bool, err error) {
	n, err := tx.changes("INSERT OR IGNORE INTO alarm (id, channel, signer, body, published, raised) VALUES (?, ?, ?, ?, 0, ?)",
		a.ID[:], a.Channel, a.Signer, a.Body, nanos(a.Raised))
	return n == 1, err
}

// DueAlarms reads up to limit alarms that are not published yet.
func (db *DB) DueAlarms(limit int) (list []Alarm, err error) {
	err = each(db, func(r *sql.Rows) error {
		var a Alarm
		var id []byte
		if err := r.Scan(&id, &a.Channel, &a.Body); err != nil {
			return err
		}
		copy(a.ID[:], id)
		list = append(list, a)
		return nil
	}, "SELECT id, channel, body FROM alarm WHERE published = 0 LIMIT ?", limit)
	return list, err
}

// AlarmPublished remembers that an alarm is in its stream.
func (tx *Tx) AlarmPublished(id statement.SHA256) error {
	return tx.exec("UPDATE alarm SET published = 1 WHERE id = ?", id[:])
}

// SignerAlarms counts the alarms of a signer that were raised after a time.
func (tx *Tx) SignerAlarms(signer string, after time.Time) (n int, err error) {
	err = one(tx, []any{&n}, "SELECT count(*) FROM alarm WHERE signer = ?1 AND signer <> '' AND raised > ?2", signer, nanos(after))
	return n, err
}

// AlarmCursor is how far a stream of the signers' alarms has been read. One that was
// created at another time has not been read at all.
func (db *DB) AlarmCursor(created time.Time) (seq uint64, err error) {
	var stream int64
	if err = one(db, []any{&stream, &seq}, "SELECT stream, seq FROM alarm_cursor WHERE id = 1"); stream != nanos(created) {
		seq = 0
	}
	return seq, err
}

// SetAlarmCursor moves it.
func (tx *Tx) SetAlarmCursor(created time.Time, seq uint64) error {
	return tx.exec("UPDATE alarm_cursor SET stream = ?, seq = ? WHERE id = 1", nanos(created), seq)
}
