package sshsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Names of key formats.
const (
	algEd25519   = "ssh-ed25519"                        // RFC 8709
	algP256      = "ecdsa-sha2-nistp256"                // RFC 5656
	algP384      = "ecdsa-sha2-nistp384"                // RFC 5656
	algRSA       = "ssh-rsa"                            // RFC 4253; signs as rsa-sha2-512 or rsa-sha2-256, RFC 8332
	algSKEd25519 = "sk-ssh-ed25519@openssh.com"         // OpenSSH PROTOCOL.u2f
	algSKP256    = "sk-ecdsa-sha2-nistp256@openssh.com" // OpenSSH PROTOCOL.u2f
)

// Sizes of RSA keys that are taken, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

// PublicKey is a key as SSH writes it. Two keys are equal if their text is.
type PublicKey struct {
	blob        []byte
	algorithm   string
	public      crypto.PublicKey // ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey
	application string           // of a key in a security token
}

// ParseAuthorizedKey reads one line in the form of ssh-keygen's .pub files:
// "ssh-ed25519 AAAA... comment". Options before the key, as authorized_keys may
// have them, are refused: they would restrict nothing here.
func ParseAuthorizedKey(line string) (PublicKey, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 || strings.ContainsAny(line, "\r\n") {
		return PublicKey{}, errors.New("ssh public key: want one line such as \"ssh-ed25519 AAAA... comment\"")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return PublicKey{}, errors.New("ssh public key: the second word is not base64")
	}
	k, err := parseKey(blob)
	if err != nil {
		return PublicKey{}, fmt.Errorf("ssh public key: %w", err)
	}
	if k.algorithm != fields[0] {
		return PublicKey{}, fmt.Errorf("ssh public key: it says %.40q and is %q", fields[0], k.algorithm)
	}
	return k, nil
}

// String returns the key without a comment: one key has one text.
func (k PublicKey) String() string {
	return k.algorithm + " " + base64.StdEncoding.EncodeToString(k.blob)
}

// Fingerprint is what ssh-keygen -l shows: "SHA256:..." (unpadded base64).
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Public returns the bare key: two formats may hold the same one.
func (k PublicKey) Public() crypto.PublicKey { return k.public }

// parseKey reads the blob. What it accepts has one form only.
func parseKey(blob []byte) (PublicKey, error) {
	r := reader{blob}
	k := PublicKey{blob: bytes.Clone(blob), algorithm: string(r.str())}
	switch k.algorithm {
	case algEd25519, algSKEd25519:
		raw := r.str()
		if len(raw) != ed25519.PublicKeySize {
			return k, fmt.Errorf("%s: key has %d bytes, want %d", k.algorithm, len(raw), ed25519.PublicKeySize)
		}
		k.public = ed25519.PublicKey(bytes.Clone(raw))
	case algP256, algSKP256:
		k.public = r.point("nistp256", elliptic.P256())
	case algP384:
		k.public = r.point("nistp384", elliptic.P384())
	case algRSA:
		k.public = r.rsa()
	default:
		return k, fmt.Errorf("key of kind %.60q is not known; Ed25519, ECDSA P-256 and P-384, RSA, and security tokens (sk-) are", k.algorithm)
	}
	if k.isToken() {
		k.application = string(r.str())
	}
	if !r.done() {
		return k, fmt.Errorf("%s: malformed key", k.algorithm)
	}
	if pub, ok := k.public.(*rsa.PublicKey); ok && (pub.N.BitLen() < minRSA || pub.N.BitLen() > maxRSA || pub.E < 3 || pub.E%2 == 0) {
		return k, fmt.Errorf("%s: %d bits, want %d to %d and an odd exponent", k.algorithm, pub.N.BitLen(), minRSA, maxRSA)
	}
	return k, nil
}

// isToken reports whether the key lives in a FIDO security token, which signs
// something around what it is given.
func (k PublicKey) isToken() bool { return k.algorithm == algSKEd25519 || k.algorithm == algSKP256 }

// reader takes the types of RFC 4251 section 5 off a slice. After a fault it gives
// nothing more, and done reports it.
type reader struct{ rest []byte }

// broken marks a reader that met a fault: it can never be empty again.
var broken = []byte{0}

func (r *reader) str() []byte {
	if len(r.rest) < 4 {
		r.rest = broken
		return nil
	}
	n := uint64(r.rest[0])<<24 | uint64(r.rest[1])<<16 | uint64(r.rest[2])<<8 | uint64(r.rest[3])
	if n > uint64(len(r.rest)-4) {
		r.rest = broken
		return nil
	}
	s := r.rest[4 : 4+n]
	r.rest = r.rest[4+n:]
	return s
}

// integer reads a positive mpint in its shortest form.
func (r *reader) integer() *big.Int {
	b := r.str()
	if len(b) == 0 || b[0]&0x80 != 0 || b[0] == 0 && (len(b) == 1 || b[1]&0x80 == 0) {
		r.rest = broken
		return new(big.Int)
	}
	return new(big.Int).SetBytes(b)
}

func (r *reader) point(curve string, c elliptic.Curve) crypto.PublicKey {
	name, raw := string(r.str()), r.str()
	k, err := ecdsa.ParseUncompressedPublicKey(c, raw)
	if err != nil || name != curve {
		r.rest = broken
	}
	return k
}

func (r *reader) rsa() crypto.PublicKey {
	e, n := r.integer(), r.integer()
	if e.BitLen() > 31 {
		r.rest = broken
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

func (r *reader) done() bool { return len(r.rest) == 0 }
