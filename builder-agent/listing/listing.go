// Package listing makes the manifest of an artifact while it is hashed: tar
// (plain, gzip, bzip2, xz, zstd), ar, deb and rpm from the stream of its bytes, zip
// and ELF, whose lists lie at the end, from the open file afterwards.
//
// # Guarantees
//
//   - Nothing fails but the list: what cannot be read, lies about itself or goes
//     over a limit gives a manifest that says why there is none. A panic in a
//     decompressor is such a reason.
//   - Time and memory are bounded by [Limits], whatever the file claims. Sizes are
//     counted, not believed.
//   - Nothing is unpacked to disk. Names of members are only written down.
//
// # Non-guarantees
//
//   - An archive inside of the artifact is listed too, behind the artifact's own
//     members, as long as [Limits] allow; a zip only up to 16 MiB, since its list
//     lies at its end and it goes by once. One that cannot be read is a member like
//     any other. ELF files and what is only compressed are not looked into.
//   - A list does not cover every byte: equal lists of different files differ in
//     their packing (compression, padding, headers that are not listed).
package listing

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

// Limits of reading one artifact. A file that goes over one gets no list.
type Limits struct {
	Members  int   // files and folders; 0: 100,000
	Unpacked int64 // bytes after decompression; 0: 8 GiB
	Ratio    int64 // bytes after decompression for each one before, beyond the first 64 MiB; 0: 200
	List     int   // bytes of the encoded list; 0: [manifest.MaxBytes]. A longer one is cut.

	// Of archives inside of the artifact. What goes over these is not listed, and
	// nothing else is lost by it.
	Depth         int   // archives in archives; 0: 3; negative: none
	Nested        int   // members in all of them; 0: 20,000
	NestedContent int64 // bytes read in all of them; 0: 2 GiB

	Inner bool // collect the digests for [Lister.Inner]
}

const (
	ratioFrom   = 64 << 20
	maxWindow   = 128 << 20 // memory of a decompressor: what zstd --long and xz -9 need
	bufferBytes = 64 << 10
)

func (l Limits) filled() Limits {
	or := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	or(&l.Unpacked, 8<<30)
	or(&l.Ratio, 200)
	or(&l.NestedContent, 2<<30)
	if l.Depth == 0 {
		l.Depth = 3
	}
	if l.Nested <= 0 {
		l.Nested = 20_000
	}
	if l.Members <= 0 {
		l.Members = 100_000
	}
	if l.List <= 0 {
		l.List = manifest.MaxBytes
	}
	return l
}

// errUnknown says that a file is of no kind that has a list. It is no problem.
var errUnknown = errors.New("no archive and no ELF file")

// Lister makes one manifest. It is a filehash.Inspector.
type Lister struct {
	limits Limits

	started bool
	random  func(*work, io.ReaderAt, int64) (format string, err error) // zip or ELF
	pipe    *io.PipeWriter
	reading sync.WaitGroup

	// Owned by the reading goroutine until reading is over.
	result   *manifest.Manifest
	inner    []statement.SHA256
	innerErr error
}

// New returns a Lister for one file.
func New(limits Limits) *Lister { return &Lister{limits: limits.filled(), innerErr: ErrNoPackage} }

// Write takes the next bytes of the file. The first ones, of which there must be
// enough to tell the kind, decide what is done with the rest.
func (l *Lister) Write(p []byte) (int, error) {
	if !l.started {
		l.started = true
		l.begin(p)
	}
	if l.pipe == nil {
		return len(p), nil
	}
	return l.pipe.Write(p) // fails at once when the reader is done with it
}

func (l *Lister) begin(head []byte) {
	if l.random = randomAccess(head); l.random != nil {
		return
	}
	if !isStream(head) {
		return
	}
	r, w := io.Pipe()
	l.pipe = w
	l.reading.Go(func() {
		l.result = l.read(func(k *work) (string, error) { return k.stream(r) })
		// Bytes after the end of an archive are none of its members.
		r.CloseWithError(io.ErrClosedPipe)
	})
}

// Finish ends the list; zip and ELF files are read now.
func (l *Lister) Finish(file io.ReaderAt, size int64, failed bool) {
	if l.pipe != nil {
		if failed {
			l.pipe.CloseWithError(io.ErrUnexpectedEOF)
		} else {
			l.pipe.Close()
		}
		l.reading.Wait()
	}
	if failed {
		l.result = nil
		return
	}
	if l.random != nil {
		l.result = l.read(func(k *work) (string, error) { return l.random(k, file, size) })
	}
}

// Manifest returns the list after Finish, or nil for a file of no known kind.
func (l *Lister) Manifest() *manifest.Manifest { return l.result }

// read runs one reader. The libraries are made for honest files: whatever a
// hostile one does to them must not stop the builder.
func (l *Lister) read(do func(*work) (string, error)) (m *manifest.Manifest) {
	defer func() {
		if p := recover(); p != nil {
			l.inner, l.innerErr = nil, fmt.Errorf("the reader failed: %v", p)
			m = manifest.Failed("", l.innerErr.Error())
		}
	}()
	left := l.limits.Unpacked
	k := &work{limits: l.limits, out: manifest.NewBuilder(l.limits.List), left: &left, buf: make([]byte, bufferBytes), window: maxWindow,
		nested: &allowance{members: l.limits.Nested, bytes: l.limits.NestedContent}}
	format, err := do(k)
	l.setInner(k, format, err)
	if errors.Is(err, errUnknown) {
		return nil
	}
	if err != nil {
		return manifest.Failed(format, err.Error())
	}
	// What is inside of members comes last: where the list is cut, the artifact's own
	// members are the ones to keep.
	for _, m := range k.below {
		if err := k.out.Add(m); err != nil {
			return manifest.Failed(format, err.Error())
		}
	}
	return k.out.Manifest(format)
}

// work is the reading of one file, or of an archive inside of it.
type work struct {
	limits Limits
	out    *manifest.Builder // of the file
	left   *int64            // bytes of members that may still be read
	buf    []byte
	head   [tarBlock]byte // of the member that is read
	window int            // memory of a decompressor

	below  []manifest.Member // what is inside of members
	nested *allowance        // for all of that

	files   []statement.SHA256 // for [Lister.Inner]
	control bool               // what is read says something of the package and is not in it

	// Of an archive inside of the file only.
	depth  int
	prefix string // of the names
	list   []manifest.Member
}

// add puts a member with the content that r has into the list. r may be nil.
func (k *work) add(m manifest.Member, r io.Reader) error {
	_, err := k.addContent(m, r)
	return err
}

// addFile is add for a file in a package.
func (k *work) addFile(m manifest.Member, r io.Reader) error {
	digest, err := k.addContent(m, r)
	if err == nil {
		k.file(digest)
	}
	return err
}

func (k *work) addContent(m manifest.Member, r io.Reader) (digest statement.SHA256, err error) {
	if k.depth == 0 && k.out.Members() >= k.limits.Members {
		return digest, fmt.Errorf("more than %d members", k.limits.Members)
	}
	m.Name, m.Link, m.Owner = manifest.Text(k.nameIn(m.Name)), manifest.Text(m.Link), clip(manifest.Text(m.Owner))
	if r != nil {
		h := sha256.New()
		n, inside, err := k.content(m.Name, r, h)
		if err != nil {
			return digest, fmt.Errorf("member %.80q: %w", m.Name, err)
		}
		m.Size, m.SHA256 = uint64(n), statement.SHA256(h.Sum(nil))
		k.below = append(k.below, inside...)
	}
	return m.SHA256, k.put(m)
}

// clip shortens the names of owners, which no system lets be long.
func clip(s string) string {
	if len(s) > 128 {
		return manifest.Text(s[:100]) + "..."
	}
	return s
}

func errUnpacked(limit int64) error {
	return fmt.Errorf("more than %d bytes when unpacked", limit)
}

// meter bounds a decompressor's output in itself and against its input, and inside
// of the file against all that may be read there.
type meter struct {
	r   io.Reader
	in  *counter
	out int64
	k   *work
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.out += int64(n)
	limits := &m.k.limits
	inside := m.k.depth > 0
	if inside {
		m.k.nested.bytes -= int64(n)
	}
	switch {
	case m.out > limits.Unpacked, inside && m.k.nested.bytes < 0:
		return n, errUnpacked(limits.Unpacked)
	case m.out > ratioFrom && m.out/limits.Ratio > m.in.n:
		return n, fmt.Errorf("unpacks to more than %d times its size", limits.Ratio)
	}
	return n, err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
