package listing

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cavaliergopher/cpio"

	"quorate/internal/manifest"
)

const (
	rpmLead      = 96
	rpmIntro     = 16
	rpmMaxHeader = 256 << 20 // rpm's own limit
)

var magicRPMHeader = []byte{0x8e, 0xad, 0xe8, 1}

// rpm lists the parts of an RPM package (format 3 and 4): lead, two headers and
// the files of the payload. The headers are members because they have the time and
// the host of the build, the usual difference.
func (k *work) rpm(r *bufio.Reader) error {
	if err := k.add(manifest.Member{Name: "(lead)"}, io.LimitReader(r, rpmLead)); err != nil {
		return err
	}
	for _, name := range []string{"(signature header)", "(header)"} {
		n, err := rpmHeaderBytes(r)
		if err != nil {
			return fmt.Errorf("rpm: %s: %w", name, err)
		}
		if err := k.add(manifest.Member{Name: name}, io.LimitReader(r, n)); err != nil {
			return err
		}
		// The first one is padded to a multiple of eight.
		if pad := -n & 7; name == "(signature header)" && pad > 0 {
			if _, err := r.Discard(int(pad)); err != nil {
				return fmt.Errorf("rpm: %w", err)
			}
		}
	}
	if err := k.unpack(r, k.cpio); err != nil {
		return fmt.Errorf("rpm payload: %w", err)
	}
	return nil
}

// rpmHeaderBytes is how long the header is that r stands before.
func rpmHeaderBytes(r *bufio.Reader) (int64, error) {
	intro, err := r.Peek(rpmIntro)
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(intro, magicRPMHeader) {
		return 0, errors.New("is not where it should be")
	}
	entries, data := int64(binary.BigEndian.Uint32(intro[8:])), int64(binary.BigEndian.Uint32(intro[12:]))
	n := rpmIntro + 16*entries + data
	if n > rpmMaxHeader {
		return 0, fmt.Errorf("%d bytes, at most %d", n, rpmMaxHeader)
	}
	return n, nil
}

func (k *work) cpio(r *bufio.Reader) error {
	if head, err := r.Peek(len(magicCPIO)); err != nil || !bytes.Equal(head, magicCPIO) {
		return errors.New("is not a cpio archive that can be read")
	}
	c, linked := cpio.NewReader(r), links{}
	for {
		h, err := c.Next()
		if errors.Is(err, io.EOF) {
			if linked.empty() {
				k.file(emptyFile)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
		if h.Size < 0 {
			return fmt.Errorf("cpio: %.80q has a negative size", h.Name)
		}
		m := manifest.Member{Name: h.Name, Link: h.Linkname, Mode: octal(int64(h.Mode)), Owner: owner(h.Uid, h.Guid, "", ""), MTime: stamp(h.ModTime)}
		var content io.Reader
		add := k.add
		switch h.Mode & cpio.ModeType {
		case cpio.TypeReg:
			content = &whole{c, h.Size}
			if h.Links < 2 || linked.seen(h.Inode, h.Size) {
				add = k.addFile
			}
		case cpio.TypeDir:
			m.Type = manifest.Directory
		case cpio.TypeSymlink:
			m.Type = manifest.Symlink
		default:
			m.Type = manifest.Special
		}
		if err := add(m, content); err != nil {
			return err
		}
	}
}

// whole is a member that must not end before its size: the library takes the end
// of the file for that of the member.
type whole struct {
	r    io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.left -= int64(n); w.left > 0 && errors.Is(err, io.EOF) {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
