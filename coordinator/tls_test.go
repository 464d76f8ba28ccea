package coordinator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/internal/bus"
)

// writeTLS makes a certificate for loopback that is its own root.
func writeTLS(t *testing.T, certPath, keyPath string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bus"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	keyDER := must(x509.MarshalPKCS8PrivateKey(key))(t)
	check(t, os.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}

// Builders on other machines reach the embedded server over TLS, and only with
// the root that they were given.
func TestEmbeddedServerSpeaksTLS(t *testing.T) {
	w := newWorld(t)
	writeTLS(t, filepath.Join(w.state(), "bus.pem"), filepath.Join(w.state(), "bus.key"))
	w.serveTLS("bus.pem", "bus.key")
	w.start()

	o := bus.Options{URL: w.busTLS(), Name: "alice", SeedFile: w.path("alice.nk"), CAFile: filepath.Join(w.state(), "bus.pem"), Logger: quiet()}
	conn := must(bus.Connect(o))(t)
	conn.Close()
	o.CAFile = ""
	if conn, err := bus.Connect(o); err == nil {
		conn.Close()
		t.Error("connected without the root certificate")
	}
}

// serveTLS gives the embedded server a certificate at its next start.
func (w *world) serveTLS(cert, key string) {
	w.t.Helper()
	path := filepath.Join(w.state(), "coordinator.toml")
	text := string(must(os.ReadFile(path))(w.t))
	text = strings.Replace(text, `tls_cert = ""`, fmt.Sprintf("tls_cert = %q", cert), 1)
	text = strings.Replace(text, `tls_key = ""`, fmt.Sprintf("tls_key = %q", key), 1)
	check(w.t, os.WriteFile(path, []byte(text), 0o600))
}

func (w *world) busTLS() string {
	return "tls://" + must(url.Parse(w.c.BusURL()))(w.t).Host
}

// servedCertificate is what a client gets from the bus, which greets it in plain
// before it speaks TLS.
func (w *world) servedCertificate() *x509.Certificate {
	w.t.Helper()
	conn := must(net.Dial("tcp", must(url.Parse(w.c.BusURL()))(w.t).Host))(w.t)
	defer conn.Close()
	greeting := make([]byte, 1)
	for greeting[0] != '\n' {
		must(conn.Read(greeting))(w.t)
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // it is only looked at
	check(w.t, client.HandshakeContext(limit(w.t)))
	return client.ConnectionState().PeerCertificates[0]
}
