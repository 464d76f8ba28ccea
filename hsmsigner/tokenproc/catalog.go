package tokenproc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"maps"
	"math/big"
	"slices"
	"strings"

	"quorate/hsmsigner/token"
)

// catalog is what the children have shown so far. It is never changed once it
// is visible to others.
type catalog struct {
	keys map[string]token.Key // as first seen
	// exchanged are labels under which the present child sees another key. They
	// sign nothing: asking would only bring signatures that do not verify, and
	// each of those costs a child.
	exchanged map[string]bool
}

// merge returns c with what is new in seen. A known key stays as it was first
// seen, whatever a child says: signatures are checked with it.
func (c *catalog) merge(seen map[string]token.Key) *catalog {
	out := &catalog{keys: map[string]token.Key{}, exchanged: map[string]bool{}}
	maps.Copy(out.keys, c.keys)
	for label, k := range seen {
		known, ok := c.keys[label]
		switch {
		case !ok:
			out.keys[label] = k
		case !equal(known.Public, k.Public):
			out.exchanged[label] = true
		}
	}
	return out
}

func (c *catalog) sorted() []token.Key {
	return slices.SortedFunc(maps.Values(c.keys), func(a, b token.Key) int { return strings.Compare(a.Label, b.Label) })
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// typeOf is false for keys that token.Token would not offer.
func typeOf(pub crypto.PublicKey) (token.KeyType, bool) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 3072:
			return token.RSA3072, true
		case 4096:
			return token.RSA4096, true
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return token.P256, true
		case elliptic.P384():
			return token.P384, true
		}
	case ed25519.PublicKey:
		return token.Ed25519, true
	}
	return "", false
}

// verify checks a raw signature, in the forms that token.Token.Sign documents.
// It shares no code with the check in the child, and runs outside of it.
func verify(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) bool {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		n := (k.Curve.Params().BitSize + 7) / 8
		return len(sig) == 2*n &&
			ecdsa.Verify(k, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case ed25519.PublicKey:
		return ed25519.Verify(k, digest, sig)
	}
	return false
}
