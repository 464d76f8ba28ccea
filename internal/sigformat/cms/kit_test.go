package cms_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/internal/sigkit"
)

var (
	sum256  = sha256.Sum256(sigkit.Document)
	sum512  = sha512.Sum512(sigkit.Document)
	digests = map[crypto.Hash][]byte{crypto.SHA256: sum256[:], crypto.SHA512: sum512[:]}

	subject  = pkix.Name{CommonName: "Example Archive", Organization: []string{"Example"}}
	notAfter = sigkit.KeyTime.AddDate(40, 0, 0)
)

func certificate(t testing.TB, s sigkit.Software) *x509.Certificate {
	t.Helper()
	der, err := cms.SelfSigned(s.Key(t), subject, sigkit.KeyTime, notAfter)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// allOptions returns every form that the key can make.
func allOptions(s sigkit.Software) []cms.Options {
	var all []cms.Options
	for _, h := range []crypto.Hash{crypto.SHA512, crypto.SHA256} {
		for _, plain := range []bool{false, true} {
			for _, with := range []bool{false, true} {
				for _, at := range []time.Time{{}, sigkit.SignTime} {
					if plain && !at.IsZero() || s.IsEd25519() && (plain || h != crypto.SHA512) {
						continue
					}
					all = append(all, cms.Options{Hash: h, Plain: plain, WithCertificate: with, SigningTime: at})
				}
			}
		}
	}
	return all
}
