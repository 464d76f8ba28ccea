package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"quorate/quorum/statement"
)

// Limits on a bundle; each kind may set lower ones.
const (
	MaxBody      = 8 << 20
	MaxSignature = 64 << 10
	MaxPath      = 512
)

// Bundle is a foreign statement as it came: the bytes and, for guix.sigs alone,
// the path, because in that format the release is written nowhere else.
type Bundle struct {
	Kind      Kind
	Path      string // guix.sigs: "RELEASE/NAME/STAGE.SHA256SUMS"; else empty
	Body      []byte
	Signature []byte // guix.sigs: the detached signature; else empty
}

// magic is the first line of an encoded bundle.
const magic = "quorate-evidence/1\n"

// Encode returns the canonical bytes of the bundle: a line that names the form,
// four header lines in fixed order, an empty line, the body and the signature.
// Lengths stand before the data, so nothing in the data can end it early.
func (b Bundle) Encode() []byte {
	head := fmt.Sprintf(magic+"kind: %s\npath: %s\nbody: %d\nsignature: %d\n\n",
		b.Kind, b.Path, len(b.Body), len(b.Signature))
	out := make([]byte, 0, len(head)+len(b.Body)+len(b.Signature))
	out = append(out, head...)
	out = append(out, b.Body...)
	return append(out, b.Signature...)
}

// ID is the identity of the bundle: the SHA-256 of [Bundle.Encode].
func (b Bundle) ID() statement.SHA256 { return sha256.Sum256(b.Encode()) }

// Check refuses a bundle that is too large or has the wrong parts for its kind.
func (b Bundle) Check() error {
	switch {
	case b.Kind == GuixSigs:
	case b.Path != "":
		return Refuse(b.Kind, CodeBadField, "path", "this kind has no path")
	case len(b.Signature) > 0:
		return Refuse(b.Kind, CodeBadField, "signature", "this kind has no detached signature")
	}
	switch {
	case len(b.Body) > MaxBody:
		return Refuse(b.Kind, statement.CodeTooLarge, "body", "%d bytes, at most %d", len(b.Body), MaxBody)
	case len(b.Signature) > MaxSignature:
		return Refuse(b.Kind, statement.CodeTooLarge, "signature", "%d bytes, at most %d", len(b.Signature), MaxSignature)
	case len(b.Path) > MaxPath:
		return Refuse(b.Kind, statement.CodeTooLarge, "path", "%d bytes, at most %d", len(b.Path), MaxPath)
	case b.Path != "" && CheckPath(b.Path) != nil:
		return Refuse(b.Kind, CodeBadField, "path", "%v", CheckPath(b.Path))
	case len(b.Body) == 0:
		return Refuse(b.Kind, CodeMissing, "body", "is empty")
	}
	return nil
}

// Open begins the reading of a bundle: it checks that the bundle is of the kind
// that the caller reads and at most max bytes long, and returns the statement to
// be filled.
func (b Bundle) Open(kind Kind, max int) (*Statement, error) {
	if b.Kind != kind {
		return nil, Refuse(kind, CodeWrongKind, "kind", "the bundle is of kind %q", Clip(string(b.Kind)))
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	if len(b.Body) > max {
		return nil, Refuse(kind, statement.CodeTooLarge, "body", "%d bytes, at most %d", len(b.Body), max)
	}
	return &Statement{Kind: kind, ID: b.ID()}, nil
}

// DecodeBundle reads what [Bundle.Encode] wrote, and nothing else. The parts
// share memory with data.
func DecodeBundle(data []byte) (Bundle, error) {
	if len(data) > MaxBody+MaxSignature+MaxPath+256 {
		return Bundle{}, Refuse("", statement.CodeTooLarge, "bundle", "%d bytes", len(data))
	}
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		return Bundle{}, Refuse("", CodeWrongKind, "bundle", "does not begin with %q", strings.TrimSpace(magic))
	}
	head, rest, ok := bytes.Cut(rest, []byte("\n\n"))
	if !ok {
		return Bundle{}, Refuse("", CodeBadField, "bundle", "the header does not end")
	}
	var values [4]string
	for i, name := range []string{"kind: ", "path: ", "body: ", "signature: "} {
		line, more, _ := strings.Cut(string(head), "\n")
		value, ok := strings.CutPrefix(line, name)
		if !ok {
			return Bundle{}, Refuse("", CodeBadField, strings.TrimSuffix(name, ": "), "is missing in the header")
		}
		values[i], head = value, []byte(more)
	}
	n, err := strconv.Atoi(values[2])
	if err != nil || n < 0 || n > len(rest) {
		return Bundle{}, Refuse("", CodeBadField, "body", "length %q does not fit", Clip(values[2]))
	}
	b := Bundle{Kind: Kind(values[0]), Path: values[1], Body: rest[:n:n], Signature: rest[n:]}
	if !bytes.Equal(b.Encode(), data) {
		return Bundle{}, Refuse("", CodeBadField, "bundle", "is not in canonical form")
	}
	return b, b.Check()
}
