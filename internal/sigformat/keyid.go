package sigformat

import (
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// KeyIdentifier is the subject key identifier by RFC 5280 section 4.2.1.2 (1), a
// SHA-1. It names a key and protects nothing. Programs that do not read it from the
// certificate, as evmctl, compute this one.
func KeyIdentifier(pub crypto.PublicKey) (id [sha1.Size]byte, err error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return id, fmt.Errorf("key identifier: %w", err)
	}
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return id, fmt.Errorf("key identifier: %w", err)
	}
	return sha1.Sum(info.Key.Bytes), nil
}
