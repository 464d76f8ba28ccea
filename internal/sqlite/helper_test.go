package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"quorate/internal/sqlite"
)

const (
	testID = 0x51544553

	first = "CREATE TABLE item (n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;\n" +
		"CREATE TABLE child (n INTEGER REFERENCES item (n) DEFERRABLE INITIALLY DEFERRED) STRICT;"
	second = "ALTER TABLE item ADD COLUMN size INTEGER NOT NULL DEFAULT 0;"

	testLimit = 60 * time.Second // only ends a test that hangs
)

// files makes migrations 0001, 0002, ... of texts.
func files(texts ...string) fstest.MapFS {
	names := []string{"0001_first.sql", "0002_second.sql", "0003_third.sql"}
	m := fstest.MapFS{}
	for i, text := range texts {
		m[names[i]] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func options(texts ...string) sqlite.Options {
	return sqlite.Options{ApplicationID: testID, Migrations: files(texts...)}
}

func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "test.db")
}

// create makes a database and closes it.
func create(t *testing.T, path string, texts ...string) {
	t.Helper()
	o := options(texts...)
	o.Create = true
	db, err := sqlite.Open(t.Context(), path, o)
	check(t, err)
	check(t, db.Close())
}

func open(t *testing.T, path string, texts ...string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, options(texts...))
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newDB(t *testing.T) *sqlite.DB {
	t.Helper()
	path := newPath(t)
	create(t, path, first)
	return open(t, path, first)
}

func insert(ctx context.Context, db *sqlite.DB, n int, text string) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO item (n, text) VALUES (?, ?)", n, text)
		return err
	})
}

func count(t *testing.T, db *sqlite.DB, table string) int {
	t.Helper()
	var n int
	check(t, db.Read().QueryRowContext(t.Context(), "SELECT count(1) FROM "+table).Scan(&n))
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}
