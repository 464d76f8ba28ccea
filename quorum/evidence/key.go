package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"

	"quorate/quorum/statement"
)

// Key is a pinned key of the formats that sign with a bare key: Ed25519, or
// ECDSA on P-256 with SHA-256. Its text form is that of [statement.PublicKey].
type Key struct {
	text string
	ed   ed25519.PublicKey
	ec   *ecdsa.PublicKey
}

// maxPEM bounds a key file.
const maxPEM = 64 << 10

// NewKey wraps a key of the policy.
func NewKey(pub statement.PublicKey) (Key, error) {
	text := pub.String()
	alg, b64, _ := strings.Cut(text, ":")
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return Key{}, Refuse("", CodeBadKey, "key", "%v", err)
	}
	switch alg {
	case "ed25519":
		return Key{text: text, ed: raw}, nil
	case "ecdsa-p256":
		ec, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
		if err != nil {
			return Key{}, Refuse("", CodeBadKey, "key", "%v", err)
		}
		return Key{text: text, ec: ec}, nil
	}
	return Key{}, Refuse("", CodeBadKey, "key", "algorithm %q is not known", Clip(alg))
}

// ParseKey reads the text form, "ed25519:BASE64" or "ecdsa-p256:BASE64".
func ParseKey(text string) (Key, error) {
	pub, err := statement.ParsePublicKey(text)
	if err != nil {
		return Key{}, Refuse("", CodeBadKey, "key", "%v", err)
	}
	return NewKey(pub)
}

// ed25519WithNull is how a SubjectPublicKeyInfo for Ed25519 begins when the
// algorithm carries a NULL parameter. RFC 8410 section 3 says that the parameter
// must be absent, and crypto/x509 refuses the form; every rebuilderd writes it.
var ed25519WithNull = []byte{0x30, 0x2c, 0x30, 0x07, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x05, 0x00, 0x03, 0x21, 0x00}

// ParseKeyPEM reads a file with one PEM block "PUBLIC KEY".
func ParseKeyPEM(data []byte) (Key, error) {
	if len(data) > maxPEM {
		return Key{}, Refuse("", statement.CodeTooLarge, "key file", "%d bytes, at most %d", len(data), maxPEM)
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil || block.Type != "PUBLIC KEY" || len(block.Headers) > 0:
		return Key{}, Refuse("", CodeBadKey, "key file", "is not a PEM block \"PUBLIC KEY\"")
	case len(bytes.TrimSpace(rest)) > 0:
		// A file with two keys is a file of which somebody will use the first.
		return Key{}, Refuse("", CodeBadKey, "key file", "holds more than one key")
	}
	var parsed any
	if raw, ok := bytes.CutPrefix(block.Bytes, ed25519WithNull); ok && len(raw) == ed25519.PublicKeySize {
		parsed = ed25519.PublicKey(raw)
	} else {
		var err error
		if parsed, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			return Key{}, Refuse("", CodeBadKey, "key file", "%v", err)
		}
	}
	pub, err := statement.NewPublicKey(parsed)
	if err != nil {
		return Key{}, Refuse("", CodeBadKey, "key file", "%v", err)
	}
	return NewKey(pub)
}

// String returns the text form.
func (k Key) String() string { return k.text }

// Ed25519 returns the 32 bytes of an Ed25519 key, or nil for another.
func (k Key) Ed25519() ed25519.PublicKey { return bytes.Clone(k.ed) }

// Verify reports whether sig is the key's signature over msg.
func (k Key) Verify(msg, sig []byte) bool {
	switch {
	case k.ed != nil:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.ed, msg, sig)
	case k.ec != nil:
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(k.ec, sum[:], sig)
	}
	return false
}

// JudgeKeys tries all keys and returns the verdict on one signature. The key
// that verifies decides; the name that the signature gives its key does not.
func JudgeKeys(keys []Key, msg, sig []byte, hint string) Verdict {
	for _, k := range keys {
		if k.Verify(msg, sig) {
			return Verdict{Status: Good, Key: k.text, Hint: Clip(hint), Reason: "verifies with " + k.text}
		}
	}
	return Verdict{Status: NoKey, Hint: Clip(hint), Reason: "verifies with none of the pinned keys"}
}
