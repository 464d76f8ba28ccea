// Package cms makes and checks detached CMS signatures (RFC 5652) from the digest
// of a file, and the X.509 certificates that they need.
//
// The normal kind signs attributes: content type, message digest and, if given,
// the signing time (section 11). Digest algorithms are SHA-256 and SHA-512 (RFC
// 5754), signature algorithms RSA PKCS#1 v1.5, ECDSA with the same hash (RFC 5753
// section 2.1) and Ed25519, which needs SHA-512 (RFC 8419 section 3.1). The plain
// kind signs the digest itself (section 5.4, no signedAttrs); the Linux kernel
// takes no other for its modules, and Ed25519 cannot make it without the file.
//
// Guarantees: those of package sigformat; the writer uses encoding/asn1 and the
// reader cryptobyte. The output is DER. Reading is strict: one signer, named by
// issuer and serial number, whose certificate the caller has; exactly the
// attributes above, each once and in DER order; no content; no certificates but
// that one; no trailing bytes.
//
// Not guaranteed: that the certificate is trusted, valid now, or meant for this.
// The signing time is a claim of the signer. A plain signature is a bare signature
// over the file: its key must make no other kind (format.SameKey), because a file
// may read like the signed attributes of another one. RFC 6211 protection of the
// algorithm identifiers is not written; a reader here lets the caller name the
// hash instead.
package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"quorate/internal/sigformat"
)

// Options choose among the forms of a signature.
type Options struct {
	Hash            crypto.Hash // SHA-256 or SHA-512
	Plain           bool        // without signed attributes
	WithCertificate bool        // the certificate goes along
	SigningTime     time.Time   // in whole seconds; zero: none
}

// Object identifiers: RFC 5652 sections 4, 5.1 and 11, RFC 5754 sections 2 and 3,
// RFC 8410 section 3.
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}

	oidSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA512      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidECDSASHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSASHA512 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
	oidEd25519     = asn1.ObjectIdentifier{1, 3, 101, 112}
)

var (
	digestOIDs = map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA256: oidSHA256, crypto.SHA512: oidSHA512}
	ecdsaOIDs  = map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA256: oidECDSASHA256, crypto.SHA512: oidECDSASHA512}
)

// ErrNeedsFile says that an Ed25519 key was to make a plain signature.
var ErrNeedsFile = errors.New("cms: ed25519 without signed attributes signs the file itself, and the signer has no file")

// The structures of RFC 5652 sections 3, 5.1 and 5.3.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      encapsulated
		Certificates asn1.RawValue `asn1:"optional"`
		Signers      []signerInfo  `asn1:"set"`
	}
	encapsulated struct{ Type asn1.ObjectIdentifier }
	signerInfo   struct {
		Version    int
		ID         issuerAndSerial
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue `asn1:"optional"`
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
)

// Sign returns a detached signature in DER over the file with that digest. The
// certificate has to be that of the key.
func Sign(k *sigformat.Key, cert *x509.Certificate, digest []byte, o Options) ([]byte, error) {
	der, err := sign(k, cert, digest, o)
	if err != nil {
		return nil, fmt.Errorf("cms: %w", err)
	}
	s, err := Verify(cert, o.Hash, digest, der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", sigformat.ErrSignatureCheck, err)
	}
	if s.Plain != o.Plain || s.WithCertificate != o.WithCertificate || !s.SigningTime.Equal(o.SigningTime.Truncate(time.Second)) {
		return nil, fmt.Errorf("%w: cms: reads as another form", sigformat.ErrSignatureCheck)
	}
	return der, nil
}

func sign(k *sigformat.Key, cert *x509.Certificate, digest []byte, o Options) ([]byte, error) {
	if err := checkInput(cert, o.Hash, digest); err != nil {
		return nil, err
	}
	if err := o.check(k.Public(), cert); err != nil {
		return nil, err
	}
	si := newSigner(cert, o.Hash)
	var err error
	if o.Plain {
		si.Signature, err = k.Sign(nil, digest, o.Hash)
	} else {
		var set []byte
		if set, err = signedAttributes(digest, o.SigningTime); err != nil {
			return nil, err
		}
		si.setAttributes(set)
		si.Signature, err = k.SignMessage(nil, set, sigformat.HashFor(k.Public(), o.Hash))
	}
	if err != nil {
		return nil, err
	}
	return marshal(cert, si, o.WithCertificate)
}

func newSigner(cert *x509.Certificate, h crypto.Hash) signerInfo {
	return signerInfo{Version: 1, ID: issuerAndSerial{asn1.RawValue{FullBytes: cert.RawIssuer}, cert.SerialNumber},
		Digest:    pkix.AlgorithmIdentifier{Algorithm: digestOIDs[h]}, // no parameters: RFC 5754 section 2
		Algorithm: signatureAlgorithm(cert.PublicKey, h)}
}

// setAttributes takes the SET OF that is signed; it is written under a context tag
// instead of its own (section 5.4).
func (si *signerInfo) setAttributes(set []byte) {
	tagged := bytes.Clone(set)
	tagged[0] = 0xa0
	si.Attributes = asn1.RawValue{FullBytes: tagged}
}

func marshal(cert *x509.Certificate, si signerInfo, with bool) ([]byte, error) {
	sd := signedData{Version: 1, Digests: []pkix.AlgorithmIdentifier{si.Digest}, Content: encapsulated{oidData}, Signers: []signerInfo{si}}
	if with {
		sd.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: cert.Raw}
	}
	return asn1.Marshal(contentInfo{oidSignedData, sd})
}

func checkInput(cert *x509.Certificate, h crypto.Hash, digest []byte) error {
	if digestOIDs[h] == nil {
		return fmt.Errorf("hash: %v, want SHA-256 or SHA-512", h)
	}
	if len(digest) != h.Size() {
		return fmt.Errorf("digest: %d bytes, %v has %d", len(digest), h, h.Size())
	}
	if cert == nil || len(cert.Raw) == 0 || cert.SerialNumber == nil {
		return errors.New("certificate: missing, or not parsed")
	}
	return sigformat.CheckPublic(cert.PublicKey)
}

// check refuses what has no form, before the key is asked.
func (o Options) check(pub crypto.PublicKey, cert *x509.Certificate) error {
	if !equalKeys(pub, cert.PublicKey) {
		return errors.New("certificate: is for another key")
	}
	if _, ed := pub.(ed25519.PublicKey); ed {
		if o.Plain {
			return ErrNeedsFile
		}
		if o.Hash != crypto.SHA512 {
			return fmt.Errorf("hash: %v, ed25519 with signed attributes needs SHA-512 (RFC 8419 section 3.1)", o.Hash)
		}
	}
	at := o.SigningTime
	if at.IsZero() {
		return nil
	}
	if o.Plain {
		return errors.New("signing time: a plain signature has none")
	}
	if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
		return fmt.Errorf("signing time: %s is outside the certificate's validity", at.UTC().Format(time.RFC3339))
	}
	return nil
}

func equalKeys(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// signatureAlgorithm follows RFC 5754 section 3 (rsaEncryption with NULL, which
// every reader takes) and RFC 8419 section 3.1.
func signatureAlgorithm(pub crypto.PublicKey, h crypto.Hash) pkix.AlgorithmIdentifier {
	switch pub.(type) {
	case *rsa.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	case *ecdsa.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: ecdsaOIDs[h]}
	default:
		return pkix.AlgorithmIdentifier{Algorithm: oidEd25519}
	}
}

// signedAttributes returns the DER of the SET OF that is signed. In DER its
// members are sorted by their encoding (X.690 section 11.6), which encoding/asn1
// does not do for raw values.
func signedAttributes(digest []byte, at time.Time) ([]byte, error) {
	values := []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{{oidContentType, oidData}, {oidMessageDigest, digest}, {oidSigningTime, at.UTC().Truncate(time.Second)}}
	if at.IsZero() {
		values = values[:2]
	}
	var members [][]byte
	for _, v := range values {
		value, err := asn1.Marshal(v.value) // a time before 2050 becomes a UTCTime, section 11.3
		if err != nil {
			return nil, err
		}
		member, err := asn1.Marshal(attribute{v.oid, []asn1.RawValue{{FullBytes: value}}})
		if err != nil {
			return nil, err
		}
		members = append(members, member)
	}
	slices.SortFunc(members, bytes.Compare)
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(members, nil)})
}
