package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/quorum/evidence/live"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Files of the state directory.
const (
	fileConfig = "coordinator.toml"
	fileDB     = "coordinator.db"
	fileUsers  = "users.toml"
	fileSeed   = "coordinator.nk"
	fileBusURL = "bus-url"
	fileLock   = "lock"

	fileUsersLock = "users.lock" // held while users.toml is changed
	fileUsersIn   = "users.in"   // which users.toml the running bus goes by
	dirBus        = "bus"
)

// userName is the coordinator's own name on the bus.
const userName = "coordinator"

// Config is coordinator.toml. Relative paths are relative to its directory.
type Config struct {
	// Listen is the address of the HTTP interface; empty is 127.0.0.1:7780. A
	// port of 0 takes a free one.
	Listen string `toml:"listen"`

	// Policy is the path of the policy file.
	Policy string `toml:"policy"`

	// FormerPolicies are paths of policy files that were in force before this
	// coordinator first ran. It keeps every one that it ever ran with; a new one
	// on an old record needs them to check what was signed by them.
	FormerPolicies []string `toml:"former_policies"`

	// Log is "text" (for people, the default) or "json".
	Log string `toml:"log"`

	// NATS is the bus.
	NATS NATSConfig `toml:"nats"`

	// Retry says when signers are asked again.
	Retry RetryConfig `toml:"retry"`

	// Files says whether builders are asked for the files on which they differ.
	Files FilesConfig `toml:"files"`

	// Limits bound what those who write to the record may send.
	Limits LimitsConfig `toml:"limits"`

	// Keys has the certificate or public key of every signing key that the policy names.
	// Signatures are verified with them before they are shown. Keep the
	// certificates of former keys: signatures that cannot be verified are not
	// shown.
	Keys []KeyConfig `toml:"key"`

	// Webhooks are told of verdicts, alarms and acts.
	Webhooks []WebhookConfig `toml:"webhook"`
}

// NATSConfig says which bus to use.
type NATSConfig struct {
	// URL of a server of your own. Empty: the coordinator runs one itself.
	URL string `toml:"url"`

	// CA is the path of the only root that the server's certificate is checked
	// against. Empty: the system's roots, and no TLS for nats:// addresses.
	CA string `toml:"ca"`

	// Listen is the address of the embedded server; empty is 127.0.0.1:7422. A
	// port of 0 takes a free one at each start; the file bus-url has it then.
	Listen string `toml:"listen"`

	// TLSCert and TLSKey are the embedded server's certificate and key, PEM.
	// Empty: it speaks plain NATS.
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`

	// Replicas of the streams, for a cluster of your own; 0 is 1.
	Replicas int `toml:"replicas"`
}

// RetryConfig says when signers are asked again. Pauses double from First up to
// Max; a final refusal is asked about after Max; after Answer without an answer a question counts as lost.
type RetryConfig struct {
	First  Duration `toml:"first"`  // 0: 10s
	Max    Duration `toml:"max"`    // 0: 30m
	Answer Duration `toml:"answer"` // 0: 2m
}

// KeyConfig is one signing key.
type KeyConfig struct {
	Name        string `toml:"name"`        // as the policy's outputs have it
	Certificate string `toml:"certificate"` // path of the OpenPGP certificate, armoured or not
	PublicKey   string `toml:"public_key"`  // path of the public key, or for CMS of the X.509 certificate, PEM; for a key without an OpenPGP certificate
}

// Duration is a time.Duration that is written as "10s".
type Duration time.Duration

// UnmarshalText reads "10s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v < 0 {
		err = errors.New("duration is negative")
	}
	*d = Duration(v)
	return err
}

// ConfigError says that the state directory, the configuration or the policy
// must be changed by a person before anything can run.
type ConfigError struct {
	Err  error
	Hint string
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

func configError(hint, format string, args ...any) error {
	return &ConfigError{fmt.Errorf(format, args...), hint}
}

const hintInit = "quorate coordinator init --state DIR --policy FILE"

// LoadConfig reads the configuration of a state directory. It is strict: an
// unknown key is an error.
func LoadConfig(state string) (*Config, error) {
	path := filepath.Join(state, fileConfig)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, configError(hintInit, "%s: no configuration there", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c := new(Config)
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c); err != nil {
		return nil, configError("compare with the comments in the file", "%s: %s", path, explain(err))
	}
	c.defaults()
	return c, c.check(path)
}

func explain(err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return "unknown key:\n" + strict.String()
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		return err.Error() + ":\n" + dec.String()
	}
	return err.Error()
}

func (c *Config) defaults() {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	pause := func(d *Duration, v time.Duration) {
		if *d == 0 {
			*d = Duration(v)
		}
	}
	set(&c.Listen, api.DefaultListen)
	set(&c.NATS.Listen, defaultBusListen)
	set(&c.Log, "text")
	pause(&c.Retry.First, 10*time.Second)
	pause(&c.Retry.Max, 30*time.Minute)
	pause(&c.Retry.Answer, 2*time.Minute)
	c.Files.defaults()
}

// defaultBusListen is not NATS' own port, so that a server that somebody else
// runs on the machine is not in the way.
const defaultBusListen = bus.DefaultListen

func (c *Config) check(path string) error {
	switch {
	case c.Policy == "":
		return configError("policy = \"/path/of/policy.toml\"", "%s: policy is missing", path)
	case c.Log != "text" && c.Log != "json":
		return configError("log = \"text\" or \"json\"", "%s: log %q is not known", path, c.Log)
	case c.NATS.URL != "" && bus.CheckAddress(c.NATS.URL) != nil:
		return configError("url = \"tls://HOST:PORT\", or empty for a server of the coordinator's own", "%s: nats: url: %w", path, bus.CheckAddress(c.NATS.URL))
	case (c.NATS.TLSCert == "") != (c.NATS.TLSKey == ""):
		return configError("tls_cert and tls_key go together", "%s: nats: one of tls_cert and tls_key is missing", path)
	case c.NATS.Replicas < 0:
		return configError("replicas = 1, or 3 in a cluster", "%s: replicas is negative", path)
	case c.Limits.dayBytes() < 0:
		return configError("bytes_per_builder_day = 0 is no limit", "%s: limits: bytes_per_builder_day is negative", path)
	}
	return c.Files.check(path)
}

// setup is everything that a coordinator goes by, read from its files.
type setup struct {
	dir       string
	config    *Config
	policy    *policy.Policy
	policyRaw []byte
	former    map[statement.SHA256][]byte // policy files by digest
	keys      atomic.Pointer[keyring]     // replaced by the loop that decides, and read by others
	hooks     []*hook
	reader    *live.Reader     // of statements that others made
	basis     statement.SHA256 // belongs to the loop that decides
}

// loadSetup reads configuration, policy and certificates.
func loadSetup(state string, now time.Time) (*setup, error) {
	c, err := LoadConfig(state)
	if err != nil {
		return nil, err
	}
	s := &setup{dir: state, config: c}
	if err := s.loadPolicy(now); err != nil {
		return nil, err
	}
	keys, err := s.loadKeys()
	if err != nil {
		return nil, err
	}
	s.keys.Store(&keys)
	if err := s.loadHooks(); err != nil {
		return nil, err
	}
	if s.reader, err = live.NewReader(s.policy); err != nil {
		return nil, configError("quorate policy check "+s.path(c.Policy), "%w", err)
	}
	s.basis = s.computeBasis(keys)
	return s, nil
}

func (s *setup) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.dir, p)
}

// optional is path for a file that need not be configured.
func (s *setup) optional(p string) string {
	if p == "" {
		return ""
	}
	return s.path(p)
}

func (s *setup) loadPolicy(now time.Time) (err error) {
	path := s.path(s.config.Policy)
	if s.policyRaw, err = os.ReadFile(path); err != nil {
		return configError("check 'policy' in "+filepath.Join(s.dir, fileConfig), "read policy: %w", err)
	}
	if s.policy, err = policy.Load(s.policyRaw, now); err != nil {
		return configError("quorate policy check "+path, "%w", err)
	}
	return s.loadFormer()
}

// loadFormer reads the former policies. That they have expired is why they are former.
func (s *setup) loadFormer() error {
	s.former = map[statement.SHA256][]byte{}
	for _, p := range s.config.FormerPolicies {
		path := s.path(p)
		data, err := os.ReadFile(path)
		if err != nil {
			return configError("check 'former_policies' in "+filepath.Join(s.dir, fileConfig), "read former policy: %w", err)
		}
		old, err := policy.Load(data, time.Time{})
		if err != nil {
			return configError("quorate policy check "+path, "former policy %s: %w", path, err)
		}
		s.former[old.Digest] = data
	}
	return nil
}

// policyKeys lists the keys that the policy's channels sign with, once each.
func policyKeys(p *policy.Policy) (keys []string) {
	seen := map[string]bool{}
	for _, ch := range p.Channels {
		for _, o := range ch.Sign {
			if !seen[o.Key] {
				seen[o.Key] = true
				keys = append(keys, o.Key)
			}
		}
	}
	return keys
}

func loadUsers(dir string) ([]bus.User, error) {
	users, err := bus.LoadUsers(filepath.Join(dir, fileUsers))
	if err != nil {
		return nil, configError(hintInit, "%w", err)
	}
	return users, nil
}
