package store

import (
	"database/sql"
	"fmt"
)

// CopyOwn takes over what is no projection into a new database: policy files and
// alarms, and the questions that were asked when they still mean the same places
// of the record.
func CopyOwn(from, to *DB, questions bool) error {
	tables := []string{
		"policy (digest, loaded, raw)",
		"rebuild (act, seq, published)",
		"alarm (id, channel, signer, body, published, raised)",
		"alarm_cursor (id, stream, seq)",
		"build_log (statement, case_id, builder, sha256, state, bytes, changed)",
		"news (id, channel, kind, case_id, target, stage, artifact, text, first, updated)",
	}
	if questions {
		tables = append(tables, "foreign_statement (seq, id, kind, importer, origin, fetched, judged, program, verdicts, good)", "request (case_id, artifact, key, id, sha256, evidence, attempts, asked, asked_seq, handled_seq, next, problem)")
	}
	return to.Update(func(tx *Tx) error {
		for _, t := range tables {
			if err := copyTable(from, tx, t); err != nil {
				return fmt.Errorf("copy %s: %w", t, err)
			}
		}
		return nil
	})
}

// copyTable copies all rows of a table given as "name (column, ...)".
func copyTable(from *DB, tx *Tx, table string) error {
	var name, columns string
	for i := range table {
		if table[i] == ' ' {
			name, columns = table[:i], table[i+2:len(table)-1]
			break
		}
	}
	return each(from, func(r *sql.Rows) error {
		names, err := r.Columns()
		if err != nil {
			return err
		}
		values, marks := make([]any, len(names)), ""
		pointers := make([]any, len(names))
		for i := range values {
			pointers[i] = &values[i]
			marks += ", ?"
		}
		if err := r.Scan(pointers...); err != nil {
			return err
		}
		return tx.exec("INSERT OR REPLACE INTO "+table+" VALUES ("+marks[2:]+")", values...)
	}, "SELECT "+columns+" FROM "+name)
}

// Missing counts the messages of one database that the other lacks.
func Missing(from, in *DB) (n int, err error) {
	err = in.Update(func(tx *Tx) error {
		return each(from, func(r *sql.Rows) error {
			var id []byte
			if err := r.Scan(&id); err != nil {
				return err
			}
			var x int
			err := one(tx, []any{&x}, "SELECT 1 FROM record WHERE sha256 = ?", id)
			if err == ErrNotFound {
				n++
				return nil
			}
			return err
		}, "SELECT sha256 FROM record WHERE sha256 IS NOT NULL")
	})
	return n, err
}
