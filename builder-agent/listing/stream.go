package listing

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"quorate/internal/manifest"
)

// How the kinds begin.
var (
	magicGzip  = []byte{0x1f, 0x8b, 8}
	magicBzip2 = []byte("BZh")
	magicXz    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	magicZstd  = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicAr    = []byte("!<arch>\n")
	magicRPM   = []byte{0xed, 0xab, 0xee, 0xdb}
	magicCPIO  = []byte("07070")
)

// tarBlock is the size of a tar header; the magic lies at 257.
const tarBlock = 512

func isTar(head []byte) bool {
	return len(head) >= tarBlock && bytes.HasPrefix(head[257:], []byte("ustar"))
}

func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, magicGzip):
		return "gzip"
	case bytes.HasPrefix(head, magicBzip2) && len(head) > 3 && '1' <= head[3] && head[3] <= '9':
		return "bzip2"
	case bytes.HasPrefix(head, magicXz):
		return "xz"
	case bytes.HasPrefix(head, magicZstd):
		return "zstd"
	}
	return ""
}

func isStream(head []byte) bool {
	return compression(head) != "" || isTar(head) || bytes.HasPrefix(head, magicAr) || bytes.HasPrefix(head, magicRPM)
}

// stream reads what can be read from the beginning to the end.
func (k *work) stream(r io.Reader) (format string, err error) {
	b := bufio.NewReaderSize(r, bufferBytes)
	head, _ := b.Peek(tarBlock) // a short file is told by what it has
	switch {
	case bytes.HasPrefix(head, magicAr):
		return k.ar(b)
	case bytes.HasPrefix(head, magicRPM):
		return "rpm", k.rpm(b)
	case isTar(head):
		return "tar", k.tar(b, "")
	}
	c := compression(head)
	err = k.unpack(b, func(plain *bufio.Reader) error {
		head, err := plain.Peek(tarBlock)
		if isTar(head) {
			format = "tar+" + c
			return k.tar(plain, "")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if k.depth > 0 {
			return errUnknown // compressed only, which the member's own digest tells
		}
		format = c
		return k.add(manifest.Member{Name: "(content)"}, plain)
	})
	if format == "" {
		format = c
	}
	return format, err
}

// unpack gives use what is compressed in r, or r itself if nothing is.
func (k *work) unpack(r *bufio.Reader, use func(*bufio.Reader) error) error {
	head, err := r.Peek(len(magicXz))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	in := &counter{r: r}
	var plain io.Reader
	switch compression(head) {
	case "gzip":
		plain, err = gzip.NewReader(in)
	case "bzip2":
		plain, err = bzip2.NewReader(in), nil
	case "xz":
		plain, err = xz.NewReader(in, uint32(k.window))
	case "zstd":
		z, zerr := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(k.window)), zstd.WithDecoderMaxMemory(uint64(k.window)))
		if zerr != nil {
			return zerr
		}
		defer z.Close()
		plain, err = z, nil
	default:
		return use(r)
	}
	if err != nil {
		return err
	}
	return use(bufio.NewReaderSize(&meter{r: plain, in: in, k: k}, bufferBytes))
}

// tar lists the members of a tar. prefix stands before their names.
func (k *work) tar(r io.Reader, prefix string) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		// The reader also tells of names that lead out of a folder. They are names.
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("tar: %w", err)
		}
		m := manifest.Member{
			Name: prefix + inner(prefix, h.Name), Type: tarType(h.Typeflag), Link: h.Linkname,
			Mode: octal(h.Mode), Owner: owner(h.Uid, h.Gid, h.Uname, h.Gname), MTime: stamp(h.ModTime),
		}
		if m.Type == "" {
			err = k.addFile(m, t)
		} else {
			err = k.add(m, nil)
		}
		if err != nil {
			return err
		}
	}
}

// inner drops the dot with which the names in a deb begin, where a name stands
// before them.
func inner(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return strings.TrimPrefix(name, "./")
}

func tarType(flag byte) string {
	switch flag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse, tar.TypeCont:
		return ""
	case tar.TypeDir:
		return manifest.Directory
	case tar.TypeSymlink:
		return manifest.Symlink
	case tar.TypeLink:
		return manifest.Hardlink
	}
	return manifest.Special
}

func octal(mode int64) string { return strconv.FormatInt(mode&0o7777, 8) }

func owner(uid, gid int, user, group string) string {
	ids := strconv.Itoa(uid) + ":" + strconv.Itoa(gid)
	if user == "" && group == "" {
		return ids
	}
	return ids + " " + user + ":" + group
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
