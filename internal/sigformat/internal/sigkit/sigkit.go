// Package sigkit is what the tests of the signature formats run on: keys of every
// kind, signers that misbehave, and the external programs. Nothing outside of
// tests may use it.
package sigkit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat"
)

// Times of keys and signatures.
var (
	KeyTime  = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	SignTime = time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
)

// Document is the file that nobody who signs has seen.
var Document = []byte("the quick brown fox,\r\nbyte for byte\n\x00\xff")

// Software stands for a key in a token.
type Software struct {
	Name    string
	Private crypto.Signer
}

// Keys returns one key of every kind. They are made once per test process.
var Keys = sync.OnceValue(func() []Software {
	return []Software{
		{"rsa3072", must(rsa.GenerateKey(rand.Reader, 3072))},
		{"p256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))},
		{"p384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))},
		{"ed25519", must(ed25519Key())},
	}
})

// Fixed is an Ed25519 key that is the same in every process, for fuzz corpora.
func Fixed() Software {
	return Software{"fixed", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
}

func ed25519Key() (ed25519.PrivateKey, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	return priv, err
}

// ByName returns the key of that name.
func ByName(name string) Software {
	for _, k := range Keys() {
		if k.Name == name {
			return k
		}
	}
	panic("sigkit: no key " + name)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Public returns the public key.
func (s Software) Public() crypto.PublicKey { return s.Private.Public() }

// IsEd25519 reports whether the key signs messages.
func (s Software) IsEd25519() bool {
	_, ok := s.Private.(ed25519.PrivateKey)
	return ok
}

// Sign keeps the contract of pgpsig.SignFunc.
func (s Software) Sign(h crypto.Hash, digest []byte) ([]byte, error) {
	switch key := s.Private.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, key, h, digest)
	case *ecdsa.PrivateKey:
		r, t, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		n := key.Curve.Params().BitSize / 8
		return append(r.FillBytes(make([]byte, n)), t.FillBytes(make([]byte, n))...), nil
	default:
		return ed25519.Sign(key.(ed25519.PrivateKey), digest), nil
	}
}

// Key returns the key as the formats take it.
func (s Software) Key(t testing.TB) *sigformat.Key { return s.With(t, s.Sign) }

// With returns the key with another function in the place of its private half.
func (s Software) With(t testing.TB, sign pgpsig.SignFunc) *sigformat.Key {
	t.Helper()
	k, err := sigformat.NewKey(s.Public(), sign)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// PEM returns the public key in the form that openssl reads.
func (s Software) PEM() []byte {
	der := must(x509.MarshalPKIXPublicKey(s.Public()))
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// ParsePublic reads a public key in DER.
func ParsePublic(t testing.TB, der []byte) crypto.PublicKey {
	t.Helper()
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// ErrAway is what the signer "error" of TestBadSigners says.
var ErrAway = errors.New("token is away")

// TestBadSigners calls make with every way in which a token can misbehave, and
// wants the right error and no bytes.
func (s Software) TestBadSigners(t *testing.T, make func(k *sigformat.Key) ([]byte, error)) {
	t.Helper()
	other := Software{"other", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))}
	change := func(f func([]byte) []byte) pgpsig.SignFunc {
		return func(h crypto.Hash, d []byte) ([]byte, error) {
			sig, err := s.Sign(h, d)
			return f(sig), err
		}
	}
	signers := map[string]pgpsig.SignFunc{
		"error":          func(crypto.Hash, []byte) ([]byte, error) { return []byte("x"), ErrAway },
		"nothing":        func(crypto.Hash, []byte) ([]byte, error) { return nil, nil },
		"other key":      other.Sign,
		"other digest":   func(h crypto.Hash, d []byte) ([]byte, error) { return s.Sign(h, Flip(d, 100)) },
		"changes digest": func(h crypto.Hash, d []byte) ([]byte, error) { d[20] ^= 1; return s.Sign(h, d) },
		"flipped bit":    change(func(b []byte) []byte { return Flip(b, 322) }),
		"short":          change(func(b []byte) []byte { return b[1:] }),
		"long":           change(func(b []byte) []byte { return append(b, 0) }),
		"zeros":          change(func(b []byte) []byte { clear(b); return b }),
	}
	for _, name := range slices.Sorted(maps.Keys(signers)) {
		want := sigformat.ErrSignatureCheck
		if name == "error" {
			want = ErrAway
		}
		got, err := make(s.With(t, signers[name]))
		if got != nil || !errors.Is(err, want) {
			t.Errorf("%s, %s: %d bytes, %v; want %v", s.Name, name, len(got), err, want)
		}
	}
}

// Refuse is a SignFunc for what has to be refused before the token is asked.
func Refuse(t testing.TB) pgpsig.SignFunc {
	return func(crypto.Hash, []byte) ([]byte, error) {
		t.Error("the token was asked")
		return nil, ErrAway
	}
}

// Flip returns b with one bit changed.
func Flip(b []byte, bit int) []byte {
	c := bytes.Clone(b)
	c[bit/8] ^= 1 << (bit % 8)
	return c
}

// WantError wants an error that says part.
func WantError(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want one that contains %q", err, part)
	}
}

// Tool runs external programs in a folder of its own.
type Tool struct {
	t    testing.TB
	Home string
}

// NewTool fails if a program is missing, because a suite that silently leaves
// the real verifiers out would say nothing.
func NewTool(t testing.TB, names ...string) Tool {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Fatalf("%s is missing: run make test, which installs it", n)
		}
	}
	// Not t.TempDir: its path may be too long for gpg-agent's socket.
	home, err := os.MkdirTemp("", "sig")
	if err != nil {
		t.Fatal(err)
	}
	x := Tool{t, home}
	t.Cleanup(func() {
		if slices.Contains(names, "gpg") {
			x.Try("gpgconf", "--kill", "all") // there may be no agent to stop
		}
		os.RemoveAll(home)
	})
	return x
}

// Try runs a program and returns what it wrote.
func (x Tool) Try(name string, args ...string) (string, error) { return x.TryInput(nil, name, args...) }

// TryInput is Try with a standard input.
func (x Tool) TryInput(stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+x.Home, "HOME="+x.Home, "LC_ALL=C", "TZ=UTC")
	cmd.Dir = x.Home
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Run is Try for what has to succeed.
func (x Tool) Run(name string, args ...string) string {
	x.t.Helper()
	return x.RunInput(nil, name, args...)
}

// RunInput is TryInput for what has to succeed.
func (x Tool) RunInput(stdin []byte, name string, args ...string) string {
	x.t.Helper()
	out, err := x.TryInput(stdin, name, args...)
	if err != nil {
		x.t.Fatalf("%s: %v\n%s", command(name, args), err, out)
	}
	return out
}

// Refuses wants the program to fail.
func (x Tool) Refuses(name string, args ...string) {
	x.t.Helper()
	if out, err := x.Try(name, args...); err == nil {
		x.t.Errorf("%s succeeded:\n%s", command(name, args), out)
	}
}

func command(name string, args []string) string {
	return fmt.Sprintf("%s %s", name, strings.Join(args, " "))
}

// Write makes a file and returns its path.
func (x Tool) Write(name string, data []byte) string {
	x.t.Helper()
	path := filepath.Join(x.Home, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		x.t.Fatal(err)
	}
	return path
}

// Read returns a file.
func (x Tool) Read(name string) []byte {
	x.t.Helper()
	b, err := os.ReadFile(filepath.Join(x.Home, name))
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}
