package hsmsigner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// Config is the file signer.toml. It is read strictly: an unknown key is an
// error. Relative paths are relative to the folder of the file.
type Config struct {
	// Name of this signer among the users of the bus.
	Name string `toml:"name"`

	// NATS is the URL of the bus, nats://HOST:PORT or tls://HOST:PORT.
	NATS string `toml:"nats"`

	// SeedFile holds the nkey seed of the user. Nobody else may read it.
	SeedFile string `toml:"seed_file"`

	// CAFile, if set, is the only root the bus's certificate is checked against,
	// and makes TLS mandatory.
	CAFile string `toml:"ca_file"`

	// Policy is this signer's own copy of the policy file. Somebody who can
	// write it can have anything signed.
	Policy string `toml:"policy"`

	// Ledger is the database of what was signed. It is made by "init" and never
	// by "run". It must not be lost, and not be restored from an old backup: an
	// older ledger does not know the digests that were signed since.
	Ledger string `toml:"ledger"`

	// Token is where the keys live.
	Token TokenConfig `toml:"token"`

	// Keys are the keys that this signer answers for.
	Keys []KeyConfig `toml:"key"`

	// Health says how the signer is, on this machine only. Without it the signer
	// listens on nothing.
	Health HealthConfig `toml:"health"`
}

// TokenConfig chooses a token and says where its PIN comes from. With neither
// pin_file nor pin_credential the PIN is asked for on the terminal.
type TokenConfig struct {
	// Module is the path of the PKCS#11 library.
	Module string `toml:"module"`

	// Label and Serial choose the token; at least one is needed. Slot numbers
	// change, so they cannot be given.
	Label  string `toml:"label"`
	Serial string `toml:"serial"`

	// PINFile is a file with the PIN, readable by its owner only.
	PINFile string `toml:"pin_file"`

	// PINCredential is the name of a systemd credential with the PIN, found in
	// the folder $CREDENTIALS_DIRECTORY (LoadCredentialEncrypted= of the unit).
	PINCredential string `toml:"pin_credential"`

	// Workers is how many signatures the token makes at the same time; 0 means
	// two. More than the token can do in parallel only makes each one slower.
	Workers int `toml:"workers"`

	// Network leaves the process in which the module runs the network. Modules of
	// tokens that are reached through it need it: network HSMs, cloud services,
	// the YubiHSM 2 with its connector.
	Network bool `toml:"network"`

	// Deadline is how long one signature may take, such as "30s", which is also
	// what zero means. What takes longer hangs: its process is killed and replaced.
	Deadline Duration `toml:"deadline"`
}

// KeyConfig is one key.
type KeyConfig struct {
	// Label of the key in the token, and its name in the policy.
	Label string `toml:"label"`

	// Certificate is the key's OpenPGP certificate, binary or armoured. Only keys
	// that sign OpenPGP need one, and keys that sign bare files must have none.
	Certificate string `toml:"certificate"`

	// X509 is the key's X.509 certificate, DER or PEM. Only keys that sign CMS
	// need one.
	X509 string `toml:"x509"`
}

// ConfigFile is the name of the configuration in a state folder.
const ConfigFile = "signer.toml"

// ErrConfig is in every error about the configuration: a person must change it.
var ErrConfig = errors.New("configuration")

// maxConfig is far more than any configuration needs.
const maxConfig = 1 << 20

// LoadConfig reads a configuration file.
func LoadConfig(path string) (*Config, error) {
	c, err := loadConfig(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return c, nil
}

func loadConfig(path string) (*Config, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (hint: quorate-signer init makes one)", fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%d bytes, at most %d", info.Size(), maxConfig)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := new(Config)
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c); err != nil {
		return nil, explainTOML(err)
	}
	if err := checkCase(data); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, c.resolve(filepath.Dir(path))
}

// explainTOML adds the offending line. A PIN has no place in the file, but
// somebody may have put one there: values of unknown keys are not shown.
func explainTOML(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var keys []error
		for _, e := range strict.Errors {
			row, _ := e.Position()
			keys = append(keys, fmt.Errorf("line %d: unknown key %q", row, e.Key()))
		}
		return errors.Join(keys...)
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		row, column := dec.Position()
		return fmt.Errorf("line %d, column %d: %w", row, column, err)
	}
	return err
}

// checkCase refuses keys in another case, which the decoder takes for the same
// key: of "pin_file" and "PIN_File" the later one would win.
func checkCase(data []byte) error {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return explainTOML(err)
	}
	return lowerKeys(tree)
}

func lowerKeys(value any) error {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if key != strings.ToLower(key) {
				return fmt.Errorf("unknown key %q: keys are lower-case", key)
			}
			if err := lowerKeys(inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := lowerKeys(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Config) check() error {
	switch {
	case !bus.ValidName(c.Name):
		return fmt.Errorf("name %q is not a name", c.Name)
	case c.NATS == "":
		return errors.New("nats is missing: the URL of the bus")
	case bus.CheckAddress(c.NATS) != nil:
		return fmt.Errorf("nats: %w", bus.CheckAddress(c.NATS))
	case c.SeedFile == "":
		return errors.New("seed_file is missing")
	case c.Policy == "":
		return errors.New("policy is missing")
	case c.Ledger == "":
		return errors.New("ledger is missing")
	case len(c.Keys) == 0:
		return errors.New("there is no [[key]]")
	}
	seen := map[string]bool{}
	for _, k := range c.Keys {
		if !statement.ValidName(k.Label) {
			return fmt.Errorf("key label %q is not a name", k.Label)
		}
		if seen[k.Label] {
			return fmt.Errorf("key %q stands twice", k.Label)
		}
		seen[k.Label] = true
	}
	return errors.Join(c.Token.Check(), c.Health.Check())
}

// Check reports what is missing or contradicts itself.
func (t *TokenConfig) Check() error {
	switch {
	case t.Module == "":
		return errors.New("token: module is missing: the path of the PKCS#11 library")
	case t.Label == "" && t.Serial == "":
		return errors.New("token: label or serial is missing")
	case t.PINFile != "" && t.PINCredential != "":
		return errors.New("token: pin_file and pin_credential exclude each other")
	case t.PINCredential != "" && filepath.Base(t.PINCredential) != t.PINCredential:
		return errors.New("token: pin_credential is a name, not a path")
	case t.Workers < 0:
		return fmt.Errorf("token: workers is %d", t.Workers)
	case t.Deadline != 0 && (t.Deadline < minDeadline || t.Deadline > maxDeadline):
		return fmt.Errorf("token: deadline is %s, want %s to %s", t.Deadline, Duration(minDeadline), Duration(maxDeadline))
	}
	return nil
}

// resolve makes relative paths relative to the file. A module without a slash is
// left to the dynamic linker.
func (c *Config) resolve(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	c.Health.resolve(dir)
	paths := []*string{&c.SeedFile, &c.CAFile, &c.Policy, &c.Ledger, &c.Token.PINFile}
	for i := range c.Keys {
		paths = append(paths, &c.Keys[i].Certificate, &c.Keys[i].X509)
	}
	if filepath.Base(c.Token.Module) != c.Token.Module {
		paths = append(paths, &c.Token.Module)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return nil
}

// Key returns the configuration of the key with the label.
func (c *Config) Key(label string) (KeyConfig, bool) {
	for _, k := range c.Keys {
		if k.Label == label {
			return k, true
		}
	}
	return KeyConfig{}, false
}
