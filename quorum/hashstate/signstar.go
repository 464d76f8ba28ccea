package hashstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// SignstarType is the name that Signstar's signing request gives to the form
// written by [State.Signstar].
const SignstarType = "sha2-0.11-SHA512-state"

// signstarSize is the state of the Rust crate sha2 0.11, serialised: eight
// little-endian words, the count of full blocks in 128 bits, the position in
// the buffer, and the buffer without its last byte (a full buffer cannot occur).
const signstarSize = 64 + 16 + 1 + 127

// Signstar writes the state as the 208 bytes of [SignstarType]. Only SHA-512
// has this form.
func (st State) Signstar() ([]byte, error) {
	if err := st.Check(); err != nil {
		return nil, err
	}
	if st.Algorithm != SHA512 {
		return nil, fmt.Errorf("signstar state: %s has none, only sha512", st.Algorithm)
	}
	b := make([]byte, 0, signstarSize)
	for i := 0; i < len(st.Chain); i += 8 {
		b = binary.LittleEndian.AppendUint64(b, binary.BigEndian.Uint64(st.Chain[i:]))
	}
	b = binary.LittleEndian.AppendUint64(b, st.Length/128)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = append(b, byte(len(st.Tail)))
	b = append(b, st.Tail...)
	return append(b, make([]byte, 127-len(st.Tail))...), nil
}

// FromSignstar reads the 208 bytes of [SignstarType].
func FromSignstar(b []byte) (State, error) {
	if len(b) != signstarSize {
		return State{}, fmt.Errorf("signstar state: %d bytes, want %d", len(b), signstarSize)
	}
	var chain []byte
	for i := 0; i < 64; i += 8 {
		chain = binary.BigEndian.AppendUint64(chain, binary.LittleEndian.Uint64(b[i:]))
	}
	blocks, high, pos, buf := binary.LittleEndian.Uint64(b[64:]), binary.LittleEndian.Uint64(b[72:]), int(b[80]), b[81:]
	switch {
	case high != 0 || blocks > MaxLength/128:
		return State{}, errors.New("signstar state: block count is beyond 2^61 bytes")
	case pos > 127:
		return State{}, fmt.Errorf("signstar state: buffer position %d is beyond 127", pos)
	case len(bytes.Trim(buf[pos:], "\x00")) != 0:
		// Bytes behind the position do not reach the digest, so they would give
		// one state several encodings.
		return State{}, errors.New("signstar state: buffer has bytes behind its position")
	}
	st := State{Algorithm: SHA512, Chain: chain, Tail: bytes.Clone(buf[:pos]), Length: blocks*128 + uint64(pos)}
	return st, st.Check()
}
