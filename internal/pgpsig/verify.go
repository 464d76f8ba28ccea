package pgpsig

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp/frame"
)

// maxSignature bounds what is read as a signature: a hashed area is at most
// 64 KiB, and armour adds a third.
const maxSignature = 128 << 10

// Signature is what a verified detached signature says.
type Signature struct {
	Fingerprint string    // of the key that made it, as Certificate.Fingerprint
	Created     time.Time // claimed by the signer, in UTC
	Hash        crypto.Hash
	Notations   []Notation // human-readable ones, in order
}

// layout is a v4 signature packet cut into its fields (RFC 9580 section 5.2.3).
type layout struct {
	hashID           byte
	hashed, unhashed []byte
	mpis             []byte
}

// splitSignature cuts the body of a v4 signature packet.
func splitSignature(body []byte) (layout, error) {
	if len(body) < 6 {
		return layout{}, frame.ErrTruncated
	}
	if body[0] != version4 {
		return layout{}, fmt.Errorf("version %d is not supported, want 4", body[0])
	}
	l := layout{hashID: body[3]}
	rest := body[4:]
	for _, area := range []*[]byte{&l.hashed, &l.unhashed} {
		if len(rest) < 2 {
			return layout{}, frame.ErrTruncated
		}
		n := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; len(rest) < n {
			return layout{}, frame.ErrTruncated
		}
		*area, rest = rest[:n], rest[n:]
	}
	if len(rest) < 2 {
		return layout{}, frame.ErrTruncated
	}
	l.mpis = rest[2:]
	return l, nil
}

// VerifyDetached checks a binary or armoured detached signature over the
// document whose hash state is given, and leaves the state as it was. The
// signature must be the only packet, of version 4 and type binary, by the
// certificate's primary key (named by its fingerprint in the hashed area), at
// a time when that key existed and was neither expired nor revoked, with the
// hash algorithm of state, and carry no critical subpacket or notation that
// nobody here enforces. A signature that itself expires is refused: there is
// no clock here to judge it by.
func VerifyDetached(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	return binaryKind.verify(c, state, sig)
}

// VerifyText is VerifyDetached for a signature of type 0x01 and the state of the
// canonical text.
func VerifyText(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	return textKind.verify(c, state, sig)
}

func (k kind) verify(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	s, err := k.read(c, state, sig)
	if err != nil {
		return nil, fmt.Errorf("verify %s signature: %w", k.sign, err)
	}
	return s, nil
}

func (k kind) read(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	p, l, err := k.parse(sig)
	if err != nil {
		return nil, err
	}
	s, err := readHashed(l.hashed, c.key.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("hashed area: %w", err)
	}
	if err := checkUnhashed(l.unhashed); err != nil {
		return nil, fmt.Errorf("unhashed area: %w", err)
	}
	if s.Hash, err = hashByID(l.hashID); err != nil {
		return nil, err
	}
	s.Fingerprint = c.Fingerprint()
	if err := errors.Join(checkHash(c.public, s.Hash), c.UsableAt(s.Created)); err != nil {
		return nil, err
	}
	return s, k.checkCrypto(c, state, s, p, l)
}

// parse finds the one signature packet, which has to be of the kind, and its layout.
func (k kind) parse(sig []byte) (frame.Packet, layout, error) {
	if len(sig) > maxSignature {
		return frame.Packet{}, layout{}, fmt.Errorf("%d bytes, at most %d", len(sig), maxSignature)
	}
	raw, err := dearmor(armorSignature, sig)
	if err != nil {
		return frame.Packet{}, layout{}, err
	}
	packets, err := frame.Split(raw, maxPackets)
	if err != nil {
		return frame.Packet{}, layout{}, err
	}
	if len(packets) != 1 || packets[0].Tag != frame.Signature {
		return frame.Packet{}, layout{}, fmt.Errorf("want exactly one signature packet, got %d packets", len(packets))
	}
	l, err := splitSignature(packets[0].Body)
	if err != nil {
		return frame.Packet{}, layout{}, err
	}
	if id := packets[0].Body[1]; id != k.id {
		return frame.Packet{}, layout{}, fmt.Errorf("signature type: 0x%02x, want 0x%02x (%s)", id, k.id, k.name)
	}
	return packets[0], l, nil
}

// HashOf returns the hash algorithm that a detached signature was made with,
// so that the caller knows what to hash the file by. It verifies nothing.
func HashOf(sig []byte) (crypto.Hash, error) {
	_, l, err := binaryKind.parse(sig)
	if err != nil {
		return 0, fmt.Errorf("read detached signature: %w", err)
	}
	return hashByID(l.hashID)
}

func hashByID(id byte) (crypto.Hash, error) {
	for h, known := range hashIDs {
		if known == id {
			return h, nil
		}
	}
	return 0, fmt.Errorf("hash algorithm: id %d is not accepted, want SHA-256, SHA-384 or SHA-512", id)
}

// readHashed reads the fields the signer stands for. Fields that decide must
// occur once: readers disagree about which of two counts.
func readHashed(area, fingerprint []byte) (*Signature, error) {
	subs, err := parseSubpackets(area)
	if err != nil {
		return nil, err
	}
	s := &Signature{}
	seen := map[byte]bool{}
	for _, sub := range subs {
		once := sub.kind == subCreationTime || sub.kind == subIssuerFingerprint || sub.kind == subIssuerKeyID
		if once && seen[sub.kind] {
			return nil, fmt.Errorf("subpacket %d occurs twice", sub.kind)
		}
		seen[sub.kind] = true
		if err := s.readSubpacket(sub, fingerprint); err != nil {
			return nil, err
		}
	}
	if !seen[subCreationTime] {
		return nil, errors.New("creation time: missing")
	}
	if !seen[subIssuerFingerprint] {
		return nil, errors.New("issuer fingerprint: missing")
	}
	return s, nil
}

func (s *Signature) readSubpacket(sub subpacket, fingerprint []byte) error {
	switch sub.kind {
	case subCreationTime:
		if len(sub.body) != 4 {
			return fmt.Errorf("creation time: %d bytes", len(sub.body))
		}
		s.Created = time.Unix(int64(binary.BigEndian.Uint32(sub.body)), 0).UTC()
	case subIssuerFingerprint:
		if len(sub.body) == 0 || sub.body[0] != version4 {
			return errors.New("issuer fingerprint: not of a version 4 key")
		}
		if by := sub.body[1:]; !bytes.Equal(by, fingerprint) {
			return fmt.Errorf("issuer fingerprint: signature is by %X, want %X", by, fingerprint)
		}
	case subIssuerKeyID:
		if !bytes.Equal(sub.body, fingerprint[12:]) {
			return fmt.Errorf("issuer key id: signature is by %X, want %X", sub.body, fingerprint[12:])
		}
	case subSignatureExpiry:
		return errors.New("signature expiration: not supported")
	case subNotation:
		return s.readNotation(sub)
	default:
		return checkCritical(sub)
	}
	return nil
}

// readNotation refuses a critical notation: nobody here enforces its meaning
// (RFC 9580 section 5.2.3.24).
func (s *Signature) readNotation(sub subpacket) error {
	n, text, err := parseNotation(sub.body)
	if err != nil {
		return fmt.Errorf("notation: %w", err)
	}
	if sub.critical {
		return fmt.Errorf("notation %q: critical, and not known here", n.Name)
	}
	if text {
		s.Notations = append(s.Notations, n)
	}
	return nil
}

// checkCritical refuses every critical subpacket that is not handled by
// readSubpacket, except the signer's user id, which only helps to find the key.
func checkCritical(sub subpacket) error {
	if sub.critical && sub.kind != subSignerUserID {
		return fmt.Errorf("critical subpacket %d: not known here", sub.kind)
	}
	return nil
}

// checkUnhashed reads the area that anybody may have written, for two reasons
// only: it must be well formed, and a critical subpacket counts there too.
func checkUnhashed(area []byte) error {
	subs, err := parseSubpackets(area)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if sub.kind != subIssuerKeyID && sub.kind != subIssuerFingerprint {
			if err := checkCritical(sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkCrypto verifies by go-crypto over two clones of the state, and makes
// sure that both parsers read the same signature.
func (k kind) checkCrypto(c *Certificate, state hash.Hash, s *Signature, p frame.Packet, l layout) error {
	parsed, err := p.Parse()
	if err != nil {
		return err
	}
	sig := parsed.(*packet.Signature)
	if sig.PubKeyAlgo != c.key.PubKeyAlgo {
		return fmt.Errorf("public key algorithm: %d, the key's is %d", sig.PubKeyAlgo, c.key.PubKeyAlgo)
	}
	if sig.Hash != s.Hash || !sig.CreationTime.Equal(s.Created) || byte(sig.SigType) != k.id || sig.Version != version4 {
		return errors.New("signature reads differently in two parsers")
	}
	if err := checkMPIs(l.mpis, mpiCount(sig.PubKeyAlgo)); err != nil {
		return err
	}
	quick, got, err := cloneState(state)
	if err != nil {
		return err
	}
	if got != s.Hash {
		return fmt.Errorf("hash algorithm: signature uses %s, the state is %s", s.Hash, got)
	}
	if err := packet.VerifyHashTag(quick, sig); err != nil {
		return fmt.Errorf("signature is not over this %s", k.over)
	}
	full, _, err := cloneState(state)
	if err != nil {
		return err
	}
	return c.key.VerifySignature(full, sig)
}
