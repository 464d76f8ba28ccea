package main

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"quorate/internal/render"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// hashedFile is a file after one pass over it. The two running hashes stand at
// its end: a signature is checked from a clone of them, without reading again.
type hashedFile struct {
	path   string // as the caller wrote it
	name   string // last element of the path: what builders call it
	size   int64
	sha256 statement.SHA256
	sha512 statement.SHA512

	state256, state512 hash.Hash
	info               fs.FileInfo

	agreed func(statement.DigestSet) error // see [sigcheck.File]; nil: it is not known
}

// hashFile reads a regular file once, in constant memory.
func hashFile(path string) (*hashedFile, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &hashedFile{path: path, name: filepath.Base(path), state256: hashstate.SHA256.New(), state512: hashstate.SHA512.New()}
	if h.info, err = f.Stat(); err != nil {
		return nil, unreadable(path, err)
	}
	if h.size, err = copyToBoth(f, h.state256, h.state512); err != nil {
		return nil, unreadable(path, err)
	}
	h.state256.Sum(h.sha256[:0])
	h.state512.Sum(h.sha512[:0])
	if h.size != h.info.Size() || h.changed() != nil {
		return nil, &exitError{exitFailure, fmt.Errorf("%s changed while it was read", render.Text(path)), "wait until nothing writes to it any more"}
	}
	return h, nil
}

// openRegular opens nothing that may block or has no end.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case info.IsDir():
		return nil, usageError("give the files in it", "%s is a directory", render.Text(path))
	case !info.Mode().IsRegular():
		return nil, usageError("give a regular file", "%s is not a regular file", render.Text(path))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return f, nil
}

func unreadable(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return usageError("is the path right, and may you read it?", "cannot read %s: %w", render.Text(path), err)
}

// copyToBoth feeds two hashes side by side. Each buffer is read by both before
// it is filled again.
func copyToBoth(r io.Reader, a, b hash.Hash) (total int64, err error) {
	buf := make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(r, buf)
		total += int64(n)
		var wg sync.WaitGroup
		wg.Go(func() { a.Write(buf[:n]) })
		b.Write(buf[:n])
		wg.Wait()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// changed compares the file on disk with the one that was read.
func (h *hashedFile) changed() error {
	now, err := os.Stat(h.path)
	if err != nil {
		return fmt.Errorf("%s is gone: %w", render.Text(h.path), err)
	}
	if !os.SameFile(h.info, now) || now.Size() != h.info.Size() || !now.ModTime().Equal(h.info.ModTime()) {
		return fmt.Errorf("%s is not the file any more that was read", render.Text(h.path))
	}
	return nil
}

// readInput reads a small file that the caller named.
func readInput(path string, limit int) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > limit {
		return nil, usageError("is it the right file?", "%s has more than %d bytes", render.Text(path), limit)
	}
	return data, nil
}

// writeFile puts data at path so that whoever looks finds all of it or nothing,
// also after a crash.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".quorate-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", render.Text(path), err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", render.Text(path), err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkOut refuses an output folder that is not there: whoever mistypes it would
// look for the files elsewhere.
func checkOut(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return usageError("make it first, or leave out --out: then the output goes beside the file", "--out: there is no folder %s", render.Text(dir))
	}
	if err != nil {
		return unreadable(dir, err)
	}
	if !info.IsDir() {
		return usageError("--out takes a folder", "%s is not a directory", render.Text(dir))
	}
	return nil
}

// beside returns the path of a file that belongs to another one.
func beside(path, dir, suffix string) string {
	if dir != "" {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path + suffix
}
