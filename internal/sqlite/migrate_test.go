package sqlite_test

import (
	"database/sql"
	"errors"
	"sync"
	"testing"
	"testing/fstest"

	"quorate/internal/sqlite"
)

func TestOlderDatabaseIsMigrated(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	old := open(t, path, first)
	check(t, insert(t.Context(), old, 1, "kept"))
	check(t, old.Close())

	db := open(t, path, first, second)
	var text string
	var size, version int
	check(t, db.Read().QueryRow("SELECT text, size FROM item").Scan(&text, &size))
	check(t, db.Read().QueryRow("PRAGMA user_version").Scan(&version))
	if text != "kept" || version != 2 {
		t.Errorf("text %q, version %d", text, version)
	}
	check(t, db.Close())
	open(t, path, first, second)
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := newPath(t)
	create(t, path, first, second)
	_, err := sqlite.Open(t.Context(), path, options(first))
	wantIs(t, err, sqlite.ErrNewerDatabase)
}

func TestChangedMigrationIsRefused(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	_, err := sqlite.Open(t.Context(), path, options(first+" ", second))
	wantIs(t, err, sqlite.ErrMigrationChanged)
	// Nothing of the second one happened.
	if n := count(t, open(t, path, first), "migration"); n != 1 {
		t.Errorf("%d migrations", n)
	}
}

func TestUserVersionThatDiffers(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	raw, err := sql.Open("sqlite", path)
	check(t, err)
	_, err = raw.Exec("PRAGMA user_version = 9")
	check(t, errors.Join(err, raw.Close()))
	_, err = sqlite.Open(t.Context(), path, options(first))
	wantIs(t, err, sqlite.ErrWrongDatabase)
}

// A migration that fails in its middle leaves the state before it.
func TestFailingMigrationIsUndone(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	bad := "CREATE TABLE half (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"
	if _, err := sqlite.Open(t.Context(), path, options(first, bad)); err == nil {
		t.Fatal("opened")
	}
	db := open(t, path, first, second)
	if n := count(t, db, "sqlite_schema WHERE name = 'half'"); n != 0 {
		t.Error("half a migration was kept")
	}

	path = newPath(t)
	o := options(bad)
	o.Create = true
	if _, err := sqlite.Open(t.Context(), path, o); err == nil {
		t.Fatal("created")
	}
	create(t, path, first)
}

func TestMigrationsAtOnce(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := sqlite.Open(t.Context(), path, options(first, second))
			if err == nil {
				err = db.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, open(t, path, first, second), "migration"); n != 2 {
		t.Errorf("%d migrations", n)
	}
}

func TestMigrationFileNames(t *testing.T) {
	file := &fstest.MapFile{Data: []byte(first)}
	for name, m := range map[string]fstest.MapFS{
		"none":       {},
		"gap":        {"0001_a.sql": file, "0003_c.sql": file},
		"from two":   {"0002_b.sql": file},
		"repeated":   {"0001_a.sql": file, "0001_b.sql": file},
		"bad name":   {"0001_a.sql": file, "2_b.sql": file},
		"upper case": {"0001_A.sql": file},
		"stray file": {"0001_a.sql": file, "README": file},
	} {
		path := newPath(t)
		o := sqlite.Options{ApplicationID: testID, Migrations: m, Create: true}
		if _, err := sqlite.Open(t.Context(), path, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, o := range []sqlite.Options{{Migrations: files(first)}, {ApplicationID: testID}} {
		if _, err := sqlite.Open(t.Context(), newPath(t), o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}
