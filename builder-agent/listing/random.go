package listing

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"quorate/internal/manifest"
)

const (
	// zipDirectory bounds the list at the end of a zip: the library reads it whole
	// and takes some ten times its size.
	zipDirectory = 16 << 20

	// elfNames bounds what the names of all sections can take: each may be as long
	// as the table of names.
	elfNames = 256 << 20
)

// randomAccess returns the reader for a file that cannot be read as a stream.
func randomAccess(head []byte) func(*work, io.ReaderAt, int64) (string, error) {
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return func(k *work, r io.ReaderAt, size int64) (string, error) { return "zip", k.zip(r, size) }
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return func(k *work, r io.ReaderAt, size int64) (string, error) { return "elf", k.elf(r, size) }
	}
	return nil
}

// bounded fails when more than left bytes were read.
type bounded struct {
	r    io.ReaderAt
	left int64
}

var errDirectory = fmt.Errorf("the list of members is larger than %d bytes", zipDirectory)

func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errDirectory
	}
	return b.r.ReadAt(p, off)
}

func (k *work) zip(r io.ReaderAt, size int64) error {
	in := &bounded{r, zipDirectory}
	z, err := zip.NewReader(in, size)
	if in.left < 0 {
		return errDirectory
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // they are names only
		return fmt.Errorf("zip: %w", err)
	}
	in.left = 4*size + ratioFrom // from here on each entry is counted by itself
	if err := overlaps(z.File, size); err != nil {
		return err
	}
	z.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser {
		c := &counter{r: r}
		return io.NopCloser(&meter{r: flate.NewReader(c), in: c, k: k})
	})
	for _, f := range z.File {
		if err := k.zipMember(f); err != nil {
			return err
		}
	}
	return nil
}

// overlaps refuses entries that share bytes: an honest writer makes none, and a
// bomb is made of them.
func overlaps(files []*zip.File, size int64) error {
	type span struct{ from, to int64 }
	spans := make([]span, 0, len(files))
	for _, f := range files {
		from, err := f.DataOffset()
		if err != nil {
			return fmt.Errorf("zip: member %.80q: %w", f.Name, err)
		}
		if f.CompressedSize64 > uint64(size) || from+int64(f.CompressedSize64) > size {
			return fmt.Errorf("zip: member %.80q is larger than the file", f.Name)
		}
		spans = append(spans, span{from, from + int64(f.CompressedSize64)})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := range spans {
		if i > 0 && spans[i].from < spans[i-1].to {
			return errors.New("zip: members overlap")
		}
	}
	return nil
}

func (k *work) zipMember(f *zip.File) error {
	m := manifest.Member{Name: f.Name, Mode: octal(int64(f.Mode().Perm())), MTime: stamp(f.Modified)}
	switch mode := f.Mode(); {
	case mode.IsDir():
		m.Type = manifest.Directory
		return k.add(m, nil)
	case mode&fs.ModeSymlink != 0:
		m.Type = manifest.Symlink
	case !mode.IsRegular():
		m.Type = manifest.Special
	}
	content, err := f.Open()
	if err != nil {
		return fmt.Errorf("zip: member %.80q: %w", f.Name, err)
	}
	defer content.Close()
	if m.Type == "" {
		return k.addFile(m, content) // size and checksum are compared by the library
	}
	return k.add(m, content)
}

func (k *work) elf(r io.ReaderAt, size int64) error {
	if err := checkELF(r, size); err != nil {
		return err
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("elf: %w", err)
	}
	// Sections may lie on the same bytes; all of them together must not be much
	// more than the file.
	*k.left = min(*k.left, 2*size+ratioFrom)
	for _, s := range f.Sections {
		m := manifest.Member{Name: s.Name, Mode: s.Flags.String()}
		var content io.Reader
		switch s.Type {
		case elf.SHT_NULL:
			continue
		case elf.SHT_NOBITS:
			m.Size = s.Size
		default:
			content = io.NewSectionReader(r, int64(s.Offset), int64(s.FileSize))
		}
		if len(m.Mode) > 64 {
			m.Mode = m.Mode[:64]
		}
		if err := k.add(m, content); err != nil {
			return err
		}
	}
	return nil
}

// checkELF looks at what the library would take memory for before it is asked:
// the number of sections and the length of their names.
func checkELF(r io.ReaderAt, size int64) error {
	var h [64]byte
	if _, err := r.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("elf: %w", err)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if h[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	// Where the table of sections lies, and in an entry where size is (System V
	// ABI, "ELF Header" and "Sections").
	var table uint64
	var entry, count, names, sizeAt int64
	if elf.Class(h[elf.EI_CLASS]) == elf.ELFCLASS64 {
		table, sizeAt = order.Uint64(h[40:]), 32
		entry, count, names = int64(order.Uint16(h[58:])), int64(order.Uint16(h[60:])), int64(order.Uint16(h[62:]))
	} else {
		table, sizeAt = uint64(order.Uint32(h[32:])), 20
		entry, count, names = int64(order.Uint16(h[46:])), int64(order.Uint16(h[48:])), int64(order.Uint16(h[50:]))
	}
	switch {
	case table == 0:
		return nil
	case count == 0:
		return errors.New("elf: more sections than are read")
	case table > uint64(size):
		return errors.New("elf: the table of sections lies outside of the file")
	}
	var field [8]byte
	if _, err := r.ReadAt(field[:], int64(table)+names*entry+sizeAt); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("elf: %w", err)
	}
	bytes := uint64(order.Uint32(field[:]))
	if sizeAt == 32 {
		bytes = order.Uint64(field[:])
	}
	if bytes > elfNames/uint64(count) {
		return fmt.Errorf("elf: the names of %d sections are longer than is read", count)
	}
	return nil
}
