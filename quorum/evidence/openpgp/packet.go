package openpgp

import (
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp/frame"
)

// maxPackets bounds the work that one file can cause.
const maxPackets = 16384

// readSignature parses a version 4 signature packet.
func readSignature(p frame.Packet) (*packet.Signature, error) {
	if len(p.Body) < 4 {
		return nil, frame.ErrTruncated
	}
	if p.Body[0] != 4 {
		return nil, fmt.Errorf("version %d, want 4", p.Body[0])
	}
	parsed, err := p.Parse()
	if err != nil {
		return nil, err
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return nil, errors.New("not a signature packet")
	}
	for _, n := range sig.Notations {
		if n.IsCritical { // it may limit what the signature means
			return nil, fmt.Errorf("critical notation %.64q is not known", n.Name)
		}
	}
	return sig, nil
}

// readKey parses a version 4 public key or subkey packet.
func readKey(p frame.Packet) (*packet.PublicKey, error) {
	if len(p.Body) == 0 || p.Body[0] != 4 {
		return nil, errors.New("not a version 4 key")
	}
	parsed, err := p.Parse()
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*packet.PublicKey)
	if !ok || len(key.Fingerprint) != len(Fingerprint{}) {
		return nil, errors.New("not a version 4 public key")
	}
	return key, nil
}
