package pgpsig

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp/frame"
)

// Extend returns the certificate with another end of the key's life: new
// self-signatures, made at the time at, on every user id that stands and, where
// the certificate has one, directly on the key. They say what the newest ones
// said but for the end. A zero end means that the key never expires.
//
// Every packet of c is in the result. Subkeys keep the end that they have: no
// signature of ours is by a subkey. The result was verified as [ParseCertificate]
// does it; if it does not verify, the error is [ErrSignatureCheck].
func Extend(c *Certificate, end, at time.Time, sign SignFunc) (*Certificate, error) {
	a, err := c.amend(at, sign)
	if err == nil {
		err = a.extend(end.Truncate(time.Second))
	}
	if err != nil {
		return nil, fmt.Errorf("extend certificate: %w", err)
	}
	got, err := a.finish()
	if err != nil {
		return nil, fmt.Errorf("extend certificate: %w", err)
	}
	if now, ok := got.Expires(); ok == end.IsZero() || ok && !now.Equal(end.Truncate(time.Second)) {
		return nil, fmt.Errorf("extend certificate: %w: the end of its life is not what was asked for", ErrSignatureCheck)
	}
	return got, nil
}

// AddUserID returns the certificate with one user id more, certified at the time
// at with what the newest self-signature says, and all packets of c.
func AddUserID(c *Certificate, id string, at time.Time, sign SignFunc) (*Certificate, error) {
	a, err := c.amend(at, sign)
	if err == nil {
		err = a.addUserID(id)
	}
	if err != nil {
		return nil, fmt.Errorf("add user id: %w", err)
	}
	got, err := a.finish()
	if err != nil {
		return nil, fmt.Errorf("add user id: %w", err)
	}
	if ids := got.UserIDs(); len(ids) != len(c.userIDs)+1 || !slices.Contains(ids, id) {
		return nil, fmt.Errorf("add user id: %w: user ids differ", ErrSignatureCheck)
	}
	return got, nil
}

// amendment is a certificate that is being changed. Parts are only added to.
type amendment struct {
	from  *Certificate
	key   frame.Packet
	parts []component
	at    time.Time
	sign  SignFunc
}

// amend checks what no change may be made without.
func (c *Certificate) amend(at time.Time, sign SignFunc) (*amendment, error) {
	at = at.Truncate(time.Second)
	if err := checkTime("time of the signature", at); err != nil {
		return nil, err
	}
	if c.revoked {
		return nil, errors.New("the key is revoked, which nothing takes back")
	}
	if at.Before(c.self.CreationTime) {
		return nil, fmt.Errorf("time of the signature: %s is before the newest self-signature (%s)", stamp(at), stamp(c.self.CreationTime))
	}
	packets, err := frame.Split(c.raw, maxPackets)
	if err != nil {
		return nil, err
	}
	parts := splitComponents(packets[1:])
	if len(parts) == 0 || parts[0].head.Tag != frame.PublicKey {
		parts = slices.Insert(parts, 0, component{head: frame.Packet{Tag: frame.PublicKey}})
	}
	return &amendment{from: c, key: packets[0], parts: parts, at: at, sign: sign}, nil
}

func (a *amendment) extend(end time.Time) error {
	lifetime, err := a.from.lifetimeUntil(end, a.at)
	if err != nil {
		return err
	}
	// Readers disagree about which of two in one second counts.
	if !a.at.After(a.from.self.CreationTime) {
		return fmt.Errorf("time of the signature: %s is also that of the newest self-signature, and which one counts would be open (hint: try again in a second)", stamp(a.at))
	}
	for i := range a.parts {
		if err := a.renew(&a.parts[i], lifetime); err != nil {
			return err
		}
	}
	return nil
}

// lifetimeUntil is the value of the key expiration time (RFC 9580 section
// 5.2.3.13): seconds since the key's creation, 0 for never.
func (c *Certificate) lifetimeUntil(end, at time.Time) (uint32, error) {
	if end.IsZero() {
		return 0, nil
	}
	if !end.After(at) {
		return 0, fmt.Errorf("end: %s is not in the future", stamp(end))
	}
	o := certificateOptions{lifetime: end.Sub(c.Created())}
	if err := o.checkLifetime(c.Created()); err != nil {
		return 0, err
	}
	return uint32(o.lifetime / time.Second), nil
}

// renew adds a self-signature to a part that has a valid one.
func (a *amendment) renew(part *component, lifetime uint32) error {
	var old *packet.Signature
	var raw frame.Packet
	var state hash.Hash
	switch part.head.Tag {
	case frame.PublicKey:
		for _, p := range part.sigs {
			if p.SignatureType() != typeDirectKey {
				continue
			}
			if sig := a.from.directKey(p); sig != nil && (old == nil || !sig.CreationTime.Before(old.CreationTime)) {
				old, raw = sig, p
			}
		}
		state = crypto.SHA512.New()
		state.Write(keyPrefix(a.key.Body))
	case frame.UserID:
		id := string(part.head.Body)
		old, raw = a.from.standing(id, part.sigs)
		state = certificationState(a.key.Body, id)
	}
	if old == nil {
		return nil
	}
	var end []byte
	if lifetime != 0 {
		end = appendSubpacket(nil, subKeyExpiry, binary.BigEndian.AppendUint32(nil, lifetime)...)
	}
	hashed, err := a.repeat(raw, end, subKeyExpiry)
	if err != nil {
		return err
	}
	return a.add(part, raw.SignatureType(), state, hashed)
}

// repeat gives the hashed area of a self-signature anew, with another time, what is
// added and without what is left out. Everything else that the key said of itself
// is taken over as it is.
func (a *amendment) repeat(raw frame.Packet, add []byte, leaveOut byte) ([]byte, error) {
	l, err := splitSignature(raw.Body)
	if err != nil {
		return nil, err
	}
	subs, err := parseSubpackets(l.hashed)
	if err != nil {
		return nil, err
	}
	b := append(appendIssuer(nil, a.at, fingerprint(a.key.Body)), add...)
	for _, s := range subs {
		switch s.kind {
		case leaveOut, subCreationTime, subIssuerFingerprint, subIssuerKeyID, subSignatureExpiry:
			continue
		}
		kind := s.kind
		if s.critical {
			kind |= 0x80
		}
		b = appendSubpacket(b, kind, s.body...)
	}
	return b, nil
}

func (a *amendment) addUserID(id string) error {
	if err := checkUserID(id); err != nil {
		return err
	}
	for _, part := range a.parts {
		if part.head.Tag == frame.UserID && string(part.head.Body) == id {
			return fmt.Errorf("user id: the certificate has %q already", id)
		}
	}
	newest, err := a.newest()
	if err != nil {
		return err
	}
	hashed, err := a.repeat(newest, nil, subPrimaryUserID)
	if err != nil {
		return err
	}
	part := component{head: frame.Make(frame.UserID, []byte(id))}
	if err := a.add(&part, typePositiveCert, certificationState(a.key.Body, id), hashed); err != nil {
		return err
	}
	at := 0 // behind the last user id: subkeys come after them (RFC 9580 section 10.1)
	for i, p := range a.parts {
		if p.head.Tag == frame.UserID || p.head.Tag == frame.PublicKey {
			at = i + 1
		}
	}
	a.parts = slices.Insert(a.parts, at, part)
	return nil
}

// newest finds the packet of the self-signature that decides about the key.
func (a *amendment) newest() (frame.Packet, error) {
	for _, part := range a.parts {
		for _, p := range part.sigs {
			if sig := a.from.ownSignature(p); sig != nil && bytes.Equal(sig.HashSuffix, a.from.self.HashSuffix) {
				return p, nil
			}
		}
	}
	return frame.Packet{}, errors.New("no self-signature") // parsing found one
}

// add makes a signature and puts it behind those that the part has.
func (a *amendment) add(part *component, kind byte, state hash.Hash, hashed []byte) error {
	whole, err := finishSignature(a.from.public, state, kind, crypto.SHA512, hashed, a.sign)
	if err != nil {
		return err
	}
	p, err := frame.Next(whole)
	if err != nil {
		return err
	}
	part.sigs = append(slices.Clip(part.sigs), p)
	return nil
}

// finish writes the certificate and reads it back.
func (a *amendment) finish() (*Certificate, error) { return writeComponents(a.from, a.key, a.parts) }

// writeComponents makes a certificate that must be of the same key as from, with
// every packet that it had.
func writeComponents(from *Certificate, key frame.Packet, parts []component) (*Certificate, error) {
	raw := bytes.Clone(key.Whole)
	for _, part := range parts {
		raw = append(raw, part.head.Whole...)
		for _, p := range part.sigs {
			raw = append(raw, p.Whole...)
		}
	}
	got, err := ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignatureCheck, err)
	}
	if got.Fingerprint() != from.Fingerprint() || !got.contains(from) {
		return nil, fmt.Errorf("%w: it lacks something that it had", ErrSignatureCheck)
	}
	return got, nil
}

// contains reports whether every packet of the other certificate is in this one.
func (c *Certificate) contains(o *Certificate) bool {
	have, err := frame.Split(c.raw, maxPackets)
	want, err2 := frame.Split(o.raw, maxPackets)
	if err != nil || err2 != nil {
		return false
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(p frame.Packet) bool { return p.Equal(w) }) {
			return false
		}
	}
	return true
}
