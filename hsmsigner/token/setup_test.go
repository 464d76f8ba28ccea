package token_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
)

// SoftHSM reads its configuration when it is initialised, and the package
// finalises it when a token is closed. So every test has its own tokens,
// although the library is loaded once; no test here may run in parallel.

const (
	userPIN = "user-pin-5021"
	soPIN   = "so-pin-77103"
	label   = "quorate-test"
)

func pin(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

// library returns the path of SoftHSM, with an empty token folder of its own.
func library(t testing.TB) (path, dir string) {
	t.Helper()
	path, err := softhsm.Find()
	if err != nil {
		t.Fatalf("%v: run make test, which installs it", err)
	}
	dir = t.TempDir()
	conf, err := softhsm.NewConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range softhsm.Env(conf) {
		t.Setenv(name, value)
	}
	return path, dir
}

// fixture is one initialised token.
type fixture struct {
	module, dir string
	config      token.Config
}

func newFixture(t testing.TB) fixture {
	t.Helper()
	path, dir := library(t)
	if err := token.InitToken(path, label, []byte(soPIN), []byte(userPIN)); err != nil {
		t.Fatal(err)
	}
	return fixture{path, dir, token.Config{Module: path, Label: label, PIN: pin(userPIN)}}
}

func (f fixture) open(t testing.TB) *token.Token {
	t.Helper()
	k, err := token.Open(context.Background(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// opened is a token with one P-256 key named "key".
func opened(t testing.TB) (fixture, *token.Token) {
	t.Helper()
	f := newFixture(t)
	k := f.open(t)
	create(t, k, "key", token.P256)
	return f, k
}

func create(t testing.TB, k *token.Token, name string, kt token.KeyType) token.Key {
	t.Helper()
	key, err := k.CreateKey(name, kt)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func digest() []byte {
	d := sha256.Sum256([]byte("file"))
	return d[:]
}

func digest512() []byte {
	d := sha512.Sum512([]byte("file"))
	return d[:]
}

// mustSign is a signature, which Sign has verified itself.
func mustSign(t testing.TB, k *token.Token, name string) {
	t.Helper()
	if _, err := k.Sign(t.Context(), name, crypto.SHA256, digest()); err != nil {
		t.Fatal(err)
	}
}

// raw is a second user of the module in the same process: another program
// behind our back, as far as sessions and objects are concerned.
type raw struct {
	*pkcs11.Ctx
	slot uint
}

// behind returns a raw user of an opened token.
func behind(t testing.TB, path string) raw {
	t.Helper()
	c := pkcs11.New(path)
	slots, err := c.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if info, err := c.GetTokenInfo(s); err == nil && info.Label == label {
			return raw{c, s}
		}
	}
	t.Fatal("no slot")
	return raw{}
}

// objects returns every object with this label.
func (r raw) objects(t testing.TB, s pkcs11.SessionHandle, name string) []pkcs11.ObjectHandle {
	t.Helper()
	if err := r.FindObjectsInit(s, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, name)}); err != nil {
		t.Fatal(err)
	}
	found, _, err := r.FindObjects(s, 10)
	if err := errors.Join(err, r.FindObjectsFinal(s)); err != nil {
		t.Fatal(err)
	}
	return found
}

func (r raw) session(t testing.TB) pkcs11.SessionHandle {
	t.Helper()
	s, err := r.OpenSession(r.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantIs(t testing.TB, err, want error, class token.Class) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
		return
	}
	var e *token.Error
	if !errors.As(err, &e) || e.Class != class {
		t.Errorf("error %v is not of class %v", err, class)
	}
	if err != nil && (strings.Contains(err.Error(), userPIN) || strings.Contains(err.Error(), soPIN)) {
		t.Error("the error contains a pin")
	}
}

func move(t testing.TB, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}
