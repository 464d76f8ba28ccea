package sigformat

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // registers SHA-256
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"errors"
	"fmt"
)

// VerifyDigest checks a signature over a digest by RSA PKCS#1 v1.5 or ECDSA in
// DER, with the standard library. Ed25519 has no such signatures.
func VerifyDigest(pub crypto.PublicKey, h crypto.Hash, digest, sig []byte) error {
	if err := CheckPublic(pub); err != nil {
		return err
	}
	if _, ed := pub.(ed25519.PublicKey); ed {
		return errors.New("verify: Ed25519 signs messages, not digests")
	}
	if !acceptedHash(h) || len(digest) != h.Size() {
		return fmt.Errorf("verify: %d bytes of digest by %v", len(digest), h)
	}
	return verify(pub, h, digest, sig)
}

// VerifyMessage checks a signature over a message: hashed by h for RSA and ECDSA,
// as it is for Ed25519, where h is not used.
func VerifyMessage(pub crypto.PublicKey, h crypto.Hash, message, sig []byte) error {
	if err := CheckPublic(pub); err != nil {
		return err
	}
	if _, ed := pub.(ed25519.PublicKey); ed {
		return verify(pub, 0, message, sig)
	}
	if !acceptedHash(h) {
		return fmt.Errorf("verify: hash %v is not accepted", h)
	}
	return verify(pub, h, sum(h, message), sig)
}

// HashFor returns h, or crypto.Hash(0) for an Ed25519 key: the option under which
// the key signs a message.
func HashFor(pub crypto.PublicKey, h crypto.Hash) crypto.Hash {
	if _, ed := pub.(ed25519.PublicKey); ed {
		return 0
	}
	return h
}

func verify(pub crypto.PublicKey, h crypto.Hash, digest, sig []byte) error {
	ok := false
	switch k := pub.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, h, digest, sig) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, digest, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, digest, sig)
	}
	if !ok {
		return ErrSignatureCheck
	}
	return nil
}
