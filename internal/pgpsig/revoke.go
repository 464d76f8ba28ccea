package pgpsig

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"quorate/quorum/evidence/openpgp/frame"
)

// Reason is why a key is revoked (RFC 9580 section 5.2.3.31).
type Reason byte

// The reasons that a key can have.
const (
	ReasonNone        Reason = 0
	ReasonSuperseded  Reason = 1 // earlier signatures stay valid
	ReasonCompromised Reason = 2
	ReasonRetired     Reason = 3 // earlier signatures stay valid
)

// maxReasonText bounds the words beside the reason: gpg shows them in one line.
const maxReasonText = 255

// MakeRevocation returns a revocation of the key as one binary signature packet,
// which was verified. It changes nothing by itself: whoever merges it into the
// certificate ends the key.
func MakeRevocation(c *Certificate, reason Reason, text string, at time.Time, sign SignFunc) ([]byte, error) {
	at = at.Truncate(time.Second)
	rev, err := makeRevocation(c, reason, text, at, sign)
	if err != nil {
		return nil, fmt.Errorf("make revocation: %w", err)
	}
	if _, err := MergeRevocation(c, rev); err != nil {
		return nil, fmt.Errorf("make revocation: %w: %w", ErrSignatureCheck, err)
	}
	return rev, nil
}

// CheckRevocation finds what [MakeRevocation] would refuse whatever the key is.
func CheckRevocation(reason Reason, text string) error {
	if reason > ReasonRetired {
		return fmt.Errorf("reason: %d is not known", reason)
	}
	if len(text) > maxReasonText {
		return fmt.Errorf("text: %d bytes, at most %d", len(text), maxReasonText)
	}
	return checkText("text", text)
}

func makeRevocation(c *Certificate, reason Reason, text string, at time.Time, sign SignFunc) ([]byte, error) {
	if err := errors.Join(CheckRevocation(reason, text), checkTime("time of the signature", at)); err != nil {
		return nil, err
	}
	if at.Before(c.Created()) {
		return nil, fmt.Errorf("time of the signature: %s is before the key was created (%s)", stamp(at), stamp(c.Created()))
	}
	body, err := keyBody(c.public, c.Created())
	if err != nil {
		return nil, err
	}
	hashed := appendIssuer(nil, at, c.key.Fingerprint)
	hashed = appendSubpacket(hashed, subRevocationReason, append([]byte{byte(reason)}, text...)...)
	state := crypto.SHA512.New()
	state.Write(keyPrefix(body))
	return finishSignature(c.public, state, typeKeyRevocation, crypto.SHA512, hashed, sign)
}

// ArmorRevocation returns the ASCII armour of a revocation as gpg --import and
// others take it: as the part of a public key that it is.
func ArmorRevocation(rev []byte) []byte { return encodeArmor(armorPublicKey, rev) }

// errNoRevocation says that a file is not a bare key revocation.
var errNoRevocation = errors.New("it is not one key revocation")

// ParseRevocation reads one key revocation, binary or armoured, as [MakeRevocation]
// and gpg make it: gpg writes words above the armour, and a colon before it that
// somebody has to remove first. ok is false if the file is something else. Whether the
// revocation is good only its key can tell, see [MergeRevocation].
func ParseRevocation(data []byte) (rev []byte, ok bool, err error) {
	begin := "-----BEGIN " + armorPublicKey + "-----"
	if i := bytes.Index(data, []byte("\n"+begin)); i >= 0 && len(data) <= MaxCertificate {
		data = data[i+1:]
	} else if bytes.Contains(data, []byte("\n:"+begin)) {
		return nil, true, errors.New("parse revocation: the colon before -----BEGIN keeps it from being used by accident (hint: remove the colon to revoke the key)")
	}
	if len(data) > MaxCertificate {
		return nil, false, nil
	}
	rev, err = dearmor(armorPublicKey, data)
	if err != nil || checkRevocation(rev) != nil {
		return nil, false, nil
	}
	return rev, true, nil
}

// checkRevocation wants exactly one packet.
func checkRevocation(rev []byte) error {
	packets, err := frame.Split(rev, maxPackets)
	if err != nil {
		return err
	}
	if len(packets) != 1 || packets[0].Tag != frame.Signature || packets[0].SignatureType() != typeKeyRevocation {
		return errNoRevocation
	}
	return nil
}

// MergeRevocation returns the certificate with a revocation in it, and all
// packets of c. The revocation is verified.
func MergeRevocation(c *Certificate, rev []byte) (*Certificate, error) {
	got, err := mergeRevocation(c, rev)
	if err != nil {
		return nil, fmt.Errorf("merge revocation: %w", err)
	}
	return got, nil
}

func mergeRevocation(c *Certificate, rev []byte) (*Certificate, error) {
	if err := checkRevocation(rev); err != nil {
		return nil, err
	}
	packets, err := frame.Split(rev, maxPackets)
	if err != nil {
		return nil, err
	}
	return merge(c, nil, packets)
}

// Merge returns c with what another copy of the same certificate has besides:
// user ids, subkeys and signatures, those of others included. Nothing of c is
// lost, so a revocation that either copy has stays.
func Merge(c, other *Certificate) (*Certificate, error) {
	if c.Fingerprint() != other.Fingerprint() {
		return nil, fmt.Errorf("merge certificates: %s and %s are two", c.Fingerprint(), other.Fingerprint())
	}
	packets, err := frame.Split(other.raw, maxPackets)
	if err != nil {
		return nil, fmt.Errorf("merge certificates: %w", err)
	}
	got, err := merge(c, splitComponents(packets[1:]), nil)
	if err == nil && !got.contains(other) {
		err = fmt.Errorf("%w: it lacks something that the other had", ErrSignatureCheck)
	}
	if err != nil {
		return nil, fmt.Errorf("merge certificates: %w", err)
	}
	return got, nil
}

// merge adds parts, and signatures on the key.
func merge(c *Certificate, more []component, onKey []frame.Packet) (*Certificate, error) {
	packets, err := frame.Split(c.raw, maxPackets)
	if err != nil {
		return nil, err
	}
	parts := splitComponents(packets[1:])
	more = append(more, component{head: frame.Packet{Tag: frame.PublicKey}, sigs: onKey})
	for _, m := range more {
		i := slices.IndexFunc(parts, func(p component) bool { return p.head.Equal(m.head) })
		switch {
		case i >= 0:
			parts[i].sigs = addMissing(parts[i].sigs, m.sigs)
		case m.head.Tag == frame.PublicKey:
			parts = slices.Insert(parts, 0, m)
		default:
			parts = append(parts, m)
		}
	}
	// Subkeys come last (RFC 9580 section 10.1.1).
	slices.SortStableFunc(parts, func(a, b component) int { return place(a) - place(b) })
	return writeComponents(c, packets[0], parts)
}

func place(p component) int {
	switch p.head.Tag {
	case frame.PublicKey:
		return 0
	case frame.PublicSubkey:
		return 2
	}
	return 1
}

func addMissing(have, more []frame.Packet) []frame.Packet {
	have = slices.Clip(have)
	for _, p := range more {
		if !slices.ContainsFunc(have, p.Equal) {
			have = append(have, p)
		}
	}
	return have
}
