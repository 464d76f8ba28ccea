package sigcheck_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/rawsig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

var (
	since = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	at    = since.AddDate(0, 1, 0)
	text  = []byte("a file\n")
	file  = sigcheck.File{Digests: quorum.Digests{SHA256: sha256.Sum256(text), SHA512: sha512.Sum512(text)}}
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keys returns a P-256 key for signing and all that it is checked with.
func keys(t testing.TB) (*sigformat.Key, *sigcheck.Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	sign := func(_ crypto.Hash, digest []byte) ([]byte, error) {
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), err
	}
	k, err := sigformat.NewKey(private.Public(), pgpsig.SignFunc(sign))
	check(t, err)
	der, err := cms.SelfSigned(k, pkix.Name{CommonName: "test"}, since, since.AddDate(40, 0, 0))
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return k, &sigcheck.Key{Public: private.Public(), X509: cert}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParsePublic(t *testing.T) {
	_, k := keys(t)
	spki, err := x509.MarshalPKIXPublicKey(k.Public)
	check(t, err)
	line, err := sshsig.AuthorizedKey(k.Public, "a comment")
	check(t, err)
	for name, data := range map[string][]byte{"PEM": encode("PUBLIC KEY", spki), "X.509": encode("CERTIFICATE", k.X509.Raw), "SSH": line,
		"with blank lines": append([]byte("\n"), append(encode("PUBLIC KEY", spki), "\n\n"...)...)} {
		got, err := sigcheck.ParsePublic(data)
		if err != nil || !k.Public.(*ecdsa.PublicKey).Equal(got.Public) || (got.X509 != nil) != (name == "X.509") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	weak, err := x509.MarshalPKIXPublicKey(small.Public())
	check(t, err)
	for name, data := range map[string][]byte{
		"nothing": nil, "words": []byte("hello"), "two keys": append(encode("PUBLIC KEY", spki), encode("PUBLIC KEY", spki)...),
		"text before": append([]byte("key:\n"), encode("PUBLIC KEY", spki)...), "a private key": encode("PRIVATE KEY", spki),
		"not DER": encode("PUBLIC KEY", []byte("x")), "not a certificate": encode("CERTIFICATE", spki), "two lines": append(line, line...),
		"with options": append([]byte("no-pty "), line...), "weak RSA": encode("PUBLIC KEY", weak), "OpenPGP": []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n"),
	} {
		if got, err := sigcheck.ParsePublic(data); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestVerifySaysWhatIsMissing: what cannot be checked is never good.
func TestVerifySaysWhatIsMissing(t *testing.T) {
	_, k := keys(t)
	alone := &sigcheck.Key{Public: k.Public}
	for name, err := range map[string]error{
		"needs the OpenPGP certificate": verify(k, format.OpenPGP, file),
		"needs the X.509 certificate":   verify(alone, format.CMS, file),
		"needs the public key":          verify(&sigcheck.Key{}, format.SSHSIG, file),
		"needs the SHA-512 of the file": verify(k, format.RawSHA512, sigcheck.File{Digests: quorum.Digests{SHA256: file.SHA256}}),
		"cleartext needs the OpenPGP":   verify(k, format.Cleartext, file),
	} {
		if !errors.Is(err, sigcheck.ErrUnchecked) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if err := verify(k, "pgp", file); err == nil {
		t.Error("an unknown format")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	if err := verify(&sigcheck.Key{Public: private.Public()}, format.RawSHA256, file); !errors.Is(err, format.ErrImpossible) {
		t.Errorf("%v", err)
	}
}

func verify(k *sigcheck.Key, f format.Name, file sigcheck.File) error {
	_, err := k.Verify(f, file, []byte("x"))
	return err
}

// TestOneFormatIsNotAnother: a signature counts in the format it was made in only.
func TestOneFormatIsNotAnother(t *testing.T) {
	k, c := keys(t)
	sigs := map[format.Name][]byte{}
	for _, f := range []format.Name{format.CMS, format.CMSSHA256, format.CMSPlain} {
		o := sigcheck.CMSOptions(f, at)
		sig, err := cms.Sign(k, c.X509, sigcheck.CMSDigest(f, file.Digests), o)
		check(t, err)
		sigs[f] = sig
	}
	var err error
	sigs[format.SSHSIG], err = sshsig.Sign(k, sigcheck.Namespace, file.SHA512)
	check(t, err)
	sigs[format.RawSHA256], err = rawsig.Sign(k, crypto.SHA256, file.SHA256[:])
	check(t, err)
	sigs[format.RawSHA512], err = rawsig.Sign(k, crypto.SHA512, file.SHA512[:])
	check(t, err)
	for made, sig := range sigs {
		for _, row := range format.All() {
			r, err := c.Verify(row.Name, file, sig)
			if (err == nil) != (row.Name == made) || err != nil && r != nil {
				t.Errorf("%s as %s: %+v, %v", made, row.Name, r, err)
			}
			if err == nil && r.Time.IsZero() == (made == format.CMS || made == format.CMSSHA256) {
				t.Errorf("%s: time %s", made, r.Time)
			}
		}
		other := file
		other.SHA256[0] ^= 1
		other.SHA512[0] ^= 1
		if _, err := c.Verify(made, other, sig); err == nil {
			t.Errorf("%s: good for another file", made)
		}
	}
	// A namespace of somebody else, and CMS in another form than the format's.
	sig, err := sshsig.Sign(k, "git", file.SHA512)
	check(t, err)
	if _, err := c.Verify(format.SSHSIG, file, sig); err == nil {
		t.Error("another namespace passed")
	}
	o := sigcheck.CMSOptions(format.CMS, at)
	o.WithCertificate = false
	sig, err = cms.Sign(k, c.X509, file.SHA512[:], o)
	check(t, err)
	if _, err := c.Verify(format.CMS, file, sig); err == nil {
		t.Error("CMS in another form passed")
	}
	if file.SHA512 == (statement.SHA512{}) {
		t.Error("the file was changed")
	}
}
