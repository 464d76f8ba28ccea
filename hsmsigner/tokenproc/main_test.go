//go:build linux

package tokenproc_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
	"quorate/hsmsigner/tokenproc"
)

const (
	userPIN = "user-pin-5021"
	soPIN   = "so-pin-77103"
	label   = "quorate-test"
)

// keyTypes are the keys in every test's token; each has its type as label.
var keyTypes = []token.KeyType{token.RSA3072, token.P256, token.P384, token.Ed25519}

// template has a token with those keys, which every test gets a copy of.
var template string

func TestMain(m *testing.M) {
	if tokenproc.IsCommand(os.Args) {
		os.Exit(tokenproc.Main())
	}
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		os.Exit(roles[os.Args[1]](os.Args[2:]))
	}
	// The race detector lets each process sleep a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(withTemplate(m.Run))
}

func withTemplate(run func() int) int {
	dir, err := os.MkdirTemp("", "tokenproc")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	template = dir
	if err := makeTemplate(dir); err != nil {
		fmt.Fprintln(os.Stderr, "make a soft token (make test installs SoftHSM):", err)
		return 1
	}
	return run()
}

func makeTemplate(dir string) error {
	module, err := softhsm.Find()
	if err != nil {
		return err
	}
	conf, err := softhsm.NewConfig(dir)
	if err != nil {
		return err
	}
	for name, value := range softhsm.Env(conf) {
		os.Setenv(name, value)
	}
	if err := token.InitToken(module, label, []byte(soPIN), []byte(userPIN)); err != nil {
		return err
	}
	tok, err := token.Open(context.Background(), token.Config{Module: module, Label: label, PIN: pin(userPIN)})
	if err != nil {
		return err
	}
	for _, kt := range keyTypes {
		if _, err := tok.CreateKey(string(kt), kt); err != nil {
			return errors.Join(err, tok.Close())
		}
	}
	return tok.Close()
}

func pin(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

// fixture is a token of the test's own, and how to open it.
type fixture struct {
	dir     string // has the folder "tokens"
	log     *journal
	options tokenproc.Options
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), log: &journal{}}
	for name, value := range softhsm.Env(must(softhsm.NewConfig(f.dir))(t)) {
		t.Setenv(name, value)
	}
	check(t, os.CopyFS(filepath.Join(f.dir, "tokens"), os.DirFS(filepath.Join(template, "tokens"))))
	f.options = tokenproc.Options{
		Token: token.Config{Module: must(softhsm.Find())(t), Label: label, PIN: pin(userPIN)},
		// Long enough for a loaded machine; tests that wait for it to pass set
		// a shorter one.
		Deadline: time.Minute, StartDeadline: time.Minute, Backoff: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() { f.log.check(t) })
	return f
}

func (f *fixture) start(t testing.TB) *tokenproc.Proxy {
	t.Helper()
	p, err := tokenproc.Start(t.Context(), f.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) check(t testing.TB) {
	t.Helper()
	noPIN(t, j.String())
	if t.Failed() {
		t.Logf("log:\n%s", j)
	}
}

func noPIN(t testing.TB, text string) {
	t.Helper()
	if strings.Contains(text, userPIN) || strings.Contains(text, soPIN) {
		t.Error("there is a pin in the text")
	}
}

func digest(i int) []byte {
	d := sha256.Sum256(fmt.Append(nil, i))
	return d[:]
}

// mustSign is a signature that the test has checked itself.
func mustSign(t testing.TB, p *tokenproc.Proxy, name token.KeyType) {
	t.Helper()
	if err := sign(t.Context(), p, name, 1); err != nil {
		t.Fatal(err)
	}
}

func sign(ctx context.Context, p *tokenproc.Proxy, name token.KeyType, i int) error {
	sig, err := p.Sign(ctx, string(name), crypto.SHA256, digest(i))
	if err != nil {
		return err
	}
	k, err := p.Key(string(name))
	if err != nil {
		return err
	}
	if !tokenproc.Verify(k.Public, crypto.SHA256, digest(i), sig) {
		return fmt.Errorf("signature %d with %s does not verify", i, name)
	}
	return nil
}

func wantIs(t testing.TB, err, want error, class token.Class) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
		return
	}
	wantClass(t, err, class)
}

func wantClass(t testing.TB, err error, class token.Class) {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) || e.Class != class {
		t.Errorf("error %v is not of class %v", err, class)
	}
	if err != nil {
		noPIN(t, err.Error())
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}
