package pgpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"time"

	pgpecdsa "github.com/ProtonMail/go-crypto/openpgp/ecdsa"
	pgpeddsa "github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp/frame"
)

// Public key algorithm ids, RFC 9580 section 9.1. Ed25519 keys are written as
// EdDSALegacy: it is the only form that gpg 2.2 and 2.4 read.
const (
	algoRSA   = 1
	algoECDSA = 19
	algoEdDSA = 22
)

// Sizes of RSA moduli that are accepted. The upper bound keeps a certificate
// from costing seconds per check.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Curve ids, RFC 9580 section 9.2.
var (
	oidP256    = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	oidP384    = []byte{0x2b, 0x81, 0x04, 0x00, 0x22}
	oidEd25519 = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01}
)

// algorithm returns the id under which pub is written, or why it is not.
func algorithm(pub crypto.PublicKey) (byte, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return algoRSA, checkRSA(k)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return 0, fmt.Errorf("curve %s is not supported, want P-256 or P-384", k.Curve.Params().Name)
		}
		return algoECDSA, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return 0, fmt.Errorf("ed25519 key has %d bytes", len(k))
		}
		return algoEdDSA, nil
	}
	return 0, fmt.Errorf("key type %T is not supported, want RSA, ECDSA or Ed25519", pub)
}

func checkRSA(k *rsa.PublicKey) error {
	if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
		return fmt.Errorf("RSA key has %d bits, want %d to %d", n, minRSABits, maxRSABits)
	}
	if k.E < 3 || k.E%2 == 0 {
		return fmt.Errorf("RSA exponent %d is not valid", k.E)
	}
	return nil
}

// keyBody writes the body of a v4 public key packet (RFC 9580 sections
// 5.5.2.2 and 5.5.5).
func keyBody(pub crypto.PublicKey, created time.Time) ([]byte, error) {
	algo, err := algorithm(pub)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32([]byte{4}, uint32(created.Unix()))
	b = append(b, algo)
	switch k := pub.(type) {
	case *rsa.PublicKey:
		b = frame.AppendMPI(b, k.N.Bytes())
		return frame.AppendMPI(b, big.NewInt(int64(k.E)).Bytes()), nil
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // also checks that the point is on the curve
		if err != nil {
			return nil, fmt.Errorf("ECDSA key: %w", err)
		}
		oid := oidP256
		if k.Curve == elliptic.P384() {
			oid = oidP384
		}
		return frame.AppendMPI(appendOID(b, oid), point), nil
	default:
		point := append([]byte{0x40}, pub.(ed25519.PublicKey)...)
		return frame.AppendMPI(appendOID(b, oidEd25519), point), nil
	}
}

func appendOID(b, oid []byte) []byte {
	return append(append(b, byte(len(oid))), oid...)
}

// standardKey turns a key that go-crypto parsed into the standard library's
// type, and refuses every kind this package does not sign with.
func standardKey(pk *packet.PublicKey) (crypto.PublicKey, error) {
	if pk.Version != 4 {
		return nil, fmt.Errorf("key version %d is not supported, want 4", pk.Version)
	}
	switch k := pk.PublicKey.(type) {
	case *pgpecdsa.PublicKey:
		return standardECDSA(pk, k)
	case *pgpeddsa.PublicKey:
		if c, err := pk.Curve(); err != nil || c != packet.Curve25519 || len(k.X) != ed25519.PublicKeySize {
			return nil, errors.New("EdDSA curve is not supported, want Ed25519")
		}
		return ed25519.PublicKey(k.X), nil
	case *rsa.PublicKey:
		if pk.PubKeyAlgo != packet.PubKeyAlgoRSA {
			return nil, fmt.Errorf("deprecated RSA variant %d is not supported", pk.PubKeyAlgo)
		}
		return k, checkRSA(k)
	}
	return nil, fmt.Errorf("key algorithm %d is not supported, want RSA, ECDSA or EdDSALegacy with Ed25519", pk.PubKeyAlgo)
}

func standardECDSA(pk *packet.PublicKey, k *pgpecdsa.PublicKey) (crypto.PublicKey, error) {
	name, err := pk.Curve()
	if err != nil {
		return nil, err
	}
	curve := elliptic.P256()
	switch name {
	case packet.CurveNistP256:
	case packet.CurveNistP384:
		curve = elliptic.P384()
	default:
		return nil, fmt.Errorf("curve %s is not supported, want P-256 or P-384", name)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, k.MarshalPoint())
}

// signatureMPIs turns what a SignFunc returned into the integers of the packet
// (RFC 9580 section 5.2.3). Lengths are checked: a short answer would
// otherwise be padded into a different signature.
func signatureMPIs(pub crypto.PublicKey, raw []byte) ([]byte, error) {
	want, halves := 0, 2
	switch k := pub.(type) {
	case *rsa.PublicKey:
		want, halves = k.Size(), 1
	case *ecdsa.PublicKey:
		want = 2 * ((k.Curve.Params().BitSize + 7) / 8)
	default:
		want = ed25519.SignatureSize
	}
	if len(raw) != want {
		return nil, fmt.Errorf("signer returned %d bytes, want %d", len(raw), want)
	}
	if halves == 1 {
		return frame.AppendMPI(nil, raw), nil
	}
	return frame.AppendMPI(frame.AppendMPI(nil, raw[:want/2]), raw[want/2:]), nil
}

// mpiCount is the number of integers in a signature by this algorithm.
func mpiCount(algo packet.PublicKeyAlgorithm) int {
	if algo == packet.PubKeyAlgoRSA {
		return 1
	}
	return 2
}
