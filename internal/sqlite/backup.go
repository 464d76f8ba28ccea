package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a copy of the current committed state to path, which must not
// exist, while others read and write. The copy is on the disk when it returns
// nil, and can be opened like the original. After an error, or a crash, a file
// at path is not a backup.
func (db *DB) Backup(ctx context.Context, path string) error {
	if err := db.backup(ctx, path); err != nil {
		return fmt.Errorf("back up database: %w", err)
	}
	return nil
}

func (db *DB) backup(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite writes into an empty file, and this one has the right mode.
	err = createFile(path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w (hint: backups never overwrite; choose another name)", err)
	}
	if err != nil {
		return err
	}
	if err := db.vacuumInto(ctx, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// vacuumInto uses a connection of its own: the writer's would stop all writes
// meanwhile, and the readers' may not write even to another file.
func (db *DB) vacuumInto(ctx context.Context, path string) error {
	source, err := sql.Open("sqlite", dsn(db.path, "deferred"))
	if err != nil {
		return err
	}
	_, err = source.ExecContext(ctx, "VACUUM INTO ?", path)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	// SQLite does not wait for the disk here.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}
