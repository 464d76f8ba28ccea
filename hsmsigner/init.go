package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"quorate/hsmsigner/ledger"
	"quorate/internal/bus"
	"quorate/internal/tomltext"
)

// Names of the files that Init makes in a state folder.
const (
	seedFile   = "signer.seed"
	ledgerFile = "ledger.db"
)

// Init makes the state of a signer in dir: an empty ledger, an nkey for the bus,
// and a configuration with the values of c, or with examples where c has none.
// It returns the public nkey, which the coordinator must be told.
//
// A configuration that exists is an error. A ledger or a seed that exists is
// kept: they may be all that remembers what was signed and who this is.
func Init(ctx context.Context, dir string, c Config) (nkey string, err error) {
	path := filepath.Join(dir, ConfigFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s exists already (hint: edit it, or choose another folder)", ErrConfig, path)
	}
	c.fill()
	text, err := c.encode()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("init: %w", err)
	}
	if nkey, err = initSeed(filepath.Join(dir, seedFile)); err != nil {
		return "", err
	}
	if err := ledger.Create(ctx, filepath.Join(dir, ledgerFile)); err != nil {
		return "", err
	}
	// Last: without it nothing starts, so a crash before leaves no half signer.
	return nkey, WriteNew(path, text, 0o600)
}

func initSeed(path string) (nkey string, err error) {
	if nkey, err = bus.WriteSeedFile(path); errors.Is(err, fs.ErrExist) {
		return bus.PublicFromSeedFile(path)
	}
	return nkey, err
}

func (c *Config) fill() {
	def := func(p *string, value string) {
		if *p == "" {
			*p = value
		}
	}
	def(&c.Name, "signer")
	def(&c.NATS, bus.DefaultURL)
	def(&c.Policy, "policy.toml")
	def(&c.Token.Module, "/usr/lib/softhsm/libsofthsm2.so")
	if c.Token.Serial == "" {
		def(&c.Token.Label, "quorate")
	}
	if c.Token.PINCredential == "" {
		def(&c.Token.PINFile, "pin")
	}
	if len(c.Keys) == 0 {
		c.Keys = []KeyConfig{{Label: "core-2026", Certificate: "core-2026.pgp"}}
	}
	c.SeedFile, c.Ledger = seedFile, ledgerFile
}

// encode writes the file and reads it back, so that what "init" writes is what
// "run" accepts.
func (c *Config) encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	var b strings.Builder
	if err := configTemplate.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return []byte(b.String()), nil
}

var configTemplate = template.Must(template.New(ConfigFile).Funcs(template.FuncMap{"q": tomltext.Quote}).Parse(
	`# Configuration of quorate-signer. Relative paths are relative to this folder.

# The bus. The nkey of seed_file must be among its users, as {{q .Name}} with role
# "signer" and the labels of the keys below.
name      = {{q .Name}}
nats      = {{q .NATS}}
seed_file = {{q .SeedFile}}
{{if .CAFile}}ca_file   = {{q .CAFile}}{{else}}#ca_file  = "ca.pem"   # the only root for the server's certificate; needs TLS{{end}}

# The signer's own copy of the policy. It is read at the start and on SIGHUP.
policy = {{q .Policy}}

# What was signed. Never lose it, never put an older copy in its place.
ledger = {{q .Ledger}}

[token]
module  = {{q .Token.Module}}
{{if .Token.Label}}label   = {{q .Token.Label}}{{else}}#label  = "quorate"{{end}}
{{if .Token.Serial}}serial  = {{q .Token.Serial}}{{else}}#serial = "0123456789abcdef"{{end}}
# One of pin_file (mode 0600) and pin_credential (a systemd credential). With
# neither the PIN is asked for on the terminal.
{{if .Token.PINFile}}pin_file = {{q .Token.PINFile}}{{else}}#pin_file = "pin"{{end}}
{{if .Token.PINCredential}}pin_credential = {{q .Token.PINCredential}}{{else}}#pin_credential = "quorate-pin"{{end}}
workers = {{.Token.Workers}}   # signatures at the same time; 0 means two
# The module runs in a process without the network; true for a token that is
# reached through it. A signature that takes longer than the deadline hangs: the
# process is killed and replaced.
{{if .Token.Network}}network  = true{{else}}#network  = true{{end}}
{{if .Token.Deadline}}deadline = {{q .Token.Deadline.String}}{{else}}#deadline = "30s"{{end}}

# How the signer is: /healthz, /readyz and /metrics, with a test signature of each
# key now and then. Loopback or unix:PATH only; without it the signer listens on nothing.
{{if .Health.Listen}}[health]
listen = {{q .Health.Listen}}
{{if .Health.Canary}}canary = {{q .Health.Canary.String}}{{else}}#canary = "5m"{{end}}{{else}}#[health]
#listen = "127.0.0.1:9464"
#canary = "5m"{{end}}

# The keys. Their certificates are read at the start and on SIGHUP.
{{range .Keys}}
[[key]]
label       = {{q .Label}}
{{if .Certificate}}certificate = {{q .Certificate}}{{else}}#certificate = "key.pgp"   # OpenPGP, for the format openpgp{{end}}
{{if .X509}}x509        = {{q .X509}}{{else}}#x509       = "key.pem"   # X.509, for the formats cms, cms-sha256, cms-plain and ima{{end}}
{{end}}`))

// WriteNew writes a file that must not exist, durably.
func WriteNew(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a file is none
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
