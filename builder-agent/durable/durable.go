// Package durable writes files that survive a crash whole or not at all, and
// locks that end with the process.
//
// It relies on fsync and rename doing what POSIX and the file systems of Linux
// promise. A disk that lies about fsync breaks it.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// TempPrefix begins the names of files that are being written. One that is old
// was left by a crash and may be removed.
const TempPrefix = ".new-"

// ErrLocked says that another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("locked")

// WriteFile makes data the content of path, with mode 0600. After a crash there
// is the whole file or none (or the old one), never a part.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TempPrefix+"*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = writeSynced(f, data); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Create is [WriteFile] for a file that must not exist yet, such as the only
// copy of a key.
func Create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := writeSynced(f, data); err != nil {
		_ = os.Remove(path)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

func writeSynced(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes new and removed names in dir survive a power failure.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
