package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quorate/internal/sqlite"
)

// A full disk and a broken file are told from other errors.
func TestFullAndDamaged(t *testing.T) {
	db := newDB(t)
	err := db.Write(t.Context(), func(tx *sql.Tx) error {
		// As small as it is now.
		if _, err := tx.ExecContext(t.Context(), "PRAGMA max_page_count = 1"); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), "INSERT INTO item (n, text) VALUES (1, ?)", strings.Repeat("x", 1<<20))
		return err
	})
	if !sqlite.IsFull(err) || sqlite.IsDamaged(err) {
		t.Errorf("got %v, want a full disk", err)
	}
	path := newPath(t)
	check(t, os.WriteFile(path, []byte(strings.Repeat("no database\n", 1000)), 0o600))
	_, err = sqlite.Open(t.Context(), path, options(first))
	if !sqlite.IsDamaged(err) || sqlite.IsFull(err) {
		t.Errorf("got %v, want damage", err)
	}
}

func TestMissingDatabaseIsNotCreated(t *testing.T) {
	path := newPath(t)
	_, err := sqlite.Open(t.Context(), path, options(first))
	wantIs(t, err, fs.ErrNotExist)
	if !strings.Contains(err.Error(), "hint") {
		t.Errorf("no hint: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was made")
	}
}

func TestCreateAndReopen(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	db := open(t, path, first)
	check(t, insert(t.Context(), db, 1, "a"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		check(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	check(t, db.Close())
	create(t, path, first) // Create allows, it does not demand
	if n := count(t, open(t, path, first), "item"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// The program died between making the file and its first transaction.
func TestCreationThatWasInterrupted(t *testing.T) {
	path := newPath(t)
	check(t, os.WriteFile(path, nil, 0o600))
	_, err := sqlite.Open(t.Context(), path, options(first))
	wantIs(t, err, sqlite.ErrWrongDatabase)
	create(t, path, first)
	open(t, path, first)
}

func TestWrongApplicationID(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	before, err := os.ReadFile(path)
	check(t, err)
	for _, create := range []bool{false, true} {
		o := options(first, second)
		o.ApplicationID++
		o.Create = create
		_, err := sqlite.Open(t.Context(), path, o)
		wantIs(t, err, sqlite.ErrWrongDatabase)
	}
	after, err := os.ReadFile(path)
	check(t, err)
	if string(before) != string(after) {
		t.Error("the other database was changed")
	}
}

// A database that is not ours stays as it is, its journal mode included.
func TestForeignDatabase(t *testing.T) {
	path := newPath(t)
	foreign, err := sql.Open("sqlite", path)
	check(t, err)
	_, err = foreign.Exec("CREATE TABLE precious (x)")
	check(t, errors.Join(err, foreign.Close()))
	check(t, os.Chmod(path, 0o600))
	before, err := os.ReadFile(path)
	check(t, err)
	o := options(first)
	o.Create = true
	_, err = sqlite.Open(t.Context(), path, o)
	wantIs(t, err, sqlite.ErrWrongDatabase)
	after, err := os.ReadFile(path)
	check(t, err)
	if string(before) != string(after) {
		t.Error("the foreign database was changed")
	}
}

func TestNotADatabase(t *testing.T) {
	path := newPath(t)
	check(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 500)), 0o600))
	if _, err := sqlite.Open(t.Context(), path, options(first)); err == nil {
		t.Error("opened")
	}
	if _, err := sqlite.Open(t.Context(), t.TempDir(), options(first)); err == nil {
		t.Error("opened a directory")
	}
}

func TestFileOthersCanWrite(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	check(t, os.Chmod(path, 0o620))
	_, err := sqlite.Open(t.Context(), path, options(first))
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

// What a URI would give a meaning to is only a name here.
func TestOddPaths(t *testing.T) {
	for _, name := range []string{"a b.db", "a?mode=memory.db", "a#b.db", "a%20b.db", "a&b=c.db", ":memory:", "ü.db"} {
		path := filepath.Join(t.TempDir(), name)
		create(t, path, first)
		check(t, insert(t.Context(), open(t, path, first), 1, "a"))
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || entries[0].Name() != name {
			t.Errorf("%q: got %v, %v", name, entries, err)
		}
	}
}

func TestSettings(t *testing.T) {
	db := newDB(t)
	settings := map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "trusted_schema": "0",
	}
	get := func(q interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}, name string) (value string) {
		check(t, q.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&value))
		return value
	}
	for name, want := range settings {
		if got := get(db.Read(), name); got != want {
			t.Errorf("reader: %s is %s, want %s", name, got, want)
		}
		check(t, db.Write(t.Context(), func(tx *sql.Tx) error {
			if got := get(tx, name); got != want {
				t.Errorf("writer: %s is %s, want %s", name, got, want)
			}
			return nil
		}))
	}
}

func TestVersionOK(t *testing.T) {
	for text, want := range map[string]bool{
		"3.53.4": true, "3.53.5": true, "3.54.0": true, "4.0.0": true,
		"3.53.3": false, "3.52.9": false, "2.99.99": false, "": false, "new": false,
	} {
		if sqlite.VersionOK(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestWriteRollsBack(t *testing.T) {
	db := newDB(t)
	insertOne := func(tx *sql.Tx) { _, err := tx.Exec("INSERT INTO item (n, text) VALUES (1, 'a')"); check(t, err) }
	failure := errors.New("no")
	wantIs(t, db.Write(t.Context(), func(tx *sql.Tx) error { insertOne(tx); return failure }), failure)

	func() {
		defer func() { _ = recover() }()
		_ = db.Write(t.Context(), func(tx *sql.Tx) error { insertOne(tx); panic("no") })
	}()

	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, func(tx *sql.Tx) error { insertOne(tx); cancel(); return nil })
	wantIs(t, err, context.Canceled)

	if n := count(t, db, "item"); n != 0 {
		t.Errorf("%d rows", n)
	}
	check(t, insert(t.Context(), db, 1, "a"))
}

// A commit that fails leaves SQLite inside the transaction, unless the driver
// ends it. The next write must neither fail for that reason nor carry the failed
// one's rows along.
func TestCommitFails(t *testing.T) {
	db := newDB(t)
	err := db.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO child (n) VALUES (7)") // refers to nothing
		return err
	})
	if err == nil {
		t.Fatal("the constraint did not hold")
	}
	check(t, insert(t.Context(), db, 1, "a"))
	if items, children := count(t, db, "item"), count(t, db, "child"); items != 1 || children != 0 {
		t.Errorf("%d items, %d children", items, children)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	db := newDB(t)
	if _, err := db.Read().Exec("INSERT INTO item (n, text) VALUES (1, 'a')"); err == nil {
		t.Error("a reader wrote")
	}
	err := db.View(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM item")
		return err
	})
	if err == nil {
		t.Error("a view wrote")
	}
}

func TestIsUnique(t *testing.T) {
	db := newDB(t)
	check(t, insert(t.Context(), db, 1, "a"))
	for n, text := range map[int]string{1: "b", 2: "a"} {
		if err := insert(t.Context(), db, n, text); !sqlite.IsUnique(err) {
			t.Errorf("%d %s: %v", n, text, err)
		}
	}
	if sqlite.IsUnique(nil) || sqlite.IsUnique(errors.New("x")) || sqlite.IsUnique(db.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO item (n, text) VALUES (3, NULL)")
		return err
	})) {
		t.Error("another error is taken for a repeated row")
	}
}

// Each transaction moves one from one row to the other: whoever sees another
// sum saw a state that was never committed. More readers than connections.
func TestReadersWhileWriting(t *testing.T) {
	db := newDB(t)
	const total = 300
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	check(t, db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE account (n INTEGER PRIMARY KEY, amount INTEGER NOT NULL) STRICT; INSERT INTO account VALUES (1, ?), (2, 0)", total)
		return err
	}))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				if err := db.View(ctx, sumIs(ctx, total)); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range total {
		err := db.Write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE account SET amount = amount - 1 WHERE n = 1; UPDATE account SET amount = amount + 1 WHERE n = 2")
			return err
		})
		if err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
}

// sumIs reads row by row, so that a torn state would show.
func sumIs(ctx context.Context, want int) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		sum := 0
		for n := 1; n <= 2; n++ {
			var amount int
			if err := tx.QueryRowContext(ctx, "SELECT amount FROM account WHERE n = ?", n).Scan(&amount); err != nil {
				return err
			}
			sum += amount
		}
		if sum != want {
			return errors.New("a reader saw half of a transaction")
		}
		return nil
	}
}

// Two writers, as of two processes: the second waits, and neither fails because
// what it read has changed.
func TestTwoWriters(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	const each = 50
	var wg sync.WaitGroup
	for range 2 {
		db := open(t, path, first)
		wg.Go(func() {
			for range each {
				err := db.Write(t.Context(), func(tx *sql.Tx) error {
					var n int
					if err := tx.QueryRow("SELECT count(1) FROM item").Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec("INSERT INTO item (n, text) VALUES (?, ?)", n, n)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, open(t, path, first), "item"); n != 2*each {
		t.Errorf("%d rows", n)
	}
}

func TestBackup(t *testing.T) {
	db := newDB(t)
	check(t, insert(t.Context(), db, 1, "a"))
	path := filepath.Join(t.TempDir(), "it's a backup.db")
	check(t, db.Backup(t.Context(), path))
	check(t, insert(t.Context(), db, 2, "b"))
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	before, err := os.ReadFile(path)
	check(t, err)
	wantIs(t, db.Backup(t.Context(), path), fs.ErrExist)
	after, err := os.ReadFile(path)
	check(t, err)
	if string(before) != string(after) {
		t.Error("the backup was overwritten")
	}
	if n := count(t, open(t, path, first), "item"); n != 1 {
		t.Errorf("%d rows in the backup", n)
	}
}

func TestBackupThatFailsLeavesNothing(t *testing.T) {
	db := newDB(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := newPath(t)
	wantIs(t, db.Backup(ctx, path), context.Canceled)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was left behind")
	}
}

// TestPageSize: it is chosen once, for a new database, and its copy has it too.
func TestPageSize(t *testing.T) {
	path := newPath(t)
	opened := func(path string, size int, create bool) *sqlite.DB {
		o := options(first)
		o.PageSize, o.Create = size, create
		db, err := sqlite.Open(t.Context(), path, o)
		check(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	want := func(db *sqlite.DB) {
		t.Helper()
		var size int
		check(t, db.Read().QueryRow("PRAGMA page_size").Scan(&size))
		if size != 8192 {
			t.Errorf("pages of %d bytes, want 8192", size)
		}
	}
	db := opened(path, 8192, true)
	want(db)
	copied := newPath(t)
	check(t, db.Backup(t.Context(), copied))
	want(opened(copied, 0, false))
	check(t, db.Close())
	want(opened(path, 16384, false))
}
