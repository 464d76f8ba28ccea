package hsmsigner

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// canaryText is what a canary has a key sign: these 32 bytes in the place of a
// SHA-256 digest. They are the digest of nothing that anybody knows. RSA and ECDSA
// sign digests, so what they give here is a signature over whatever has this one, and
// to find that takes a preimage of SHA-256, in whichever format the signature is
// wrapped: a bare one and a plain CMS one are signatures over a file with this
// digest, and there is none. ECDSA cuts longer digests to the length of the curve,
// where it takes a preimage of as many bits.
//
// Ed25519 signs messages, and these bytes are one. OpenPGP's message is a digest,
// for which the same goes; SSHSIG's begins with "SSHSIG", DSSE's with "DSSEv1", and
// that of CMS is DER. Quorate makes no bare signatures with Ed25519; whoever
// believes them gets one over a file of these 32 bytes, which says what it is.
//
// The bytes are constant and the signature is thrown away, so a canary is of no
// use to somebody who wants something signed.
const canaryText = "quorate canary: no file has this"

// Canary has the key sign a constant, and verifies the signature.
func (s *Signer) Canary(ctx context.Context, label string) error {
	k, ok := s.keys()[label]
	if !ok {
		return fmt.Errorf("canary: this signer does not hold key %q", label)
	}
	if err := k.CheckToken(s.token); err != nil {
		return fmt.Errorf("canary: %w", err)
	}
	h, err := k.handle(ctx, s.token)
	if err != nil {
		return fmt.Errorf("canary: key %q: %w", label, err)
	}
	hash := crypto.SHA256
	if _, ed := k.public.(ed25519.PublicKey); ed {
		hash = 0 // a message
	}
	// It verifies what the token answers, by the standard library.
	if _, err := h.Sign(nil, []byte(canaryText), hash); err != nil {
		return fmt.Errorf("canary: key %q: %w", label, err)
	}
	return nil
}

// canaryResult is what came of the canaries of a key.
type canaryResult struct {
	success  time.Time // of the newest good one; zero: there was none
	failures uint64
	err      error     // of the newest one
	at       time.Time // of the newest one's end
}

// canaries has each key sign a canary now and then, so that a key that does not
// work is known before a file waits for it.
type canaries struct {
	signer *Signer
	every  time.Duration
	log    *slog.Logger

	hurried map[string]chan struct{} // by key; somebody wants to know now

	mu      sync.Mutex
	results map[string]canaryResult // owned by mu
}

func newCanaries(s *Signer, every time.Duration, log *slog.Logger) *canaries {
	c := &canaries{signer: s, every: every, log: log, hurried: map[string]chan struct{}{}, results: map[string]canaryResult{}}
	for label := range s.keys() {
		c.hurried[label] = make(chan struct{}, 1)
	}
	return c
}

// run returns when ctx is done.
func (c *canaries) run(ctx context.Context) {
	var keys sync.WaitGroup
	for label, hurried := range c.hurried {
		keys.Go(func() {
			for {
				c.once(ctx, label)
				select {
				case <-time.After(jitter(c.every)):
				case <-hurried:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	keys.Wait()
}

// breath is the least time between canaries of a key: anybody may ask for one.
const breath = time.Second

// hurry has a key that failed sign its next canary soon, so that nobody has to wait
// for the next request, or the time of the next canary, to know that it signs again.
func (c *canaries) hurry(label string) {
	if time.Since(c.result(label).at) < breath {
		return
	}
	select {
	case c.hurried[label] <- struct{}{}:
	default:
	}
}

// jitter is up to a tenth shorter or longer, so that the canaries of several keys
// do not come at once for ever.
func jitter(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

func (c *canaries) once(ctx context.Context, label string) {
	limited, cancel := context.WithTimeout(ctx, max(c.every, time.Minute))
	defer cancel()
	err := c.signer.Canary(limited, label)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.results[label]
	soon := time.Since(r.at) < c.every/2 // somebody was in a hurry
	r.at = time.Now()
	switch {
	case err != nil:
		r.failures++
		level := slog.LevelError
		if r.err != nil && soon {
			level = slog.LevelDebug // who asks often reads it once
		}
		c.log.Log(ctx, level, "canary failed: this key does not sign", "key", label, "error", err, "last_success", r.success)
	case r.err != nil:
		c.log.Info("canary succeeded again", "key", label)
	}
	if r.err = err; err == nil {
		r.success = time.Now()
	}
	c.results[label] = r
}

func (c *canaries) result(label string) canaryResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.results[label]
}

// check reports the keys whose newest canary was not good.
func (c *canaries) check() error {
	var problems []error
	for _, label := range slices.Sorted(maps.Keys(c.hurried)) {
		switch r := c.result(label); {
		case r.err != nil:
			c.hurry(label)
			problems = append(problems, fmt.Errorf("the canary of key %q failed; the log says why", label))
		case r.success.IsZero():
			problems = append(problems, fmt.Errorf("key %q has not signed its first canary yet", label))
		}
	}
	return errors.Join(problems...)
}
