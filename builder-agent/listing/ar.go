package listing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"quorate/internal/manifest"
)

// The reader of ar is our own. The format is a header of 60 bytes; the libraries
// for it believe negative sizes and numbers that are none.
const (
	arHeader   = 60
	arMaxNames = 1 << 20 // of the table with long names
)

// arEntry is one header (ar(5)).
type arEntry struct {
	name            string
	mtime, uid, gid int64
	mode            int64
	size            int64
}

// ar lists the members of an ar archive; those of a deb with what is in them.
func (k *work) ar(r *bufio.Reader) (format string, err error) {
	if _, err := r.Discard(len(magicAr)); err != nil {
		return "ar", err
	}
	format = "ar"
	var names []byte // GNU's table
	for first := true; ; first = false {
		e, err := readArEntry(r)
		if errors.Is(err, io.EOF) {
			return format, nil
		}
		if err != nil {
			return format, err
		}
		if first && e.name == "debian-binary" {
			format = "deb"
		}
		body := &io.LimitedReader{R: r, N: e.size}
		switch {
		case e.name == "//" && e.size <= arMaxNames:
			names, err = io.ReadAll(body)
		default:
			e.name = longName(e.name, names)
			err = k.arMember(format, e, body)
		}
		if err != nil {
			return format, err
		}
		if err := endOfMember(r, body, e); err != nil {
			return format, err
		}
	}
}

func (k *work) arMember(format string, e *arEntry, body io.Reader) error {
	m := manifest.Member{Name: e.name, Mode: octal(e.mode), Owner: owner(int(e.uid), int(e.gid), "", ""), MTime: stamp(time.Unix(e.mtime, 0))}
	if format != "deb" || !strings.HasPrefix(e.name, "control.tar") && !strings.HasPrefix(e.name, "data.tar") {
		return k.add(m, body)
	}
	m.Type = manifest.Archive
	if err := k.add(m, nil); err != nil {
		return err
	}
	k.control = !strings.HasPrefix(e.name, "data.tar")
	err := k.unpack(bufio.NewReaderSize(body, bufferBytes), func(plain *bufio.Reader) error { return k.tar(plain, e.name+"/") })
	if err != nil {
		return fmt.Errorf("%s: %w", manifest.Text(e.name), err)
	}
	return nil
}

// endOfMember goes to the next header. A file that ends before its members do is
// cut, or lies.
func endOfMember(r *bufio.Reader, body *io.LimitedReader, e *arEntry) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	if body.N > 0 {
		return fmt.Errorf("ar: member %.80q ends after %d of %d bytes", e.name, e.size-body.N, e.size)
	}
	if e.size%2 == 1 {
		_, err := r.Discard(1)
		if err != nil && !errors.Is(err, io.EOF) { // the last pad is often missing
			return err
		}
	}
	return nil
}

func readArEntry(r io.Reader) (*arEntry, error) {
	var h [arHeader]byte
	if n, err := io.ReadFull(r, h[:]); n == 0 || err != nil {
		return nil, err
	}
	if h[58] != '`' || h[59] != '\n' {
		return nil, errors.New("ar: a header is damaged")
	}
	e := &arEntry{name: strings.TrimRight(string(h[:16]), " ")}
	for _, f := range []struct {
		into *int64
		text []byte
		base int
	}{{&e.mtime, h[16:28], 10}, {&e.uid, h[28:34], 10}, {&e.gid, h[34:40], 10}, {&e.mode, h[40:48], 8}, {&e.size, h[48:58], 10}} {
		text := string(bytes.TrimSpace(f.text))
		if text == "" {
			continue
		}
		v, err := strconv.ParseUint(text, f.base, 63)
		if err != nil {
			return nil, fmt.Errorf("ar: %.20q in a header is not a number", text)
		}
		*f.into = int64(v)
	}
	if len(e.name) > 1 && e.name != "//" {
		e.name = strings.TrimSuffix(e.name, "/") // GNU ends names with it
	}
	return e, nil
}

// longName looks up a name such as "/17" in GNU's table.
func longName(name string, names []byte) string {
	at, err := strconv.Atoi(strings.TrimPrefix(name, "/"))
	if !strings.HasPrefix(name, "/") || err != nil || at < 0 || at >= len(names) {
		return name
	}
	long, _, _ := bytes.Cut(names[at:], []byte("/\n"))
	return string(long[:min(len(long), manifest.MaxName)])
}
