// Package sqlite opens the SQLite databases of this project, all in the same
// way: the coordinator's projection and the signer's ledger.
//
// # Guarantees
//
//   - When [DB.Write] returns nil, its effects are on the disk and survive
//     kill -9 and power failure, as far as the disk keeps its promises. When it
//     returns an error, none of them happened.
//   - There is one writer at a time, in this process and among processes. A
//     writer takes the write lock when it begins, so what it read is still true
//     when it commits.
//   - Readers see one committed state per transaction and never wait for the
//     writer.
//   - A database is never created by the way: a missing file is an error unless
//     [Options].Create is set. A file of another kind (by application id), of a
//     newer program, or made by migrations whose text has changed since, is
//     refused before anything in it is touched.
//
// # Non-guarantees
//
//   - The file is not protected from somebody who may write it. What must hold
//     against such a person has to be signed.
//   - Network file systems are not supported: their locks are not to be relied
//     on.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

var (
	// ErrWrongDatabase says that the file is a database of another kind.
	ErrWrongDatabase = errors.New("not the expected kind of database")

	// ErrNewerDatabase says that a newer program has changed the schema.
	ErrNewerDatabase = errors.New("database is newer than this program")

	// ErrMigrationChanged says that a migration was edited after it was applied,
	// so that nobody knows the schema any more.
	ErrMigrationChanged = errors.New("an applied migration has changed")
)

const defaultReaders = 4

// Options of a database.
type Options struct {
	// ApplicationID tells kinds of databases apart: it is written into a new
	// file and must be found in an existing one. Not zero.
	ApplicationID int32

	// Migrations holds files NNNN_name.sql, numbered from 0001 without gaps,
	// in its root. They are applied when the database is opened.
	Migrations fs.FS

	// Create allows a missing database to be created. Only a command whose
	// purpose is to create one sets it: an empty database in a wrong place
	// looks like one in which nothing was ever signed.
	Create bool

	// Readers bounds the connections that read at the same time. Zero means
	// four.
	Readers int

	// PageSize is that of a new database in bytes, a power of two from 512 to 65536;
	// an existing one keeps its own. Zero means SQLite's, which is 4096.
	PageSize int
}

// DB is an open database. Its methods may be called concurrently.
type DB struct {
	path  string
	write *sql.DB // exactly one connection
	read  *sql.DB
	group group
}

// Open opens the database at path and brings its schema up to date.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	db, err := open(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

func open(ctx context.Context, path string, o Options) (*DB, error) {
	if o.ApplicationID == 0 || o.Migrations == nil {
		return nil, errors.New("no application id or no migrations given")
	}
	migrations, err := loadMigrations(o.Migrations)
	if err != nil {
		return nil, err
	}
	prepareDriver()
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := ensureFile(path, o.Create); err != nil {
		return nil, err
	}
	db, err := connect(path, o.Readers)
	if err != nil {
		return nil, err
	}
	if err := db.prepare(ctx, o, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// prepareDriver changes settings of the whole process, before the first file is
// opened.
var prepareDriver = sync.OnceFunc(func() {
	sqlite.StrictPragmas(true)
	// Otherwise any code of this process that opens and closes the file strips
	// SQLite of its locks. Where the system has no such locks, or something
	// opened a database before us, the ordinary ones have to do.
	_, _ = sqlite.OFDLocking(true)
})

// ensureFile checks that there is a file, or makes an empty one that only its
// owner can read: left to SQLite, it would be readable by all. The files beside
// it get the same mode.
func ensureFile(path string, create bool) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return fmt.Errorf("%w (hint: check the path; a new database is only made by an init command)", err)
		}
		return createFile(path)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: others can write it, mode %04o (hint: chmod 600 %s)", path, info.Mode().Perm(), path)
	}
	return nil
}

func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// connect opens no file yet: database/sql does that on first use.
func connect(path string, readers int) (*DB, error) {
	if readers <= 0 {
		readers = defaultReaders
	}
	// Immediate: a transaction that reads first and writes later would fail as
	// soon as another one wrote in between, and no timeout helps it.
	write, err := sql.Open("sqlite", dsn(path, "immediate"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(path, "deferred", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	return &DB{path: path, write: write, read: read}, nil
}

// dsn sets what belongs to a connection rather than to the file. journal_mode is
// missing on purpose: setting it changes the file, which may be the wrong one.
func dsn(path, txlock string, pragmas ...string) string {
	q := url.Values{
		"mode":       {"rw"}, // never create
		"_txlock":    {txlock},
		"_defensive": {"1"},
		"_dqs":       {"0"}, // a misspelt column name is an error, not a string
		"_pragma": append([]string{
			"busy_timeout(5000)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
		}, pragmas...),
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// prepare refuses the database or makes it ready; in this order, so that one
// that is refused stays as it was.
func (db *DB) prepare(ctx context.Context, o Options, migrations []migration) error {
	if err := db.checkVersion(ctx); err != nil {
		return err
	}
	fresh, err := db.checkKind(ctx, o)
	if err != nil {
		return err
	}
	if !fresh {
		if err := db.checkMigrations(ctx, migrations); err != nil {
			return err
		}
	} else if o.PageSize != 0 {
		// It counts only until something is written. A pragma takes no parameters.
		if _, err := db.write.ExecContext(ctx, fmt.Sprintf("PRAGMA page_size = %d", o.PageSize)); err != nil {
			return fmt.Errorf("set page size: %w", err)
		}
	}
	if err := db.useWAL(ctx); err != nil {
		return err
	}
	if err := db.migrate(ctx, o.ApplicationID, migrations); err != nil {
		return err
	}
	return db.prepareGroup(ctx)
}

// minVersion is the first release without two bugs that damage databases, in
// the reset of the write-ahead log and in the roll-back of a journal.
var minVersion = [3]int{3, 53, 4}

func (db *DB) checkVersion(ctx context.Context) error {
	var text string
	if err := db.write.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&text); err != nil {
		return err
	}
	if !versionOK(text) {
		return fmt.Errorf("SQLite %s is built in, versions before %d.%d.%d can damage databases (hint: build with a newer modernc.org/sqlite)",
			text, minVersion[0], minVersion[1], minVersion[2])
	}
	return nil
}

func versionOK(text string) bool {
	var have [3]int
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &have[0], &have[1], &have[2]); err != nil {
		return false
	}
	for i, want := range minVersion {
		if have[i] != want {
			return have[i] > want
		}
	}
	return true
}

// checkKind reports whether the file is still empty. It may be, with Create:
// because it was just made, or because the program died at this point before.
func (db *DB) checkKind(ctx context.Context, o Options) (fresh bool, err error) {
	var id int32
	var objects int
	row := db.write.QueryRowContext(ctx, "SELECT application_id, (SELECT count(1) FROM sqlite_schema) FROM pragma_application_id")
	if err := row.Scan(&id, &objects); err != nil {
		return false, err
	}
	fresh = id == 0 && objects == 0
	switch {
	case id == o.ApplicationID, fresh && o.Create:
		return fresh, nil
	case fresh:
		return false, fmt.Errorf("%w: it is empty (hint: its creation was interrupted; run the init command again)", ErrWrongDatabase)
	default:
		return false, fmt.Errorf("%w: application id %#x, want %#x (hint: is this the path of another database?)", ErrWrongDatabase, id, o.ApplicationID)
	}
}

func (db *DB) useWAL(ctx context.Context) error {
	var mode string
	if err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("set journal mode: it is %s (hint: the file system must support shared memory)", mode)
	}
	return nil
}

// Write runs fn in the one write transaction and commits it, durably. An error
// or a panic of fn rolls back. fn must use only its tx: the pool of readers does
// not see what fn wrote, and Write called within fn waits for itself.
func (db *DB) Write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write to database: begin: %w", err)
	}
	defer tx.Rollback() // does nothing after a commit
	if err := fn(tx); err != nil {
		return err
	}
	// The driver rolls back when a commit fails; SQLite by itself would stay
	// inside the transaction.
	if err := tx.Commit(); err != nil {
		// Once ctx is done, database/sql rolls back, and says either.
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("write to database: commit: %w", err)
	}
	return nil
}

// Read is the pool of connections for single queries. They cannot write.
func (db *DB) Read() *sql.DB { return db.read }

// View runs fn in a transaction that sees one committed state, however long it
// takes and whatever is written meanwhile. It cannot write.
func (db *DB) View(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("read database: begin: %w", err)
	}
	defer tx.Rollback() // there is nothing to commit
	return fn(tx)
}

// Path is the absolute path of the database.
func (db *DB) Path() string { return db.path }

// Close waits for running transactions and closes the files.
func (db *DB) Close() error {
	// The writer last: the last connection to close tidies up the log, which a
	// reader cannot.
	return errors.Join(db.read.Close(), db.write.Close())
}

// IsDamaged reports whether err says that the file is no database, or one that
// is broken inside. Waiting does not help then.
func IsDamaged(err error) bool { return hasCode(err, lib.SQLITE_NOTADB, lib.SQLITE_CORRUPT) }

// IsFull reports whether err says that there was no room on the disk.
func IsFull(err error) bool {
	var e *sqlite.Error
	// The second is what SQLite says when there is no room for the file beside the log.
	return hasCode(err, lib.SQLITE_FULL) || errors.As(err, &e) && e.Code() == lib.SQLITE_IOERR_SHMSIZE
}

// hasCode looks at the primary code; the extended ones have more in the bits above.
func hasCode(err error, codes ...int) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code()&0xff)
}

// IsUnique reports whether err says that a UNIQUE or PRIMARY KEY constraint
// refused a row.
func IsUnique(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || e.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY
}
