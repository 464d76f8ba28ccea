package store

import (
	"database/sql"
	"time"

	"quorate/quorum/statement"
)

// LogState is what became of the question for a log.
type LogState string

// The states. A log that is neither wanted nor asked for does not come any more.
const (
	LogWanted   LogState = "wanted" // to be asked for
	LogAsked    LogState = "asked"  // its builder has not answered yet
	LogKept     LogState = "kept"   // it came; it may have expired since
	LogGone     LogState = "gone"   // its builder does not keep it
	LogLarge    LogState = "too-large"
	LogNotGiven LogState = "not-given" // its builder lets no logs go
	LogMismatch LogState = "mismatch"  // its builder sent something else
)

// BuildLog is the log of the build that a statement is about.
type BuildLog struct {
	Statement statement.SHA256
	Case      CaseID
	Builder   string
	SHA256    statement.SHA256
	State     LogState
	Bytes     int64 // of one that is too large
	Changed   time.Time
}

const logColumns = "SELECT statement, case_id, builder, sha256, state, bytes, changed FROM build_log "

func buildLogs(q queryer, where string, args ...any) (list []BuildLog, err error) {
	err = each(q, func(r *sql.Rows) error {
		var l BuildLog
		var id, cs, sum []byte
		var changed int64
		if err := r.Scan(&id, &cs, &l.Builder, &sum, &l.State, &l.Bytes, &changed); err != nil {
			return err
		}
		copy(l.Statement[:], id)
		copy(l.Case[:], cs)
		copy(l.SHA256[:], sum)
		l.Changed = instant(changed)
		list = append(list, l)
		return nil
	}, logColumns+where, args...)
	return list, err
}

// WantLog says that a log is wanted, unless it was before or so many of its builder
// are.
func (tx *Tx) WantLog(l *BuildLog, most int) error {
	return tx.exec(`INSERT OR IGNORE INTO build_log (statement, case_id, builder, sha256, state, bytes, changed) SELECT ?1, ?2, ?3, ?4, ?5, 0, ?6
		WHERE (SELECT count(*) FROM (SELECT 1 FROM build_log WHERE builder = ?3 AND state = ?5 LIMIT ?7)) < ?7`,
		l.Statement[:], l.Case[:], l.Builder, l.SHA256[:], LogWanted, nanos(l.Changed), most)
}

// LogsToAsk lists up to limit wanted logs, the oldest first, of builders that have
// fewer than most questions from after a time to answer.
func (db *DB) LogsToAsk(after time.Time, most, limit int) ([]BuildLog, error) {
	return buildLogs(db, `WHERE state = ?1 AND (SELECT count(*) FROM (SELECT 1 FROM build_log a WHERE a.builder = build_log.builder AND a.state = ?2 AND a.changed > ?3 LIMIT ?4)) < ?4
		ORDER BY changed LIMIT ?5`, LogWanted, LogAsked, nanos(after), most, limit)
}

// LogsOf lists the logs about a case.
func (db *DB) LogsOf(id CaseID) ([]BuildLog, error) {
	return buildLogs(db, "WHERE case_id = ?", id[:])
}

// PendingLogs lists the logs with a digest that are expected of a builder.
func (db *DB) PendingLogs(builder string, d statement.SHA256) ([]BuildLog, error) {
	return buildLogs(db, "WHERE sha256 = ? AND builder = ? AND state IN (?, ?) LIMIT 100", d[:], builder, LogWanted, LogAsked)
}

// SetLog says what became of one log.
func (tx *Tx) SetLog(id statement.SHA256, state LogState, now time.Time) error {
	return tx.exec("UPDATE build_log SET state = ?, changed = ? WHERE statement = ?", state, nanos(now), id[:])
}

// SetLogs says what became of the logs with a digest that are expected of a builder.
func (tx *Tx) SetLogs(builder string, d statement.SHA256, state LogState, bytes int64, now time.Time) (n int64, err error) {
	return tx.changes("UPDATE build_log SET state = ?, bytes = ?, changed = ? WHERE sha256 = ? AND builder = ? AND state IN (?, ?)",
		state, bytes, nanos(now), d[:], builder, LogWanted, LogAsked)
}

// ForgetLogs forgets what came to its state before a time.
func (tx *Tx) ForgetLogs(before time.Time) error {
	return tx.exec("DELETE FROM build_log WHERE changed < ?", nanos(before))
}
