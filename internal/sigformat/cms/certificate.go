package cms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"quorate/internal/sigformat"
)

// SelfSigned returns an X.509 certificate in DER that the key signs for itself (RFC
// 5280): an end entity with the key usage digitalSignature and no extended usage,
// as the Linux kernel and "openssl cms" take one. It is no CA, and must not become
// one: a key that signs files could be made to sign what reads like a certificate.
//
// The serial number is a hash of the rest, so equal calls give equal certificates
// where the key is deterministic.
func SelfSigned(k *sigformat.Key, subject pkix.Name, notBefore, notAfter time.Time) ([]byte, error) {
	der, err := selfSigned(k, subject, notBefore, notAfter)
	if err != nil {
		return nil, fmt.Errorf("x509 certificate: %w", err)
	}
	return der, nil
}

func selfSigned(k *sigformat.Key, subject pkix.Name, notBefore, notAfter time.Time) ([]byte, error) {
	notBefore, notAfter = notBefore.UTC().Truncate(time.Second), notAfter.UTC().Truncate(time.Second)
	if subject.CommonName == "" {
		return nil, errors.New("subject: no common name")
	}
	if !notAfter.After(notBefore) || notAfter.Year() > 9999 || notBefore.Year() < 1970 {
		return nil, fmt.Errorf("validity: %s to %s", notBefore.Format(time.RFC3339), notAfter.Format(time.RFC3339))
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, err
	}
	id, err := sigformat.KeyIdentifier(k.Public())
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial(sha256.Sum256(spki), subject, notBefore, notAfter),
		Subject:               subject,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, // not a CA
		SubjectKeyId:          id[:],
		AuthorityKeyId:        id[:],
		SignatureAlgorithm:    x509Algorithm(k.Public()),
	}
	der, err := x509.CreateCertificate(nil, t, t, k.Public(), k)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		err = cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	}
	if err != nil || cert.IsCA || !equalKeys(k.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("%w: the certificate reads as another: %v", sigformat.ErrSignatureCheck, err)
	}
	return der, nil
}

// serial returns a positive number of at most 20 octets (RFC 5280 section 4.1.2.2).
func serial(key [32]byte, subject pkix.Name, notBefore, notAfter time.Time) *big.Int {
	h := sha256.New()
	fmt.Fprintf(h, "%x\n%d\n%d\n%q\n", key, notBefore.Unix(), notAfter.Unix(), subject.String())
	b := h.Sum(nil)[:16]
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// Request returns a PKCS#10 certification request in DER (RFC 2986), with which an
// authority can certify the key.
func Request(k *sigformat.Key, subject pkix.Name) ([]byte, error) {
	if subject.CommonName == "" {
		return nil, errors.New("x509 request: subject: no common name")
	}
	t := &x509.CertificateRequest{Subject: subject, SignatureAlgorithm: x509Algorithm(k.Public())}
	der, err := x509.CreateCertificateRequest(nil, t, k)
	if err != nil {
		return nil, fmt.Errorf("x509 request: %w", err)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil || !equalKeys(k.Public(), r.PublicKey) {
		return nil, fmt.Errorf("%w: the request reads as another: %v", sigformat.ErrSignatureCheck, err)
	}
	return der, nil
}

func x509Algorithm(pub crypto.PublicKey) x509.SignatureAlgorithm {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return x509.SHA512WithRSA
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return x509.ECDSAWithSHA384
		}
		return x509.ECDSAWithSHA256
	default:
		return x509.PureEd25519
	}
}
