package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

const (
	defaultWorkers = 2
	maxWorkers     = 64
)

// Config says which token to use and how.
type Config struct {
	// Module is the path of the PKCS#11 library.
	Module string

	// Label and Serial choose the token. At least one is needed; those that
	// are given must match.
	Label, Serial string

	// PIN returns the user PIN. It is called for every login, so also when a
	// lost token is opened again, and must give the same answer without asking
	// a person. The returned bytes are overwritten after use.
	PIN func() ([]byte, error)

	// Workers is the number of sessions that sign at the same time, 2 if it is
	// zero. More than the token or the machine has cores only adds latency.
	Workers int

	// Logger gets what happens besides the answers; nil discards it.
	Logger *slog.Logger
}

// Token is an open token. It is safe for use by many goroutines.
type Token struct {
	config  Config
	log     *slog.Logger
	module  *module
	queue   chan *request
	quit    chan struct{} // closed by Close
	workers sync.WaitGroup
	closing sync.Once
	closed  error // result of Close, written under closing

	catalog atomic.Pointer[catalog]
	counts  counters

	// mu is held for reading around every call of a worker into the module,
	// and for writing while sessions are opened anew, keys are made, or the
	// token is closed: those invalidate everybody's handles.
	mu     sync.RWMutex
	login  *login // nil while the token is away
	number uint64 // of the newest login
	pinErr error  // once set, no PIN is tried any more
}

// login is one period between a login and the loss of its sessions. All
// session and object handles belong to one.
type login struct {
	number uint64
	slot   uint
	anchor pkcs11.SessionHandle // never signs; keeps the login alive

	// missing are known keys that were not there at login. Looking for them
	// again by opening the token again would cost the others their sessions.
	missing map[string]bool
}

// Open loads the module, finds the token, logs in, and reads its keys. The
// context is looked at between calls into the module, not inside them.
//
// A wrong PIN is tried once. Callers that are restarted automatically must not
// restart on a Permanent error: tokens lock after a few wrong PINs.
func Open(ctx context.Context, config Config) (*Token, error) {
	t, err := open(ctx, config)
	if err != nil {
		return nil, wrap("open token", err)
	}
	return t, nil
}

func open(ctx context.Context, config Config) (*Token, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	m, err := acquire(config.Module)
	if err != nil {
		return nil, err
	}
	t := &Token{
		config: config,
		log:    config.Logger,
		module: m,
		queue:  make(chan *request),
		quit:   make(chan struct{}),
	}
	t.catalog.Store(&catalog{})
	if err := errors.Join(ctx.Err(), t.connect()); err != nil {
		return nil, errors.Join(err, m.release())
	}
	for range config.Workers {
		w := &worker{token: t}
		t.workers.Go(w.run)
	}
	return t, nil
}

func (c *Config) complete() error {
	if c.Label == "" && c.Serial == "" {
		return errors.New("neither a token label nor a serial number is configured")
	}
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	if c.Workers < 0 || c.Workers > maxWorkers {
		return fmt.Errorf("workers: %d, want 1 to %d", c.Workers, maxWorkers)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// connect finds the token, logs in and reads the keys: at the start, and again
// after every loss. The caller holds mu for writing, or is the only one yet.
func (t *Token) connect() error {
	found, err := t.module.find(t.config.Label, t.config.Serial)
	if err != nil {
		return err
	}
	mechanisms, err := signMechanisms(t.module.api, found.slot)
	if err != nil {
		return err
	}
	anchor, err := t.module.api.OpenSession(found.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	r := reader{t.module.api, anchor}
	next, err := t.loginAndLoad(r, found.info, mechanisms)
	if err != nil {
		_ = t.module.api.CloseSession(anchor) // the first error counts
		return err
	}
	t.number++
	t.counts.generation.Store(t.number)
	known := t.catalog.Load()
	t.login = &login{number: t.number, slot: found.slot, anchor: anchor, missing: known.missing(next)}
	t.catalog.Store(known.merge(next))
	return nil
}

func (t *Token) loginAndLoad(r reader, info pkcs11.TokenInfo, mechanisms map[uint]bool) (*catalog, error) {
	if err := t.authenticate(r.session, info.Flags); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	return r.load(mechanisms)
}

// authenticate logs in once per process and period. The state of the PIN is
// read first: a wrong PIN in a restart loop locks a card for good.
func (t *Token) authenticate(session pkcs11.SessionHandle, flags uint) error {
	if flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
		return nil
	}
	if err := pinState(flags); err != nil {
		return err
	}
	if flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0 {
		t.log.Warn("a wrong pin was entered since the last login", "token", t.config.Label)
	}
	if t.config.PIN == nil {
		return errors.New("the token needs a pin and none is configured")
	}
	pin, err := t.config.PIN()
	if err != nil {
		return fmt.Errorf("get pin: %w", err)
	}
	defer clear(pin)
	err = t.loginUser(session, string(pin))
	if err != nil {
		err = pinError(err)
		if isPIN(err) {
			t.pinErr = err
		}
	}
	return err
}

// loginUser ends a login that is already there, and then tries the PIN: while
// one is logged in, any PIN seems right.
func (t *Token) loginUser(session pkcs11.SessionHandle, pin string) error {
	err := t.module.api.Login(session, pkcs11.CKU_USER, pin)
	if !isCode(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return err
	}
	if err := t.module.api.Logout(session); err != nil {
		return fmt.Errorf("end an earlier login: %w", err)
	}
	return t.module.api.Login(session, pkcs11.CKU_USER, pin)
}

// pinState judges the token's flags (PKCS#11 v3.1 section 3.2, CK_TOKEN_INFO).
func pinState(flags uint) error {
	switch {
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return ErrPINLocked
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return ErrPINFinalTry
	}
	return nil
}

func isPIN(err error) bool {
	return errors.Is(err, ErrPINIncorrect) || errors.Is(err, ErrPINLocked) || errors.Is(err, ErrPINExpired)
}

// reopen replaces the login with the given number. If it was replaced already,
// by another worker that saw the same loss, there is nothing to do.
func (t *Token) reopen(seen uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.login != nil && t.login.number != seen {
		return nil
	}
	return t.reopenLocked()
}

// reopenLocked first only opens new sessions; if that does not bring every
// known key back, it initialises the module again.
func (t *Token) reopenLocked() error {
	select {
	case <-t.quit:
		return ErrClosed
	default:
	}
	if t.pinErr != nil {
		return t.pinErr
	}
	err := t.reconnect()
	if err != nil && classOf(err) == Unavailable {
		t.login = nil
		if err = t.module.restart(); err == nil {
			err = t.connect()
		}
	}
	if err != nil {
		t.login = nil
		t.counts.reopenFailures.Add(1)
		return fmt.Errorf("reopen token: %w", err)
	}
	t.counts.reopens.Add(1)
	t.log.Warn("token was lost and opened again", "token", t.config.Label, "generation", t.number)
	return nil
}

// reconnect closes what is left of the old login, so that none of its
// sessions leaks, and connects. Keys that a module merely forgot make it fail.
func (t *Token) reconnect() error {
	if t.login == nil {
		return errAway
	}
	before := t.login
	_ = t.module.api.CloseAllSessions(before.slot) // they may be gone already
	t.login = nil
	if err := t.connect(); err != nil {
		return err
	}
	for label := range t.login.missing {
		if !before.missing[label] {
			return fmt.Errorf("key %q: %w", label, errObjectGone)
		}
	}
	return nil
}

// Key returns a key of the token by its label. The error is ErrKeyNotFound,
// ErrKeyAmbiguous, ErrKeyUnsupported or ErrMechanism.
func (t *Token) Key(label string) (Key, error) {
	k, err := t.catalog.Load().key(label)
	if err != nil {
		return Key{}, wrap("look up key", err)
	}
	return k, nil
}

// Keys returns the keys that can sign, sorted by label.
func (t *Token) Keys() []Key {
	return slices.SortedFunc(maps.Values(t.catalog.Load().keys), func(a, b Key) int {
		return strings.Compare(a.Label, b.Label)
	})
}

// Unusable returns why the other labelled private keys of the token cannot sign:
// errors as those of Key, by label.
func (t *Token) Unusable() map[string]error { return maps.Clone(t.catalog.Load().broken) }

// Close waits for the calls under way, logs out and finalises the module.
// Requests that still queue get ErrClosed.
func (t *Token) Close() error {
	t.closing.Do(func() {
		close(t.quit)
		t.workers.Wait()
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.login != nil {
			// Logging out and closing may fail on a lost token; finalising
			// does both as well.
			_ = t.module.api.Logout(t.login.anchor)
			_ = t.module.api.CloseAllSessions(t.login.slot)
			t.login = nil
		}
		t.closed = wrap("close token", t.module.release())
	})
	return t.closed
}
