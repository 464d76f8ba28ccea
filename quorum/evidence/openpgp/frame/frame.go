// Package frame cuts OpenPGP data into packets and writes them (RFC 9580, section 4).
// What is in a packet is for others.
//
// It is strict: data ends exactly where its last packet does, and partial and
// indeterminate lengths are refused. They belong to data packets (section 4.2.1.4),
// and would give one signature many encodings.
package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Packet type ids, RFC 9580 section 5.
const (
	Signature     = 2
	SecretKey     = 5
	PublicKey     = 6
	SecretSubkey  = 7
	UserID        = 13
	PublicSubkey  = 14
	UserAttribute = 17
)

// ErrTruncated says that data ends before a packet does.
var ErrTruncated = errors.New("truncated")

// Packet is one packet, with its header and without. Both are parts of what was read.
type Packet struct {
	Tag   byte // type id
	Whole []byte
	Body  []byte
}

// Equal reports whether two packets are the same, whichever form their headers
// have: gpg writes the old one.
func (p Packet) Equal(o Packet) bool { return p.Tag == o.Tag && bytes.Equal(p.Body, o.Body) }

// SignatureType peeks at a version 4 signature; 0xff stands for any other.
func (p Packet) SignatureType() byte {
	if p.Tag != Signature || len(p.Body) < 2 || p.Body[0] != 4 {
		return 0xff
	}
	return p.Body[1]
}

// Parse lets go-crypto read the packet and insists that it used it up.
func (p Packet) Parse() (packet.Packet, error) {
	r := bytes.NewReader(p.Whole)
	parsed, err := packet.Read(r)
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("packet type %d has %d unused bytes at its end", p.Tag, r.Len())
	}
	return parsed, nil
}

// Split cuts data into at most that many packets: each is work for somebody.
func Split(data []byte, most int) ([]Packet, error) {
	var packets []Packet
	for rest := data; len(rest) > 0; {
		if len(packets) == most {
			return nil, fmt.Errorf("more than %d packets", most)
		}
		p, err := Next(rest)
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", len(packets)+1, err)
		}
		packets = append(packets, p)
		rest = rest[len(p.Whole):]
	}
	return packets, nil
}

// Next reads the first packet of data.
func Next(data []byte) (Packet, error) {
	if len(data) == 0 {
		return Packet{}, ErrTruncated
	}
	first := data[0]
	if first&0x80 == 0 {
		return Packet{}, errors.New("not an OpenPGP packet header")
	}
	var (
		tag    byte
		n      int
		length uint64
		err    error
	)
	if first&0x40 != 0 {
		tag = first & 0x3f
		n, length, err = newLength(data[1:])
	} else {
		tag = first >> 2 & 0x0f
		n, length, err = oldLength(data[1:], first&3)
	}
	if err != nil {
		return Packet{}, fmt.Errorf("length: %w", err)
	}
	body := data[1+n:]
	if length > uint64(len(body)) {
		return Packet{}, fmt.Errorf("body: %w", ErrTruncated)
	}
	end := 1 + n + int(length)
	return Packet{Tag: tag, Whole: data[:end:end], Body: body[:length:length]}, nil
}

// newLength reads a length of the OpenPGP format (RFC 9580 section 4.2.1) and
// returns how many octets it took.
func newLength(b []byte) (n int, length uint64, err error) {
	if len(b) > 0 && b[0] >= 224 && b[0] < 255 {
		return 0, 0, errors.New("partial body lengths are not accepted")
	}
	return SubpacketLength(b)
}

// SubpacketLength reads a length of RFC 9580 section 5.2.3.7, in which 224 to 254
// begin a length of two octets.
func SubpacketLength(b []byte) (n int, length uint64, err error) {
	switch {
	case len(b) >= 1 && b[0] < 192:
		return 1, uint64(b[0]), nil
	case len(b) >= 2 && b[0] >= 192 && b[0] < 255:
		return 2, uint64(b[0]-192)<<8 + uint64(b[1]) + 192, nil
	case len(b) >= 5 && b[0] == 255:
		return 5, uint64(binary.BigEndian.Uint32(b[1:])), nil
	}
	return 0, 0, ErrTruncated
}

// oldLength reads a length of the legacy format (RFC 9580 section 4.2.2),
// which gpg still writes.
func oldLength(b []byte, kind byte) (n int, length uint64, err error) {
	switch {
	case kind == 3:
		return 0, 0, errors.New("indeterminate lengths are not accepted")
	case kind == 0 && len(b) >= 1:
		return 1, uint64(b[0]), nil
	case kind == 1 && len(b) >= 2:
		return 2, uint64(binary.BigEndian.Uint16(b)), nil
	case kind == 2 && len(b) >= 4:
		return 4, uint64(binary.BigEndian.Uint32(b)), nil
	}
	return 0, 0, ErrTruncated
}

// AppendLength writes the shortest form that both packets and subpackets read
// alike (RFC 9580 sections 4.2.1 and 5.2.3.7).
func AppendLength(b []byte, length int) []byte {
	switch {
	case length < 192:
		return append(b, byte(length))
	case length < 8384:
		length -= 192
		return append(b, byte(length>>8)+192, byte(length))
	default:
		b = append(b, 255)
		return binary.BigEndian.AppendUint32(b, uint32(length))
	}
}

// Append writes a packet.
func Append(b []byte, tag byte, body []byte) []byte {
	b = AppendLength(append(b, 0xc0|tag), len(body))
	return append(b, body...)
}

// Make returns a packet that is not read from anywhere.
func Make(tag byte, body []byte) Packet {
	whole := Append(nil, tag, body)
	return Packet{Tag: tag, Whole: whole, Body: body}
}

// AppendMPI writes a multiprecision integer (RFC 9580 section 3.2): bit count,
// then the octets without leading zeros.
func AppendMPI(b, value []byte) []byte {
	for len(value) > 0 && value[0] == 0 {
		value = value[1:]
	}
	n := 0
	if len(value) > 0 {
		n = 8*(len(value)-1) + bits.Len8(value[0])
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return append(b, value...)
}
