// Package cleartext makes and reads OpenPGP cleartext messages (RFC 9580 section
// 7): a text that stays readable, and under it a signature of type 0x01. It is the
// form of apt's InRelease.
//
// The signature can be made from the text, if that is at most 1 MiB, or from the
// SHA-512 state of its canonical form that builders voted on; then whoever has the
// text puts the message together with [Frame].
//
// Guarantees: those of package pgpsig. Every character of a message that this
// package writes or accepts is covered by the signature or fixed: the text is
// written without the trailing white space that the signature would not cover, and
// reading refuses such white space, text around the message, other headers than
// the one Hash, and a second signature. The message is read by two parsers, one of
// them go-crypto's, that must agree about the text.
//
// Not guaranteed: that the text is the file. See package text for what the state
// leaves out; the text of a message always ends in a newline.
package cleartext

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/text"
	"quorate/quorum/hashstate"
)

// MaxText is the length of the longest text, in bytes, that is signed by itself
// and not by its state.
const MaxText = 1 << 20

const (
	begin     = "-----BEGIN PGP SIGNED MESSAGE-----\n"
	header    = "Hash: SHA512\n"
	signature = "-----BEGIN PGP SIGNATURE-----"
)

// CanonicalState returns what builders vote on for a text: the SHA-512 state of
// its canonical form. What has none is text.ErrNotText.
func CanonicalState(r io.Reader) (hashstate.State, error) { return text.State(r) }

// SignState makes a binary signature of type 0x01 from the state of a canonical
// text, with the OpenPGP key of c. The state must be one that the votes agreed on.
func SignState(c *pgpsig.Certificate, st hashstate.State, created time.Time, notations []pgpsig.Notation, sign pgpsig.SignFunc) ([]byte, error) {
	if st.Algorithm != hashstate.SHA512 {
		return nil, fmt.Errorf("sign cleartext: state is %s, want %s", st.Algorithm, hashstate.SHA512)
	}
	h, err := st.Resume()
	if err != nil {
		return nil, fmt.Errorf("sign cleartext: %w", err)
	}
	return pgpsig.SignText(c, h, crypto.SHA512, created, notations, sign)
}

// VerifyState checks a signature made by [SignState], binary or armoured.
func VerifyState(c *pgpsig.Certificate, st hashstate.State, sig []byte) (*pgpsig.Signature, error) {
	if st.Algorithm != hashstate.SHA512 {
		return nil, fmt.Errorf("verify cleartext: state is %s, want %s", st.Algorithm, hashstate.SHA512)
	}
	h, err := st.Resume()
	if err != nil {
		return nil, fmt.Errorf("verify cleartext: %w", err)
	}
	return pgpsig.VerifyText(c, h, sig)
}

// Sign makes the whole message from a text of at most [MaxText] bytes, whose digest
// the caller has compared with the one that was voted on.
func Sign(c *pgpsig.Certificate, doc []byte, created time.Time, notations []pgpsig.Notation, sign pgpsig.SignFunc) ([]byte, error) {
	if len(doc) > MaxText {
		return nil, fmt.Errorf("sign cleartext: text has %d bytes, at most %d; have the builders vote on its state", len(doc), MaxText)
	}
	st, err := CanonicalState(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("sign cleartext: %w", err)
	}
	sig, err := SignState(c, st, created, notations, sign)
	if err != nil {
		return nil, err
	}
	msg, err := Frame(c, doc, sig)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pgpsig.ErrSignatureCheck, err)
	}
	return msg, nil
}

// Frame puts a text and a signature of [SignState] together, and verifies the
// message. A signature of another text is refused.
func Frame(c *pgpsig.Certificate, doc, sig []byte) ([]byte, error) {
	raw, err := pgpsig.Dearmor(sig)
	if err != nil {
		return nil, fmt.Errorf("frame cleartext: %w", err)
	}
	canonical, err := text.Canonical(doc)
	if err != nil {
		return nil, fmt.Errorf("frame cleartext: %w", err)
	}
	var b bytes.Buffer
	b.WriteString(begin + header + "\n")
	for line := range bytes.SplitSeq(canonical, []byte("\r\n")) {
		if bytes.HasPrefix(line, []byte("-")) {
			b.WriteString("- ") // section 7.2
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	b.Write(pgpsig.Armor(raw))
	if _, _, err := Verify(c, b.Bytes()); err != nil {
		return nil, fmt.Errorf("frame cleartext: %w", err)
	}
	return b.Bytes(), nil
}

// errFrame is for everything that is not one message as this package writes it.
var errFrame = errors.New("not one cleartext message in canonical form")
