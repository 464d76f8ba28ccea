package pgpsig

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"quorate/quorum/evidence/openpgp/frame"
)

// SignFunc makes a raw signature over a digest, as a PKCS#11 token does it:
// RSASSA-PKCS1-v1_5 for RSA, r‖s of fixed width for ECDSA, and for Ed25519 the
// signature over the digest taken as the message (RFC 9580 section 5.2.3.3).
type SignFunc func(hash crypto.Hash, digest []byte) ([]byte, error)

// ErrSignatureCheck says that the signer answered with something that does not
// verify under the certificate: a wrong key, a broken token, or an attack on
// either. The answer was thrown away.
var ErrSignatureCheck = errors.New("signature does not verify under the certificate")

const version4 = 4

// kind is what a signature is over, RFC 9580 section 5.2.1. Its number is hashed,
// so a signature of one kind can not pass for one of the other.
type kind struct {
	id   byte
	sign string // what is done, for errors
	name string // of the kind
	over string // what it is over
}

var (
	binaryKind = kind{0x00, "detached", "binary document", "document"}
	textKind   = kind{0x01, "text", "canonical text", "text"}
)

// SignDetached makes a binary v4 signature of the document whose hash state is
// given, and verifies it by VerifyDetached before it returns. h must be the
// algorithm of state, crypto.SHA512 unless a reader needs another. created is
// written in whole seconds. The state is left as it was.
//
// An error of sign is returned wrapped; a signature that does not verify gives
// ErrSignatureCheck. No bytes are returned with an error.
func SignDetached(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	return binaryKind.signAndVerify(c, state, h, created, notations, sign)
}

// SignText is SignDetached for a text: state has to be that of the canonical text,
// lines without trailing white space joined by CR LF when it is for the cleartext
// framework (RFC 9580 sections 5.2.1.2 and 7).
func SignText(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	return textKind.signAndVerify(c, state, h, created, notations, sign)
}

// MakeDetached is SignDetached without the verification: what it returns may be
// anything that the signer answered. It is for callers who verify by VerifyDetached
// the bytes that they are about to release, which makes a second time superfluous.
func MakeDetached(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	return binaryKind.makeOnly(c, state, h, created, notations, sign)
}

// MakeText is MakeDetached for a text, to be verified by VerifyText.
func MakeText(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	return textKind.makeOnly(c, state, h, created, notations, sign)
}

func (k kind) signAndVerify(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	sig, err := k.makeOnly(c, state, h, created, notations, sign)
	if err != nil {
		return nil, err
	}
	if _, err := k.verify(c, state, sig); err != nil {
		return nil, fmt.Errorf("sign %s: %w: %w", k.sign, ErrSignatureCheck, err)
	}
	return sig, nil
}

func (k kind) makeOnly(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	sig, err := k.make(c, state, h, created, notations, sign)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", k.sign, err)
	}
	return sig, nil
}

// make checks everything that can be checked before the token is asked: a
// signature, once made, exists.
func (k kind) make(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	created = created.Truncate(time.Second)
	if err := errors.Join(
		checkHash(c.public, h),
		checkTime("creation time", created),
		c.UsableAt(created),
	); err != nil {
		return nil, err
	}
	clone, got, err := cloneState(state)
	if err != nil {
		return nil, err
	}
	if got != h {
		return nil, fmt.Errorf("hash algorithm: state is %s, want %s", got, h)
	}
	hashed, err := appendNotations(appendIssuer(nil, created, c.key.Fingerprint), notations)
	if err != nil {
		return nil, err
	}
	return finishSignature(c.public, clone, k.id, h, hashed, sign)
}

// finishSignature consumes state: it appends the signature's own fields and
// trailer (RFC 9580 section 5.2.4), has the digest signed, and writes the
// packet (section 5.2.3) with an empty unhashed area.
func finishSignature(pub crypto.PublicKey, state hash.Hash, id byte, h crypto.Hash, hashed []byte, sign SignFunc) ([]byte, error) {
	algo, err := algorithm(pub)
	if err != nil {
		return nil, err
	}
	if len(hashed) > 1<<16-1 {
		return nil, fmt.Errorf("hashed subpackets: %d bytes, at most 65535", len(hashed))
	}
	body := []byte{version4, id, algo, hashIDs[h]}
	body = binary.BigEndian.AppendUint16(body, uint16(len(hashed)))
	body = append(body, hashed...)
	state.Write(body)
	state.Write(binary.BigEndian.AppendUint32([]byte{version4, 0xff}, uint32(len(body))))
	digest := state.Sum(nil)

	// The signer gets its own copy, so that it cannot change ours.
	raw, err := sign(h, bytes.Clone(digest))
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	mpis, err := signatureMPIs(pub, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignatureCheck, err)
	}
	body = append(body, 0, 0)          // no unhashed subpackets
	body = append(body, digest[:2]...) // left 16 bits, for quick rejection
	return frame.Append(nil, frame.Signature, append(body, mpis...)), nil
}
