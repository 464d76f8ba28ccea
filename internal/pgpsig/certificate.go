package pgpsig

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp/frame"
)

// MaxCertificate is the size of the largest certificate that is read, in bytes.
const MaxCertificate = 1 << 20

// Signature type ids of certificates, RFC 9580 section 5.2.1.
const (
	typeGenericCert    = 0x10
	typePositiveCert   = 0x13
	typeDirectKey      = 0x1f
	typeKeyRevocation  = 0x20
	typeCertRevocation = 0x30
)

// Certificate is the part of an OpenPGP certificate that Quorate uses: the
// primary key and what that key says about itself. It is immutable.
type Certificate struct {
	key     *packet.PublicKey
	public  crypto.PublicKey
	userIDs []string
	raw     []byte

	self      *packet.Signature // newest valid self-signature, on a user id or the key
	revoked   bool
	revokedAt time.Time // zero: from the beginning
}

// Fingerprint returns the v4 fingerprint, 40 upper case hexadecimal digits.
func (c *Certificate) Fingerprint() string { return fmt.Sprintf("%X", c.key.Fingerprint) }

// KeyID returns the key id, 16 upper case hexadecimal digits.
func (c *Certificate) KeyID() string { return fmt.Sprintf("%016X", c.key.KeyId) }

// UserIDs returns the user ids that the key itself certified and did not revoke.
func (c *Certificate) UserIDs() []string { return slices.Clone(c.userIDs) }

// Created returns when the key was created.
func (c *Certificate) Created() time.Time { return c.key.CreationTime.UTC() }

// Public returns the primary key: *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey. Compare it with the token's key by its Equal method.
func (c *Certificate) Public() crypto.PublicKey { return c.public }

// Bytes returns the binary certificate as it was parsed.
func (c *Certificate) Bytes() []byte { return bytes.Clone(c.raw) }

// Expires returns when the key expires; ok is false if it never does.
func (c *Certificate) Expires() (t time.Time, ok bool) {
	if c.self.KeyLifetimeSecs == nil || *c.self.KeyLifetimeSecs == 0 {
		return time.Time{}, false
	}
	return c.Created().Add(time.Duration(*c.self.KeyLifetimeSecs) * time.Second), true
}

// Revoked returns from when on the primary key is revoked, if it is.
func (c *Certificate) Revoked() (t time.Time, ok bool) { return c.revokedAt, c.revoked }

// UsableAt reports why the key may not have signed at t, or nil. A revocation
// that says "superseded" or "retired" (RFC 9580 section 5.2.3.31) leaves
// earlier signatures valid; any other reason leaves none.
func (c *Certificate) UsableAt(t time.Time) error {
	if t.Before(c.Created()) {
		return fmt.Errorf("creation time: %s is before the key was created (%s)", stamp(t), stamp(c.Created()))
	}
	if end, ok := c.Expires(); ok && !t.Before(end) {
		return fmt.Errorf("creation time: key expired at %s", stamp(end))
	}
	if c.RevokedAt(t) {
		return errors.New("key is revoked")
	}
	return nil
}

// RevokedAt reports whether the key was revoked at t.
func (c *Certificate) RevokedAt(t time.Time) bool { return c.revoked && !t.Before(c.revokedAt) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ParseCertificate reads one certificate, binary or armoured. It refuses
// secret keys, several certificates in one file, trailing bytes, and every
// primary key that is not a v4 RSA, P-256, P-384 or Ed25519 (EdDSALegacy) key
// with a valid self-signature that allows signing. Subkeys and signatures by
// others are skipped.
//
// A key revocation that cannot be checked refuses the certificate: whoever
// gives us the file can repair it, and the other choice would sign with a
// revoked key.
func ParseCertificate(data []byte) (*Certificate, error) {
	c, err := parseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return c, nil
}

func parseCertificate(data []byte) (*Certificate, error) {
	if len(data) > MaxCertificate {
		return nil, fmt.Errorf("%d bytes, at most %d", len(data), MaxCertificate)
	}
	raw, err := dearmor(armorPublicKey, data)
	if err != nil {
		return nil, err
	}
	packets, err := frame.Split(raw, maxPackets)
	if err != nil {
		return nil, err
	}
	if len(packets) == 0 {
		return nil, errors.New("no packets")
	}
	key, public, err := parsePrimary(packets[0])
	if err != nil {
		return nil, fmt.Errorf("primary key: %w", err)
	}
	c := &Certificate{key: key, public: public, raw: bytes.Clone(raw)}
	if err := c.addComponents(packets[1:]); err != nil {
		return nil, err
	}
	return c, c.checkSelf()
}

func parsePrimary(p frame.Packet) (*packet.PublicKey, crypto.PublicKey, error) {
	if p.Tag == frame.SecretKey {
		return nil, nil, errors.New("the file holds a secret key; give the public certificate")
	}
	if p.Tag != frame.PublicKey {
		return nil, nil, fmt.Errorf("packet type %d where a public key belongs", p.Tag)
	}
	parsed, err := p.Parse()
	if err != nil {
		return nil, nil, err
	}
	key := parsed.(*packet.PublicKey)
	public, err := standardKey(key)
	if err != nil {
		return nil, nil, err
	}
	// The parser is loose about integers; only the form that we would write
	// ourselves has the fingerprint everybody else computes.
	if body, err := keyBody(public, key.CreationTime); err != nil || !bytes.Equal(body, p.Body) {
		return nil, nil, errors.New("key is not in canonical form")
	}
	return key, public, nil
}

// addComponents walks the packets behind the primary key: signatures belong
// to the component before them (RFC 9580 section 10.1).
func (c *Certificate) addComponents(packets []frame.Packet) error {
	for _, part := range splitComponents(packets) {
		if err := c.addComponent(part.head, part.sigs); err != nil {
			return err
		}
	}
	return nil
}

// component is a user id, a subkey or the primary key, whose head has no bytes
// here, with the signatures behind it.
type component struct {
	head frame.Packet
	sigs []frame.Packet
}

func splitComponents(packets []frame.Packet) (parts []component) {
	for len(packets) > 0 {
		part := component{head: frame.Packet{Tag: frame.PublicKey}}
		if packets[0].Tag != frame.Signature {
			part.head, packets = packets[0], packets[1:]
		}
		n := 0
		for n < len(packets) && packets[n].Tag == frame.Signature {
			n++
		}
		part.sigs, packets = packets[:n], packets[n:]
		parts = append(parts, part)
	}
	return parts
}

func (c *Certificate) addComponent(head frame.Packet, sigs []frame.Packet) error {
	switch head.Tag {
	case frame.PublicKey:
		if head.Whole != nil {
			return errors.New("more than one certificate in the file")
		}
		return c.addKeySignatures(sigs)
	case frame.UserID:
		c.addUserID(string(head.Body), sigs)
		return nil
	case frame.UserAttribute, frame.PublicSubkey:
		return nil // never used, so not worth a refusal
	case frame.SecretKey, frame.SecretSubkey:
		return errors.New("the file holds a secret key; give the public certificate")
	}
	return fmt.Errorf("packet type %d does not belong in a certificate", head.Tag)
}

func (c *Certificate) addKeySignatures(sigs []frame.Packet) error {
	for _, p := range sigs {
		switch p.SignatureType() {
		case typeKeyRevocation:
			if err := c.addRevocation(p); err != nil {
				return fmt.Errorf("key revocation: %w", err)
			}
		case typeDirectKey:
			if sig := c.directKey(p); sig != nil {
				c.addSelf(sig)
			}
		}
	}
	return nil
}

// directKey returns p if it is what the key says about itself without naming a
// user id, and verifies; nil otherwise.
func (c *Certificate) directKey(p frame.Packet) *packet.Signature {
	if sig := c.ownSignature(p); sig != nil && c.key.VerifyDirectKeySignature(sig) == nil {
		return sig
	}
	return nil
}

func (c *Certificate) addRevocation(p frame.Packet) error {
	parsed, err := p.Parse()
	if err != nil {
		return err
	}
	sig := parsed.(*packet.Signature)
	if err := c.key.VerifyRevocationSignature(sig); err != nil {
		return err
	}
	at := time.Time{}
	if r := sig.RevocationReason; r != nil && (*r == packet.KeySuperseded || *r == packet.KeyRetired) {
		at = sig.CreationTime
	}
	if !c.revoked || at.Before(c.revokedAt) {
		c.revokedAt = at
	}
	c.revoked = true
	return nil
}

// addUserID keeps a user id whose newest valid certification by the key is
// newer than its newest revocation.
func (c *Certificate) addUserID(id string, sigs []frame.Packet) {
	if newest, _ := c.standing(id, sigs); newest != nil {
		c.userIDs = append(c.userIDs, id)
		c.addSelf(newest)
	}
}

// standing returns the certification that a user id stands by, parsed and as it
// came; nil if it has none, or was revoked since.
func (c *Certificate) standing(id string, sigs []frame.Packet) (newest *packet.Signature, raw frame.Packet) {
	if checkUserID(id) != nil {
		return nil, raw // not fit to be shown; another user id may be
	}
	revoked := time.Time{}
	for _, p := range sigs {
		kind := p.SignatureType()
		if kind != typeCertRevocation && (kind < typeGenericCert || kind > typePositiveCert) {
			continue
		}
		sig := c.ownSignature(p)
		if sig == nil || !c.verifyUserID(id, sig) {
			continue
		}
		if kind == typeCertRevocation && sig.CreationTime.After(revoked) {
			revoked = sig.CreationTime
		} else if kind != typeCertRevocation && (newest == nil || !sig.CreationTime.Before(newest.CreationTime)) {
			newest, raw = sig, p
		}
	}
	if newest != nil && !newest.CreationTime.After(revoked) {
		return nil, raw
	}
	return newest, raw
}

// verifyUserID checks the hash tag as well, which go-crypto does not for v4:
// a certificate with any bit changed shall be refused.
func (c *Certificate) verifyUserID(id string, sig *packet.Signature) bool {
	return c.key.VerifyUserIdHashTag(id, sig) == nil && c.key.VerifyUserIdSignature(id, c.key, sig) == nil
}

// ownSignature returns p if it claims to be by this key with a hash we
// believe; nil otherwise. The caller verifies it.
func (c *Certificate) ownSignature(p frame.Packet) *packet.Signature {
	parsed, err := p.Parse()
	if err != nil {
		return nil // not ours: we only ever rely on what go-crypto understands
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok || !sig.CheckKeyIdOrFingerprint(c.key) || hashIDs[sig.Hash] == 0 {
		return nil
	}
	if sig.SigLifetimeSecs != nil && *sig.SigLifetimeSecs != 0 {
		return nil // there is no clock here to say whether it still counts
	}
	l, err := splitSignature(p.Body)
	if err != nil || checkMPIs(l.mpis, mpiCount(sig.PubKeyAlgo)) != nil {
		return nil
	}
	return sig
}

// addSelf keeps the newest self-signature: it decides about expiry and flags
// (RFC 9580 section 5.2.3.10).
func (c *Certificate) addSelf(sig *packet.Signature) {
	if c.self == nil || !sig.CreationTime.Before(c.self.CreationTime) {
		c.self = sig
	}
}

func (c *Certificate) checkSelf() error {
	if c.self == nil || len(c.userIDs) == 0 {
		return errors.New("no user id with a valid self-signature")
	}
	if c.self.FlagsValid && !c.self.FlagSign {
		return errors.New("key flags: the primary key may not sign data")
	}
	return nil
}
