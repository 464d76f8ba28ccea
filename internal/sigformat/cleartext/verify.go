package cleartext

import (
	"bytes"
	"crypto"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/text"
)

// Verify checks a message by the key of c and returns its text, which is what was
// signed and nothing else, with LF line endings.
func Verify(c *pgpsig.Certificate, msg []byte) ([]byte, *pgpsig.Signature, error) {
	doc, canonical, armored, err := read(msg)
	if err != nil {
		return nil, nil, fmt.Errorf("cleartext message: %w", err)
	}
	h := sha512.New()
	h.Write(canonical)
	s, err := pgpsig.VerifyText(c, h, armored)
	if err != nil {
		return nil, nil, fmt.Errorf("cleartext message: %w", err)
	}
	if s.Hash != crypto.SHA512 {
		return nil, nil, fmt.Errorf("cleartext message: hash algorithm: %s, the header says SHA512", s.Hash)
	}
	return doc, s, nil
}

// Split takes a message apart into its text and its armoured signature, which it
// does not verify.
func Split(msg []byte) (doc, armored []byte, err error) {
	doc, _, armored, err = read(msg)
	if err != nil {
		return nil, nil, fmt.Errorf("cleartext message: %w", err)
	}
	return doc, armored, nil
}

func read(msg []byte) (doc, canonical, armored []byte, err error) {
	if doc, armored, err = split(msg); err != nil {
		return nil, nil, nil, err
	}
	canonical, err = checkText(doc, msg)
	return doc, canonical, armored, err
}

// split takes a message apart into its text and its armoured signature.
func split(msg []byte) (doc, armored []byte, err error) {
	rest, ok := bytes.CutPrefix(msg, []byte(begin))
	if !ok {
		return nil, nil, fmt.Errorf("%w: the first line is not BEGIN PGP SIGNED MESSAGE", errFrame)
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(header+"\n")); !ok {
		return nil, nil, fmt.Errorf("%w: the only header is not Hash: SHA512", errFrame)
	}
	for n := 1; ; n++ {
		if bytes.HasPrefix(rest, []byte(signature)) {
			return doc, rest, nil
		}
		line, next, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			return nil, nil, fmt.Errorf("%w: there is no signature", errFrame)
		}
		if line, err = unescape(line); err != nil {
			return nil, nil, fmt.Errorf("%w: line %d of the text: %w", errFrame, n, err)
		}
		doc = append(append(doc, line...), '\n')
		rest = next
	}
}

// unescape takes the dash escape off a line. Escaping lines that need it only
// leaves one form of a message.
func unescape(line []byte) ([]byte, error) {
	if !bytes.HasPrefix(line, []byte("-")) {
		return line, nil
	}
	if !bytes.HasPrefix(line, []byte("- -")) {
		return nil, errors.New("begins with a dash that is not escaped, or with an escape that is not needed")
	}
	return line[2:], nil
}

// checkText returns the canonical form of the text, if the text is in it already
// up to its line endings, and if go-crypto reads the same out of the message.
func checkText(doc, msg []byte) ([]byte, error) {
	canonical, err := text.Canonical(doc)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(append(bytes.ReplaceAll(canonical, []byte("\r\n"), []byte("\n")), '\n'), doc) {
		return nil, fmt.Errorf("%w: white space at the end of a line", errFrame)
	}
	block, rest := clearsign.Decode(msg)
	if block == nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: go-crypto cannot read it", errFrame)
	}
	if !bytes.Equal(block.Bytes, canonical) {
		return nil, fmt.Errorf("%w: go-crypto reads another text", errFrame)
	}
	return canonical, nil
}
