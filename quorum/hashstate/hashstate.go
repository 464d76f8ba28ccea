// Package hashstate carries a SHA-2 computation that was stopped in the middle
// from one machine to another, in a form that no programming language owns.
//
// A state is what FIPS 180-4 calls the intermediate hash value, together with
// the bytes that did not fill a block yet and the count of bytes so far. With
// it someone else can go on hashing where the first machine stopped: that is
// how an OpenPGP signature over a file is made by a process that never sees
// the file.
//
// Guarantees: a [State] that passed [State.Check] has exactly one encoding, so
// two equal states are equal bytes; finalising works on a clone and never
// changes the state. Not guaranteed: that a state belongs to a given file.
// Callers must compare [State.Sum] with a digest that they trust, because any
// chaining value is a well-formed one.
package hashstate

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Algorithm names a hash function whose state can travel.
type Algorithm string

// The algorithms whose state can travel.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// MaxLength bounds the length of a file in bytes. SHA-256 counts bits in 64
// bits (FIPS 180-4, section 5.1.1), so from 2^61 bytes on the count wraps and
// two different files could share one state.
const MaxLength = uint64(1)<<61 - 1

// shape is what the algorithms differ in.
type shape struct {
	magic     string // prefix of Go's own encoding
	chain     int    // bytes of the chaining value
	block     int
	digest    int
	construct func() hash.Hash
}

var shapes = map[Algorithm]shape{
	SHA256: {"sha\x03", 32, sha256.BlockSize, sha256.Size, sha256.New},
	SHA512: {"sha\x07", 64, sha512.BlockSize, sha512.Size, sha512.New},
}

// State is the state of one hash computation.
type State struct {
	Algorithm Algorithm
	Chain     []byte // chaining value, big-endian words: 32 or 64 bytes
	Tail      []byte // bytes since the last full block
	Length    uint64 // bytes hashed so far, the tail included
}

// New returns a fresh hash of the algorithm, or nil for one that is unknown.
func (a Algorithm) New() hash.Hash {
	s, ok := shapes[a]
	if !ok {
		return nil
	}
	return s.construct()
}

// Of reads the state out of a running hash of the standard library without
// disturbing it.
func Of(a Algorithm, h hash.Hash) (State, error) {
	s, ok := shapes[a]
	if !ok {
		return State{}, fmt.Errorf("read hash state: unknown algorithm %q", a)
	}
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return State{}, fmt.Errorf("read hash state: %T cannot be saved", h)
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return State{}, fmt.Errorf("read hash state: %w", err)
	}
	return fromGo(a, s, b)
}

// fromGo takes apart the encoding of crypto/sha256 and crypto/sha512: magic,
// chaining value, a whole block buffer, big-endian length.
func fromGo(a Algorithm, s shape, b []byte) (State, error) {
	if len(b) != len(s.magic)+s.chain+s.block+8 || string(b[:len(s.magic)]) != s.magic {
		return State{}, fmt.Errorf("read hash state: not a %s state of the standard library", a)
	}
	b = b[len(s.magic):]
	length := binary.BigEndian.Uint64(b[s.chain+s.block:])
	used := length % uint64(s.block)
	st := State{
		Algorithm: a,
		Chain:     bytes.Clone(b[:s.chain]),
		Tail:      bytes.Clone(b[s.chain : s.chain+int(used)]),
		Length:    length,
	}
	return st, st.Check()
}

// Check reports whether the parts of the state fit each other. The error names
// the part that does not.
func (st State) Check() error {
	s, ok := shapes[st.Algorithm]
	switch {
	case !ok:
		return fmt.Errorf("hash state: unknown algorithm %q", st.Algorithm)
	case len(st.Chain) != s.chain:
		return fmt.Errorf("hash state: h has %d bytes, %s needs %d", len(st.Chain), st.Algorithm, s.chain)
	case st.Length > MaxLength:
		return fmt.Errorf("hash state: length %d is beyond 2^61-1", st.Length)
	case uint64(len(st.Tail)) != st.Length%uint64(s.block):
		return fmt.Errorf("hash state: tail has %d bytes, length %d leaves %d", len(st.Tail), st.Length, st.Length%uint64(s.block))
	}
	return nil
}

// Resume returns a running hash that continues from the state. Each call gives
// a new one; the state itself stays as it is.
func (st State) Resume() (hash.Hash, error) {
	if err := st.Check(); err != nil {
		return nil, err
	}
	s := shapes[st.Algorithm]
	b := make([]byte, 0, len(s.magic)+s.chain+s.block+8)
	b = append(b, s.magic...)
	b = append(b, st.Chain...)
	b = append(b, st.Tail...)
	b = append(b, make([]byte, s.block-len(st.Tail))...)
	b = binary.BigEndian.AppendUint64(b, st.Length)
	h := s.construct()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("resume %s: %w", st.Algorithm, err)
	}
	return h, nil
}

// Sum finalises a clone of the state and returns the digest of what was hashed.
func (st State) Sum() ([]byte, error) {
	h, err := st.Resume()
	if err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// Equal reports whether two states are the same state.
func (st State) Equal(o State) bool {
	return st.Algorithm == o.Algorithm && st.Length == o.Length &&
		bytes.Equal(st.Chain, o.Chain) && bytes.Equal(st.Tail, o.Tail)
}

// wire is the neutral form: {"h": hex, "tail": base64, "length": n}. The
// algorithm is the name under which the object stands.
type wire struct {
	H      string  `json:"h"`
	Tail   string  `json:"tail"`
	Length *uint64 `json:"length"`
}

// MarshalJSON writes the neutral form.
func (st State) MarshalJSON() ([]byte, error) { return st.appendJSON(nil), nil }

func (st State) appendJSON(b []byte) []byte {
	b = hex.AppendEncode(append(b, openH...), st.Chain)
	b = base64.StdEncoding.AppendEncode(append(b, openTail...), st.Tail)
	b = strconv.AppendUint(append(b, openLength...), st.Length, 10)
	return append(b, '}')
}

// What stands between the values of the neutral form as it is written here.
const (
	openH      = `{"h":"`
	openTail   = `","tail":"`
	openLength = `","length":`
)

// decodeWritten reads what [State.MarshalJSON] writes, and that only: without a JSON
// decoder it takes a fraction of the time, and every artifact has two states.
func decodeWritten(a Algorithm, data []byte) (st State, ok bool) {
	h, rest, _ := bytes.Cut(bytes.TrimPrefix(data, []byte(openH)), []byte(openTail))
	tail, rest, _ := bytes.Cut(rest, []byte(openLength))
	length, errLength := strconv.ParseUint(string(bytes.TrimSuffix(rest, []byte("}"))), 10, 64)
	chain, errH := hex.AppendDecode([]byte{}, h)
	plain, errTail := base64.StdEncoding.AppendDecode([]byte{}, tail)
	if errLength != nil || errH != nil || errTail != nil {
		return State{}, false
	}
	st = State{Algorithm: a, Chain: chain, Tail: plain, Length: length}
	var again [512]byte
	return st, bytes.Equal(st.appendJSON(again[:0]), data)
}

// Decode reads the neutral form of a state of algorithm a. Its members may come
// in any order, but each has one form and stands once: repeated members, names
// in another case, unknown names and bytes behind the object are errors. Where
// equal states have to be equal bytes, as under the id of a request, compare
// with what [State.MarshalJSON] writes.
func Decode(a Algorithm, data []byte) (State, error) {
	if st, ok := decodeWritten(a, data); ok {
		return st, st.Check()
	}
	var w wire
	if err := json.Unmarshal(data, &w, json.RejectUnknownMembers(true)); err != nil {
		return State{}, fmt.Errorf("hash state: %w", err)
	}
	if w.Length == nil {
		return State{}, errors.New("hash state: length is missing")
	}
	st := State{Algorithm: a, Length: *w.Length}
	var err error
	if st.Chain, err = hex.DecodeString(w.H); err != nil || hex.EncodeToString(st.Chain) != w.H {
		return State{}, errors.New("hash state: h is not lower-case hex")
	}
	if st.Tail, err = base64.StdEncoding.Strict().DecodeString(w.Tail); err != nil ||
		base64.StdEncoding.EncodeToString(st.Tail) != w.Tail {
		return State{}, errors.New("hash state: tail is not canonical base64")
	}
	return st, st.Check()
}
