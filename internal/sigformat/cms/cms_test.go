package cms_test

import (
	"bytes"
	"crypto"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/internal/sigkit"
)

func signed(t testing.TB, s sigkit.Software, cert *x509.Certificate, o cms.Options) []byte {
	t.Helper()
	der, err := cms.Sign(s.Key(t), cert, digests[o.Hash], o)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestVerify(t *testing.T) {
	other := sha512.Sum512(nil)
	for _, s := range sigkit.Keys() {
		cert := certificate(t, s)
		for _, o := range allOptions(s) {
			der := signed(t, s, cert, o)
			got, err := cms.Verify(cert, o.Hash, digests[o.Hash], der)
			if err != nil || got.Plain != o.Plain || got.WithCertificate != o.WithCertificate || !got.SigningTime.Equal(o.SigningTime) {
				t.Errorf("%s, %+v: %+v, %v", s.Name, o, got, err)
			}
			if _, err := cms.Verify(cert, o.Hash, other[:o.Hash.Size()], der); err == nil {
				t.Errorf("%s, %+v: verifies another file", s.Name, o)
			}
			wrong := crypto.SHA256
			if o.Hash == wrong {
				wrong = crypto.SHA512
			}
			_, err = cms.Verify(cert, wrong, digests[wrong], der)
			sigkit.WantError(t, err, "digest algorithms:")
			if !o.WithCertificate {
				_, err = cms.Verify(certificate(t, sigkit.Fixed()), crypto.SHA512, digests[crypto.SHA512], der)
				if err == nil {
					t.Errorf("%s, %+v: verifies under another certificate", s.Name, o)
				}
			}
		}
	}
}

// stride is one where verifying is cheap, and else a number prime to 8.
func stride(s sigkit.Software) int {
	switch s.Name {
	case "p384":
		return 37
	case "ed25519":
		return 1
	}
	return 5
}

func TestFlippedBits(t *testing.T) {
	for _, s := range sigkit.Keys() {
		cert := certificate(t, s)
		forms := []cms.Options{{Hash: crypto.SHA512, WithCertificate: true, SigningTime: sigkit.SignTime}}
		if !s.IsEd25519() {
			forms = append(forms, cms.Options{Hash: crypto.SHA256, Plain: true})
		}
		for _, o := range forms {
			der := signed(t, s, cert, o)
			verifies := func(der []byte) bool {
				_, err := cms.Verify(cert, o.Hash, digests[o.Hash], der)
				return err == nil
			}
			for bit := 0; bit < 8*len(der); bit += stride(s) {
				if verifies(sigkit.Flip(der, bit)) {
					t.Errorf("%s, %+v: bit %d of byte %d changed, and it verifies", s.Name, o, bit%8, bit/8)
				}
			}
			for n := range len(der) {
				if verifies(der[:n]) {
					t.Errorf("%s, %+v: verifies with %d bytes", s.Name, o, n)
				}
			}
			if verifies(append(der, 0)) {
				t.Errorf("%s, %+v: verifies with a byte behind", s.Name, o)
			}
		}
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		cert := certificate(t, s)
		for _, o := range allOptions(s) {
			s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return cms.Sign(k, cert, digests[o.Hash], o) })
		}
		s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return cms.SelfSigned(k, subject, sigkit.KeyTime, notAfter) })
		s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return cms.Request(k, subject) })
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	tests := []struct {
		name, key string
		o         cms.Options
		digest    []byte
		want      string
	}{
		{"sha384", "p384", cms.Options{Hash: crypto.SHA384}, make([]byte, 48), "hash: SHA-384"},
		{"no hash", "p384", cms.Options{}, make([]byte, 48), "hash: unknown"},
		{"digest", "p384", cms.Options{Hash: crypto.SHA512}, sum256[:], "digest: 32 bytes"},
		{"ed25519 plain", "ed25519", cms.Options{Hash: crypto.SHA512, Plain: true}, sum512[:], "signs the file itself"},
		{"ed25519 sha256", "ed25519", cms.Options{Hash: crypto.SHA256}, sum256[:], "RFC 8419"},
		{"plain time", "p256", cms.Options{Hash: crypto.SHA512, Plain: true, SigningTime: sigkit.SignTime}, sum512[:], "has none"},
		{"too early", "p256", cms.Options{Hash: crypto.SHA512, SigningTime: sigkit.KeyTime.Add(-time.Hour)}, sum512[:], "outside the certificate's validity"},
		{"too late", "p256", cms.Options{Hash: crypto.SHA512, SigningTime: notAfter.Add(time.Hour)}, sum512[:], "outside the certificate's validity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sigkit.ByName(tt.key)
			der, err := cms.Sign(s.With(t, sigkit.Refuse(t)), certificate(t, s), tt.digest, tt.o)
			sigkit.WantError(t, err, tt.want)
			if der != nil || errors.Is(err, sigformat.ErrSignatureCheck) {
				t.Errorf("%d bytes, %v", len(der), err)
			}
		})
	}
	k := sigkit.ByName("p256").With(t, sigkit.Refuse(t))
	o := cms.Options{Hash: crypto.SHA512}
	_, err := cms.Sign(k, certificate(t, sigkit.ByName("p384")), sum512[:], o)
	sigkit.WantError(t, err, "certificate: is for another key")
	_, err = cms.Sign(k, nil, sum512[:], o)
	sigkit.WantError(t, err, "certificate: missing")
	_, err = cms.Verify(&x509.Certificate{}, crypto.SHA512, sum512[:], nil)
	sigkit.WantError(t, err, "certificate: missing")
}

// TestGeneralizedTime: from 2050 on the signing time is written another way.
func TestGeneralizedTime(t *testing.T) {
	s := sigkit.Fixed()
	cert := certificate(t, s)
	for year, tag := range map[int]byte{2049: 0x17, 2050: 0x18} {
		at := time.Date(year, 3, 4, 5, 6, 7, 999, time.FixedZone("x", 3600))
		der := signed(t, s, cert, cms.Options{Hash: crypto.SHA512, SigningTime: at})
		got, err := cms.Verify(cert, crypto.SHA512, sum512[:], der)
		if err != nil || !got.SigningTime.Equal(at.Truncate(time.Second)) || !bytes.Contains(der, []byte{tag, 13 + 2*(tag-0x17)}) {
			t.Errorf("%d: %v, %v", year, got, err)
		}
	}
}

func TestDeterministic(t *testing.T) {
	for _, name := range []string{"rsa3072", "ed25519"} {
		s := sigkit.ByName(name)
		cert := certificate(t, s)
		o := cms.Options{Hash: crypto.SHA512, WithCertificate: true, SigningTime: sigkit.SignTime}
		if !bytes.Equal(cert.Raw, certificate(t, s).Raw) || !bytes.Equal(signed(t, s, cert, o), signed(t, s, cert, o)) {
			t.Errorf("%s: two calls, two results", name)
		}
	}
}

func TestCertificateRefuses(t *testing.T) {
	k := sigkit.ByName("p256").With(t, sigkit.Refuse(t))
	_, err := cms.SelfSigned(k, pkix.Name{}, sigkit.KeyTime, notAfter)
	sigkit.WantError(t, err, "no common name")
	_, err = cms.SelfSigned(k, subject, notAfter, sigkit.KeyTime)
	sigkit.WantError(t, err, "validity:")
	_, err = cms.SelfSigned(k, subject, time.Time{}, notAfter)
	sigkit.WantError(t, err, "validity:")
	_, err = cms.SelfSigned(k, subject, sigkit.KeyTime, sigkit.KeyTime.AddDate(9000, 0, 0))
	sigkit.WantError(t, err, "validity:")
	_, err = cms.Request(k, pkix.Name{Organization: []string{"x"}})
	sigkit.WantError(t, err, "no common name")
}

func TestSerialsDiffer(t *testing.T) {
	s := sigkit.Fixed()
	seen := map[string]bool{}
	for i := range 50 {
		der, err := cms.SelfSigned(s.Key(t), subject, sigkit.KeyTime.AddDate(0, 0, i), notAfter)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || cert.SerialNumber.Sign() <= 0 || seen[cert.SerialNumber.String()] {
			t.Errorf("serial number %v, %v", cert.SerialNumber, err)
		}
		seen[cert.SerialNumber.String()] = true
	}
}

// FuzzVerify: an Ed25519 key that signed once verifies nothing else.
func FuzzVerify(f *testing.F) {
	s := sigkit.Fixed()
	cert := certificate(f, s)
	for _, o := range allOptions(s) {
		f.Add(signed(f, s, cert, o))
	}
	p := sigkit.ByName("p256")
	f.Add(signed(f, p, certificate(f, p), cms.Options{Hash: crypto.SHA512, Plain: true}))
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := cms.Verify(cert, crypto.SHA512, sum512[:], der)
		if err == nil && (got.Plain || !got.SigningTime.IsZero() && !got.SigningTime.Equal(sigkit.SignTime)) {
			t.Errorf("verified %+v", got)
		}
	})
}
