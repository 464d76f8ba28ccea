// Package format is the one table of the signature formats: what each must be
// given by the builders' votes, which keys can make it, which formats may share
// a key, and how its files are called. It imports nothing of this module, so
// that the policy, the signer and the commands can all read from it.
//
// Guarantees: the table is fixed; every format in it is made from votes alone,
// without the file. Not guaranteed: that a signer can make all of them. Which
// formats it offers is the signer's own matter.
package format

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Name is the name of a format as the policy writes it.
type Name string

// The formats.
const (
	OpenPGP   Name = "openpgp"           // detached OpenPGP v4, type 0x00 (RFC 9580 section 5.2.1.1)
	Cleartext Name = "openpgp-cleartext" // OpenPGP cleartext framework, type 0x01 (RFC 9580 section 7): InRelease
	SSHSIG    Name = "sshsig"            // armoured SSHSIG over SHA-512 (OpenSSH PROTOCOL.sshsig)
	CMS       Name = "cms"               // detached CMS with signed attributes over SHA-512 (RFC 5652)
	CMSSHA256 Name = "cms-sha256"        // the same over SHA-256
	CMSPlain  Name = "cms-plain"         // detached CMS over SHA-512 without signed attributes: kernel modules
	RawSHA256 Name = "raw-sha256"        // RSA PKCS#1 v1.5 or ECDSA over the SHA-256 of the file: cosign, abuild
	RawSHA512 Name = "raw-sha512"        // the same over SHA-512
	VSA       Name = "vsa"               // SLSA verification summary in a DSSE envelope
	SSHFiles  Name = "sshsig-files"      // a batch: SSHSIG over SHA-256 for each file inside of the artifact
	IMA       Name = "ima"               // a batch: security.ima for each file inside of the artifact (Linux, signature_v2_hdr)
)

// KeyType is a kind of key as far as formats differ by it.
type KeyType string

// The kinds of keys. RSA is of any size that the signer accepts.
const (
	RSA     KeyType = "rsa"
	P256    KeyType = "p256"
	P384    KeyType = "p384"
	Ed25519 KeyType = "ed25519"
)

// Need is a set of things that the votes have to agree on before a signature of
// a format can be made.
type Need uint8

// What votes carry.
const (
	SHA256   Need = 1 << iota // the plain SHA-256 of the file
	SHA512                    // the plain SHA-512 of the file
	State512                  // the SHA-512 state at the end of the file

	// TextState512 is the SHA-512 state at the end of the file's text, as OpenPGP
	// hashes it in a cleartext message: lines without trailing white space,
	// joined by CR LF.
	TextState512

	// Digests256 are the SHA-256 digests of the files inside of the artifact.
	Digests256
)

// form is what the signed bytes begin with, and so what they can be mistaken for.
type form uint8

const (
	formOwn      form = iota // bytes that the signer alone composes, under a prefix of the format's own
	formDER                  // the same, but a DER structure: its prefix fits into the start of a file
	formFile                 // the whole file and then fields of the signer
	formBare                 // the whole file and nothing else
	formInner                // a whole file inside of the artifact and nothing else
	formInnerOwn             // bytes that the signer composes, of the format's own, about a file inside of the artifact
)

// Format is one row of the table.
type Format struct {
	Name      Name
	Needs     Need
	Suffix    string // appended to the name of the file to name the signature; no two formats have the same
	MediaType string
	Keys      []KeyType

	form   form
	reason string // why the other keys cannot
}

var (
	allKeys  = []KeyType{RSA, P256, P384, Ed25519}
	hashKeys = []KeyType{RSA, P256, P384}
)

const (
	needsFile   = "ed25519 signs the file itself, not its digest (RFC 8032), and the signer has no file"
	needsSHA512 = "ed25519 with signed attributes has to use SHA-512 (RFC 8419 section 3.1)"
	needsKernel = "the kernel's signature_v2_hdr is over a digest, and ed25519 signs none (RFC 8032)"
)

// formats is in the order of the documentation.
var formats = []Format{
	{OpenPGP, SHA512 | State512, ".sig", "application/pgp-signature", allKeys, formFile, ""},
	{Cleartext, TextState512, ".asc", "application/pgp-signature", allKeys, formFile, ""},
	{SSHSIG, SHA512, ".sshsig", "text/plain; charset=us-ascii", allKeys, formOwn, ""},
	{CMS, SHA512, ".p7s", "application/pkcs7-signature", allKeys, formDER, ""},
	{CMSSHA256, SHA256, ".sha256.p7s", "application/pkcs7-signature", hashKeys, formDER, needsSHA512},
	{CMSPlain, SHA512, ".plain.p7s", "application/pkcs7-signature", hashKeys, formBare, needsFile},
	{RawSHA256, SHA256, ".sha256.sig", "application/octet-stream", hashKeys, formBare, needsFile},
	{RawSHA512, SHA512, ".sha512.sig", "application/octet-stream", hashKeys, formBare, needsFile},
	{VSA, SHA256, ".vsa.json", "application/vnd.in-toto.vsa+dsse", allKeys, formOwn, ""},
	{SSHFiles, Digests256, ".files.sshsig", "text/plain; charset=us-ascii", allKeys, formInnerOwn, ""},
	{IMA, Digests256, ".ima", "text/plain; charset=us-ascii", hashKeys, formInner, needsKernel},
}

// ErrImpossible says that no key of that kind can make that format from votes.
var ErrImpossible = errors.New("this kind of key cannot make this format")

// ErrSharedKey says that two formats must not be made by one key.
var ErrSharedKey = errors.New("these formats must not share a key")

// All returns the table.
func All() []Format {
	all := slices.Clone(formats)
	for i := range all {
		all[i].Keys = slices.Clone(all[i].Keys)
	}
	return all
}

// Lookup returns the row of a format.
func Lookup(n Name) (Format, error) {
	for _, f := range formats {
		if f.Name == n {
			f.Keys = slices.Clone(f.Keys)
			return f, nil
		}
	}
	var known []string
	for _, f := range formats {
		known = append(known, string(f.Name))
	}
	return Format{}, fmt.Errorf("format %q is not known; known are %s", n, strings.Join(known, ", "))
}

// IsOpenPGP reports whether signatures of the format are OpenPGP packets, which are
// read with an OpenPGP certificate.
func IsOpenPGP(n Name) bool { return n == OpenPGP || n == Cleartext }

// IsBatch reports whether one output of the format is many signatures: one for each
// digest of a [Digests256]. They are asked for in a request of their own and answered
// in parts.
func IsBatch(n Name) bool { return n == IMA || n == SSHFiles }

// KeyTypeOf returns the kind of a public key.
func KeyTypeOf(pub crypto.PublicKey) (KeyType, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return RSA, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return P256, nil
		case elliptic.P384():
			return P384, nil
		}
		return "", errors.New("key type: the curve is neither P-256 nor P-384")
	case ed25519.PublicKey:
		return Ed25519, nil
	}
	return "", fmt.Errorf("key type: %T is not RSA, ECDSA or Ed25519", pub)
}

// Possible returns nil if a key of that kind can make the format from votes, and
// else why not, as [ErrImpossible].
func Possible(n Name, k KeyType) error {
	f, err := Lookup(n)
	if err != nil {
		return err
	}
	if !slices.Contains(allKeys, k) {
		return fmt.Errorf("format %q: key type %q is not known", n, k)
	}
	if !slices.Contains(f.Keys, k) {
		return fmt.Errorf("format %q with key type %q: %w: %s", n, k, ErrImpossible, f.reason)
	}
	return nil
}

// SameKey returns nil if one key may make both formats, and else why not, as
// [ErrSharedKey].
//
// The reason for the refusals is that somebody else writes the file. If a
// signature covers H(file), then a file that reads "SSHSIG..." or "DSSEv1 ..."
// or like the signed fields of an OpenPGP signature makes its signature valid as
// one of those, over whatever the author of the file likes. If it covers
// H(file ‖ fields), a file can still be the beginning of a DER structure whose
// last member swallows the fields. The builders would rightly agree on such a
// file: it is what the source says. OpenPGP goes together with the formats whose
// end is fixed or whose hash is another one (SSHSIG, VSA). Ed25519, which signs
// for OpenPGP a digest of 64 bytes and for the others no such message, would not
// need the rule; it is held to it for the sake of one rule.
//
// A format that signs the files inside of an artifact shares its key with none: what
// a package carries, if only for its own tests, may be another package, and the
// builders vote on its being in there, not on its being released.
func SameKey(a, b Name) error {
	fa, err := Lookup(a)
	if err != nil {
		return err
	}
	fb, err := Lookup(b)
	if err != nil {
		return err
	}
	if fa.form == fb.form {
		return nil
	}
	if fa.form > fb.form {
		fa, fb = fb, fa
	}
	switch {
	case fb.form == formInner || fb.form == formInnerOwn:
		return fmt.Errorf("formats %q and %q: %w: %s signs every file inside of an artifact, and one may be what %s is meant for", a, b, ErrSharedKey, fb.Name, fa.Name)
	case fb.form == formBare:
		return fmt.Errorf("formats %q and %q: %w: %s signs bare files, and a file may read like what %s signs", a, b, ErrSharedKey, fb.Name, fa.Name)
	case fb.form == formFile && fa.form == formDER:
		return fmt.Errorf("formats %q and %q: %w: a file may be the beginning of what %s signs", a, b, ErrSharedKey, fa.Name)
	}
	return nil
}
