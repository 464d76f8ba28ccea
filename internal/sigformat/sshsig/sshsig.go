// Package sshsig makes and checks SSH signatures from the digest of a file (OpenSSH
// PROTOCOL.sshsig), as "ssh-keygen -Y sign" writes them: armoured over SHA-512, and
// for many files at once without the armour over SHA-256.
//
// What is signed is a small structure around the digest and a namespace
// (section 3). The keys sign as rsa-sha2-512 (RFC 8332), ecdsa-sha2-nistp256 and
// ecdsa-sha2-nistp384 (RFC 5656) and ssh-ed25519 (RFC 8709).
//
// Guarantees: those of package sigformat; the writer is our own and the reader is
// golang.org/x/crypto/ssh. Reading is strict: one armoured block with nothing
// around it, version 1, the one hash, the namespace that the caller names, no trailing
// bytes at any level, and only the four algorithms above.
//
// Not guaranteed: a time. An SSH signature has none, and no expiry; only the file
// allowed_signers can limit a key in time.
package sshsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"

	"quorate/internal/sigformat"
)

const (
	preamble               = "SSHSIG"
	version                = 1
	nameSHA256, nameSHA512 = "sha256", "sha512"

	begin = "-----BEGIN SSH SIGNATURE-----"
	end   = "-----END SSH SIGNATURE-----"
	width = 76 // columns of base64, section 1

	maxNamespace = 128
)

// Digest is the SHA-512 of a file.
type Digest = [64]byte

// Sign returns an armoured signature over the file with that digest. Whoever
// verifies it has to name the same namespace; ssh-keygen and git use "file" and
// "git".
func Sign(k *sigformat.Key, namespace string, digest Digest) ([]byte, error) {
	blob, err := sign(k, namespace, nameSHA512, digest[:])
	if err != nil {
		return nil, fmt.Errorf("ssh signature: %w", err)
	}
	sig := armor(blob)
	if err := Verify(k.Public(), namespace, digest, sig); err != nil {
		return nil, fmt.Errorf("%w: %w", sigformat.ErrSignatureCheck, err)
	}
	return sig, nil
}

// SignBlob returns a signature over the file with that SHA-256, without the armour:
// its base64 is what stands between the lines of the armour.
func SignBlob(k *sigformat.Key, namespace string, digest [32]byte) ([]byte, error) {
	blob, err := MakeBlob(k, namespace, digest)
	if err != nil {
		return nil, err
	}
	if err := VerifyBlob(k.Public(), namespace, digest, blob); err != nil {
		return nil, fmt.Errorf("%w: %w", sigformat.ErrSignatureCheck, err)
	}
	return blob, nil
}

// MakeBlob is SignBlob without the check of the finished signature. It is for callers
// who verify what they are about to release.
func MakeBlob(k *sigformat.Key, namespace string, digest [32]byte) ([]byte, error) {
	blob, err := sign(k, namespace, nameSHA256, digest[:])
	if err != nil {
		return nil, fmt.Errorf("ssh signature: %w", err)
	}
	return blob, nil
}

func sign(k *sigformat.Key, namespace, hashName string, digest []byte) ([]byte, error) {
	if err := CheckNamespace(namespace); err != nil {
		return nil, err
	}
	a, err := algorithmOf(k.Public())
	if err != nil {
		return nil, err
	}
	raw, err := k.SignMessage(nil, signedData(namespace, hashName, digest), a.hash)
	if err != nil {
		return nil, err
	}
	value, err := a.value(raw)
	if err != nil {
		return nil, err
	}
	blob := binary.BigEndian.AppendUint32([]byte(preamble), version)
	blob = appendString(blob, a.publicKey(k.Public()))
	blob = appendString(blob, []byte(namespace))
	blob = appendString(blob, nil) // reserved
	blob = appendString(blob, []byte(hashName))
	blob = appendString(blob, appendString(appendString(nil, []byte(a.signature)), value))
	return blob, nil
}

// CheckNamespace refuses what could not be written into allowed_signers: there a
// namespace stands in quotes, in a list with commas, and is a pattern.
func CheckNamespace(s string) error {
	if s == "" || len(s) > maxNamespace {
		return fmt.Errorf("namespace: %d bytes, want 1 to %d", len(s), maxNamespace)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || bytes.IndexByte([]byte(`",*?!\`), c) >= 0 {
			return fmt.Errorf("namespace: character %q is not allowed", rune(c))
		}
	}
	return nil
}

// signedData is what the key signs, section 3.
func signedData(namespace, hashName string, digest []byte) []byte {
	b := appendString([]byte(preamble), []byte(namespace))
	b = appendString(b, nil) // reserved
	b = appendString(b, []byte(hashName))
	return appendString(b, digest)
}

// algorithm is how one kind of key is written and signs.
type algorithm struct {
	key       string // name of the key format
	signature string // name of the signature algorithm
	curve     string // RFC 5656 section 6.1
	hash      crypto.Hash
}

func algorithmOf(pub crypto.PublicKey) (algorithm, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return algorithm{"ssh-rsa", "rsa-sha2-512", "", crypto.SHA512}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return algorithm{"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", "nistp256", crypto.SHA256}, nil
		case elliptic.P384():
			return algorithm{"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", "nistp384", crypto.SHA384}, nil
		}
	case ed25519.PublicKey:
		return algorithm{"ssh-ed25519", "ssh-ed25519", "", 0}, nil
	}
	return algorithm{}, fmt.Errorf("key %T is not RSA, P-256, P-384 or Ed25519", pub)
}

// publicKey writes the key of this algorithm (RFC 4253 section 6.6, RFC 5656
// section 3.1, RFC 8709 section 4).
func (a algorithm) publicKey(pub crypto.PublicKey) []byte {
	b := appendString(nil, []byte(a.key))
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return appendInt(appendInt(b, big.NewInt(int64(k.E))), k.N)
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			point = nil // not on the curve: no reader takes it either
		}
		return appendString(appendString(b, []byte(a.curve)), point)
	default:
		return appendString(b, pub.(ed25519.PublicKey))
	}
}

// value turns a signature into its form on the wire (RFC 8332 section 3, RFC 5656
// section 3.1.2, RFC 8709 section 6).
func (a algorithm) value(sig []byte) ([]byte, error) {
	if a.curve == "" {
		return sig, nil
	}
	r, s, err := sigformat.SplitECDSA(sig)
	if err != nil {
		return nil, err
	}
	return appendInt(appendInt(nil, r), s), nil
}

func appendString(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendInt writes a positive mpint (RFC 4251 section 5).
func appendInt(b []byte, n *big.Int) []byte {
	v := n.Bytes()
	if len(v) > 0 && v[0]&0x80 != 0 {
		v = append([]byte{0}, v...)
	}
	return appendString(b, v)
}

func armor(blob []byte) []byte {
	text := base64.StdEncoding.EncodeToString(blob)
	var b bytes.Buffer
	b.WriteString(begin + "\n")
	for len(text) > width {
		b.WriteString(text[:width] + "\n")
		text = text[width:]
	}
	b.WriteString(text + "\n" + end + "\n")
	return b.Bytes()
}
