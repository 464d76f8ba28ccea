package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	encasn1 "encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"quorate/internal/sigformat"
)

// maxSignature bounds what is read, a certificate included.
const maxSignature = 64 << 10

// Signature is what a verified signature says.
type Signature struct {
	Plain           bool
	WithCertificate bool
	SigningTime     time.Time // zero: none
}

var (
	contextTag0 = asn1.Tag(0).ContextSpecific().Constructed()
	errDER      = errors.New("not the DER that is expected")
)

// field names the part that could not be read.
func field(name string) error { return fmt.Errorf("%s: %w", name, errDER) }

// Verify checks a detached signature in DER by the key of cert over the file with
// that digest. It trusts the certificate as it is: chain, validity and usage are
// the caller's.
func Verify(cert *x509.Certificate, h crypto.Hash, digest, der []byte) (*Signature, error) {
	s, err := verify(cert, h, digest, der)
	if err != nil {
		return nil, fmt.Errorf("cms: %w", err)
	}
	return s, nil
}

func verify(cert *x509.Certificate, h crypto.Hash, digest, der []byte) (*Signature, error) {
	if err := checkInput(cert, h, digest); err != nil {
		return nil, err
	}
	if len(der) > maxSignature {
		return nil, fmt.Errorf("%d bytes, at most %d", len(der), maxSignature)
	}
	r := reader{cert: cert, hash: h, digest: digest, out: &Signature{}}
	signer, err := r.readSignedData(der)
	if err != nil {
		return nil, err
	}
	value, err := r.readSigner(signer)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return r.out, r.checkSignature(value)
}

// reader holds what the parts of a signature are compared with.
type reader struct {
	cert   *x509.Certificate
	hash   crypto.Hash
	digest []byte
	out    *Signature

	attributes []byte // the DER of the SET OF that was signed; nil: plain
}

// readSignedData reads ContentInfo and SignedData and returns the one SignerInfo.
func (r *reader) readSignedData(der []byte) (cryptobyte.String, error) {
	in := cryptobyte.String(der)
	var info, explicit, sd cryptobyte.String
	if !in.ReadASN1(&info, asn1.SEQUENCE) || !in.Empty() || !readOID(&info, oidSignedData) ||
		!info.ReadASN1(&explicit, contextTag0) || !info.Empty() ||
		!explicit.ReadASN1(&sd, asn1.SEQUENCE) || !explicit.Empty() {
		return nil, field("content info")
	}
	if !readVersion1(&sd) {
		return nil, field("version")
	}
	var digests, content, signers, signer cryptobyte.String
	if !sd.ReadASN1(&digests, asn1.SET) || !readAlgorithm(&digests, digestOIDs[r.hash], false) || !digests.Empty() {
		return nil, field("digest algorithms")
	}
	if !sd.ReadASN1(&content, asn1.SEQUENCE) || !readOID(&content, oidData) || !content.Empty() {
		return nil, field("content")
	}
	if err := r.readCertificates(&sd); err != nil {
		return nil, err
	}
	if !sd.ReadASN1(&signers, asn1.SET) || !sd.Empty() ||
		!signers.ReadASN1(&signer, asn1.SEQUENCE) || !signers.Empty() {
		return nil, field("signers")
	}
	return signer, nil
}

func (r *reader) readCertificates(sd *cryptobyte.String) error {
	var set cryptobyte.String
	if !sd.ReadOptionalASN1(&set, &r.out.WithCertificate, contextTag0) {
		return field("certificates")
	}
	if r.out.WithCertificate && !bytes.Equal(set, r.cert.Raw) {
		return errors.New("certificates: not exactly the signer's")
	}
	return nil
}

// readSigner reads SignerInfo and returns the signature value.
func (r *reader) readSigner(in cryptobyte.String) ([]byte, error) {
	if !readVersion1(&in) {
		return nil, field("version")
	}
	var id, issuer, attrs cryptobyte.String
	serial := new(big.Int)
	if !in.ReadASN1(&id, asn1.SEQUENCE) || !id.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!id.ReadASN1Integer(serial) || !id.Empty() {
		return nil, field("id")
	}
	if !bytes.Equal(issuer, r.cert.RawIssuer) || serial.Cmp(r.cert.SerialNumber) != 0 {
		return nil, errors.New("id: names another certificate")
	}
	if !readAlgorithm(&in, digestOIDs[r.hash], false) {
		return nil, field("digest algorithm")
	}
	var present bool
	if !in.ReadOptionalASN1(&attrs, &present, contextTag0) {
		return nil, field("signed attributes")
	}
	r.out.Plain = !present
	if present {
		if err := r.readAttributes(attrs); err != nil {
			return nil, fmt.Errorf("signed attributes: %w", err)
		}
	}
	want := signatureAlgorithm(r.cert.PublicKey, r.hash)
	if !readAlgorithm(&in, want.Algorithm, want.Parameters.Tag == encasn1.TagNull) {
		return nil, field("signature algorithm")
	}
	var value cryptobyte.String
	if !in.ReadASN1(&value, asn1.OCTET_STRING) || !in.Empty() {
		return nil, field("signature")
	}
	return value, nil
}

// readAttributes reads the members of the set in their only order.
func (r *reader) readAttributes(set cryptobyte.String) error {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(set) })
	var err error
	if r.attributes, err = b.Bytes(); err != nil {
		return err
	}
	var last []byte
	seen := map[string]bool{}
	for !set.Empty() {
		var element cryptobyte.String
		if !set.ReadASN1Element(&element, asn1.SEQUENCE) {
			return errDER
		}
		if bytes.Compare(last, element) >= 0 {
			return errors.New("not in DER order")
		}
		last = element
		name, err := r.readAttribute(element)
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%s: occurs twice", name)
		}
		seen[name] = true
	}
	if !seen["content type"] || !seen["message digest"] {
		return errors.New("content type or message digest: missing")
	}
	return nil
}

func (r *reader) readAttribute(element cryptobyte.String) (name string, err error) {
	var attr, values cryptobyte.String
	var oid encasn1.ObjectIdentifier
	if !element.ReadASN1(&attr, asn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&oid) ||
		!attr.ReadASN1(&values, asn1.SET) || !attr.Empty() {
		return "", errDER
	}
	switch {
	case oid.Equal(oidContentType):
		name = "content type"
		if !readOID(&values, oidData) {
			return "", field(name)
		}
	case oid.Equal(oidMessageDigest):
		name = "message digest"
		var digest cryptobyte.String
		if !values.ReadASN1(&digest, asn1.OCTET_STRING) {
			return "", field(name)
		}
		if !bytes.Equal(digest, r.digest) {
			return "", errors.New("message digest: is of another file")
		}
	case oid.Equal(oidSigningTime):
		name = "signing time"
		if !readTime(&values, &r.out.SigningTime) {
			return "", field(name)
		}
	default:
		return "", fmt.Errorf("attribute %v: not known here", oid)
	}
	if !values.Empty() {
		return "", fmt.Errorf("%s: more than one value", name)
	}
	return name, nil
}

// readTime wants UTCTime up to 2049 and GeneralizedTime after (section 11.3).
func readTime(in *cryptobyte.String, t *time.Time) bool {
	if in.PeekASN1Tag(asn1.UTCTime) {
		return in.ReadASN1UTCTime(t) && isUTC(*t)
	}
	return in.ReadASN1GeneralizedTime(t) && isUTC(*t) && t.Year() >= 2050
}

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

func readVersion1(in *cryptobyte.String) bool {
	var v int
	return in.ReadASN1Integer(&v) && v == 1
}

func readOID(in *cryptobyte.String, want encasn1.ObjectIdentifier) bool {
	var got encasn1.ObjectIdentifier
	return in.ReadASN1ObjectIdentifier(&got) && got.Equal(want)
}

// readAlgorithm reads an AlgorithmIdentifier. RFC 5754 section 2 has readers take
// a digest algorithm with NULL as well, and openssl 3.0 writes it.
func readAlgorithm(in *cryptobyte.String, want encasn1.ObjectIdentifier, null bool) bool {
	var seq, param cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !readOID(&seq, want) {
		return false
	}
	isDigest := want.Equal(oidSHA256) || want.Equal(oidSHA512)
	if null || isDigest && !seq.Empty() {
		if !seq.ReadASN1(&param, asn1.NULL) || !param.Empty() {
			return false
		}
	}
	return seq.Empty()
}

func (r *reader) checkSignature(value []byte) error {
	pub := r.cert.PublicKey
	if !r.out.Plain {
		if sigformat.HashFor(pub, r.hash) == 0 && r.hash != crypto.SHA512 {
			return errors.New("hash: ed25519 with signed attributes needs SHA-512")
		}
		return sigformat.VerifyMessage(pub, r.hash, r.attributes, value)
	}
	if sigformat.HashFor(pub, r.hash) == 0 {
		return ErrNeedsFile
	}
	return sigformat.VerifyDigest(pub, r.hash, r.digest, value)
}
