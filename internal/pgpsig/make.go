package pgpsig

import (
	"crypto"
	"crypto/sha1" // v4 fingerprints are SHA-1 by definition, RFC 9580 section 5.5.4.2
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"quorate/quorum/evidence/openpgp/frame"
)

// CertificateOption changes what MakeCertificate writes.
type CertificateOption func(*certificateOptions)

type certificateOptions struct {
	lifetime  time.Duration
	certified time.Time
}

// ExpiresAfter sets the key's lifetime, counted from its creation (RFC 9580
// section 5.2.3.13). Without it the key never expires.
func ExpiresAfter(lifetime time.Duration) CertificateOption {
	return func(o *certificateOptions) { o.lifetime = lifetime }
}

// CertifiedAt sets the time of the self-signature, the key's creation time by
// default. A later one replaces an earlier certificate of the same key, for
// example to prolong its life: readers believe the newest self-signature.
func CertifiedAt(t time.Time) CertificateOption {
	return func(o *certificateOptions) { o.certified = t }
}

// MakeCertificate returns a binary v4 certificate for a key whose private half
// only sign can use: the public key, one user id, and a positive certification
// that lets the key certify and sign. The fingerprint depends on created, so
// whoever repeats the call for the same key must repeat the time as well.
//
// The result has been parsed and verified by ParseCertificate; if it does not
// verify, the error is ErrSignatureCheck.
func MakeCertificate(pub crypto.PublicKey, created time.Time, userID string, sign SignFunc, opts ...CertificateOption) ([]byte, error) {
	o := certificateOptions{certified: created}
	for _, opt := range opts {
		opt(&o)
	}
	cert, err := makeCertificate(pub, created, userID, sign, o)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	c, err := ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w: %w", ErrSignatureCheck, err)
	}
	if got := c.UserIDs(); len(got) != 1 || got[0] != userID {
		return nil, fmt.Errorf("make certificate: %w: user id differs", ErrSignatureCheck)
	}
	return cert, nil
}

// CheckCertificate finds what MakeCertificate would refuse whatever the key is. It
// is for callers who would make the key first.
func CheckCertificate(created time.Time, userID string, opts ...CertificateOption) error {
	o := certificateOptions{certified: created}
	for _, opt := range opts {
		opt(&o)
	}
	return errors.Join(o.check(created, userID), o.checkLifetime(created))
}

func (o *certificateOptions) check(created time.Time, userID string) error {
	if err := errors.Join(
		checkTime("creation time", created),
		checkTime("certification time", o.certified),
		checkUserID(userID),
	); err != nil {
		return err
	}
	if o.certified.Before(created) {
		return errors.New("certification time is before the creation time")
	}
	return nil
}

func (o *certificateOptions) checkLifetime(created time.Time) error {
	if o.lifetime == 0 {
		return nil
	}
	if seconds := int64(o.lifetime / time.Second); seconds <= 0 || seconds > 1<<32-1 {
		return fmt.Errorf("lifetime: %s is not between a second and 136 years", o.lifetime)
	}
	// gpg 2.2 adds the two in 32 bits: a later end would lie in its past.
	return checkTime("expiry", created.Add(o.lifetime))
}

func makeCertificate(pub crypto.PublicKey, created time.Time, userID string, sign SignFunc, o certificateOptions) ([]byte, error) {
	if err := o.check(created, userID); err != nil {
		return nil, err
	}
	key, err := keyBody(pub, created)
	if err != nil {
		return nil, err
	}
	hashed, err := certificationSubpackets(key, created, o)
	if err != nil {
		return nil, err
	}
	sig, err := finishSignature(pub, certificationState(key, userID), typePositiveCert, crypto.SHA512, hashed, sign)
	if err != nil {
		return nil, err
	}
	out := frame.Append(nil, frame.PublicKey, key)
	out = frame.Append(out, frame.UserID, []byte(userID))
	return append(out, sig...), nil
}

func certificationSubpackets(key []byte, created time.Time, o certificateOptions) ([]byte, error) {
	b := appendIssuer(nil, o.certified, fingerprint(key))
	b = appendSubpacket(b, subKeyFlags, 0x01|0x02) // certify, sign: RFC 9580 section 5.2.3.29
	if o.lifetime != 0 {
		if err := o.checkLifetime(created); err != nil {
			return nil, err
		}
		b = appendSubpacket(b, subKeyExpiry, binary.BigEndian.AppendUint32(nil, uint32(o.lifetime/time.Second))...)
	}
	b = appendSubpacket(b, subPreferredHashes, hashIDs[crypto.SHA512], hashIDs[crypto.SHA384], hashIDs[crypto.SHA256])
	return appendSubpacket(b, subFeatures, 0x01), nil
}

// certificationState has what is hashed for a certification of a user id (RFC 9580
// section 5.2.4).
func certificationState(key []byte, userID string) hash.Hash {
	state := crypto.SHA512.New()
	state.Write(keyPrefix(key))
	state.Write(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(userID))))
	state.Write([]byte(userID))
	return state
}

// keyPrefix is the form in which a key is hashed (RFC 9580 sections 5.2.4 and
// 5.5.4.2).
func keyPrefix(body []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(body)))
	return append(b, body...)
}

// fingerprint computes a v4 fingerprint without go-crypto, whose own result is
// compared with it when the packets are read back.
func fingerprint(body []byte) []byte {
	sum := sha1.Sum(keyPrefix(body))
	return sum[:]
}

func checkUserID(id string) error {
	if id == "" {
		return errors.New("user id: empty")
	}
	if len(id) > 255 {
		return fmt.Errorf("user id: %d bytes, at most 255", len(id))
	}
	return checkText("user id", id)
}
