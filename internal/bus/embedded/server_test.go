package embedded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// users makes one builder per name, with seeds in dir, after a coordinator.
func users(t *testing.T, dir string, names ...string) []bus.User {
	t.Helper()
	var list []bus.User
	for i, name := range append([]string{"coord"}, names...) {
		public, err := bus.WriteSeedFile(filepath.Join(dir, name))
		check(t, err)
		role := bus.RoleBuilder
		if i == 0 {
			role = bus.RoleCoordinator
		}
		list = append(list, bus.User{Name: name, Role: role, NKey: public})
	}
	return list
}

func start(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	o.Logger = quiet
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := embedded.Start(o)
	check(t, err)
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, s *embedded.Server, dir, name string) (*bus.Conn, error) {
	t.Helper()
	c, err := bus.Connect(bus.Options{URL: s.URL(), Name: name, SeedFile: filepath.Join(dir, name), Logger: quiet})
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	all := users(t, dir, "alice", "bob", "carol")
	s := start(t, embedded.Options{Users: all[:3]})
	coord, err := connect(t, s, dir, "coord")
	check(t, err)
	check(t, bus.EnsureStreams(t.Context(), coord.JS(), 1))
	alice, err := connect(t, s, dir, "alice")
	check(t, err)
	bob, err := connect(t, s, dir, "bob")
	check(t, err)
	if _, err := connect(t, s, dir, "carol"); err == nil {
		t.Fatal("carol connects before she is added")
	}

	gone := bob.NATS().StatusChanged(nats.RECONNECTING, nats.CLOSED)
	check(t, s.Reload([]bus.User{all[0], all[1], all[3]}))
	<-gone
	if _, err := connect(t, s, dir, "bob"); err == nil {
		t.Error("bob connects after he was removed")
	}
	carol, err := connect(t, s, dir, "carol")
	check(t, err)
	for _, c := range []*bus.Conn{alice, carol} {
		_, err := c.Publish(t.Context(), "quorate.statements.core."+c.Name(), "id-"+c.Name(), []byte("x"))
		check(t, err)
	}
	// The streams are untouched, and who stayed was not even disconnected.
	check(t, bus.EnsureStreams(t.Context(), coord.JS(), 1))
	if n := alice.NATS().Stats().Reconnects; n != 0 {
		t.Errorf("alice reconnected %d times", n)
	}
}

// A user whose role changes must not keep the old rights on an old connection.
func TestReloadChangesRole(t *testing.T) {
	dir := t.TempDir()
	all := users(t, dir, "alice")
	s := start(t, embedded.Options{Users: all})
	coord, err := connect(t, s, dir, "coord")
	check(t, err)
	check(t, bus.EnsureStreams(t.Context(), coord.JS(), 1))
	alice, err := connect(t, s, dir, "alice")
	check(t, err)
	all[1].Role = bus.RoleTooling
	check(t, s.Reload(all))
	_, err = alice.Publish(t.Context(), "quorate.statements.core.alice", "1", []byte("x"))
	var denied *bus.DeniedError
	if !errors.As(err, &denied) {
		t.Errorf("still a builder: %v", err)
	}
	_, err = alice.Publish(t.Context(), "quorate.jobs.core", "2", []byte("x"))
	check(t, err)
}

func TestReloadRefusesBadUsers(t *testing.T) {
	dir := t.TempDir()
	all := users(t, dir, "alice")
	s := start(t, embedded.Options{Users: all})
	for _, bad := range [][]bus.User{nil, {}, {all[0], all[0]}} {
		if err := s.Reload(bad); err == nil {
			t.Errorf("reloaded with %v", bad)
		}
	}
	_, err := connect(t, s, dir, "alice")
	check(t, err)
}

func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	all := users(t, dir)
	s := start(t, embedded.Options{StoreDir: dir, Users: all})
	taken := s.URL()[strings.LastIndex(s.URL(), ":")+1:]
	port, err := net.LookupPort("tcp", taken)
	check(t, err)
	for name, o := range map[string]embedded.Options{
		"no users":        {StoreDir: t.TempDir()},
		"repeated user":   {StoreDir: t.TempDir(), Users: append(all, all...)},
		"no store":        {Users: all},
		"store in use":    {StoreDir: dir, Users: all},
		"port in use":     {StoreDir: t.TempDir(), Users: all, Port: port},
		"no certificate":  {StoreDir: t.TempDir(), Users: all, CertFile: "missing", KeyFile: "missing"},
		"only a tls key":  {StoreDir: t.TempDir(), Users: all, KeyFile: "missing"},
		"only a tls cert": {StoreDir: t.TempDir(), Users: all, CertFile: "missing"},
	} {
		o.Logger = quiet
		s, err := embedded.Start(o)
		if err == nil {
			s.Shutdown()
			t.Errorf("%s: started", name)
		}
	}
}

func TestStartAgainAfterShutdown(t *testing.T) {
	dir := t.TempDir()
	all := users(t, dir)
	for range 2 {
		s, err := embedded.Start(embedded.Options{StoreDir: filepath.Join(dir, "store"), Users: all, Logger: quiet})
		check(t, err)
		if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
			t.Errorf("listens on %s", s.URL())
		}
		s.Shutdown()
		s.Shutdown() // harmless
	}
}

func TestDontListen(t *testing.T) {
	dir := t.TempDir()
	s := start(t, embedded.Options{Users: users(t, dir), DontListen: true})
	c, err := bus.Connect(bus.Options{InProcess: s.InProcess(), Name: "coord", SeedFile: filepath.Join(dir, "coord"), Logger: quiet})
	check(t, err)
	defer c.Close()
	check(t, bus.EnsureStreams(t.Context(), c.JS(), 1))
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	s := start(t, embedded.Options{Users: users(t, dir), CertFile: cert, KeyFile: key})
	o := bus.Options{URL: s.URL(), Name: "coord", SeedFile: filepath.Join(dir, "coord"), Logger: quiet}
	if _, err := bus.Connect(o); err == nil {
		t.Error("connected to a server with an unknown certificate")
	}
	o.CAFile = cert
	c, err := bus.Connect(o)
	check(t, err)
	defer c.Close()
	if _, err := c.NATS().TLSConnectionState(); err != nil {
		t.Error(err)
	}
	o.CAFile = filepath.Join(dir, "coord")
	if _, err := bus.Connect(o); err == nil {
		t.Error("a file without certificates was taken as the root")
	}
}

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}
