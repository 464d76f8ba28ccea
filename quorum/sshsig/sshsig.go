// Package sshsig verifies armoured SSH signatures (OpenSSH PROTOCOL.sshsig), as
// "ssh-keygen -Y sign" writes them, with the standard library alone: it is part of
// what the signer decides by. Hardware keys count, too (PROTOCOL.u2f).
//
// Guarantees: one armoured block with nothing around it, version 1, SHA-512 or
// SHA-256, no trailing bytes at any level; RSA signs with SHA-2 only; a security
// token must say that somebody touched it. Not guaranteed: a time, which an SSH
// signature does not have.
package sshsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	preamble = "SSHSIG"
	version  = 1

	begin = "-----BEGIN SSH SIGNATURE-----"
	end   = "-----END SSH SIGNATURE-----"
	width = 76 // columns of base64, section 1

	// MaxSize bounds an armoured signature, in bytes: RSA-8192 needs about 3 kB.
	MaxSize = 16 << 10
)

// userPresent is the flag by which a security token says that it was touched.
const userPresent = 0x01

// Signature is an armoured signature taken apart. Until it was verified it is
// only what somebody sent.
type Signature struct {
	Key       PublicKey
	Namespace string

	hash   string
	format string // signature algorithm
	value  []byte
	rest   []byte // what a security token adds: flags and counter
}

// errArmor is for everything that is not one armoured block.
var errArmor = errors.New("ssh signature: not one armoured block")

// Dearmor reads exactly one block and nothing around it. Lines may be of any
// length up to the 76 of the specification; ssh-keygen breaks at 70.
func Dearmor(data []byte) ([]byte, error) {
	body, ok := bytes.CutPrefix(data, []byte(begin+"\n"))
	body, ok2 := bytes.CutSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"+end))
	if !ok || !ok2 {
		return nil, errArmor
	}
	lines := bytes.Split(body, []byte("\n"))
	for _, line := range lines {
		if len(line) == 0 || len(line) > width || bytes.ContainsAny(line, "\r") {
			return nil, errArmor
		}
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(string(bytes.Join(lines, nil)))
	if err != nil {
		return nil, errArmor
	}
	return blob, nil
}

// Parse takes an armoured signature apart. It verifies nothing.
func Parse(armored []byte) (*Signature, error) {
	if len(armored) > MaxSize {
		return nil, fmt.Errorf("ssh signature: %d bytes, at most %d", len(armored), MaxSize)
	}
	blob, err := Dearmor(armored)
	if err != nil {
		return nil, err
	}
	s, err := parse(blob)
	if err != nil {
		return nil, fmt.Errorf("ssh signature: %w", err)
	}
	return s, nil
}

// parse reads the blob, section 2.
func parse(blob []byte) (*Signature, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(preamble))
	if !ok || len(rest) < 4 {
		return nil, errors.New("preamble: missing")
	}
	if v := binary.BigEndian.Uint32(rest); v != version {
		return nil, fmt.Errorf("version: %d, want %d", v, version)
	}
	r := reader{rest[4:]}
	key, namespace, reserved, hash, value := r.str(), r.str(), r.str(), r.str(), r.str()
	if !r.done() {
		return nil, errors.New("malformed")
	}
	// The specification would have readers ignore it; nobody writes it.
	if len(reserved) > 0 {
		return nil, errors.New("reserved: not empty")
	}
	if h := string(hash); h != "sha512" && h != "sha256" {
		return nil, fmt.Errorf("hash algorithm: %.40q, want sha512 or sha256", h)
	}
	s := &Signature{Namespace: string(namespace), hash: string(hash)}
	var err error
	if s.Key, err = parseKey(key); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	v := reader{value}
	s.format, s.value = string(v.str()), v.str()
	s.rest = v.rest
	if s.Key.isToken() != (len(s.rest) == 5) || !s.Key.isToken() && !v.done() {
		return nil, errors.New("signature: malformed")
	}
	return s, nil
}

// Verify checks that the key in the signature made it over the message, in that
// namespace. Whose key that is, and what it may do, is the caller's to ask.
func (s *Signature) Verify(namespace string, message []byte) error {
	if s.Namespace != namespace {
		return fmt.Errorf("ssh signature: namespace: %.80q, want %q", s.Namespace, namespace)
	}
	data := s.signedData(message)
	if s.Key.isToken() {
		if s.rest[0]&userPresent == 0 {
			return errors.New("ssh signature: the security token was not touched")
		}
		data = s.tokenData(data)
	}
	if !s.verifies(data) {
		return errors.New("ssh signature: does not verify")
	}
	return nil
}

// signedData is what the key signs, section 3.
func (s *Signature) signedData(message []byte) []byte {
	digest := sum(s.hash, message)
	b := appendString([]byte(preamble), []byte(s.Namespace))
	b = appendString(b, nil) // reserved
	b = appendString(b, []byte(s.hash))
	return appendString(b, digest)
}

func sum(hash string, message []byte) []byte {
	if hash == "sha256" {
		d := sha256.Sum256(message)
		return d[:]
	}
	d := sha512.Sum512(message)
	return d[:]
}

// tokenData is what a security token signs in place of the data (PROTOCOL.u2f,
// "SSH U2F Signatures").
func (s *Signature) tokenData(data []byte) []byte {
	app, msg := sha256.Sum256([]byte(s.Key.application)), sha256.Sum256(data)
	b := append(app[:], s.rest...)
	return append(b, msg[:]...)
}

func (s *Signature) verifies(data []byte) bool {
	switch k := s.Key.public.(type) {
	case ed25519.PublicKey:
		return s.format == s.Key.algorithm && len(s.value) == ed25519.SignatureSize && ed25519.Verify(k, data, s.value)
	case *ecdsa.PublicKey:
		return s.format == s.Key.algorithm && s.verifiesECDSA(k, data)
	case *rsa.PublicKey:
		h, ok := map[string]crypto.Hash{"rsa-sha2-512": crypto.SHA512, "rsa-sha2-256": crypto.SHA256}[s.format]
		return ok && len(s.value) == k.Size() && rsa.VerifyPKCS1v15(k, h, digest(h, data), s.value) == nil
	}
	return false
}

// verifiesECDSA is for two integers in a string of their own (RFC 5656 section
// 3.1.2).
func (s *Signature) verifiesECDSA(k *ecdsa.PublicKey, data []byte) bool {
	r := reader{s.value}
	a, b := r.integer(), r.integer()
	h := crypto.SHA256
	if s.Key.algorithm == algP384 {
		h = crypto.SHA384
	}
	return r.done() && ecdsa.Verify(k, digest(h, data), a, b)
}

func digest(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

func appendString(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
