package imasig_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/internal/sigkit"
)

// certificate is self-signed; id is its subject key identifier, or nil for none.
func certificate(t *testing.T, s sigkit.Software, id []byte) *x509.Certificate {
	t.Helper()
	now := time.Now()
	// Not a CA: then the library adds no identifier by itself.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ima"}, SubjectKeyId: id,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.Public(), s.Private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// sign makes a value and its id.
func sign(t *testing.T, s sigkit.Software, cert *x509.Certificate, digest [32]byte) ([4]byte, []byte) {
	t.Helper()
	id, err := imasig.KeyID(s.Public(), cert)
	if err != nil {
		t.Fatal(err)
	}
	value, err := imasig.Sign(s.Key(t), id, digest)
	if err != nil {
		t.Fatal(err)
	}
	return id, value
}

func TestEvmctlVerifies(t *testing.T) {
	x := sigkit.NewTool(t, "evmctl")
	file := x.Write("file", sigkit.Document)
	other := x.Write("other", sigkit.Document[1:])
	for _, s := range sigkit.Keys() {
		if s.IsEd25519() {
			continue
		}
		cert := certificate(t, s, nil)
		pem := x.Write("cert.der", cert.Raw)
		_, value := sign(t, s, nil, sha256.Sum256(sigkit.Document))
		x.Write("file.sig", value)
		x.Write("other.sig", value)
		if out := x.Run("evmctl", "ima_verify", "--sigfile", "--key", pem, file); !strings.Contains(out, "verification is OK") {
			t.Errorf("%s: %s", s.Name, out)
		}
		x.Refuses("evmctl", "ima_verify", "--sigfile", "--key", pem, other)
	}
}

// TestKeyID: the one in the certificate counts; without one it is what evmctl makes.
func TestKeyID(t *testing.T) {
	s := sigkit.ByName("p256")
	id, _ := sign(t, s, certificate(t, s, []byte("0123456789abcdef")), [32]byte{})
	if string(id[:]) != "cdef" {
		t.Errorf("id %q", id)
	}
	none, _ := sign(t, s, nil, [32]byte{})
	if without, _ := sign(t, s, certificate(t, s, nil), [32]byte{}); without != none || none == id {
		t.Errorf("ids %x and %x", none, without)
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := sigkit.ByName("p256")
	digest := sha256.Sum256(sigkit.Document)
	id, value := sign(t, s, nil, digest)
	if err := imasig.Verify(s.Public(), id, digest, value); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(value) {
		if imasig.Verify(s.Public(), id, digest, sigkit.Flip(value, bit)) == nil {
			t.Errorf("bit %d changed, and it verifies", bit)
		}
	}
	for n := range value {
		if imasig.Verify(s.Public(), id, digest, value[:n]) == nil {
			t.Errorf("%d bytes of it verify", n)
		}
	}
	if imasig.Verify(s.Public(), id, digest, append(bytes.Clone(value), 0)) == nil {
		t.Error("it verifies with a byte more")
	}
	sigkit.WantError(t, imasig.Verify(s.Public(), [4]byte{1}, digest, value), "where the signer has an X.509 certificate")
	sigkit.WantError(t, imasig.Verify(ed25519.PublicKey(make([]byte, 32)), id, digest, value), "RSA and ECDSA")
	e := sigkit.ByName("ed25519")
	_, err := imasig.Sign(e.With(t, sigkit.Refuse(t)), id, digest)
	sigkit.WantError(t, err, "RSA and ECDSA")
}

func TestBadSigners(t *testing.T) {
	s := sigkit.ByName("p256")
	s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return imasig.Sign(k, [4]byte{}, [32]byte{1}) })
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{3, 2, 4, 1, 2, 3, 4, 0, 1, 9})
	f.Fuzz(func(t *testing.T, value []byte) {
		if id, sig, err := imasig.Parse(value); err == nil && (len(sig) != len(value)-9 || !bytes.Equal(id[:], value[3:7])) {
			t.Errorf("%x %x of %x", id, sig, value)
		}
	})
}
