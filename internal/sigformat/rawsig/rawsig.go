// Package rawsig makes bare signatures over the digest of a file: RSA PKCS#1 v1.5
// (RFC 8017 section 8.2) and ECDSA in ASN.1 DER (FIPS 186-5 section 6, RFC 3279
// section 2.2.3), as "openssl dgst -sign" writes them and cosign and abuild use
// them.
//
// Guarantees: those of package sigformat.
//
// Not guaranteed: anything about what the file is. The signature covers the file
// and nothing else, no name, time, namespace or purpose, so whoever can have a
// file signed chooses every byte that is signed: the file may read like what
// another format signs. A key that makes bare signatures must make nothing else
// (format.SameKey), and must have no OpenPGP certificate.
//
// Ed25519 is impossible: it signs the message itself (RFC 8032 section 5.1.6),
// which would be the file. Ed25519ph would take a digest, but neither PKCS#11
// tokens nor the verifiers of this format do it.
package rawsig

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"

	"quorate/internal/sigformat"
)

// ErrNeedsFile says that the key is an Ed25519 key.
var ErrNeedsFile = errors.New("raw signature: ed25519 signs the file itself, not its digest, and the signer has no file")

// Sign signs the SHA-256 or SHA-512 of a file.
func Sign(k *sigformat.Key, h crypto.Hash, digest []byte) ([]byte, error) {
	if err := check(k.Public(), h, digest); err != nil {
		return nil, err
	}
	sig, err := k.Sign(nil, digest, h) // verified by the standard library in there, unless the caller does
	if err != nil {
		return nil, fmt.Errorf("raw signature: %w", err)
	}
	return sig, nil
}

// Verify checks a signature over the SHA-256 or SHA-512 of a file.
func Verify(pub crypto.PublicKey, h crypto.Hash, digest, sig []byte) error {
	if err := check(pub, h, digest); err != nil {
		return err
	}
	if err := sigformat.VerifyDigest(pub, h, digest, sig); err != nil {
		return fmt.Errorf("raw signature: %w", err)
	}
	return nil
}

func check(pub crypto.PublicKey, h crypto.Hash, digest []byte) error {
	if _, ed := pub.(ed25519.PublicKey); ed {
		return ErrNeedsFile
	}
	if h != crypto.SHA256 && h != crypto.SHA512 {
		return fmt.Errorf("raw signature: hash %v, want SHA-256 or SHA-512", h)
	}
	if len(digest) != h.Size() {
		return fmt.Errorf("raw signature: digest has %d bytes, %v has %d", len(digest), h, h.Size())
	}
	return nil
}
