package builderagent

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/tomltext"
	"quorate/quorum/statement"
)

// Names in the state directory.
const (
	configFile = "agent.toml"
	keyFile    = "statement.key"
	seedFile   = "bus.nk"
	runLock    = "run.lock"
	jobsDir    = "jobs"
	workDir    = "work"
	buildsDir  = "builds"
)

const (
	pemType    = "PRIVATE KEY" // PKCS#8, RFC 7468 section 10
	maxKeyFile = 64 << 10
)

// Algorithm is a kind of statement key.
type Algorithm string

// The kinds of statement keys.
const (
	Ed25519   Algorithm = "ed25519"
	ECDSAP256 Algorithm = "ecdsa-p256"
)

// KeygenOptions say what [Keygen] makes.
type KeygenOptions struct {
	Dir       string    // state directory, created if missing
	Name      string    // of the builder
	Algorithm Algorithm // of the statement key; empty means Ed25519

	// For agent.toml; may be empty.
	NATS     string
	CAFile   string
	Channels []string
}

// Identity is the public side of a builder: what others need to know of it.
type Identity struct {
	Name     string
	Key      statement.PublicKey // for the policy
	NKey     string              // for the coordinator's users
	Platform string              // such as linux/amd64
}

// PolicySnippet is the builder's entry under its operator in the policy.
func (i Identity) PolicySnippet() string {
	return fmt.Sprintf("[[operator.builder]]\nname = %s\nkey = %s\nplatform = %s\n", tomltext.Quote(i.Name), tomltext.Quote(i.Key.String()), tomltext.Quote(i.Platform))
}

// EnrollCommand is what the coordinator's keeper runs to let the builder in.
func (i Identity) EnrollCommand() string {
	return fmt.Sprintf("quorate coordinator enroll --role builder %s %s", i.Name, i.NKey)
}

// Keygen makes a state directory: two new keys, which have nothing to do with
// each other, the folders, and a commented agent.toml. It never overwrites
// anything. agent.toml is written last: without it the directory is not used.
func Keygen(o KeygenOptions) (Identity, error) {
	if o.Dir == "" {
		return Identity{}, errNoDir
	}
	if o.NATS == "" {
		o.NATS = DefaultConfig("").NATS
	}
	check := DefaultConfig(o.Name)
	check.NATS, check.Channels = o.NATS, o.Channels
	if err := check.check(); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	key, err := newKey(o.Algorithm)
	if err != nil {
		return Identity{}, err
	}
	if err := prepareDir(o.Dir); err != nil {
		return Identity{}, fmt.Errorf("make state directory: %w", err)
	}
	nkey, err := writeKeys(o.Dir, key)
	if err != nil {
		return Identity{}, err
	}
	if err := durable.Create(filepath.Join(o.Dir, configFile), []byte(configText(o))); err != nil {
		return Identity{}, fmt.Errorf("write configuration: %w", err)
	}
	return identity(o.Name, key, nkey)
}

func identity(name string, key crypto.Signer, nkey string) (Identity, error) {
	public, err := statement.NewPublicKey(key.Public())
	return Identity{name, public, nkey, runtime.GOOS + "/" + runtime.GOARCH}, err
}

// prepareDir looks for everything before it makes anything, so that a mistake
// leaves a directory in use as it was.
func prepareDir(dir string) error {
	for _, name := range []string{configFile, keyFile, seedFile} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return fmt.Errorf("%w: %s: %w (hint: keys are never overwritten; take another directory)", ErrConfig, filepath.Join(dir, name), fs.ErrExist)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, sub := range []string{jobsDir, workDir, buildsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	return spool.Create(filepath.Join(dir, DefaultConfig("").Spool))
}

func newKey(a Algorithm) (crypto.Signer, error) {
	switch a {
	case Ed25519, "":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, fmt.Errorf("%w: unknown algorithm %q (hint: %s or %s)", ErrConfig, a, Ed25519, ECDSAP256)
}

func writeKeys(dir string, key crypto.Signer) (nkey string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode statement key: %w", err)
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	defer clear(text)
	if err := durable.Create(filepath.Join(dir, keyFile), text); err != nil {
		return "", fmt.Errorf("write statement key: %w", err)
	}
	return bus.WriteSeedFile(filepath.Join(dir, seedFile))
}

// loadKey never puts any of the file's content in an error.
func loadKey(path string) (crypto.Signer, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("read statement key: %w", err)
	}
	defer clear(text)
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(rest) != 0 {
		return nil, fmt.Errorf("read statement key %s: not one PEM block %q", path, pemType)
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read statement key %s: not a PKCS#8 key", path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read statement key %s: %T cannot sign", path, key)
	}
	if _, err := statement.NewPublicKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("read statement key %s: %w", path, err)
	}
	return signer, nil
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: the name may point elsewhere by now
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others can read or write it, mode %04o (hint: chmod 600 %s; if others had access, replace the key)",
			path, info.Mode().Perm(), path)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}
