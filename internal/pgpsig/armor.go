package pgpsig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Armour types, RFC 9580 section 6.2.1.
const (
	armorSignature = "PGP SIGNATURE"
	armorPublicKey = "PGP PUBLIC KEY BLOCK"
)

// Armor returns the ASCII armour of a binary signature.
func Armor(sig []byte) []byte { return encodeArmor(armorSignature, sig) }

// ArmorCertificate returns the ASCII armour of a binary certificate.
func ArmorCertificate(cert []byte) []byte { return encodeArmor(armorPublicKey, cert) }

// Dearmor returns the binary form of a signature; what is binary already comes
// back as it is.
func Dearmor(sig []byte) ([]byte, error) {
	out, err := dearmor(armorSignature, sig)
	if err != nil {
		return nil, fmt.Errorf("dearmor signature: %w", err)
	}
	return out, nil
}

func encodeArmor(kind string, data []byte) []byte {
	var b bytes.Buffer
	// Writing to a bytes.Buffer cannot fail.
	w, _ := armor.Encode(&b, kind, nil)
	w.Write(data)
	w.Close()
	b.WriteByte('\n')
	return b.Bytes()
}

// dearmor reads exactly one armoured block of the given kind. It is our own
// because go-crypto's reader skips text before and after the block and ignores
// the checksum: a file with two blocks would look like a file with one.
func dearmor(kind string, data []byte) ([]byte, error) {
	if len(data) > 0 && data[0]&0x80 != 0 {
		return data, nil // a packet header has the top bit set, armour never
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " \t\r")
	}
	last := len(lines) - 1
	if !bytes.Equal(lines[0], []byte("-----BEGIN "+kind+"-----")) {
		return nil, fmt.Errorf("neither binary nor armoured: the first line is not BEGIN %s", kind)
	}
	if !bytes.Equal(lines[last], []byte("-----END "+kind+"-----")) {
		return nil, fmt.Errorf("armour: the last line is not END %s", kind)
	}
	body, err := skipArmorHeaders(lines[1:last])
	if err != nil {
		return nil, fmt.Errorf("armour: %w", err)
	}
	return decodeArmorBody(body)
}

// skipArmorHeaders passes "Version: ..." and its like, which mean nothing.
func skipArmorHeaders(lines [][]byte) ([][]byte, error) {
	for i, line := range lines {
		if len(line) == 0 {
			return lines[i+1:], nil
		}
		if !bytes.Contains(line, []byte(":")) {
			return nil, errors.New("no empty line before the data")
		}
	}
	return nil, errors.New("no data")
}

func decodeArmorBody(lines [][]byte) ([]byte, error) {
	var sum []byte
	if n := len(lines); n > 0 && len(lines[n-1]) == 5 && lines[n-1][0] == '=' {
		sum, lines = lines[n-1][1:], lines[:n-1]
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(bytes.Join(lines, nil)))
	if err != nil {
		return nil, fmt.Errorf("armour: %w", err)
	}
	if len(data) == 0 {
		return nil, errors.New("armour: no data")
	}
	if sum != nil && !bytes.Equal(sum, crc24(data)) {
		return nil, errors.New("armour: checksum does not match")
	}
	return data, nil
}

// crc24 is the base64 of the armour checksum, RFC 9580 section 6.1.
func crc24(data []byte) []byte {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return base64.StdEncoding.AppendEncode(nil, []byte{byte(crc >> 16), byte(crc >> 8), byte(crc)})
}
