package pgpsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/internal/pgpsig"
)

var (
	keyTime  = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	signTime = time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
	document = []byte("the quick brown fox, byte for byte\n")
)

const userID = "Example Archive <archive@example.org>"

// softwareKey stands for a key in a token.
type softwareKey struct {
	name string
	key  crypto.Signer
}

// sign keeps the contract of SignFunc: r‖s for ECDSA, the digest as message
// for Ed25519.
func (k softwareKey) sign(h crypto.Hash, digest []byte) ([]byte, error) {
	switch key := k.key.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, key, h, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		n := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...), nil
	default:
		return ed25519.Sign(k.key.(ed25519.PrivateKey), digest), nil
	}
}

// keys are made once per test process: RSA-4096 takes seconds.
var keys = sync.OnceValue(func() []softwareKey {
	return []softwareKey{
		{"rsa3072", must(rsa.GenerateKey(rand.Reader, 3072))},
		{"rsa4096", must(rsa.GenerateKey(rand.Reader, 4096))},
		{"p256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))},
		{"p384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))},
		ed25519Key("ed25519", 1),
	}
})

func ed25519Key(name string, seed byte) softwareKey {
	return softwareKey{name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

func key(name string) softwareKey {
	for _, k := range keys() {
		if k.name == name {
			return k
		}
	}
	panic("no key " + name)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// certificate makes and parses the certificate of k.
func certificate(t testing.TB, k softwareKey, opts ...pgpsig.CertificateOption) *pgpsig.Certificate {
	t.Helper()
	raw, err := pgpsig.MakeCertificate(k.key.Public(), keyTime, userID, k.sign, opts...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgpsig.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// absorbed returns the SHA-512 state of data.
func absorbed(data []byte) hash.Hash {
	h := sha512.New()
	h.Write(data)
	return h
}

func signed(t testing.TB, c *pgpsig.Certificate, k softwareKey, notations ...pgpsig.Notation) []byte {
	t.Helper()
	sig, err := pgpsig.SignDetached(c, absorbed(document), crypto.SHA512, signTime, notations, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// needTool fails rather than skips: a suite that silently leaves the real
// verifiers out would say nothing.
func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: run make test, which installs it", name)
	}
}

// tool is one external program with its own home.
type tool struct {
	t    testing.TB
	home string
}

func newTool(t testing.TB, names ...string) tool {
	t.Helper()
	for _, n := range names {
		needTool(t, n)
	}
	// Not t.TempDir: its path may be too long for gpg-agent's socket.
	home, err := os.MkdirTemp("", "pgp")
	if err != nil {
		t.Fatal(err)
	}
	x := tool{t, home}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--kill", "all")
		cmd.Env = x.env()
		cmd.Run() // there may be no agent to stop
		os.RemoveAll(home)
	})
	return x
}

func (x tool) env() []string {
	return append(os.Environ(), "GNUPGHOME="+x.home, "HOME="+x.home, "LC_ALL=C")
}

func (x tool) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = x.env()
	cmd.Dir = x.home
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (x tool) run(name string, args ...string) string {
	x.t.Helper()
	out, err := x.try(name, args...)
	if err != nil {
		x.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// gpg runs gpg without questions.
func (x tool) gpg(args ...string) string {
	x.t.Helper()
	return x.run("gpg", append([]string{"--batch", "--no-tty", "--status-fd", "1", "--trust-model", "always"}, args...)...)
}

func (x tool) write(name string, data []byte) string {
	x.t.Helper()
	path := filepath.Join(x.home, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		x.t.Fatal(err)
	}
	return path
}

func (x tool) read(name string) []byte {
	x.t.Helper()
	b, err := os.ReadFile(filepath.Join(x.home, name))
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

func wantError(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want one that contains %q", err, part)
	}
}

// wantNotOver wants a signature over something else. One hash in 65,536 has the
// two bytes that a signature gives away of it; then the key is what tells.
func wantNotOver(t testing.TB, err error, what string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "not over this "+what) && !strings.Contains(err.Error(), "invalid signature") {
		t.Errorf("error %v, want one that says that the signature is not over this %s", err, what)
	}
}

func flip(b []byte, bit int) []byte {
	c := bytes.Clone(b)
	c[bit/8] ^= 1 << (bit % 8)
	return c
}

func describe(bit int) string { return fmt.Sprintf("bit %d of byte %d", bit%8, bit/8) }
