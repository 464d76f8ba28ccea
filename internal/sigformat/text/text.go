// Package text computes the hash state that builders vote on for an OpenPGP
// cleartext signature: the SHA-512 state of a text in its canonical form.
//
// The canonical form (RFC 9580 sections 5.2.1.2, 7.1 and 7.2) is the lines of the
// text without the spaces and tabs at their ends, joined by CR LF; the ending of
// the last line is not hashed, so a text with and one without it are the same.
//
// Guarantees: the state does not depend on how the bytes arrive, and a text that
// gets one can be framed and read back by every OpenPGP program. What they would
// read differently is refused as [ErrNotText]: bytes that are not UTF-8, NUL, a CR
// without LF, a line of more than [MaxLine] bytes (gpg cuts at 19,995), and a file
// without a line.
//
// Not guaranteed: that the file is the text. White space at the ends of lines,
// CR LF instead of LF and the last line ending are no part of the state. Builders
// therefore vote on the digest of the file beside it.
package text

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"unicode/utf8"

	"quorate/quorum/hashstate"
)

// MaxLine is the length of the longest line, without its ending, in bytes.
const MaxLine = 16 << 10

// ErrNotText says that a file has no canonical text.
var ErrNotText = errors.New("not a text for a cleartext signature")

// Writer writes the canonical form of what is written to it. Close reports what
// is wrong with the text; an error once found stays, and the rest is passed over.
type Writer struct {
	out   io.Writer
	line  []byte // what came of the line so far, at most MaxLine+1 bytes
	open  bool   // line has begun and its ending has not come
	lines int    // lines written
	err   error
}

// NewWriter returns a writer of the canonical form to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write takes the next bytes of the text.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && w.err == nil {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.extend(p)
			break
		}
		w.extend(p[:i])
		w.endLine(true)
		p = p[i+1:]
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

func (w *Writer) extend(p []byte) {
	w.open = true
	if len(w.line)+len(p) > MaxLine+1 { // one for the CR
		w.fail("longer than %d bytes", MaxLine)
		return
	}
	w.line = append(w.line, p...)
}

// endLine writes the line that is complete. Its own ending is written by the next
// line, because that of the last is not hashed.
func (w *Writer) endLine(newline bool) {
	if w.err != nil {
		return
	}
	line := w.line
	if newline {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	switch {
	case len(line) > MaxLine:
		w.fail("longer than %d bytes", MaxLine)
	case bytes.IndexByte(line, '\r') >= 0:
		w.fail("CR without LF")
	case bytes.IndexByte(line, 0) >= 0:
		w.fail("NUL")
	case !utf8.Valid(line):
		w.fail("not UTF-8")
	}
	if w.err != nil {
		return
	}
	line = bytes.TrimRight(line, " \t")
	if w.lines > 0 {
		_, w.err = io.WriteString(w.out, "\r\n")
	}
	if w.err == nil {
		_, w.err = w.out.Write(line)
	}
	w.lines++
	w.line, w.open = w.line[:0], false
}

func (w *Writer) fail(format string, args ...any) {
	w.err = fmt.Errorf("%w: line %d: %s", ErrNotText, w.lines+1, fmt.Sprintf(format, args...))
}

// Close ends the text.
func (w *Writer) Close() error {
	if w.open {
		w.endLine(false)
	}
	if w.err == nil && w.lines == 0 {
		w.err = fmt.Errorf("%w: it has no line", ErrNotText)
	}
	return w.err
}

// Hasher computes the state beside other work over the same bytes: its Write never
// fails, so that it can be one of several under an io.MultiWriter, and State says
// in the end whether the file was a text.
type Hasher struct {
	w *Writer
	h hash.Hash
}

// NewHasher returns a hasher of an empty text.
func NewHasher() *Hasher {
	h := sha512.New()
	return &Hasher{NewWriter(h), h}
}

// Write takes the next bytes of the file.
func (h *Hasher) Write(p []byte) (int, error) {
	h.w.Write(p)
	return len(p), nil
}

// State ends the text and returns its state. Nothing can be written after it.
func (h *Hasher) State() (hashstate.State, error) {
	if err := h.w.Close(); err != nil {
		return hashstate.State{}, err
	}
	h.w.err = errors.New("text: written to after its end")
	return hashstate.Of(hashstate.SHA512, h.h)
}

// State returns the state of a whole text.
func State(r io.Reader) (hashstate.State, error) {
	h := NewHasher()
	if _, err := io.Copy(h, r); err != nil {
		return hashstate.State{}, fmt.Errorf("read text: %w", err)
	}
	return h.State()
}

// Canonical returns the canonical form of a whole text.
func Canonical(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Write(text) // its error is Close's too
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
