package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
)

// A migration is one file. Migrations go forward only: a schema is put right by
// the next one, since the old one is in use somewhere.
type migration struct {
	version int
	name    string
	text    string
	sum     [sha256.Size]byte
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_([a-z0-9_]+)\.sql$`)

// loadMigrations is strict: a file that were passed over because of its name
// would be missing from the schema.
func loadMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, ".") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var list []migration
	for _, e := range entries {
		m := migrationName.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("read migrations: %s: want a name like 0001_first.sql", e.Name())
		}
		version, err := strconv.Atoi(m[1])
		if err != nil || version != len(list)+1 {
			return nil, fmt.Errorf("read migrations: %s: want number %04d", e.Name(), len(list)+1)
		}
		text, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		list = append(list, migration{version, m[2], string(text), sha256.Sum256(text)})
	}
	if len(list) == 0 {
		return nil, errors.New("read migrations: there are none")
	}
	return list, nil
}

const createMigrationTable = `CREATE TABLE migration (
	version INTEGER PRIMARY KEY,
	name    TEXT NOT NULL,
	sha256  BLOB NOT NULL
) STRICT`

// checkMigrations refuses a database that these migrations did not make. It
// changes nothing.
func (db *DB) checkMigrations(ctx context.Context, migrations []migration) error {
	return db.View(ctx, func(tx *sql.Tx) error {
		_, err := applied(ctx, tx, migrations)
		return err
	})
}

// applied returns how many of the migrations the database has. The recorded
// ones must be the first of these, with unchanged text.
func applied(ctx context.Context, tx *sql.Tx, migrations []migration) (int, error) {
	rows, err := tx.QueryContext(ctx, "SELECT version, name, sha256 FROM migration ORDER BY version")
	if err != nil {
		return 0, fmt.Errorf("read applied migrations: %w", err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var version int
		var name string
		var sum []byte
		if err := rows.Scan(&version, &name, &sum); err != nil {
			return 0, fmt.Errorf("read applied migrations: %w", err)
		}
		if n >= len(migrations) {
			return 0, fmt.Errorf("%w: it has migration %04d_%s, the last known is %04d (hint: update the program)",
				ErrNewerDatabase, version, name, len(migrations))
		}
		m := migrations[n]
		if version != m.version || !bytes.Equal(sum, m.sum[:]) {
			return 0, fmt.Errorf("%w: %04d_%s (hint: this program was not built from a release)", ErrMigrationChanged, version, name)
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read applied migrations: %w", err)
	}
	return n, checkUserVersion(ctx, tx, n)
}

// checkUserVersion compares with the number in the file's header. It differs
// only if something other than this package has written.
func checkUserVersion(ctx context.Context, tx *sql.Tx, want int) error {
	var have int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("read user version: %w", err)
	}
	if have != want {
		return fmt.Errorf("%w: user version %d, but %d migrations", ErrWrongDatabase, have, want)
	}
	return nil
}

// migrate applies what is missing, each in a transaction of its own. What is
// missing is looked up again within each: another process may be doing the same.
func (db *DB) migrate(ctx context.Context, id int32, migrations []migration) error {
	for done := false; !done; {
		err := db.Write(ctx, func(tx *sql.Tx) error {
			if err := initialise(ctx, tx, id); err != nil {
				return err
			}
			n, err := applied(ctx, tx, migrations)
			if err != nil {
				return err
			}
			if done = n == len(migrations); done {
				return nil
			}
			return apply(ctx, tx, migrations[n])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// initialise marks an empty database as ours, in the transaction of its first
// migration: no half-made database is ever left behind.
func initialise(ctx context.Context, tx *sql.Tx, id int32) error {
	var objects int
	if err := tx.QueryRowContext(ctx, "SELECT count(1) FROM sqlite_schema").Scan(&objects); err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if objects > 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, createMigrationTable); err != nil {
		return fmt.Errorf("create migration table: %w", err)
	}
	// A pragma takes no parameters.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", id)); err != nil {
		return fmt.Errorf("set application id: %w", err)
	}
	return nil
}

func apply(ctx context.Context, tx *sql.Tx, m migration) error {
	if _, err := tx.ExecContext(ctx, m.text); err != nil {
		return fmt.Errorf("migration %04d_%s: %w", m.version, m.name, err)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO migration (version, name, sha256) VALUES (?, ?, ?)", m.version, m.name, m.sum[:])
	if err != nil {
		return fmt.Errorf("migration %04d_%s: record it: %w", m.version, m.name, err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", m.version)); err != nil {
		return fmt.Errorf("migration %04d_%s: set user version: %w", m.version, m.name, err)
	}
	return nil
}
