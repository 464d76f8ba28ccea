package openpgp

import (
	"bytes"
	"crypto/rsa"
	"encoding/binary"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
)

// BareKey is an RSA key that a document pins together with a fingerprint, the
// way in-toto layouts do. The layout leaves out the key's creation time, so the
// fingerprint cannot be computed: the document vouches for both, and for there
// being no expiry and no revocation.
type BareKey struct {
	Fingerprint Fingerprint
	Public      *rsa.PublicKey
	Subkeys     []BareKey // may sign as well
}

// NewBareKey makes a pinned key of it.
func NewBareKey(b BareKey) (*Key, error) {
	k := &Key{fingerprint: b.Fingerprint, bare: true}
	var err error
	if k.primary, err = b.component(); err != nil {
		return nil, err
	}
	for _, s := range b.Subkeys {
		c, err := s.component()
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(c.key.Fingerprint, k.primary.key.Fingerprint) {
			k.subkeys = append(k.subkeys, c)
		}
	}
	return k, nil
}

func (b BareKey) component() (*component, error) {
	if b.Public == nil || b.Public.N == nil || b.Public.N.BitLen() < minRSABits || b.Public.N.BitLen() > 16384 || b.Public.E < 3 || b.Public.E&1 == 0 {
		return nil, evidence.Refuse("", evidence.CodeBadKey, "key", "%s is no RSA key of 2048 to 16384 bits", b.Fingerprint)
	}
	key := packet.NewRSAPublicKey(time.Unix(0, 0), b.Public)
	key.Fingerprint = bytes.Clone(b.Fingerprint[:])
	key.KeyId = binary.BigEndian.Uint64(b.Fingerprint[12:])
	return &component{key: key}, nil
}
