package pgpsig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Packet type ids, RFC 9580 section 5.
const (
	tagSignature     = 2
	tagSecretKey     = 5
	tagPublicKey     = 6
	tagSecretSubkey  = 7
	tagUserID        = 13
	tagPublicSubkey  = 14
	tagUserAttribute = 17
)

// maxPackets bounds the work that one file can cause; real certificates have
// a few dozen packets.
const maxPackets = 2048

var errTruncated = errors.New("truncated")

// rawPacket is one packet: header included in whole, header stripped in body.
type rawPacket struct {
	tag   byte
	whole []byte
	body  []byte
}

// splitPackets cuts data into packets and refuses whatever does not end
// exactly where data ends. Partial and indeterminate lengths are refused: they
// belong to data packets (RFC 9580 section 4.2.1.4), and would give one
// signature many encodings.
func splitPackets(data []byte) ([]rawPacket, error) {
	var packets []rawPacket
	for rest := data; len(rest) > 0; {
		if len(packets) == maxPackets {
			return nil, fmt.Errorf("more than %d packets", maxPackets)
		}
		p, err := nextPacket(rest)
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", len(packets)+1, err)
		}
		packets = append(packets, p)
		rest = rest[len(p.whole):]
	}
	return packets, nil
}

func nextPacket(data []byte) (rawPacket, error) {
	first := data[0]
	if first&0x80 == 0 {
		return rawPacket{}, errors.New("not an OpenPGP packet header")
	}
	var (
		tag  byte
		n, l int
		err  error
	)
	if first&0x40 != 0 {
		tag = first & 0x3f
		n, l, err = newLength(data[1:])
	} else {
		tag = first >> 2 & 0x0f
		n, l, err = oldLength(data[1:], first&3)
	}
	if err != nil {
		return rawPacket{}, fmt.Errorf("length: %w", err)
	}
	body := data[1+n:]
	if l > len(body) {
		return rawPacket{}, fmt.Errorf("body: %w", errTruncated)
	}
	return rawPacket{tag: tag, whole: data[:1+n+l], body: body[:l]}, nil
}

// newLength reads a length of the OpenPGP format (RFC 9580 section 4.2.1) and
// returns how many octets it took. Signature subpackets use the same form,
// except that 224..254 is a two-octet length there: see subpacketLength.
func newLength(b []byte) (n, length int, err error) {
	if len(b) > 0 && b[0] >= 224 && b[0] < 255 {
		return 0, 0, errors.New("partial body lengths are not accepted")
	}
	return subpacketLength(b)
}

// subpacketLength reads a length of RFC 9580 section 5.2.3.7.
func subpacketLength(b []byte) (n, length int, err error) {
	switch {
	case len(b) >= 1 && b[0] < 192:
		return 1, int(b[0]), nil
	case len(b) >= 2 && b[0] < 255:
		return 2, int(b[0]-192)<<8 + int(b[1]) + 192, nil
	case len(b) >= 5 && b[0] == 255:
		return 5, int(binary.BigEndian.Uint32(b[1:])), nil
	}
	return 0, 0, errTruncated
}

// oldLength reads a length of the legacy format (RFC 9580 section 4.2.2),
// which gpg still writes.
func oldLength(b []byte, kind byte) (n, length int, err error) {
	switch {
	case kind == 3:
		return 0, 0, errors.New("indeterminate lengths are not accepted")
	case kind == 0 && len(b) >= 1:
		return 1, int(b[0]), nil
	case kind == 1 && len(b) >= 2:
		return 2, int(binary.BigEndian.Uint16(b)), nil
	case kind == 2 && len(b) >= 4:
		return 4, int(binary.BigEndian.Uint32(b)), nil
	}
	return 0, 0, errTruncated
}

// appendLength writes the shortest form that both packets and subpackets read
// alike (RFC 9580 sections 4.2.1 and 5.2.3.7).
func appendLength(b []byte, length int) []byte {
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

func appendPacket(b []byte, tag byte, body []byte) []byte {
	b = appendLength(append(b, 0xc0|tag), len(body))
	return append(b, body...)
}

// appendMPI writes a multiprecision integer (RFC 9580 section 3.2): bit count,
// then the octets without leading zeros.
func appendMPI(b, value []byte) []byte {
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

// checkMPIs wants exactly count integers in b, each with the bit count of its
// first octet and nothing behind the last. go-crypto reads integers more
// loosely, which would give one signature several encodings.
func checkMPIs(b []byte, count int) error {
	for i := range count {
		if len(b) < 2 {
			return fmt.Errorf("integer %d: %w", i+1, errTruncated)
		}
		n := int(binary.BigEndian.Uint16(b))
		size := (n + 7) / 8
		b = b[2:]
		if len(b) < size {
			return fmt.Errorf("integer %d: %w", i+1, errTruncated)
		}
		if size > 0 && bits.Len8(b[0]) != n-8*(size-1) {
			return fmt.Errorf("integer %d: bit count does not match its value", i+1)
		}
		b = b[size:]
	}
	if len(b) > 0 {
		return errors.New("bytes after the last integer")
	}
	return nil
}
