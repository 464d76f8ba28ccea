package statement

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PublicKey is a key that signs statements: Ed25519 (RFC 8032) or ECDSA on
// P-256 with SHA-256 (FIPS 186-5). Its text form is "ed25519:BASE64" with the 32
// bytes of the key, or "ecdsa-p256:BASE64" with the uncompressed point (SEC 1,
// section 2.3.3), and nothing else, so that one key has one text.
type PublicKey struct {
	ed *[ed25519.PublicKeySize]byte
	ec *ecdsa.PublicKey
	b  string // algorithm and raw bytes: two equal keys are equal here
}

const (
	prefixEd25519 = "ed25519:"
	prefixP256    = "ecdsa-p256:"
)

// NewPublicKey takes an ed25519.PublicKey or an *ecdsa.PublicKey on P-256.
func NewPublicKey(pub crypto.PublicKey) (PublicKey, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return newEd25519(k)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, errors.New("statement key: ECDSA key is not on P-256")
		}
		raw, err := k.Bytes()
		if err != nil {
			return PublicKey{}, fmt.Errorf("statement key: %w", err)
		}
		return PublicKey{ec: k, b: prefixP256 + string(raw)}, nil
	}
	return PublicKey{}, fmt.Errorf("statement key: %T is neither Ed25519 nor ECDSA", pub)
}

func newEd25519(raw []byte) (PublicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("statement key: ed25519 key has %d bytes, want %d", len(raw), ed25519.PublicKeySize)
	}
	if smallOrder(raw) {
		return PublicKey{}, errors.New("statement key: ed25519 key is a point of small order, anyone can sign with it")
	}
	k := [ed25519.PublicKeySize]byte(raw)
	return PublicKey{ed: &k, b: prefixEd25519 + string(raw)}, nil
}

// smallOrders are the y coordinates, little-endian, of the Ed25519 points whose
// order divides 8, in every encoding that RFC 8032's decoding lets through. For
// these a signature can be made without any private key. The zero that a
// template leaves behind is one of them.
var smallOrders = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, that is 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, that is 1
}

func smallOrder(raw []byte) bool {
	y := bytes.Clone(raw)
	y[len(y)-1] &= 0x7f // the sign of x
	return slices.Contains(smallOrders[:], hex.EncodeToString(y))
}

// ParsePublicKey reads the text form.
func ParsePublicKey(text string) (PublicKey, error) {
	alg, b64, ok := strings.Cut(text, ":")
	if !ok {
		return PublicKey{}, errors.New("statement key: want ed25519:BASE64 or ecdsa-p256:BASE64")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != b64 {
		return PublicKey{}, errors.New("statement key: not canonical base64")
	}
	switch alg + ":" {
	case prefixEd25519:
		return newEd25519(raw)
	case prefixP256:
		k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
		if err != nil {
			return PublicKey{}, errors.New("statement key: not an uncompressed point on P-256")
		}
		return NewPublicKey(k)
	}
	return PublicKey{}, fmt.Errorf("statement key: unknown algorithm %q", alg)
}

// String returns the text form.
func (k PublicKey) String() string {
	alg, raw, _ := strings.Cut(k.b, ":")
	return alg + ":" + base64.StdEncoding.EncodeToString([]byte(raw))
}

// Equal compares the key's bytes, whatever names it goes under.
func (k PublicKey) Equal(o PublicKey) bool { return k.b == o.b }

// Hint is the DSSE keyid that [Sign] writes: the SHA-256 of the text form, cut
// to 16 hex digits. It helps people to find the key and is never believed.
func (k PublicKey) Hint() string {
	sum := sha256.Sum256([]byte(k.String()))
	return fmt.Sprintf("%x", sum[:8])
}

func (k PublicKey) verify(msg, sig []byte) bool {
	if k.ed != nil {
		return ed25519.Verify(k.ed[:], msg, sig)
	}
	if k.ec != nil {
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(k.ec, sum[:], sig)
	}
	return false
}
