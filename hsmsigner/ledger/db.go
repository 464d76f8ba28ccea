package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"quorate/internal/sqlite"
)

// applicationID is "QSLg" in the header of the file.
const applicationID = 0x51534c67

//go:embed migrations/*.sql
var files embed.FS

// ErrMissing says that there is no ledger. One is never made in passing: a wrong
// path would forget every digest that was signed.
var ErrMissing = errors.New("there is no ledger")

// Create makes an empty ledger. A ledger that exists is kept as it is; a file of
// any other kind is an error.
func Create(ctx context.Context, path string) error {
	db, err := open(ctx, path, true)
	if err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	return db.Close()
}

// Open opens an existing ledger. [ErrMissing] says that there is none.
func Open(ctx context.Context, path string) (*Ledger, error) {
	db, err := open(ctx, path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open ledger: %w at %s (hint: check the path; quorate-signer init makes a new one, which knows of no digest that was signed)", ErrMissing, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{db: db}
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

func open(ctx context.Context, path string, create bool) (*sqlite.DB, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, path, sqlite.Options{ApplicationID: applicationID, Migrations: migrations, Create: create})
}

// Check reports whether the ledger can be read, and the lock for writing had. It
// writes nothing, so it does not see that the disk is full.
func (l *Ledger) Check(ctx context.Context) error {
	var n int
	err := l.db.Write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT count(1) FROM (SELECT 1 FROM commitment LIMIT 1)").Scan(&n)
	})
	if err != nil {
		return fmt.Errorf("check ledger: %w", err)
	}
	return nil
}

// Probe is [Ledger.Check] with a write that reaches the disk and changes nothing: it
// finds out whether there is room again.
func (l *Ledger) Probe(ctx context.Context) error {
	if err := l.Check(ctx); err != nil {
		return err
	}
	err := l.db.Write(ctx, func(tx *sql.Tx) error {
		// Setting it to what it is writes the first page of the file all the same.
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
		return err
	})
	if err != nil {
		return fmt.Errorf("probe ledger: %w", err)
	}
	return nil
}

// Backup writes a copy of the ledger to path, which must not exist, also while a
// signer uses it: all that was committed before is in the copy. The file of the
// ledger alone is no copy, because what is newest may stand in its log beside it.
func (l *Ledger) Backup(ctx context.Context, path string) error { return l.db.Backup(ctx, path) }

// Close waits for calls under way and closes the file.
func (l *Ledger) Close() error { return l.db.Close() }
