package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// Foreign is a statement that an importer brought, and what was found of its
// signatures.
type Foreign struct {
	Seq      uint64
	ID       statement.SHA256 // of the evidence
	Kind     string
	Importer string
	Origin   string
	Fetched  time.Time
	Judged   time.Time // as of when
	Program  string    // what judged
	Verdicts []evidence.Verdict
	Good     bool // a pinned key made one of the signatures
}

// PutForeign stores a judgement.
func (tx *Tx) PutForeign(f *Foreign) error {
	verdicts, err := json.Marshal(f.Verdicts, json.Deterministic(true), lenient)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT OR REPLACE INTO foreign_statement (seq, id, kind, importer, origin, fetched, judged, program, verdicts, good)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		f.Seq, f.ID[:], f.Kind, f.Importer, f.Origin, nanos(f.Fetched), nanos(f.Judged), f.Program, string(verdicts), f.Good)
}

const foreignColumns = "SELECT f.seq, f.id, f.kind, f.importer, f.origin, f.fetched, f.judged, f.program, f.verdicts, f.good FROM foreign_statement f "

func foreigns(q queryer, where string, args ...any) (list []Foreign, err error) {
	err = each(q, func(r *sql.Rows) error {
		var f Foreign
		var id []byte
		var fetched, judged int64
		var verdicts string
		if err := r.Scan(&f.Seq, &id, &f.Kind, &f.Importer, &f.Origin, &fetched, &judged, &f.Program, &verdicts, &f.Good); err != nil {
			return err
		}
		copy(f.ID[:], id)
		f.Fetched, f.Judged = instant(fetched), instant(judged)
		if err := json.Unmarshal([]byte(verdicts), &f.Verdicts); err != nil {
			return fmt.Errorf("stored judgement of message %d: %w", f.Seq, err)
		}
		list = append(list, f)
		return nil
	}, foreignColumns+where, args...)
	return list, err
}

// Judged returns what was found of the messages of a range, by their places.
func (db *DB) Judged(from, to uint64) (map[uint64]*Foreign, error) {
	list, err := foreigns(db, "WHERE f.seq BETWEEN ? AND ?", from, to)
	found := make(map[uint64]*Foreign, len(list))
	for i := range list {
		found[list[i].Seq] = &list[i]
	}
	return found, err
}

// ForeignOf returns the foreign statements among the admitted ones of a case, by
// their places.
func (db *DB) ForeignOf(id CaseID) (map[uint64]*Foreign, error) {
	list, err := foreigns(db, "JOIN statement s ON s.seq = f.seq WHERE s.case_id = ?", id[:])
	found := make(map[uint64]*Foreign, len(list))
	for i := range list {
		found[list[i].Seq] = &list[i]
	}
	return found, err
}

// RawForeign returns the importer's message that brought the evidence: the first
// one whose signature was found to be by a pinned key, else the first; or
// [ErrNotFound].
func (tx *Tx) RawForeign(id statement.SHA256) (seq uint64, b []byte, err error) {
	return rawForeign(tx, id)
}

// RawForeign is the same outside of a transaction.
func (db *DB) RawForeign(id statement.SHA256) (seq uint64, b []byte, err error) {
	return rawForeign(db, id)
}

func rawForeign(q queryer, id statement.SHA256) (seq uint64, b []byte, err error) {
	err = one(q, []any{&seq, &b}, `SELECT f.seq, r.raw FROM foreign_statement f JOIN record r ON r.seq = f.seq
		WHERE f.id = ? AND r.raw IS NOT NULL ORDER BY f.good DESC, f.seq LIMIT 1`, id[:])
	return seq, b, err
}

// RawSeq is Raw with the place in the record.
func (db *DB) RawSeq(id statement.SHA256) (seq uint64, b []byte, err error) { return rawSeq(db, id) }

// Admitted reports whether the evidence counts in the case already.
func (tx *Tx) Admitted(id CaseID, evidence statement.SHA256) (bool, error) {
	var x int
	err := one(tx, []any{&x}, `SELECT 1 FROM foreign_statement f JOIN statement s ON s.case_id = ?1 AND s.seq = f.seq
		WHERE f.id = ?2 LIMIT 1`, id[:], evidence[:])
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// LatestForeign is when the newest of an operator's foreign statements on the case
// was made; zero without one.
func (tx *Tx) LatestForeign(id CaseID, operator string) (time.Time, error) {
	var n int64
	err := one(tx, []any{&n}, "SELECT made FROM foreign_latest WHERE case_id = ? AND operator = ?", id[:], operator)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return instant(n), err
}

// SetLatestForeign remembers it.
func (tx *Tx) SetLatestForeign(id CaseID, operator string, made time.Time) error {
	return tx.exec("INSERT OR REPLACE INTO foreign_latest (case_id, operator, made) VALUES (?, ?, ?)", id[:], operator, nanos(made))
}
