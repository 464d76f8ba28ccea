// Package sigcheck checks a signature of any format over a file of which only
// digests, and for OpenPGP a hash state, are known. The signer, the coordinator
// and the command line all check by it, each with keys of its own.
//
// Guarantees: a result is returned only for a signature that verifies under the
// given key over exactly that file, by the verifiers of package pgpsig and of the
// packages below sigformat; everything in the result comes from what was verified.
//
// Not guaranteed: that the key may be used for the format ([format.Possible],
// [format.SameKey]); that an X.509 certificate is valid at some time or by some
// authority: it is believed as it is given.
package sigcheck

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"

	"golang.org/x/crypto/ssh"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/rawsig"
	"quorate/internal/sigformat/sshsig"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// Namespace is the one that SSH signatures are made in: the customary one for
// files, which ssh-keygen(1) names.
const Namespace = "file"

// Key is what the signatures of one key are checked with.
type Key struct {
	OpenPGP *pgpsig.Certificate // for OpenPGP, of files and texts; else nil
	Public  crypto.PublicKey    // for every other format; else nil
	X509    *x509.Certificate   // of Public, for CMS; else nil
}

// File is what a signature must be over.
type File struct {
	quorum.Digests // a SHA-512 of zeros is not known

	// State returns a running hash of the file's bytes, for OpenPGP; nil if there
	// is none.
	State func(crypto.Hash) (hash.Hash, error)

	// Text returns a running SHA-512 of the file's canonical text, for OpenPGP
	// cleartext signatures; nil if there is none.
	Text func() (hash.Hash, error)

	// Agreed reports whether these are the digests of files inside of the file that
	// were agreed on, for batches; nil if that is not known.
	Agreed func(statement.DigestSet) error
}

// Result is what a verified signature says of itself.
type Result struct {
	Fingerprint string
	Time        time.Time         // zero: the format has none
	OpenPGP     *pgpsig.Signature // nil: of another format
	Summary     *vsa.Summary      // nil: of another format
	Count       int               // of signatures, if it is the file of a batch; else 0
}

// ErrUnchecked says that a signature could not be checked at all: something that
// is needed for its format is not there.
var ErrUnchecked = errors.New("the signature cannot be checked")

// Verify checks one signature.
func (k *Key) Verify(f format.Name, file File, sig []byte) (*Result, error) {
	if err := k.Supports(f); err != nil {
		return nil, err
	}
	switch f {
	case format.OpenPGP:
		return k.verifyOpenPGP(file, sig)
	case format.Cleartext:
		return k.verifyText(file, sig)
	case format.IMA, format.SSHFiles:
		return k.verifyBatch(f, file, sig)
	}
	if row, err := format.Lookup(f); err == nil && row.Needs&format.SHA512 != 0 && file.SHA512 == (statement.SHA512{}) {
		return nil, fmt.Errorf("%w: %s needs the SHA-512 of the file", ErrUnchecked, f)
	}
	r := &Result{}
	var err error
	if r.Fingerprint, err = k.Fingerprint(f); err != nil {
		return nil, err
	}
	if err := k.verifyInto(r, f, file, sig); err != nil {
		return nil, err
	}
	return r, nil
}

func (k *Key) verifyInto(r *Result, f format.Name, file File, sig []byte) error {
	switch f {
	case format.SSHSIG:
		return sshsig.Verify(k.Public, Namespace, file.SHA512, sig)
	case format.CMS, format.CMSSHA256, format.CMSPlain:
		return k.verifyCMS(r, f, file, sig)
	case format.RawSHA256:
		return rawsig.Verify(k.Public, crypto.SHA256, file.SHA256[:], sig)
	case format.RawSHA512:
		return rawsig.Verify(k.Public, crypto.SHA512, file.SHA512[:], sig)
	case format.VSA:
		return k.verifySummary(r, file, sig)
	}
	return fmt.Errorf("%w: format %q is not known here", ErrUnchecked, f)
}

func (k *Key) verifyOpenPGP(file File, sig []byte) (*Result, error) {
	if file.State == nil {
		return nil, fmt.Errorf("%w: OpenPGP needs the hash state of the file", ErrUnchecked)
	}
	algorithm, err := pgpsig.HashOf(sig)
	if err != nil {
		return nil, err
	}
	running, err := file.State(algorithm)
	if err != nil {
		return nil, err
	}
	s, err := pgpsig.VerifyDetached(k.OpenPGP, running, sig)
	if err != nil {
		return nil, err
	}
	return &Result{Fingerprint: s.Fingerprint, Time: s.Created, OpenPGP: s}, nil
}

// verifyText checks the signature alone, not a message: who has the text frames it.
func (k *Key) verifyText(file File, sig []byte) (*Result, error) {
	if file.Text == nil {
		return nil, fmt.Errorf("%w: %s needs the hash state of the file's text", ErrUnchecked, format.Cleartext)
	}
	running, err := file.Text()
	if err != nil {
		return nil, err
	}
	s, err := pgpsig.VerifyText(k.OpenPGP, running, sig)
	if err != nil {
		return nil, err
	}
	return &Result{Fingerprint: s.Fingerprint, Time: s.Created, OpenPGP: s}, nil
}

// CMSOptions are the form in which a CMS format is written. The kernel takes
// modules without the certificate; everybody else is helped by it.
func CMSOptions(f format.Name, at time.Time) cms.Options {
	switch f {
	case format.CMSPlain:
		return cms.Options{Hash: crypto.SHA512, Plain: true}
	case format.CMSSHA256:
		return cms.Options{Hash: crypto.SHA256, WithCertificate: true, SigningTime: at}
	}
	return cms.Options{Hash: crypto.SHA512, WithCertificate: true, SigningTime: at}
}

func (k *Key) verifyCMS(r *Result, f format.Name, file File, sig []byte) error {
	o := CMSOptions(f, time.Time{})
	s, err := cms.Verify(k.X509, o.Hash, CMSDigest(f, file.Digests), sig)
	if err != nil {
		return err
	}
	if s.Plain != o.Plain || s.WithCertificate != o.WithCertificate || s.SigningTime.IsZero() != o.Plain {
		return fmt.Errorf("cms: the signature is not in the form of %s", f)
	}
	r.Time = s.SigningTime
	return nil
}

// CMSDigest is the digest that a CMS format signs.
func CMSDigest(f format.Name, d quorum.Digests) []byte {
	if f == format.CMSSHA256 {
		return d.SHA256[:]
	}
	return d.SHA512[:]
}

func (k *Key) verifySummary(r *Result, file File, sig []byte) error {
	s, err := vsa.Verify(k.Public, sig)
	if err != nil {
		return err
	}
	if !file.Agree(quorum.Digests{SHA256: s.SHA256, SHA512: s.SHA512}) {
		return errors.New("verification summary: it is about another file")
	}
	r.Time, r.Summary = s.Time, s
	return nil
}

// Supports returns nil if the key is what the format is checked with, and else
// what is missing, as [ErrUnchecked], or why the key can never make the format.
func (k *Key) Supports(f format.Name) error {
	if _, err := format.Lookup(f); err != nil {
		return fmt.Errorf("%w: %w", ErrUnchecked, err)
	}
	if format.IsOpenPGP(f) {
		if k.OpenPGP == nil {
			return fmt.Errorf("%w: %s needs the OpenPGP certificate", ErrUnchecked, f)
		}
		return nil
	}
	if k.Public == nil {
		return fmt.Errorf("%w: %s needs the public key", ErrUnchecked, f)
	}
	kind, err := format.KeyTypeOf(k.Public)
	if err != nil {
		return err
	}
	if err := format.Possible(f, kind); err != nil {
		return err
	}
	if NeedsX509(f) && k.X509 == nil {
		return fmt.Errorf("%w: %s needs the X.509 certificate, not the public key alone", ErrUnchecked, f)
	}
	return nil
}

// NeedsX509 reports whether signatures of the format name an X.509 certificate.
func NeedsX509(f format.Name) bool {
	return f == format.CMS || f == format.CMSSHA256 || f == format.CMSPlain
}

// Fingerprint is how the key is named beside a signature of the format: that of
// the OpenPGP certificate, OpenSSH's SHA256:..., and else the SHA-256 of the
// public key's SubjectPublicKeyInfo in hex.
func (k *Key) Fingerprint(f format.Name) (string, error) {
	switch f {
	case format.OpenPGP, format.Cleartext:
		return k.OpenPGP.Fingerprint(), nil
	case format.SSHSIG, format.SSHFiles:
		pub, err := sshsig.NewPublicKey(k.Public)
		if err != nil {
			return "", err
		}
		return ssh.FingerprintSHA256(pub), nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
