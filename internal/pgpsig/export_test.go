package pgpsig

import (
	"hash"
	"time"

	"quorate/quorum/evidence/openpgp/frame"
)

// ForgeSignature writes a signature with an arbitrary type and arbitrary
// fields between the issuer and the notations, unchecked.
func ForgeSignature(c *Certificate, state hash.Hash, kind byte, created time.Time, extra []byte, sign SignFunc) ([]byte, error) {
	clone, h, err := cloneState(state)
	if err != nil {
		return nil, err
	}
	hashed := append(appendIssuer(nil, created, c.key.Fingerprint), extra...)
	return finishSignature(c.public, clone, kind, h, hashed, sign)
}

// ForgeBare is ForgeSignature without the issuer and the creation time.
func ForgeBare(c *Certificate, state hash.Hash, hashed []byte, sign SignFunc) ([]byte, error) {
	clone, h, err := cloneState(state)
	if err != nil {
		return nil, err
	}
	return finishSignature(c.public, clone, binaryKind.id, h, hashed, sign)
}

// FramePacket frames a body.
func FramePacket(tag byte, body []byte) []byte { return frame.Append(nil, tag, body) }

// AppendSubpacket writes one subpacket.
var AppendSubpacket = appendSubpacket
