package pgpsig

import (
	"crypto"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// typeText is a signature of a canonical text document, RFC 9580 section 5.2.1.2.
const typeText = 0x01

// SignText is SignDetached for a text: state has to be that of the canonical text,
// lines without trailing white space joined by CR LF when it is for the cleartext
// framework (RFC 9580 sections 5.2.1.2 and 7). The result is of type 0x01, so it
// can not pass for a signature of a file, nor the other way round.
func SignText(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
	sig, err := signText(c, state, h, created, notations, sign)
	if err != nil {
		return nil, fmt.Errorf("sign text: %w", err)
	}
	if _, err := VerifyText(c, state, sig); err != nil {
		return nil, fmt.Errorf("sign text: %w: %w", ErrSignatureCheck, err)
	}
	return sig, nil
}

func signText(c *Certificate, state hash.Hash, h crypto.Hash, created time.Time, notations []Notation, sign SignFunc) ([]byte, error) {
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
	return finishSignature(c.public, clone, typeText, h, hashed, sign)
}

// VerifyText is VerifyDetached for a signature of type 0x01 and the state of the
// canonical text.
func VerifyText(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	s, err := verifyText(c, state, sig)
	if err != nil {
		return nil, fmt.Errorf("verify text signature: %w", err)
	}
	return s, nil
}

func verifyText(c *Certificate, state hash.Hash, sig []byte) (*Signature, error) {
	p, l, err := parseText(sig)
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
	return s, checkTextCrypto(c, state, s, p, l)
}

func parseText(sig []byte) (rawPacket, layout, error) {
	if len(sig) > maxSignature {
		return rawPacket{}, layout{}, fmt.Errorf("%d bytes, at most %d", len(sig), maxSignature)
	}
	raw, err := dearmor(armorSignature, sig)
	if err != nil {
		return rawPacket{}, layout{}, err
	}
	packets, err := splitPackets(raw)
	if err != nil {
		return rawPacket{}, layout{}, err
	}
	if len(packets) != 1 || packets[0].tag != tagSignature {
		return rawPacket{}, layout{}, fmt.Errorf("want exactly one signature packet, got %d packets", len(packets))
	}
	l, err := splitSignature(packets[0].body)
	if err != nil {
		return rawPacket{}, layout{}, err
	}
	if kind := packets[0].body[1]; kind != typeText {
		return rawPacket{}, layout{}, fmt.Errorf("signature type: 0x%02x, want 0x01 (canonical text)", kind)
	}
	return packets[0], l, nil
}

// checkTextCrypto is checkCrypto for type 0x01.
func checkTextCrypto(c *Certificate, state hash.Hash, s *Signature, p rawPacket, l layout) error {
	parsed, err := readPacket(p)
	if err != nil {
		return err
	}
	sig := parsed.(*packet.Signature)
	if sig.PubKeyAlgo != c.key.PubKeyAlgo {
		return fmt.Errorf("public key algorithm: %d, the key's is %d", sig.PubKeyAlgo, c.key.PubKeyAlgo)
	}
	if sig.Hash != s.Hash || !sig.CreationTime.Equal(s.Created) || sig.SigType != packet.SigTypeText || sig.Version != version4 {
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
		return errors.New("signature is not over this text")
	}
	full, _, err := cloneState(state)
	if err != nil {
		return err
	}
	return c.key.VerifySignature(full, sig)
}
