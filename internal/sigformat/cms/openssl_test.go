package cms_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/internal/sigkit"
)

// TestOthersVerify shows every form to openssl, and to certtool because no
// openssl of the 3.0 series verifies Ed25519 in CMS: it asks for a digest with it
// ("eddsa_digest_signverify_init: invalid digest").
func TestOthersVerify(t *testing.T) {
	for _, s := range sigkit.Keys() {
		t.Run(s.Name, func(t *testing.T) {
			x := sigkit.NewTool(t, "openssl", "certtool")
			cert := certificate(t, s)
			x.Write("cert.pem", certPEM(cert))
			x.Write("file", sigkit.Document)
			x.Write("other", sigkit.Document[1:])
			for _, o := range allOptions(s) {
				x.Write("sig.p7s", signed(t, s, cert, o))
				for _, v := range verifiers(o) {
					out, err := x.Try(v[0], append(v[1:], "file")...)
					if s.IsEd25519() && v[0] == "openssl" && strings.Contains(out, "invalid digest") {
						continue // see above; certtool follows
					}
					if err != nil {
						t.Errorf("%+v: %s: %v\n%s", o, v[0], err, out)
					}
					x.Refuses(v[0], append(v[1:], "other")...)
				}
			}
		})
	}
}

// verifiers are commands that lack only the name of the file. The certificate is
// the root, and given by itself if the signature does not hold it.
func verifiers(o cms.Options) [][]string {
	openssl := []string{"openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "sig.p7s", "-CAfile", "cert.pem", "-out", "out"}
	if !o.WithCertificate {
		openssl = append(openssl, "-certfile", "cert.pem")
	}
	return [][]string{
		append(openssl, "-content"),
		{"certtool", "--p7-verify", "--inder", "--infile", "sig.p7s", "--load-certificate", "cert.pem", "--load-data"},
	}
}

func TestOpenSSLPrints(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	s := sigkit.ByName("p384")
	cert := certificate(t, s)
	x.Write("sig.p7s", signed(t, s, cert, cms.Options{Hash: crypto.SHA512, SigningTime: sigkit.SignTime}))
	out := x.Run("openssl", "cms", "-cmsout", "-print", "-inform", "DER", "-in", "sig.p7s")
	for _, want := range []string{"eContent: <ABSENT>", "algorithm: sha512", "ecdsa-with-SHA512", "UTCTIME:Jun  1 12:00:00 2024 GMT", "certificates:\n      <ABSENT>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestReadOpenSSL verifies what openssl made in the forms that are ours too.
func TestReadOpenSSL(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	x.Write("file", sigkit.Document)
	for name, args := range map[string][]string{
		"rsa":  {"rsa:3072"},
		"p256": {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"p384": {"ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
	} {
		x.Run("openssl", append([]string{"req", "-x509", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=x", "-days", "10", "-newkey"}, args...)...)
		cert := parsePEM(t, x.Read("cert"))
		for h, md := range map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA512: "sha512"} {
			for _, extra := range [][]string{{"-nosmimecap"}, {"-noattr"}, {"-nosmimecap", "-nocerts"}} {
				x.Run("openssl", append([]string{"cms", "-sign", "-binary", "-in", "file", "-signer", "cert", "-inkey", "key", "-md", md, "-outform", "DER", "-out", "sig"}, extra...)...)
				got, err := cms.Verify(cert, h, digests[h], x.Read("sig"))
				if err != nil || got.Plain != (extra[0] == "-noattr") || got.WithCertificate != (len(extra) == 1) || got.SigningTime.IsZero() != got.Plain {
					t.Errorf("%s, %s, %v: %+v, %v", name, md, extra, got, err)
				}
			}
			x.Run("openssl", "cms", "-sign", "-binary", "-in", "file", "-signer", "cert", "-inkey", "key", "-md", md, "-outform", "DER", "-out", "sig")
			_, err := cms.Verify(cert, h, digests[h], x.Read("sig"))
			sigkit.WantError(t, err, "attribute 1.2.840.113549.1.9.15: not known here")
		}
	}
}

func parsePEM(t testing.TB, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestOpenSSLTakesCertificates(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	for _, s := range sigkit.Keys() {
		x.Write("cert.pem", certPEM(certificate(t, s)))
		x.Run("openssl", "verify", "-check_ss_sig", "-x509_strict", "-CAfile", "cert.pem", "cert.pem")
		out := x.Run("openssl", "x509", "-in", "cert.pem", "-noout", "-text")
		for _, want := range []string{"CA:FALSE", "Digital Signature", "O = Example, CN = Example Archive"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", s.Name, want, out)
			}
		}
		der, err := cms.Request(s.Key(t), subject)
		if err != nil {
			t.Fatal(err)
		}
		x.Write("request", der)
		if out := x.Run("openssl", "req", "-inform", "DER", "-in", "request", "-verify", "-noout"); !strings.Contains(out, "verify OK") {
			t.Errorf("%s: %s", s.Name, out)
		}
	}
}
