package builderagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"quorate/quorum/statement"
)

// outputError says what is wrong with what a build left. It becomes the reason
// of a statement without a vote.
type outputError struct {
	status statement.Status
	text   string
}

func (e *outputError) Error() string { return e.text }

func badOutput(s statement.Status, format string, args ...any) error {
	return &outputError{s, fmt.Sprintf(format, args...)}
}

// output is one file that a build gave.
type output struct {
	name   string // as matched, relative to the build's directory
	file   string // where it really is
	linked bool   // that is somewhere else in the directory
}

// findOutputs lists the files that the patterns match. Nothing of the build runs
// any more, so what is looked at does not change.
func findOutputs(dir string, patterns []string) ([]output, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("collect outputs: %w", err)
	}
	var found []output
	for _, pattern := range patterns {
		matches, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			return nil, fmt.Errorf("collect outputs: %w", err)
		}
		n := len(found)
		for _, m := range matches {
			if found, err = addOutput(found, root, m); err != nil {
				return nil, err
			}
		}
		if len(found) == n {
			return nil, badOutput(statement.MissingInput, "no file matches the output pattern %q", pattern)
		}
	}
	slices.SortFunc(found, func(a, b output) int { return strings.Compare(a.name, b.name) })
	found = slices.Compact(found) // two patterns may match one file
	return found, checkOutputNames(found)
}

// addOutput passes over a directory. Anything that leaves the build's directory
// is refused: a link to a file of the machine would make it an artifact.
func addOutput(found []output, root, name string) ([]output, error) {
	plain := filepath.Join(root, filepath.FromSlash(name))
	file, err := filepath.EvalSymlinks(plain)
	if err != nil {
		return nil, badOutput(statement.Failed, "output %q cannot be reached (is it a link that leads nowhere?)", name)
	}
	if file != root && !strings.HasPrefix(file, root+string(filepath.Separator)) {
		return nil, badOutput(statement.Failed, "output %q is a link that leaves the build's directory", name)
	}
	info, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("collect outputs: %w", err)
	case info.IsDir():
		return found, nil
	case !info.Mode().IsRegular():
		return nil, badOutput(statement.Failed, "output %q is not a regular file", name)
	}
	return append(found, output{name, file, file != plain}), nil
}

func checkOutputNames(found []output) error {
	if len(found) > statement.MaxSubjects {
		return badOutput(statement.Failed, "%d outputs, at most %d in one statement", len(found), statement.MaxSubjects)
	}
	seen := make(map[string]string, len(found))
	for _, o := range found {
		base := path.Base(o.name)
		if !validFileName(base) {
			return badOutput(statement.Failed, "output %q: the name cannot stand in a statement", o.name)
		}
		if other, twice := seen[base]; twice {
			return badOutput(statement.Failed, "outputs %q and %q have the same name", other, o.name)
		}
		seen[base] = o.name
	}
	return nil
}

// keepOutputs brings the outputs into one new folder, and returns their paths
// there. They are hashed there: what is voted on is what is kept.
func keepOutputs(ctx context.Context, into string, outputs []output) ([]string, error) {
	if err := os.Mkdir(into, 0o700); err != nil {
		return nil, fmt.Errorf("keep outputs: %w", err)
	}
	kept := make([]string, len(outputs))
	// What links lead to is copied before anything is moved away from there.
	for _, linked := range []bool{true, false} {
		for i, o := range outputs {
			if o.linked != linked {
				continue
			}
			kept[i] = filepath.Join(into, path.Base(o.name))
			if err := o.keep(ctx, kept[i]); err != nil {
				return nil, fmt.Errorf("keep outputs: %w", err)
			}
		}
	}
	return kept, nil
}

func (o output) keep(ctx context.Context, to string) error {
	if err := makeReadable(o.file); err != nil {
		return err
	}
	if !o.linked {
		return os.Rename(o.file, to)
	}
	// A copy would fill the holes of a file, and the disk of this machine with them.
	if os.Link(o.file, to) == nil {
		return nil
	}
	src, err := os.Open(o.file)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return src.Read(p)
	}))
	return errors.Join(err, dst.Close())
}

// makeReadable gives back a right that a build may have taken away.
func makeReadable(file string) error {
	info, err := os.Lstat(file)
	if err != nil || info.Mode().Perm()&0o600 == 0o600 {
		return err
	}
	return os.Chmod(file, info.Mode().Perm()|0o600)
}

// removeTree removes a directory even where a build took away the right to
// write in it, as Go's module cache does.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			if chmodErr := os.Chmod(p, 0o700); chmodErr != nil {
				return chmodErr
			}
			if err != nil { // it could not be read before
				return removeTree(p)
			}
		}
		return nil
	})
	return errors.Join(walkErr, os.RemoveAll(dir))
}

// readerFunc is an io.Reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
