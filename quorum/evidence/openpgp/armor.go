package openpgp

import (
	"bytes"
	"encoding/base64"

	"quorate/quorum/evidence"
)

// Armour types, RFC 9580 section 6.2.
const (
	armorSignature = "PGP SIGNATURE"
	armorPublicKey = "PGP PUBLIC KEY BLOCK"
	clearHeader    = "-----BEGIN PGP SIGNED MESSAGE-----"
	clearTrailer   = "-----BEGIN PGP SIGNATURE-----"
)

func refuse(k evidence.Kind, field, format string, args ...any) error {
	return evidence.Refuse(k, evidence.CodeArmor, field, format, args...)
}

// dearmor reads exactly one block, armoured or binary. Text before or after it
// is refused: readers that skip it disagree about what a file holds.
func dearmor(field, want string, data []byte) ([]byte, error) {
	if len(data) > 0 && data[0]&0x80 != 0 {
		return data, nil // a packet header has the top bit set, armour never
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " \t\r")
	}
	last := len(lines) - 1
	if string(lines[0]) != "-----BEGIN "+want+"-----" {
		return nil, refuse("", field, "the first line is not BEGIN %s", want)
	}
	if string(lines[last]) != "-----END "+want+"-----" {
		return nil, refuse("", field, "the last line is not END %s", want)
	}
	lines = lines[1:last]
	for _, line := range lines {
		if bytes.HasPrefix(line, []byte("-----")) {
			return nil, refuse("", field, "holds more than one %s", want)
		}
	}
	for len(lines) > 0 && len(lines[0]) > 0 { // "Version: ..." and its like mean nothing
		if !bytes.Contains(lines[0], []byte(":")) {
			return nil, refuse("", field, "no empty line before the data")
		}
		lines = lines[1:]
	}
	if len(lines) < 2 {
		return nil, refuse("", field, "no data")
	}
	return armorBody(field, lines[1:])
}

func armorBody(field string, lines [][]byte) ([]byte, error) {
	var sum []byte
	if n := len(lines) - 1; len(lines[n]) > 0 && lines[n][0] == '=' {
		sum, lines = lines[n][1:], lines[:n]
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.Join(lines, nil)))
	if err != nil || len(raw) == 0 {
		return nil, refuse("", field, "the data is not base64")
	}
	if sum != nil {
		want, err := base64.StdEncoding.DecodeString(string(sum))
		if err != nil || len(want) != 3 || crc24(raw) != uint32(want[0])<<16|uint32(want[1])<<8|uint32(want[2]) {
			return nil, refuse("", field, "the checksum is wrong: the data is damaged")
		}
	}
	return raw, nil
}

// crc24 is the checksum of RFC 9580 section 6.1.
func crc24(data []byte) uint32 {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc = crc<<8&0xffffff ^ crcTable[byte(crc>>16)^b]
	}
	return crc
}

var crcTable = func() (table [256]uint32) {
	for i := range table {
		crc := uint32(i) << 16
		for range 8 {
			if crc <<= 1; crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
		table[i] = crc
	}
	return table
}()

// IsClearSigned reports whether the data begins as a clear-signed text does.
func IsClearSigned(data []byte) bool { return bytes.HasPrefix(data, []byte(clearHeader)) }

// splitClearSigned takes a clear-signed text apart (RFC 9580 section 7). Text is
// exactly what the signature covers, with "\n" for the line ends, so that nobody
// parses bytes that nobody signed. The last line end before the signature is not
// part of it.
func splitClearSigned(data []byte) (text, sig []byte, err error) {
	const field = "clear-signed text"
	lines := bytes.Split(data, []byte("\n"))
	if trim(lines[0]) != clearHeader {
		return nil, nil, refuse("", field, "the first line is not %s", clearHeader)
	}
	at := 1
	for ; at < len(lines) && trim(lines[at]) != ""; at++ {
		if !bytes.HasPrefix(lines[at], []byte("Hash: ")) { // 7: no other header is allowed
			return nil, nil, refuse("", field, "header line %d is not Hash", at)
		}
	}
	if at >= len(lines) {
		return nil, nil, refuse("", field, "the header does not end")
	}
	begin := at + 1
	for at = begin; at < len(lines) && trim(lines[at]) != clearTrailer; at++ {
		escaped := bytes.HasPrefix(lines[at], []byte("- "))
		if !escaped && bytes.HasPrefix(lines[at], []byte("-")) {
			return nil, nil, refuse("", field, "line %d begins with a dash and is not escaped", at+1)
		}
		if escaped {
			lines[at] = lines[at][2:]
		}
		lines[at] = []byte(trim(lines[at]))
	}
	if at >= len(lines) {
		return nil, nil, refuse("", field, "there is no signature")
	}
	text = bytes.Join(lines[begin:at], []byte("\n"))
	return text, bytes.Join(lines[at:], []byte("\n")), nil
}

// trim takes off what a clear-signed text's signature does not cover.
func trim(line []byte) string { return string(bytes.TrimRight(line, " \t\r")) }
