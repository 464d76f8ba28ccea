package builderagent

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// State is an opened state directory.
type State struct {
	Dir    string // absolute
	Config Config
	Spool  *spool.Spool

	key crypto.Signer
}

// errNoDir guards against an empty variable, which would mean the current
// directory.
var errNoDir = fmt.Errorf("%w: no state directory given", ErrConfig)

// Open opens a state directory that [Keygen] made. It creates nothing. An error
// wraps [ErrConfig] if a person has to put something right.
func Open(dir string) (*State, error) {
	if dir == "" {
		return nil, errNoDir
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	s := &State{Dir: dir}
	if s.Config, err = loadConfig(dir); err != nil {
		return nil, err
	}
	if s.key, err = loadKey(filepath.Join(dir, keyFile)); err != nil {
		return nil, fmt.Errorf("%w: %w%s", ErrConfig, err, lostKeyHint(err))
	}
	if s.Spool, err = spool.Open(s.Config.Spool); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s, nil
}

func lostKeyHint(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return " (hint: restore it, or make a new state directory and enrol its key)"
	}
	return ""
}

// Identity is what others need to know of this builder.
func (s *State) Identity() (Identity, error) {
	nkey, err := bus.PublicFromSeedFile(filepath.Join(s.Dir, seedFile))
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return identity(s.Config.Name, s.key, nkey)
}

// Connect opens the bus as this builder. With retry it succeeds even while the
// bus is away, and never gives up; without, it returns the first failure.
func (s *State) Connect(retry bool, timeout time.Duration, log *slog.Logger) (*bus.Conn, error) {
	return bus.Connect(bus.Options{
		URL: s.Config.NATS, Name: s.Config.Name, CAFile: s.Config.CAFile,
		SeedFile: filepath.Join(s.Dir, seedFile),
		Retry:    retry, Timeout: timeout, Logger: log,
	})
}

// Sign fills in the builder's name and signs. Nothing is stored or sent.
func (s *State) Sign(st statement.Statement) (*statement.Statement, error) {
	st.Builder = s.Config.Name
	return statement.Sign(&st, s.key)
}
