// Package store is the coordinator's SQLite database: all SQL is here.
//
// Guarantees: what one [DB.Update] writes is on the disk together or not at all
// when it returns (WAL, synchronous=FULL); the received bytes are kept as they
// came and never change; a missing database is an error and never made on the
// way. Not guaranteed: that anything in it is genuine. Callers write only what
// they verified.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"quorate/internal/sqlite"
)

//go:embed migrations
var migrations embed.FS

// applicationID marks the file as a coordinator's database.
const applicationID = 0x51_43_4f_52 // "QCOR"

// pageSize is twice the usual one: a page is written twice, by a call to the system
// for each of its parts, and a page of 4096 bytes holds two statements at most.
// Larger ones cost more where single statements arrive.
const pageSize = 8192

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// DB is an open database. Its methods may be called concurrently: one writes at
// a time, readers see the last commit.
type DB struct {
	db *sqlite.DB
}

// Create makes a new database. It never touches an existing file.
func Create(path string) (*DB, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create database: %s: %w", path, fs.ErrExist)
	}
	return open(path, true)
}

// Open opens an existing database and brings its tables up to date.
func Open(path string) (*DB, error) { return open(path, false) }

func open(path string, create bool) (*DB, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := sqlite.Open(background, path, sqlite.Options{ApplicationID: applicationID, Migrations: files, Create: create,
		Readers: 2 * runtime.NumCPU(), PageSize: pageSize})
	if err != nil {
		return nil, err
	}
	d := &DB{db}
	if err := d.Update(tune); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.Close())
	}
	return d, nil
}

// tune sets what this database needs beyond the ordinary, on the one connection
// that writes, and makes the row of the cursor.
func tune(tx *Tx) error {
	for _, q := range []string{
		// The index over digests has no order: without room for it every
		// statement would read pages again.
		"PRAGMA cache_size = -32768",
		// A page that many commits change is copied into the file once.
		"PRAGMA wal_autocheckpoint = 4096",
	} {
		if err := tx.run(q); err != nil {
			return err
		}
	}
	return tx.exec(`INSERT OR IGNORE INTO cursor (id, stream, recorded, projected, basis, considered, epoch) VALUES (1, 0, 0, 0, x'', 0, ?)`, newEpoch())
}

// Close closes the database.
func (db *DB) Close() error { return db.db.Close() }

// Path is the file.
func (db *DB) Path() string { return db.db.Path() }

// Backup writes a consistent copy to a new file while the database is in use.
func (db *DB) Backup(ctx context.Context, path string) error { return db.db.Backup(ctx, path) }

// Update runs fn in one transaction, durably. If fn fails nothing of it remains.
func (db *DB) Update(fn func(*Tx) error) error {
	return db.db.Write(background, func(t *sql.Tx) error {
		tx := &Tx{tx: t, stmts: map[string]*sql.Stmt{}}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.tallies.flush(tx)
	})
}

// Tx is a transaction of [DB.Update]. It is good until the function returns.
type Tx struct {
	tx    *sql.Tx
	stmts map[string]*sql.Stmt // by their text; closed with tx

	tallies tallies // written at the end
}

// background is used for statements: the driver starts a goroutine for each one
// whose context can be cancelled, which costs as much as a small statement.
var background = context.Background()

func (tx *Tx) prepare(query string) (*sql.Stmt, error) {
	if s := tx.stmts[query]; s != nil {
		return s, nil
	}
	s, err := tx.tx.PrepareContext(background, query)
	if err != nil {
		return nil, err
	}
	tx.stmts[query] = s
	return s, nil
}

// run executes a pragma, which may return rows.
func (tx *Tx) run(query string) error {
	_, err := tx.tx.ExecContext(background, query)
	return err
}

func (tx *Tx) exec(query string, args ...any) error {
	s, err := tx.prepare(query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(background, args...)
	return err
}

// changes is exec, and reports how many rows it changed.
func (tx *Tx) changes(query string, args ...any) (int64, error) {
	s, err := tx.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(background, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// queryer reads: inside a transaction, or from the last commit.
type queryer interface {
	query(query string, args ...any) (*sql.Rows, error)
}

func (tx *Tx) query(query string, args ...any) (*sql.Rows, error) {
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(background, args...)
}

func (db *DB) query(query string, args ...any) (*sql.Rows, error) {
	return db.db.Read().QueryContext(background, query, args...)
}

// each calls scan for each row.
func each(q queryer, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one reads the first row into dest, or returns [ErrNotFound].
func one(q queryer, dest []any, query string, args ...any) error {
	found := false
	err := each(q, func(r *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	}, query, args...)
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

func newEpoch() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// nanos is how a time is stored. The zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// maybe is nanos, with NULL for the zero time.
func maybe(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
