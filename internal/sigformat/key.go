package sigformat

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"quorate/internal/pgpsig"
)

// Sizes of RSA moduli that are accepted, as in package pgpsig.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// ErrSignatureCheck says that the private key answered with something that does
// not verify: a wrong key, a broken token, or an attack on either. The answer was
// thrown away. errors.Is finds pgpsig.ErrSignatureCheck in it too, so that a
// caller has one case for all formats.
var ErrSignatureCheck error = checkError{}

type checkError struct{}

func (checkError) Error() string        { return "signature does not verify under the public key" }
func (checkError) Is(target error) bool { return target == pgpsig.ErrSignatureCheck }

// Key is a key whose private half only a [pgpsig.SignFunc] can use. It is a
// crypto.Signer and a crypto.MessageSigner: ECDSA signatures are ASN.1 DER, and
// Ed25519 signs messages. It is immutable, and as safe for concurrent use as its
// SignFunc.
type Key struct {
	public     crypto.PublicKey
	sign       pgpsig.SignFunc
	unverified bool
}

var _ crypto.MessageSigner = (*Key)(nil)

// NewKey joins a public key and the function that signs with its private half.
func NewKey(pub crypto.PublicKey, sign pgpsig.SignFunc) (*Key, error) {
	if err := CheckPublic(pub); err != nil {
		return nil, err
	}
	if sign == nil {
		return nil, errors.New("key: no function that signs")
	}
	return &Key{public: pub, sign: sign}, nil
}

// Unverified is the key without the check of what its private half answers. It is
// for callers who verify the finished signature that they are about to release.
func (k *Key) Unverified() *Key { return &Key{k.public, k.sign, true} }

// CheckPublic refuses every key that no format here is made or read with.
func CheckPublic(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("key: RSA with %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return errors.New("key: the curve is neither P-256 nor P-384")
		}
		return nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("key: Ed25519 with %d bytes", len(k))
		}
		return nil
	}
	return fmt.Errorf("key: %T is not RSA, ECDSA or Ed25519", pub)
}

// Public returns the public key: *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign signs a digest, or with crypto.Hash(0) and Ed25519 a message. The source
// of randomness is not used. An error of the SignFunc is returned wrapped; an
// answer that does not verify is ErrSignatureCheck.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := k.checkOptions(digest, opts); err != nil {
		return nil, err
	}
	h := opts.HashFunc()
	// The function gets its own copy, so that it cannot change what is verified.
	raw, err := k.sign(h, bytes.Clone(digest))
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	sig, err := k.encode(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignatureCheck, err)
	}
	if k.unverified {
		return sig, nil
	}
	if err := verify(k.public, h, digest, sig); err != nil {
		return nil, err
	}
	return sig, nil
}

// SignMessage hashes the message for RSA and ECDSA and passes it on as it is for
// Ed25519, where the hash of opts has to be crypto.Hash(0).
func (k *Key) SignMessage(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc()
	if h == 0 {
		return k.Sign(nil, message, opts)
	}
	if !acceptedHash(h) {
		return nil, fmt.Errorf("sign: hash %v is not accepted", h)
	}
	return k.Sign(nil, sum(h, message), opts)
}

func (k *Key) checkOptions(digest []byte, opts crypto.SignerOpts) error {
	if _, pss := opts.(*rsa.PSSOptions); pss {
		return errors.New("sign: RSA-PSS is not supported")
	}
	h := opts.HashFunc()
	if _, ed := k.public.(ed25519.PublicKey); ed {
		if h != 0 {
			return errors.New("sign: Ed25519 signs messages, not digests")
		}
		if o, ok := opts.(*ed25519.Options); ok && o.Context != "" {
			return errors.New("sign: Ed25519 with a context is not supported")
		}
		return nil
	}
	if !acceptedHash(h) {
		return fmt.Errorf("sign: hash %v is not accepted", h)
	}
	if len(digest) != h.Size() {
		return fmt.Errorf("sign: digest has %d bytes, %v has %d", len(digest), h, h.Size())
	}
	return nil
}

func acceptedHash(h crypto.Hash) bool {
	return h == crypto.SHA256 || h == crypto.SHA384 || h == crypto.SHA512
}

func sum(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// encode checks the length of a raw signature and turns r‖s into DER.
func (k *Key) encode(raw []byte) ([]byte, error) {
	want := ed25519.SignatureSize
	switch pub := k.public.(type) {
	case *rsa.PublicKey:
		want = pub.Size()
	case *ecdsa.PublicKey:
		want = 2 * (pub.Curve.Params().BitSize / 8)
	}
	if len(raw) != want {
		return nil, fmt.Errorf("signer returned %d bytes, want %d", len(raw), want)
	}
	if _, ok := k.public.(*ecdsa.PublicKey); !ok {
		return raw, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[:want/2]))
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[want/2:]))
	})
	return b.Bytes()
}

// SplitECDSA takes an ECDSA signature in DER apart (RFC 3279 section 2.2.3).
func SplitECDSA(der []byte) (r, s *big.Int, err error) {
	r, s = new(big.Int), new(big.Int)
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadASN1Integer(r) || !seq.ReadASN1Integer(s) || !seq.Empty() {
		return nil, nil, errors.New("ECDSA signature: not two integers in DER")
	}
	if r.Sign() <= 0 || s.Sign() <= 0 {
		return nil, nil, errors.New("ECDSA signature: not positive")
	}
	return r, s, nil
}
