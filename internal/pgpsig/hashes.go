package pgpsig

import (
	"crypto"
	"crypto/ecdsa"
	_ "crypto/sha256" // registers SHA-256
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"encoding"
	"errors"
	"fmt"
	"hash"
)

// hashIDs are the hash algorithms that are written and believed (RFC 9580
// section 9.5). SHA-1, MD5 and RIPEMD-160 are left out because they are broken
// or old, SHA-224 and SHA-3 because too few tools verify them.
var hashIDs = map[crypto.Hash]byte{crypto.SHA256: 8, crypto.SHA384: 9, crypto.SHA512: 10}

// stateHash names the algorithm of a running hash by what its state says of
// itself, so that SHA-512/256 cannot pass for SHA-256.
func stateHash(marshalled []byte) (crypto.Hash, error) {
	if len(marshalled) >= 4 {
		switch string(marshalled[:4]) {
		case "sha\x03":
			return crypto.SHA256, nil
		case "sha\x04":
			return crypto.SHA384, nil
		case "sha\x07":
			return crypto.SHA512, nil
		}
	}
	return 0, errors.New("state is none of SHA-256, SHA-384, SHA-512")
}

// cloneState returns an independent copy of state and its algorithm.
func cloneState(state hash.Hash) (hash.Hash, crypto.Hash, error) {
	m, ok := state.(encoding.BinaryMarshaler)
	if !ok {
		return nil, 0, fmt.Errorf("hash state %T cannot be copied", state)
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, 0, fmt.Errorf("copy hash state: %w", err)
	}
	h, err := stateHash(b)
	if err != nil {
		return nil, 0, err
	}
	c := h.New()
	if err := c.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		return nil, 0, fmt.Errorf("copy hash state: %w", err)
	}
	return c, h, nil
}

// checkHash refuses weak hashes, and hashes shorter than the curve: gpg
// refuses the latter too ("384 bit or larger hash"), following FIPS 186-5
// section 6.
func checkHash(pub crypto.PublicKey, h crypto.Hash) error {
	if _, ok := hashIDs[h]; !ok {
		return fmt.Errorf("hash algorithm: %s is not accepted, want SHA-256, SHA-384 or SHA-512", h)
	}
	if k, ok := pub.(*ecdsa.PublicKey); ok && h.Size()*8 < k.Curve.Params().BitSize {
		return fmt.Errorf("hash algorithm: %s is too short for a key on %s", h, k.Curve.Params().Name)
	}
	return nil
}
