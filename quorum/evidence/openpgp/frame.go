package openpgp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
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

// maxPackets bounds the work that one file can cause.
const maxPackets = 16384

var errTruncated = errors.New("truncated")

// rawPacket is one packet: header included in whole, header stripped in body.
type rawPacket struct {
	tag   byte
	whole []byte
	body  []byte
}

// splitPackets cuts data into packets that end exactly where data ends. Partial
// and indeterminate lengths belong to data packets and are refused.
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
	tag := first >> 2 & 0x0f
	n, length, ok := oldLength(data[1:], first&3)
	if first&0x40 != 0 {
		tag = first & 0x3f
		n, length, ok = newLength(data[1:])
	}
	if !ok {
		return rawPacket{}, fmt.Errorf("length: %w or of a kind that is not accepted", errTruncated)
	}
	body := data[1+n:]
	if length > uint64(len(body)) {
		return rawPacket{}, fmt.Errorf("body: %w", errTruncated)
	}
	end := 1 + n + int(length)
	return rawPacket{tag: tag, whole: data[:end:end], body: body[:length:length]}, nil
}

// newLength reads a length of the OpenPGP format (RFC 9580 section 4.2.1).
func newLength(b []byte) (n int, length uint64, ok bool) {
	switch {
	case len(b) >= 1 && b[0] < 192:
		return 1, uint64(b[0]), true
	case len(b) >= 2 && b[0] < 224:
		return 2, uint64(b[0]-192)<<8 + uint64(b[1]) + 192, true
	case len(b) >= 5 && b[0] == 255:
		return 5, uint64(binary.BigEndian.Uint32(b[1:])), true
	}
	return 0, 0, false
}

// oldLength reads a length of the legacy format (RFC 9580 section 4.2.2).
func oldLength(b []byte, kind byte) (n int, length uint64, ok bool) {
	switch {
	case kind == 0 && len(b) >= 1:
		return 1, uint64(b[0]), true
	case kind == 1 && len(b) >= 2:
		return 2, uint64(binary.BigEndian.Uint16(b)), true
	case kind == 2 && len(b) >= 4:
		return 4, uint64(binary.BigEndian.Uint32(b)), true
	}
	return 0, 0, false
}

// readPacket lets go-crypto parse one packet and insists that it used it up.
func readPacket(p rawPacket) (packet.Packet, error) {
	r := bytes.NewReader(p.whole)
	parsed, err := packet.Read(r)
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("packet has %d unused bytes at its end", r.Len())
	}
	return parsed, nil
}

// readSignature parses a version 4 signature packet.
func readSignature(p rawPacket) (*packet.Signature, error) {
	if len(p.body) < 4 {
		return nil, errTruncated
	}
	if p.body[0] != 4 {
		return nil, fmt.Errorf("version %d, want 4", p.body[0])
	}
	parsed, err := readPacket(p)
	if err != nil {
		return nil, err
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return nil, errors.New("not a signature packet")
	}
	for _, n := range sig.Notations {
		if n.IsCritical { // it may limit what the signature means
			return nil, fmt.Errorf("critical notation %.64q is not known", n.Name)
		}
	}
	return sig, nil
}

// readKey parses a version 4 public key or subkey packet.
func readKey(p rawPacket) (*packet.PublicKey, error) {
	if len(p.body) == 0 || p.body[0] != 4 {
		return nil, errors.New("not a version 4 key")
	}
	parsed, err := readPacket(p)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*packet.PublicKey)
	if !ok || len(key.Fingerprint) != len(Fingerprint{}) {
		return nil, errors.New("not a version 4 public key")
	}
	return key, nil
}
