package cms

import (
	"crypto"
	"crypto/x509"
)

// SignedAttributes returns the set that is signed for a file.
var SignedAttributes = signedAttributes

// Forge puts a signature together from parts that others made.
func Forge(cert *x509.Certificate, set, value []byte) ([]byte, error) {
	si := newSigner(cert, crypto.SHA512)
	si.setAttributes(set)
	si.Signature = value
	return marshal(cert, si, false)
}
