package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

// Stats are counters since Open, and the present state.
type Stats struct {
	Generation     uint64 // number of logins; 1 after Open
	Reopens        uint64 // losses that were healed
	ReopenFailures uint64 // attempts to heal that failed
	Retries        uint64 // calls into the module that were repeated
	Signatures     uint64 // returned
	Failures       uint64 // calls of Sign that returned an error
	QueueDepth     int    // calls of Sign that wait for a worker
	Busy           int    // workers inside the module
	Workers        int
}

// counters are the live form of Stats.
type counters struct {
	generation, reopens, reopenFailures atomic.Uint64
	retries, signatures, failures       atomic.Uint64
	queued, busy                        atomic.Int64
}

// Stats returns the present counters. It never waits for the module.
func (t *Token) Stats() Stats {
	c := &t.counts
	return Stats{
		Generation:     c.generation.Load(),
		Reopens:        c.reopens.Load(),
		ReopenFailures: c.reopenFailures.Load(),
		Retries:        c.retries.Load(),
		Signatures:     c.signatures.Load(),
		Failures:       c.failures.Load(),
		QueueDepth:     int(c.queued.Load()),
		Busy:           int(c.busy.Load()),
		Workers:        t.config.Workers,
	}
}

// request is one call of Sign on its way to a worker.
type request struct {
	ctx    context.Context
	key    Key
	hash   crypto.Hash
	digest []byte
	input  []byte
	use    use
	answer chan answer // buffered: the caller may have left
}

// use is what becomes of a signature.
type use int

const (
	verified   use = iota // it is verified here
	unverified            // the caller verifies what it makes of it
	unused                // it is thrown away
)

type answer struct {
	sig []byte
	err error
}

// Sign returns a raw signature over digest by the key with this label:
// RSASSA-PKCS1-v1_5; ECDSA as r‖s of fixed width, with the digest shortened to
// the curve's size; Ed25519 over digest taken as the message, whatever hash
// says. SHA-256, SHA-384 and SHA-512 are accepted.
//
// It waits for a free worker until ctx ends. When ctx ends during the call
// into the module, Sign returns too, but the call goes on in the worker and
// its result is thrown away.
//
// Errors are Permanent or Unavailable; see IsUnavailable.
func (t *Token) Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	return t.counted(ctx, label, hash, digest, verified)
}

// SignUnverified is Sign without the check. It is for callers who verify what they
// make of the signature, and ask Sign when that does not verify: only Sign tells a
// confused session or a broken token from a good one.
func (t *Token) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	return t.counted(ctx, label, hash, digest, unverified)
}

func (t *Token) counted(ctx context.Context, label string, hash crypto.Hash, digest []byte, u use) ([]byte, error) {
	sig, err := t.sign(ctx, label, hash, digest, u)
	if err != nil {
		t.counts.failures.Add(1)
		return nil, wrap(fmt.Sprintf("sign with key %q", label), err)
	}
	t.counts.signatures.Add(1)
	return sig, nil
}

// Exercise has a worker make a signature and throw it away unseen and unverified:
// the token's own speed is measured with it, the limit of everything around it.
func (t *Token) Exercise(ctx context.Context, label string, hash crypto.Hash, digest []byte) error {
	_, err := t.sign(ctx, label, hash, digest, unused)
	return wrap(fmt.Sprintf("exercise key %q", label), err)
}

func (t *Token) sign(ctx context.Context, label string, hash crypto.Hash, digest []byte, u use) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, err := t.catalog.Load().key(label)
	if err != nil {
		return nil, err
	}
	// A copy, because the worker may outlive this call.
	digest = append([]byte(nil), digest...)
	input, err := k.input(hash, digest)
	if err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, key: k, hash: hash, digest: digest, input: input, use: u, answer: make(chan answer, 1)}
	if err := t.enqueue(r); err != nil {
		return nil, err
	}
	select {
	case a := <-r.answer:
		return a.sig, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *Token) enqueue(r *request) error {
	t.counts.queued.Add(1)
	defer t.counts.queued.Add(-1)
	select {
	case <-t.quit:
		return ErrClosed
	default:
	}
	select {
	case t.queue <- r:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-t.quit:
		return ErrClosed
	}
}

// worker owns one session at a time, and is the only goroutine that uses it.
type worker struct {
	token   *Token
	session *session // nil: open one before the next call
}

// session is usable only during the login that it was opened in. Object
// handles are looked up once per session: looking them up for every signature
// is slow on network tokens, and some tie handles to the session.
type session struct {
	handle  pkcs11.SessionHandle
	login   uint64
	objects map[string]pkcs11.ObjectHandle
}

func (w *worker) run() {
	for {
		select {
		case <-w.token.quit:
			return
		case r := <-w.token.queue:
			w.token.counts.busy.Add(1)
			sig, err := w.serve(r)
			w.token.counts.busy.Add(-1)
			r.answer <- answer{sig, err}
		}
	}
}

// serve tries at most three times: as it is, in a new session, and after
// opening the token again. Signing twice is harmless: both signatures say the
// same, and one is returned.
func (w *worker) serve(r *request) ([]byte, error) {
	renewed, reopened := false, false
	for {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		sig, seen, err := w.attempt(r)
		if err == nil {
			return sig, nil
		}
		what := remedyFor(err)
		if what == newSession && renewed {
			what = reopen
		}
		switch {
		case what == newSession:
			renewed = true
		case what == reopen && !reopened:
			reopened, renewed = true, true
			if err := w.token.reopen(seen); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
		w.token.counts.retries.Add(1)
	}
}

// attempt makes one signature and checks it. seen is the login it belonged to.
func (w *worker) attempt(r *request) (sig []byte, seen uint64, err error) {
	t := w.token
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.login == nil {
		return nil, t.number, errAway
	}
	seen = t.login.number
	sig, err = w.signIn(t.login, r)
	if err != nil {
		w.discard(seen)
	}
	return sig, seen, err
}

func (w *worker) signIn(l *login, r *request) ([]byte, error) {
	api := w.token.module.api
	if w.session == nil || w.session.login != l.number {
		handle, err := api.OpenSession(l.slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return nil, fmt.Errorf("open session: %w", err)
		}
		w.session = &session{handle, l.number, map[string]pkcs11.ObjectHandle{}}
	}
	object, err := w.object(r.key)
	if errors.Is(err, errObjectGone) && l.missing[r.key.Label] {
		err = errStillGone
	}
	if err != nil {
		return nil, err
	}
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(r.key.Type.mechanism(), nil)}
	if err := api.SignInit(w.session.handle, mechanism, object); err != nil {
		return nil, fmt.Errorf("start signature: %w", err)
	}
	sig, err := api.Sign(w.session.handle, r.input)
	if err != nil {
		return nil, fmt.Errorf("make signature: %w", err)
	}
	switch r.use {
	case unused:
		return nil, nil
	case unverified:
		return sig, nil
	}
	return sig, r.key.verify(r.hash, r.digest, sig)
}

func (w *worker) object(k Key) (pkcs11.ObjectHandle, error) {
	if h, ok := w.session.objects[k.Label]; ok {
		return h, nil
	}
	h, err := reader{w.token.module.api, w.session.handle}.private(k)
	if err == nil {
		w.session.objects[k.Label] = h
	}
	return h, err
}

// discard gives up the session: after any error it may be stuck inside an
// operation. A session of an earlier login is not closed, because its number
// may by now be that of somebody else's session.
func (w *worker) discard(current uint64) {
	if w.session != nil && w.session.login == current {
		_ = w.token.module.api.CloseSession(w.session.handle) // it may be gone
	}
	w.session = nil
}
