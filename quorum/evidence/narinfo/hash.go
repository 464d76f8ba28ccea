package narinfo

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"quorate/quorum/statement"
)

// base32Digits is the alphabet of Nix: without e, o, t and u.
const base32Digits = "0123456789abcdfghijklmnpqrsvwxyz"

var errHash = errors.New("is not a SHA-256 hash as sha256:BASE32, sha256:HEX, sha256:BASE64 or sha256-BASE64")

// ParseHash reads a SHA-256 hash in any form that Nix writes: "sha256:" before
// nix-base32, hex or base64, or the SRI form "sha256-" before base64. The forms
// have different lengths, so there is one meaning.
func ParseHash(s string) (statement.SHA256, error) {
	var d statement.SHA256
	if b64, ok := strings.CutPrefix(s, "sha256-"); ok {
		return fromBase64(b64)
	}
	text, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return d, errHash
	}
	switch len(text) {
	case 64:
		raw, err := hex.DecodeString(text)
		if err != nil {
			return d, errHash
		}
		return statement.SHA256(raw), nil
	case 52:
		return decodeBase32(text)
	}
	return fromBase64(text)
}

func fromBase64(text string) (statement.SHA256, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(statement.SHA256{}) {
		return statement.SHA256{}, errHash
	}
	return statement.SHA256(raw), nil
}

// encodeBase32 writes nix-base32: the digits of the number whose least
// significant byte comes first, most significant digit first.
func encodeBase32(raw []byte) string {
	n := (len(raw)*8 + 4) / 5
	out := make([]byte, n)
	for i := range n {
		bit := i * 5
		v := uint(raw[bit/8]) >> (bit % 8)
		if bit/8+1 < len(raw) {
			v |= uint(raw[bit/8+1]) << (8 - bit%8)
		}
		out[n-1-i] = base32Digits[v&31]
	}
	return string(out)
}

func decodeBase32(text string) (statement.SHA256, error) {
	var d statement.SHA256
	for i := range len(text) {
		v := strings.IndexByte(base32Digits, text[len(text)-1-i])
		if v < 0 {
			return d, errHash
		}
		bit := i * 5
		d[bit/8] |= byte(v << (bit % 8))
		if over := v >> (8 - bit%8); over != 0 {
			if bit/8+1 >= len(d) {
				return d, errHash // more than 256 bits
			}
			d[bit/8+1] |= byte(over)
		}
	}
	return d, nil
}
