package tokenproc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is a length in four bytes, big endian, a kind, an id in eight bytes,
// and a body. The length counts what follows it. An answer has the id of what it
// answers; what is no answer has the id zero.
type frame struct {
	kind kind
	id   uint64
	body []byte
}

const (
	lengthSize = 4
	headSize   = 9 // kind and id
	// maxFrame bounds what a confused peer can make the other side allocate. It
	// holds some thousand public keys.
	maxFrame = 4 << 20
	// maxDigest is what Sign takes: for Ed25519 a whole message, which is small
	// in every signature format.
	maxDigest = 1 << 20
)

type kind byte

const (
	// From the parent.
	kindOpen           kind = iota + 1 // openMessage; the first frame
	kindSign                           // see appendSign
	kindLookup                         // a label
	kindPIN                            // the PIN as it is
	kindNoPIN                          // errorMessage
	kindSignUnverified                 // as kindSign; the child does not verify

	// From the child.
	kindState     // stateMessage; answers kindOpen, and comes by itself after changes
	kindSignature // the raw signature
	kindKey       // keyMessage; answers kindLookup
	kindError     // errorMessage; answers anything
	kindAskPIN    // empty; has an id of the child's
	kindLog       // logMessage
	kindClosed    // empty, or errorMessage: the token was closed; the last frame

	kindEnd
)

// errProtocol is what a peer gets killed for.
var errProtocol = errors.New("protocol error")

// appendFrame appends a whole frame to dst.
func appendFrame(dst []byte, f frame) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(headSize+len(f.body)))
	dst = append(dst, byte(f.kind))
	dst = binary.BigEndian.AppendUint64(dst, f.id)
	return append(dst, f.body...)
}

// readFrame reads one frame. The error is io.EOF only between frames.
func readFrame(r io.Reader) (frame, error) {
	var head [lengthSize + headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return frame{}, fmt.Errorf("%w: frame ends in its head", errProtocol)
		}
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[:lengthSize])
	if size < headSize || size > maxFrame {
		return frame{}, fmt.Errorf("%w: frame of %d bytes, want %d to %d", errProtocol, size, headSize, maxFrame)
	}
	f := frame{kind: kind(head[lengthSize]), id: binary.BigEndian.Uint64(head[lengthSize+1:])}
	if f.kind == 0 || f.kind >= kindEnd {
		return frame{}, fmt.Errorf("%w: frame of unknown kind %d", errProtocol, f.kind)
	}
	f.body = make([]byte, size-headSize)
	if _, err := io.ReadFull(r, f.body); err != nil {
		return frame{}, fmt.Errorf("%w: frame of %d bytes ends early: %w", errProtocol, size, err)
	}
	return f, nil
}

// The body of kindSign: the hash in eight bytes, the length of the label in two,
// the label, the digest.
const signHead = 10

func appendSign(dst []byte, hash uint64, label string, digest []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, hash)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(label)))
	dst = append(dst, label...)
	return append(dst, digest...)
}

func parseSign(body []byte) (hash uint64, label string, digest []byte, err error) {
	if len(body) < signHead {
		return 0, "", nil, fmt.Errorf("%w: sign: body of %d bytes", errProtocol, len(body))
	}
	size := int(binary.BigEndian.Uint16(body[8:]))
	rest := body[signHead:]
	if size > len(rest) {
		return 0, "", nil, fmt.Errorf("%w: sign: label of %d bytes in %d", errProtocol, size, len(rest))
	}
	return binary.BigEndian.Uint64(body), string(rest[:size]), rest[size:], nil
}
