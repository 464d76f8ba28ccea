package pgpsig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"quorate/quorum/evidence/openpgp/frame"
)

// Signature subpacket type ids, RFC 9580 section 5.2.3.7.
const (
	subCreationTime      = 2
	subSignatureExpiry   = 3
	subKeyExpiry         = 9
	subIssuerKeyID       = 16
	subNotation          = 20
	subPreferredHashes   = 21
	subPrimaryUserID     = 25
	subKeyFlags          = 27
	subSignerUserID      = 28
	subRevocationReason  = 29
	subFeatures          = 30
	subIssuerFingerprint = 33
)

// Limits on notations, chosen so that a signature stays below a few kilobytes
// and below what gpg and rpm are known to accept.
const (
	maxNotations     = 64
	maxNotationName  = 255
	maxNotationValue = 2048
)

// Notation is one human-readable name and value inside a signature
// (RFC 9580 section 5.2.3.24).
type Notation struct {
	Name, Value string
}

type subpacket struct {
	kind     byte
	critical bool
	body     []byte
}

// parseSubpackets reads one subpacket area.
func parseSubpackets(area []byte) ([]subpacket, error) {
	var subs []subpacket
	for len(area) > 0 {
		n, length, err := frame.SubpacketLength(area)
		if err != nil {
			return nil, fmt.Errorf("subpacket %d: length: %w", len(subs)+1, err)
		}
		area = area[n:]
		if length == 0 || length > uint64(len(area)) {
			return nil, fmt.Errorf("subpacket %d: length %d with %d bytes left", len(subs)+1, length, len(area))
		}
		subs = append(subs, subpacket{kind: area[0] & 0x7f, critical: area[0]&0x80 != 0, body: area[1:length]})
		area = area[length:]
	}
	return subs, nil
}

func appendSubpacket(b []byte, kind byte, body ...byte) []byte {
	b = frame.AppendLength(b, 1+len(body))
	return append(append(b, kind), body...)
}

// appendIssuer writes the subpackets that every signature of ours begins with.
// None is marked critical: every implementation understands them, so the bit
// could only make a strict or old reader (RPM up to 4.16) refuse. The issuer
// stands in the hashed area, unlike gpg's key id, so that nobody can swap it.
func appendIssuer(b []byte, created time.Time, fingerprint []byte) []byte {
	var stamp [4]byte
	binary.BigEndian.PutUint32(stamp[:], uint32(created.Unix()))
	b = appendSubpacket(b, subCreationTime, stamp[:]...)
	b = appendSubpacket(b, subIssuerFingerprint, append([]byte{4}, fingerprint...)...)
	return appendSubpacket(b, subIssuerKeyID, fingerprint[12:]...)
}

func appendNotations(b []byte, notations []Notation) ([]byte, error) {
	if len(notations) > maxNotations {
		return nil, fmt.Errorf("notations: %d given, at most %d", len(notations), maxNotations)
	}
	for i, n := range notations {
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("notation %d: %w", i+1, err)
		}
		body := []byte{0x80, 0, 0, 0} // human-readable
		body = binary.BigEndian.AppendUint16(body, uint16(len(n.Name)))
		body = binary.BigEndian.AppendUint16(body, uint16(len(n.Value)))
		body = append(append(body, n.Name...), n.Value...)
		b = appendSubpacket(b, subNotation, body...)
	}
	return b, nil
}

// check holds names to the user namespace, local@domain: the other one belongs
// to IANA (RFC 9580 section 5.2.3.24). "=" and "!" have a meaning on gpg's
// command line and would make the notation unusable there.
func (n Notation) check() error {
	if len(n.Name) == 0 || len(n.Name) > maxNotationName {
		return fmt.Errorf("name has %d bytes, want 1 to %d", len(n.Name), maxNotationName)
	}
	for _, r := range n.Name {
		if r <= ' ' || r > '~' || r == '=' || r == '!' {
			return fmt.Errorf("name %q: character %q is not allowed", n.Name, r)
		}
	}
	local, domain, ok := strings.Cut(n.Name, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return fmt.Errorf("name %q: want the form name@domain", n.Name)
	}
	if len(n.Value) > maxNotationValue {
		return fmt.Errorf("value has %d bytes, at most %d", len(n.Value), maxNotationValue)
	}
	return checkText("value", n.Value)
}

// checkText refuses what could not be shown on one line of a terminal, or
// would be shown as something else.
func checkText(field, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: not valid UTF-8", field)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%s: contains the control character %q", field, r)
		}
	}
	return nil
}

// parseNotation reads one notation subpacket; text is false for the binary kind.
func parseNotation(body []byte) (n Notation, text bool, err error) {
	if len(body) < 8 {
		return Notation{}, false, frame.ErrTruncated
	}
	nameLen := int(binary.BigEndian.Uint16(body[4:]))
	valueLen := int(binary.BigEndian.Uint16(body[6:]))
	if len(body) != 8+nameLen+valueLen {
		return Notation{}, false, errors.New("lengths do not add up")
	}
	n = Notation{Name: string(body[8 : 8+nameLen]), Value: string(body[8+nameLen:])}
	return n, body[0]&0x80 != 0, nil
}

// checkTime holds times to what a v4 packet can say: whole seconds in 32 bits.
func checkTime(field string, t time.Time) error {
	if s := t.Unix(); s <= 0 || s > 1<<32-1 {
		return fmt.Errorf("%s: %s is outside the years 1970 to 2106", field, t.UTC().Format(time.RFC3339))
	}
	return nil
}
