package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// KeyType names the keys that can be made and used.
type KeyType string

// The key types. RSA below 3072 bits is not offered for new keys, nor used.
const (
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
	P256    KeyType = "p256"
	P384    KeyType = "p384"
	Ed25519 KeyType = "ed25519"
)

// KeyTypes lists all of them.
func KeyTypes() []KeyType { return []KeyType{RSA3072, RSA4096, P256, P384, Ed25519} }

// ParseKeyType reads a key type as a person writes it.
func ParseKeyType(s string) (KeyType, error) {
	if t := KeyType(s); slices.Contains(KeyTypes(), t) {
		return t, nil
	}
	var names []string
	for _, t := range KeyTypes() {
		names = append(names, string(t))
	}
	return "", fmt.Errorf("key type %q is not known, want one of %s", s, strings.Join(names, ", "))
}

// Key is a private key in the token and its public half. It holds no secret.
type Key struct {
	Label  string
	ID     []byte // CKA_ID
	Type   KeyType
	Public crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// mechanism is what signs with such a key. All of them take a digest, or for
// Ed25519 the message itself, and none hashes in the token: the signed bytes
// are made from a hash state that no token can load.
func (t KeyType) mechanism() uint {
	switch t {
	case P256, P384:
		return pkcs11.CKM_ECDSA
	case Ed25519:
		return ckmEDDSA
	}
	return pkcs11.CKM_RSA_PKCS
}

func (t KeyType) rsaBits() int {
	if t == RSA4096 {
		return 4096
	}
	return 3072
}

func (t KeyType) curve() elliptic.Curve {
	if t == P384 {
		return elliptic.P384()
	}
	return elliptic.P256()
}

// Values of CKA_EC_PARAMS. Tokens name the Edwards curve by the printable
// string of PKCS#11 v3.0, by RFC 8410's OID, or by the older GnuPG OID.
var (
	paramsP256     = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	paramsP384     = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	paramsEd25519  = append([]byte{0x13, 12}, "edwards25519"...)
	paramsEd25519O = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
	paramsEd25519G = []byte{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01}
)

// ecKey reads CKA_EC_PARAMS and CKA_EC_POINT of either kind of elliptic key.
func ecKey(params, point []byte) (KeyType, crypto.PublicKey, error) {
	switch {
	case bytes.Equal(params, paramsP256):
		return nistKey(P256, point)
	case bytes.Equal(params, paramsP384):
		return nistKey(P384, point)
	case bytes.Equal(params, paramsEd25519), bytes.Equal(params, paramsEd25519O), bytes.Equal(params, paramsEd25519G):
		raw, err := unwrapPoint(point, ed25519.PublicKeySize)
		if err != nil {
			return "", nil, err
		}
		return Ed25519, ed25519.PublicKey(raw), nil
	}
	return "", nil, fmt.Errorf("%w: curve %x", ErrKeyUnsupported, params)
}

func nistKey(t KeyType, point []byte) (KeyType, crypto.PublicKey, error) {
	size := (t.curve().Params().BitSize + 7) / 8
	raw, err := unwrapPoint(point, 1+2*size)
	if err != nil {
		return "", nil, err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(t.curve(), raw)
	if err != nil {
		return "", nil, fmt.Errorf("public key: %w", err)
	}
	return t, pub, nil
}

// unwrapPoint accepts the DER OCTET STRING that PKCS#11 v3.1 section 6.3.3
// asks for, and the bare point that many tokens give instead. The length
// tells them apart.
func unwrapPoint(point []byte, size int) ([]byte, error) {
	if len(point) == size {
		return bytes.Clone(point), nil
	}
	var raw []byte
	rest, err := asn1.Unmarshal(point, &raw)
	if err != nil || len(rest) > 0 || len(raw) != size {
		return nil, fmt.Errorf("public key: point of %d bytes is neither bare nor an octet string of %d", len(point), size)
	}
	return raw, nil
}

func rsaKey(modulus, exponent []byte) (KeyType, crypto.PublicKey, error) {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
		return "", nil, errors.New("public key: exponent is not valid")
	}
	pub := &rsa.PublicKey{N: n, E: int(e.Int64())}
	switch n.BitLen() {
	case 3072:
		return RSA3072, pub, nil
	case 4096:
		return RSA4096, pub, nil
	}
	return "", nil, fmt.Errorf("%w: RSA with %d bits", ErrKeyUnsupported, n.BitLen())
}

// digestInfo are the DER prefixes of RFC 8017 section 9.2, note 1: CKM_RSA_PKCS
// only pads.
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// input turns a digest into what the mechanism of the key takes.
func (k Key) input(hash crypto.Hash, digest []byte) ([]byte, error) {
	if k.Type == Ed25519 {
		return digest, nil
	}
	prefix, ok := digestInfo[hash]
	if !ok {
		return nil, fmt.Errorf("%w: hash %v is not supported", ErrDigest, hash)
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("%w: %d bytes, %v has %d", ErrDigest, len(digest), hash, hash.Size())
	}
	if pub, ok := k.Public.(*ecdsa.PublicKey); ok {
		// Modules differ in how they shorten, so that is done here: the
		// leftmost bits count (FIPS 186-5 section 6.4).
		return digest[:min(len(digest), pub.Curve.Params().BitSize/8)], nil
	}
	return slices.Concat(prefix, digest), nil
}

// verify checks a raw signature by the standard library.
func (k Key) verify(hash crypto.Hash, digest, sig []byte) error {
	ok := false
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		n := pub.Curve.Params().BitSize / 8
		ok = len(sig) == 2*n &&
			ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, digest, sig)
	}
	if !ok {
		return ErrBadSignature
	}
	return nil
}
