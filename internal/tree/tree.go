// Package tree walks a folder of files that others made.
//
// Guarantees: what is opened lies below the folder that was named, is a regular
// file, is the file that was looked at before, and has no more bytes than the
// caller allows; opening never blocks. Links, devices, pipes and names that
// could deceive are reported and not followed. The order is that of the names,
// byte by byte. Names that begin with a dot, such as .git, are passed over.
// Memory is that of one folder's names and does not grow with the tree.
//
// Not guaranteed: that all files are of one moment; others may write while it
// is read.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"quorate/quorum/evidence"
)

// maxDepth bounds the folders in each other.
const maxDepth = 32

// Why an entry is not read.
var (
	ErrLink    = errors.New("is a symbolic link, which is not followed")
	ErrSpecial = errors.New("is neither a file nor a folder")
	ErrDepth   = errors.New("lies too deep")
	ErrChanged = errors.New("was replaced while it was read")
	ErrLarge   = errors.New("is too large")
)

// Tree is a folder that was opened.
type Tree struct {
	root *os.Root
	only string // the one file of it that was named; empty: all
}

// Open opens a folder, or one file as a folder that has nothing else. Only here
// a link is followed: whoever names the folder means what it points to.
func Open(name string) (*Tree, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name)
		return &Tree{root: root}, err
	}
	dir, file := path.Split(name)
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	return &Tree{root, file}, err
}

// Single reports whether one file was named and no folder.
func (t *Tree) Single() bool { return t.only != "" }

// Close lets go of the folder.
func (t *Tree) Close() error { return t.root.Close() }

// Entry is a file of the tree, or what is there instead of one.
type Entry struct {
	Path string // with slashes, relative to the tree
	Size int64
	Err  error // why it cannot be read; nil for a regular file

	info fs.FileInfo
}

// Stamp tells one version of a file from another, as far as the file system does.
type Stamp struct {
	Size     int64
	Modified time.Time
}

// Stamp returns the zero stamp for what cannot be read.
func (e Entry) Stamp() Stamp {
	if e.Err != nil || e.info == nil {
		return Stamp{}
	}
	return Stamp{e.info.Size(), e.info.ModTime()}
}

// Walk calls visit with every entry that is no folder, until it returns an error.
func (t *Tree) Walk(visit func(Entry) error) error {
	if t.only != "" {
		return t.visit(t.only, visit)
	}
	return t.walk(".", 0, visit)
}

func (t *Tree) walk(dir string, depth int, visit func(Entry) error) error {
	names, err := t.names(dir)
	if err != nil {
		return visit(Entry{Path: dir, Err: plain(err)})
	}
	for _, e := range names {
		at := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir() && evidence.CheckPath(e.Name()) != nil:
			err = visit(Entry{Path: at, Err: evidence.CheckPath(e.Name())})
		case e.IsDir() && depth == maxDepth:
			err = visit(Entry{Path: at, Err: ErrDepth})
		case e.IsDir():
			err = t.walk(at, depth+1, visit)
		default:
			err = t.visit(at, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) names(dir string) ([]fs.DirEntry, error) {
	f, err := t.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	sortEntries(entries)
	return entries, nil
}

func (t *Tree) visit(at string, visit func(Entry) error) error {
	info, err := t.root.Lstat(at)
	e := Entry{Path: at, info: info, Err: plain(err)}
	switch {
	case err != nil:
	case evidence.CheckPath(path.Base(at)) != nil:
		e.Err = evidence.CheckPath(path.Base(at))
	case info.Mode()&fs.ModeSymlink != 0:
		e.Err = ErrLink
	case !info.Mode().IsRegular():
		e.Err = ErrSpecial
	default:
		e.Size = info.Size()
	}
	return visit(e)
}

// Read returns the bytes of a file that Walk gave, at most max.
func (t *Tree) Read(e Entry, max int64) ([]byte, error) {
	if e.Err != nil {
		return nil, e.Err
	}
	if e.Size > max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrLarge, e.Size, max)
	}
	f, err := t.open(e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, 0, e.Size+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > e.Size:
			return nil, ErrChanged // it grew
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, plain(err)
		}
	}
}

// Peek returns up to n of the first bytes.
func (t *Tree) Peek(e Entry, n int) ([]byte, error) {
	f, err := t.open(e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(n)))
	return data, plain(err)
}

// Find returns the entry of a path that did not come from Walk.
func (t *Tree) Find(at string) (e Entry, err error) {
	if err := evidence.CheckPath(at); err != nil {
		return Entry{Path: at}, err
	}
	for dir := path.Dir(at); dir != "."; dir = path.Dir(dir) {
		info, err := t.root.Lstat(dir)
		if err != nil {
			return Entry{Path: at}, plain(err)
		}
		if !info.IsDir() {
			return Entry{Path: at}, ErrLink
		}
	}
	err = t.visit(at, func(found Entry) error { e = found; return nil })
	return e, errors.Join(err, e.Err)
}

// open opens without waiting for a writer, should the file have become a pipe,
// and checks that it is what was seen before.
func (t *Tree) open(e Entry) (*os.File, error) {
	f, err := t.root.OpenFile(e.Path, openFlags, 0)
	if err != nil {
		return nil, plain(err)
	}
	info, err := f.Stat()
	if err != nil || !os.SameFile(info, e.info) || !info.Mode().IsRegular() {
		f.Close()
		return nil, ErrChanged
	}
	return f, nil
}

// plain takes the path out of an error: the caller says it in its own way.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
