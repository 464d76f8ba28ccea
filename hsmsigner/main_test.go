package hsmsigner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
	"quorate/hsmsigner/tokenproc"
	"quorate/internal/pgpsig"
)

const (
	tokenLabel = "quorate test"
	userPIN    = "98761234"
	soPIN      = "43216789"
	archive    = "Example Archive <archive@example.org>"
)

// Times of tests lie in the past, so that gpg believes them whatever the clock
// of the machine says.
var (
	keyTime = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	now     = time.Date(2024, 6, 1, 12, 0, 0, 789e6, time.UTC)
)

// soft is the one token of this process: PKCS#11 allows no second login.
var soft struct {
	module string
	dir    string // pin file and certificates
	token  *token.Token
}

// keyTypes are the keys in the token; each has its type as label.
var keyTypes = []token.KeyType{token.RSA3072, token.P256, token.P384, token.Ed25519}

func TestMain(m *testing.M) {
	if tokenproc.IsCommand(os.Args) {
		os.Exit(tokenproc.Main())
	}
	// The race detector lets each process sleep a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	if os.Getenv(childRole) == initRole {
		os.Exit(initMain())
	}
	if config := os.Getenv(childConfig); config != "" {
		os.Exit(childMain(config))
	}
	os.Exit(withToken(m.Run))
}

func withToken(run func() int) int {
	dir, err := os.MkdirTemp("", "hsmsigner")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := makeToken(dir); err != nil {
		// A suite that silently leaves the token out would say nothing.
		fmt.Fprintln(os.Stderr, "make a soft token:", err)
		return 1
	}
	defer soft.token.Close()
	return run()
}

func makeToken(dir string) error {
	conf, err := softhsm.NewConfig(dir)
	if err != nil {
		return err
	}
	for name, value := range softhsm.Env(conf) {
		os.Setenv(name, value)
	}
	soft.dir = dir
	if soft.module, err = softhsm.Find(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pin"), []byte(userPIN+"\n"), 0o600); err != nil {
		return err
	}
	if err := token.InitToken(soft.module, tokenLabel, []byte(soPIN), []byte(userPIN)); err != nil {
		return err
	}
	ctx := context.Background()
	if soft.token, err = hsmsigner.OpenToken(ctx, tokenConfig(), nil, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	for _, kt := range keyTypes {
		cert, err := hsmsigner.CreateKey(ctx, soft.token, hsmsigner.NewKey{Label: string(kt), Type: kt, UserID: archive, Created: keyTime})
		if err != nil {
			return err
		}
		if err := os.WriteFile(certFile(kt), pgpsig.ArmorCertificate(cert.Bytes()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func tokenConfig() hsmsigner.TokenConfig {
	return hsmsigner.TokenConfig{Module: soft.module, Label: tokenLabel, PINFile: filepath.Join(soft.dir, "pin")}
}

func certFile(kt token.KeyType) string { return filepath.Join(soft.dir, string(kt)+".asc") }

func keyConfigs() []hsmsigner.KeyConfig {
	var out []hsmsigner.KeyConfig
	for _, kt := range keyTypes {
		out = append(out, hsmsigner.KeyConfig{Label: string(kt), Certificate: certFile(kt)})
	}
	return out
}

func certificate(t testing.TB, label string) *pgpsig.Certificate {
	t.Helper()
	return must(hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: label, Certificate: certFile(token.KeyType(label))}))(t).Certificate
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
