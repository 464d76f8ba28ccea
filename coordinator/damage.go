package coordinator

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"quorate/internal/sqlite"
)

var (
	errNoDatabase = errors.New("there is no database")
	errDamaged    = errors.New("the database is damaged")
)

// DiskError is a failure of the disk that a person must see to, with what to do.
type DiskError struct {
	Err  error
	Hint string
}

func (e *DiskError) Error() string { return e.Err.Error() }
func (e *DiskError) Unwrap() error { return e.Err }

// diskError gives the errors of a full disk their hint.
func diskError(err error) error {
	if err == nil || !sqlite.IsFull(err) && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return &DiskError{err, "the disk is full: make room and start again; nothing is lost, what was not recorded comes again"}
}

// databaseError says what to do about a database that cannot be opened.
func (c *Coordinator) databaseError(err error) error {
	hint := "quorate coordinator rebuild --state " + c.dir + " makes it again from the stream; if there is a backup, put that in its place first"
	switch path := c.path(fileDB); {
	case errors.Is(err, fs.ErrNotExist):
		return configError(hint, "%w at %s", errNoDatabase, path)
	case sqlite.IsDamaged(err), isEmpty(path):
		return configError(hint, "%w: %w", errDamaged, err)
	}
	return err
}

// isEmpty reports whether a file has no bytes, as after a crash of the disk.
func isEmpty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}
