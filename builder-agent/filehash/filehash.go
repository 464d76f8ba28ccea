// Package filehash reads a file once and gives everything that builders vote
// on: size, SHA-256, SHA-512 and the resumable state of both, and for texts the
// state of the text.
//
// # Guarantees
//
//   - The two hashes run side by side on the same read-only buffers. Memory is
//     constant: [ringBlocks] blocks of [blockSize] for each file being read,
//     however large it is.
//   - A file that visibly changes while it is read is an error that wraps
//     [ErrChanged] and names it: size, modification time and identity are
//     compared before and after, of the open file and of the path, and the bytes
//     read are counted.
//   - Only regular files are read. A symbolic link is followed; a directory, a
//     device or a pipe is refused with [ErrNotRegular] before it is opened.
//
// # Non-guarantees
//
//   - Someone who writes into a file and puts its modification time back is not
//     noticed, nor is a write within one tick of the file system's clock that
//     keeps the size. The digests then belong to no moment of the file; as other
//     builders will not have them, they cannot be signed.
package filehash

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sourcegraph/conc/pool"

	"quorate/internal/sigformat/text"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

var (
	// ErrChanged says that a file is not what it was when reading began.
	ErrChanged = errors.New("file changed while it was read")

	// ErrNotRegular says that a path is a directory, a device, a pipe or a socket.
	ErrNotRegular = errors.New("not a regular file")
)

// The slower hash must never wait for a read, and the blocks should still be in
// the processor's cache when the second hash gets to them.
const (
	blockSize  = 256 << 10
	ringBlocks = 4
)

// Inspector sees a file while it is hashed, so that whatever it wants to know
// costs no second reading. It cannot make the hashing fail.
type Inspector interface {
	// Write gets the file's bytes in their order. Its error is passed over. A
	// slow one makes the hashing slow.
	io.Writer

	// Finish comes after the last Write, while the file is still open and before it
	// is compared with what it was at the beginning. failed says that hashing went
	// wrong; then nothing of the file is to be used. The file may be read once more,
	// at any place.
	Finish(file io.ReaderAt, size int64, failed bool)
}

// Progress is told how many more bytes were read. It is called from several
// goroutines at once and must return quickly.
type Progress func(bytes int)

// Files hashes files side by side, as many at a time as there are processors
// for, and returns the artifacts in the order of the paths. The first error ends
// all work. texts are as for [File].
func Files(ctx context.Context, paths []string, progress Progress, texts ...string) ([]statement.Artifact, error) {
	return Inspect(ctx, paths, progress, func(int) Inspector { return nil }, texts...)
}

// Inspect is [Files] with somebody who looks on: inspector gives the one for the
// i-th path, or nil.
func Inspect(ctx context.Context, paths []string, progress Progress, inspector func(i int) Inspector, texts ...string) ([]statement.Artifact, error) {
	// One large file already keeps two processors busy.
	atOnce := max(1, runtime.GOMAXPROCS(0)/2)
	artifacts := make([]statement.Artifact, len(paths))
	p := pool.New().WithMaxGoroutines(atOnce).WithContext(ctx).WithCancelOnError().WithFirstError()
	for i, path := range paths {
		p.Go(func(ctx context.Context) (err error) {
			artifacts[i], err = hashFile(ctx, path, progress, inspector(i), texts)
			return err
		})
	}
	if err := p.Wait(); err != nil {
		return nil, err
	}
	return artifacts, nil
}

// File hashes one file. The artifact's name is the last element of path.
// progress may be nil. A file whose name one of the patterns texts matches (as in
// Go's path.Match) gets [statement.TextState] too; if it is no text, that is an
// error that wraps text.ErrNotText and says why.
func File(ctx context.Context, path string, progress Progress, texts ...string) (statement.Artifact, error) {
	return hashFile(ctx, path, progress, nil, texts)
}

func hashFile(ctx context.Context, path string, progress Progress, look Inspector, texts []string) (statement.Artifact, error) {
	// Asked before opening, because opening a pipe waits for a writer.
	if err := Check(path); err != nil {
		return statement.Artifact{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return statement.Artifact{}, fmt.Errorf("hash: %w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return statement.Artifact{}, fmt.Errorf("hash: %w", err)
	}
	if !before.Mode().IsRegular() {
		return statement.Artifact{}, fmt.Errorf("hash %s: %w", path, ErrNotRegular)
	}
	name := filepath.Base(path)
	a, err := hashStream(ctx, f, progress, look, Matches(texts, name))
	if look != nil {
		look.Finish(f, before.Size(), err != nil)
	}
	if err != nil {
		return statement.Artifact{}, fmt.Errorf("hash %s: %w", path, err)
	}
	if err := unchanged(f, path, before, a.Size); err != nil {
		return statement.Artifact{}, fmt.Errorf("hash %s: %w", path, err)
	}
	a.Name = name
	return a, nil
}

// Matches reports whether one of the patterns matches the name.
func Matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// Check reports whether path can be hashed, as far as can be told without
// reading it.
func Check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("hash %s: %w", path, ErrNotRegular)
	}
	return nil
}

// unchanged compares both the open file and what the path names by now: a file
// may be written to, or replaced by another one.
func unchanged(f *os.File, path string, before os.FileInfo, read uint64) error {
	if read != uint64(before.Size()) {
		return fmt.Errorf("%w: read %d bytes, size was %d", ErrChanged, read, before.Size())
	}
	same := func(after os.FileInfo) bool {
		return os.SameFile(before, after) && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime())
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if !same(after) {
		return fmt.Errorf("%w: it was written to", ErrChanged)
	}
	if after, err = os.Stat(path); err != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if !same(after) {
		return fmt.Errorf("%w: another file took its place", ErrChanged)
	}
	return nil
}

// block is one piece of the file. Its data is read-only from the moment it is
// handed to the hashes until the last of them has let it go.
type block struct {
	buf  []byte
	n    int
	left atomic.Int32 // hashes that still need it
}

// blocks are shared by all files of the process: thousands of small files must
// not allocate a ring each.
var blocks = sync.Pool{New: func() any { return &block{buf: make([]byte, blockSize)} }}

// lane is one reader of the file, such as a hash, and the blocks on the way to it.
type lane struct {
	algorithm hashstate.Algorithm
	hash      hash.Hash    // nil for the lane of the text and for an inspector
	text      *text.Hasher // instead of the hash, for the lane of the text
	look      Inspector    // likewise, for an inspector
	in        chan *block
}

func newLane(a hashstate.Algorithm) *lane {
	return &lane{a, a.New(), nil, nil, make(chan *block, ringBlocks)}
}

func (l *lane) write(p []byte) {
	switch {
	case l.text != nil:
		l.text.Write(p) // says in the end what was wrong
	case l.look != nil:
		_, _ = l.look.Write(p) // must not make the hashing fail
	default:
		l.hash.Write(p)
	}
}

func (l *lane) run(free chan<- *block) {
	for b := range l.in {
		l.write(b.buf[:b.n])
		if b.left.Add(-1) == 0 {
			free <- b
		}
	}
}

func hashStream(ctx context.Context, r io.Reader, progress Progress, look Inspector, isText bool) (statement.Artifact, error) {
	free := make(chan *block, ringBlocks) // never blocks a sender: it holds the whole ring
	lanes := []*lane{newLane(hashstate.SHA256), newLane(hashstate.SHA512)}
	if isText {
		lanes = append(lanes, &lane{text: text.NewHasher(), in: make(chan *block, ringBlocks)})
	}
	if look != nil {
		lanes = append(lanes, &lane{look: look, in: make(chan *block, ringBlocks)})
	}
	var running sync.WaitGroup
	for _, l := range lanes {
		running.Go(func() { l.run(free) })
	}
	err := feed(ctx, r, free, lanes, progress)
	for _, l := range lanes {
		close(l.in)
	}
	running.Wait()
	// Every block that was taken lies in free again.
	for len(free) > 0 {
		blocks.Put(<-free)
	}
	if err != nil {
		return statement.Artifact{}, err
	}
	a, err := artifact(lanes[0], lanes[1])
	if err == nil && isText {
		err = addText(&a, lanes[2].text)
	}
	return a, err
}

func addText(a *statement.Artifact, h *text.Hasher) error {
	st, err := h.State()
	if err != nil {
		return err
	}
	value, err := st.MarshalJSON()
	if err != nil {
		return err
	}
	a.Signables = []statement.Signable{{Name: statement.TextState, Value: value}}
	return nil
}

// feed reads r to its end. Blocks are taken from the pool until the ring is
// complete, so that a small file takes one.
func feed(ctx context.Context, r io.Reader, free chan *block, lanes []*lane, progress Progress) error {
	taken := 0
	for {
		b, err := take(ctx, free, &taken)
		if err != nil {
			return err
		}
		b.n, err = io.ReadFull(r, b.buf)
		if b.n == 0 || err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			free <- b
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		b.left.Store(int32(len(lanes)))
		n := b.n // the block belongs to the lanes from here on
		for _, l := range lanes {
			l.in <- b
		}
		if progress != nil {
			progress(n)
		}
		if err != nil { // a short block is the last one
			return nil
		}
	}
}

func take(ctx context.Context, free chan *block, taken *int) (*block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case b := <-free:
		return b, nil
	default:
	}
	if *taken < ringBlocks {
		*taken++
		return blocks.Get().(*block), nil
	}
	return <-free, nil // the hashes always finish what they have
}

func artifact(l256, l512 *lane) (a statement.Artifact, err error) {
	if a.State256, err = hashstate.Of(l256.algorithm, l256.hash); err != nil {
		return a, err
	}
	if a.State512, err = hashstate.Of(l512.algorithm, l512.hash); err != nil {
		return a, err
	}
	a.Size = a.State256.Length
	a.SHA256 = statement.SHA256(l256.hash.Sum(nil))
	a.SHA512 = statement.SHA512(l512.hash.Sum(nil))
	return a, nil
}
