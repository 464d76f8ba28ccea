// Package importer carries statements that others made to the record: it keeps
// them on disk until a coordinator has them, and remembers what it has carried.
//
// # Guarantees
//
//   - When [Session.Take] returns nil, the statement survives kill -9 and a power
//     failure, and is sent until a coordinator has recorded or refused it.
//   - What was found is passed on unchanged, with where and when it was found.
//   - What was taken once is not taken again, also by the next process. A crash
//     between spooling and remembering is found at the next start; at worst one
//     statement is recorded twice, which counts once.
//
// # Non-guarantees
//
//   - Nothing is judged here. Key files are put beside statements as a help; who
//     counts is for those who have a policy to say.
package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/wire"
)

// Names in the state directory.
const (
	configFile = "importer.toml"
	seedFile   = "bus.nk"
	spoolDir   = "spool"
	seenFile   = "seen"
)

// sentKept is how long confirmed messages stay in the spool, for people.
const sentKept = 24 * time.Hour

// ErrConfig says that a person has to put the state directory right.
var ErrConfig = errors.New("configuration")

// Config is importer.toml. Unknown keys are refused.
type Config struct {
	// Name of this importer, as the coordinator has it among its users. It is
	// shown beside everything that this importer brings.
	Name string `toml:"name"`

	// NATS is where the bus is: nats://HOST:PORT or tls://HOST:PORT.
	// Default nats://127.0.0.1:7422.
	NATS string `toml:"nats"`

	// CAFile, if set, is the only certificate authority that the bus's certificate
	// is checked against, and makes TLS mandatory. A relative path starts at the
	// state directory.
	CAFile string `toml:"ca_file"`

	// PlainBus allows a bus on another machine without TLS. Whoever is on the way
	// can then make the importer believe that statements were received. Default
	// false.
	PlainBus bool `toml:"plain_bus"`
}

func (c *Config) check() error {
	switch {
	case !bus.ValidName(c.Name):
		return fmt.Errorf("name %q: %w", c.Name, bus.ErrInvalidName)
	case c.NATS == "":
		return errors.New("nats is empty")
	case bus.CheckAddress(c.NATS) != nil:
		return fmt.Errorf("nats: %w", bus.CheckAddress(c.NATS))
	case !c.PlainBus && !bus.Guarded(c.NATS, c.CAFile):
		return fmt.Errorf("the bus %q is on another machine and has no TLS: whoever is on the way could send receipts "+
			"(hint: use tls:// or ca_file; or, where the network itself is trusted, plain_bus = true)", c.NATS)
	}
	return nil
}

// State is an opened state directory.
type State struct {
	Dir    string // absolute
	Config Config
	Spool  *spool.Spool
}

// Keygen makes a state directory with a new key for the bus and returns the public
// half. It never overwrites anything. importer.toml is written last: without it
// the directory is not used.
func Keygen(dir string, c Config) (nkey string, err error) {
	if c.NATS == "" {
		c.NATS = bus.DefaultURL
	}
	if dir == "" {
		return "", fmt.Errorf("%w: no state directory given", ErrConfig)
	}
	if err := c.check(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, name := range []string{configFile, seedFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return "", fmt.Errorf("%w: %s: %w (hint: keys are never overwritten; take another directory)", ErrConfig, filepath.Join(dir, name), fs.ErrExist)
		}
	}
	if err := spool.Create(filepath.Join(dir, spoolDir)); err != nil {
		return "", err
	}
	if nkey, err = bus.WriteSeedFile(filepath.Join(dir, seedFile)); err != nil {
		return "", err
	}
	text := fmt.Sprintf("# An importer of statements that others made. Every key is explained in docs/operating.md.\nname = %s\nnats = %s\n",
		strconv.Quote(c.Name), strconv.Quote(c.NATS))
	if c.CAFile != "" {
		text += "ca_file = " + strconv.Quote(c.CAFile) + "\n"
	}
	if c.PlainBus {
		text += "plain_bus = true\n"
	}
	if err := durable.Create(filepath.Join(dir, configFile), []byte(text)); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return nkey, nil
}

// Open opens a state directory that [Keygen] made. It creates nothing but what a
// spool needs. An error wraps [ErrConfig] if a person has to put something right.
func Open(dir string) (*State, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: no state directory given", ErrConfig)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	s := &State{Dir: dir}
	if s.Config, err = loadConfig(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if s.Spool, err = spool.OpenMessages(filepath.Join(dir, spoolDir), checkMessage); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s, s.Spool.Expire(sentKept)
}

func loadConfig(dir string) (Config, error) {
	c := Config{NATS: bus.DefaultURL}
	file := filepath.Join(dir, configFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%w (hint: make a state directory with: quorate importer keygen --state %s --name NAME)", err, dir)
	}
	if err != nil {
		return c, err
	}
	err = toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&c)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return c, fmt.Errorf("%s: unknown key:\n%s", file, strict.String())
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		c.CAFile = filepath.Join(dir, c.CAFile)
	}
	return c, nil
}

// NKey returns the public key of this importer on the bus.
func (s *State) NKey() (string, error) {
	return bus.PublicFromSeedFile(filepath.Join(s.Dir, seedFile))
}

// connect opens the bus. It succeeds even while the bus is away, and not when the
// bus refuses this importer.
func (s *State) connect(log *slog.Logger) (*bus.Conn, error) {
	o := bus.Options{URL: s.Config.NATS, Name: s.Config.Name, CAFile: s.Config.CAFile,
		SeedFile: filepath.Join(s.Dir, seedFile), Logger: log}
	conn, err := bus.Connect(o)
	if errors.Is(err, bus.ErrUnavailable) {
		o.Retry = true
		return bus.Connect(o)
	}
	return conn, err
}

func checkMessage(raw []byte) error {
	_, err := wire.ParseForeign(raw)
	return err
}
