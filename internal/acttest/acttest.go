// Package acttest makes maintainers for tests: real SSH keys, and acts that the
// real ssh-keygen signs with them.
package acttest

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/internal/sshkeygen"
	"quorate/quorum/act"
)

// Key is a maintainer's key.
type Key struct {
	Path string // of the private key
	Line string // public key, as a policy has it
}

// NewKey makes a key in the way that the arguments of ssh-keygen say, by default
// Ed25519.
func NewKey(t testing.TB, args ...string) Key {
	t.Helper()
	if len(args) == 0 {
		args = []string{"-t", "ed25519"}
	}
	path := filepath.Join(t.TempDir(), "id")
	if out, err := exec.Command("ssh-keygen", append([]string{"-q", "-N", "", "-C", "test", "-f", path}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	line, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return Key{path, strings.TrimSpace(string(line))}
}

// Sign signs the act in its namespace. What is missing in it is filled in.
func (k Key) Sign(t testing.TB, a act.Act) *act.Signed { return k.SignIn(t, act.Namespace, a) }

// SignIn is Sign in another namespace.
func (k Key) SignIn(t testing.TB, namespace string, a act.Act) *act.Signed {
	t.Helper()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	a.Version = act.Version
	if a.Nonce == "" {
		a.Nonce = hex.EncodeToString(nonce[:])
	}
	if a.Reason == "" {
		a.Reason = "a test says so"
	}
	if a.Time.IsZero() {
		a.Time = time.Now().UTC().Truncate(time.Second)
	}
	payload, err := act.Encode(&a)
	if err != nil {
		t.Fatal(err)
	}
	return Seal(t, payload, k.Signature(t, namespace, payload))
}

// Signature is what ssh-keygen makes over the bytes.
func (k Key) Signature(t testing.TB, namespace string, message []byte) []byte {
	t.Helper()
	sig, err := sshkeygen.Sign(t.Context(), k.Path, namespace, message, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Seal is [act.Seal] for tests.
func Seal(t testing.TB, payload, signature []byte) *act.Signed {
	t.Helper()
	s, err := act.Seal(payload, signature)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
