package token_test

import (
	"context"
	"crypto"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"

	"quorate/hsmsigner/token"
)

// TestSessionsClosed: somebody closes all sessions, which also logs out.
func TestSessionsClosed(t *testing.T) {
	f, k := opened(t)
	mustSign(t, k, "key")
	c := behind(t, f.module)
	for i := range 3 {
		if err := c.CloseAllSessions(c.slot); err != nil {
			t.Fatal(err)
		}
		mustSign(t, k, "key")
		if s := k.Stats(); s.Generation != uint64(2+i) || s.Reopens != uint64(1+i) || s.ReopenFailures != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// TestTokenAway: the token's files are moved away and back.
func TestTokenAway(t *testing.T) {
	f, k := opened(t)
	mustSign(t, k, "key")
	for range 2 {
		move(t, f.dir, "tokens", "away")
		for range 3 {
			_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
			if !token.IsUnavailable(err) {
				t.Fatalf("error %v, want token unavailable", err)
			}
		}
		if _, err := k.Key("key"); err != nil {
			t.Errorf("the key is not known while the token is away: %v", err)
		}
		move(t, f.dir, "away", "tokens")
		mustSign(t, k, "key")
	}
	if s := k.Stats(); s.Reopens != 2 || s.ReopenFailures == 0 {
		t.Errorf("%+v", s)
	}
	create(t, k, "later", token.Ed25519)
	mustSign(t, k, "later")
}

// TestAwayAndBack: nobody signs while the token is away, but the module has
// forgotten it.
func TestAwayAndBack(t *testing.T) {
	f, k := opened(t)
	mustSign(t, k, "key")
	c := behind(t, f.module)
	move(t, f.dir, "tokens", "away")
	_, _ = c.GetTokenInfo(c.slot) // makes the module notice
	move(t, f.dir, "away", "tokens")
	mustSign(t, k, "key")
}

// TestFinalized: the module itself is taken away.
func TestFinalized(t *testing.T) {
	f, k := opened(t)
	mustSign(t, k, "key")
	if err := behind(t, f.module).Finalize(); err != nil {
		t.Fatal(err)
	}
	mustSign(t, k, "key")
}

// TestKeyDeleted: one key disappears; the other must not suffer for it.
func TestKeyDeleted(t *testing.T) {
	f, k := opened(t)
	create(t, k, "other", token.P256)
	mustSign(t, k, "key")
	c := behind(t, f.module)
	s := c.session(t)
	for _, o := range c.objects(t, s, "key") {
		if err := c.DestroyObject(s, o); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
		wantIs(t, err, token.ErrKeyNotFound, token.Unavailable)
		mustSign(t, k, "other")
	}
	if s := k.Stats(); s.Generation > 3 {
		t.Errorf("opened again for every request: %+v", s)
	}
}

// TestKeyExchanged: another key under the same label and id signs nothing.
func TestKeyExchanged(t *testing.T) {
	f, k := opened(t)
	create(t, k, "thief", token.P256)
	mustSign(t, k, "key")
	key, err := k.Key("key")
	if err != nil {
		t.Fatal(err)
	}
	c := behind(t, f.module)
	s := c.session(t)
	for _, o := range c.objects(t, s, "key") {
		if err := c.DestroyObject(s, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range c.objects(t, s, "thief") {
		err := c.SetAttributeValue(s, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, "key"), pkcs11.NewAttribute(pkcs11.CKA_ID, key.ID)})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = k.Sign(t.Context(), "key", crypto.SHA256, digest())
	wantIs(t, err, token.ErrBadSignature, token.Permanent)
}

// faulty stands in front of the real module and fails on demand.
type faulty struct {
	token.Cryptoki
	logins atomic.Int32
	finds  atomic.Int32

	mu        sync.Mutex
	flags     uint // added to the token's flags
	loginErr  error
	sign      func() error // before every C_Sign
	open      func() error // before every C_OpenSession
	mechanism uint         // hidden
}

func (f *faulty) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	info, err := f.Cryptoki.GetTokenInfo(slot)
	f.mu.Lock()
	defer f.mu.Unlock()
	info.Flags |= f.flags
	return info, err
}

func (f *faulty) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	f.logins.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loginErr != nil {
		return f.loginErr
	}
	return f.Cryptoki.Login(s, user, pin)
}

func (f *faulty) FindObjectsInit(s pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	f.finds.Add(1)
	return f.Cryptoki.FindObjectsInit(s, a)
}

func (f *faulty) Sign(s pkcs11.SessionHandle, message []byte) ([]byte, error) {
	f.mu.Lock()
	hook := f.sign
	f.mu.Unlock()
	if hook != nil {
		if err := hook(); err != nil {
			return nil, err
		}
	}
	return f.Cryptoki.Sign(s, message)
}

func (f *faulty) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	f.mu.Lock()
	hook := f.open
	f.mu.Unlock()
	if hook != nil {
		if err := hook(); err != nil {
			return 0, err
		}
	}
	return f.Cryptoki.OpenSession(slot, flags)
}

func (f *faulty) GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error) {
	all, err := f.Cryptoki.GetMechanismList(slot)
	var kept []*pkcs11.Mechanism
	for _, m := range all {
		if m.Mechanism != f.mechanism {
			kept = append(kept, m)
		}
	}
	return kept, err
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// inject puts x in front of the module until the test ends.
func inject(t *testing.T, x *faulty) *faulty {
	t.Helper()
	t.Cleanup(token.WrapModule(func(c token.Cryptoki) token.Cryptoki { x.Cryptoki = c; return x }))
	return x
}

func TestWrongPIN(t *testing.T) {
	f := newFixture(t)
	x := inject(t, &faulty{})
	c := f.config
	c.PIN = pin("wrong-pin-1")
	_, err := token.Open(t.Context(), c)
	wantIs(t, err, token.ErrPINIncorrect, token.Permanent)
	if n := x.logins.Load(); n != 1 {
		t.Errorf("tried %d times", n)
	}
}

// TestPINChanged: the PIN is right at first and refused after a loss. It is
// tried once more, and then never.
func TestPINChanged(t *testing.T) {
	for _, tt := range []struct {
		code pkcs11.Error
		want error
	}{
		{pkcs11.CKR_PIN_INCORRECT, token.ErrPINIncorrect},
		{pkcs11.CKR_PIN_LOCKED, token.ErrPINLocked},
		{pkcs11.CKR_PIN_EXPIRED, token.ErrPINExpired},
	} {
		t.Run(tt.code.Error(), func(t *testing.T) {
			x := inject(t, &faulty{})
			f, k := opened(t)
			x.set(func(x *faulty) { x.loginErr = tt.code })
			before := x.logins.Load()
			c := behind(t, f.module)
			if err := c.CloseAllSessions(c.slot); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
				wantIs(t, err, tt.want, token.Permanent)
			}
			if n := x.logins.Load() - before; n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

func TestPINFlags(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		flag uint
		want error
	}{
		{pkcs11.CKF_USER_PIN_LOCKED, token.ErrPINLocked},
		{pkcs11.CKF_USER_PIN_FINAL_TRY, token.ErrPINFinalTry},
		{pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_USER_PIN_COUNT_LOW, token.ErrPINFinalTry},
	} {
		x := inject(t, &faulty{flags: tt.flag})
		_, err := token.Open(t.Context(), f.config)
		wantIs(t, err, tt.want, token.Permanent)
		if n := x.logins.Load(); n != 0 {
			t.Errorf("flags 0x%x: tried the pin %d times", tt.flag, n)
		}
	}
	inject(t, &faulty{flags: pkcs11.CKF_USER_PIN_COUNT_LOW})
	f.open(t)
}

// TestReturnValues sends every class of return value through Sign, once and
// for good.
func TestReturnValues(t *testing.T) {
	x := inject(t, &faulty{})
	_, k := opened(t)
	for _, tt := range []struct {
		code       pkcs11.Error
		heals      bool
		generation uint64 // logins that one failure costs
		class      token.Class
	}{
		{pkcs11.CKR_SESSION_HANDLE_INVALID, true, 0, token.Unavailable},
		{pkcs11.CKR_SESSION_CLOSED, true, 0, token.Unavailable},
		{pkcs11.CKR_OPERATION_ACTIVE, true, 0, token.Unavailable},
		{pkcs11.CKR_OBJECT_HANDLE_INVALID, true, 0, token.Unavailable},
		{pkcs11.CKR_DEVICE_REMOVED, true, 1, token.Unavailable},
		{pkcs11.CKR_DEVICE_ERROR, true, 1, token.Unavailable},
		{pkcs11.CKR_TOKEN_NOT_PRESENT, true, 1, token.Unavailable},
		{pkcs11.CKR_USER_NOT_LOGGED_IN, true, 1, token.Unavailable},
		{pkcs11.CKR_USER_TYPE_INVALID, true, 1, token.Unavailable},
		{pkcs11.CKR_GENERAL_ERROR, true, 1, token.Unavailable},
		{pkcs11.CKR_VENDOR_DEFINED + 7, true, 1, token.Unavailable},
		{pkcs11.CKR_DEVICE_MEMORY, false, 0, token.Unavailable},
		{pkcs11.CKR_MECHANISM_INVALID, false, 0, token.Permanent},
		{pkcs11.CKR_KEY_TYPE_INCONSISTENT, false, 0, token.Permanent},
		{pkcs11.CKR_PIN_EXPIRED, false, 0, token.Permanent},
	} {
		var left atomic.Int32
		x.set(func(x *faulty) {
			x.sign = func() error {
				if left.Add(-1) >= 0 {
					return tt.code
				}
				return nil
			}
		})
		left.Store(1)
		before := k.Stats().Generation
		_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
		if (err == nil) != tt.heals || k.Stats().Generation-before != tt.generation {
			t.Errorf("%v once: %v, %d logins", tt.code, err, k.Stats().Generation-before)
		}
		left.Store(1000)
		_, err = k.Sign(t.Context(), "key", crypto.SHA256, digest())
		wantIs(t, err, tt.code, tt.class)
		if n := 1000 - left.Load(); n > 3 {
			t.Errorf("%v: %d attempts", tt.code, n)
		}
		left.Store(0)
		mustSign(t, k, "key")
	}
}

func TestSessionsExhausted(t *testing.T) {
	x := inject(t, &faulty{})
	_, k := opened(t)
	x.set(func(x *faulty) { x.open = func() error { return pkcs11.Error(pkcs11.CKR_SESSION_COUNT) } })
	_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
	wantIs(t, err, pkcs11.Error(pkcs11.CKR_SESSION_COUNT), token.Unavailable)
	if s := k.Stats(); s.Generation != 1 {
		t.Errorf("%+v", s)
	}
	x.set(func(x *faulty) { x.open = nil })
	mustSign(t, k, "key")
}

func TestMechanismMissing(t *testing.T) {
	f, k := opened(t)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	inject(t, &faulty{mechanism: pkcs11.CKM_ECDSA})
	again := f.open(t)
	_, err := again.Key("key")
	wantIs(t, err, token.ErrMechanism, token.Permanent)
	_, err = again.CreateKey("new", token.P384)
	wantIs(t, err, token.ErrMechanism, token.Permanent)
	create(t, again, "ed", token.Ed25519)
}

// TestHandlesAreCached: keys are looked up once per session.
func TestHandlesAreCached(t *testing.T) {
	x := inject(t, &faulty{})
	_, k := opened(t)
	before := x.finds.Load()
	for range 50 {
		mustSign(t, k, "key")
	}
	if n := x.finds.Load() - before; n < 1 || n > 2 {
		t.Errorf("%d searches by 2 workers", n)
	}
}

// TestQueueing: with the workers stuck inside the module, others wait until
// their context ends, and the counters say so.
func TestQueueing(t *testing.T) {
	x := inject(t, &faulty{})
	_, k := opened(t)
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	x.set(func(x *faulty) {
		x.sign = func() error { inside <- struct{}{}; <-leave; return nil }
	})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := k.Sign(context.Background(), "key", crypto.SHA256, digest()); err != nil {
				t.Error(err)
			}
		})
		<-inside
	}
	for s := k.Stats(); s.Busy != 2 || s.QueueDepth != 0; s = k.Stats() { // it is counted on its way
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	third := make(chan error)
	go func() {
		_, err := k.Sign(ctx, "key", crypto.SHA256, digest())
		third <- err
	}()
	for k.Stats().QueueDepth != 1 { // it is on its way into the queue
		runtime.Gosched()
	}
	cancel()
	if err := <-third; !errors.Is(err, context.Canceled) || !token.IsUnavailable(err) {
		t.Errorf("error %v", err)
	}
	close(leave)
	wg.Wait()
	x.set(func(x *faulty) { x.sign = nil })
	mustSign(t, k, "key")
}

// TestLeavingEarly: the caller leaves while the module works; the worker
// survives it.
func TestLeavingEarly(t *testing.T) {
	x := inject(t, &faulty{})
	_, k := opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	leave := make(chan struct{})
	x.set(func(x *faulty) { x.sign = func() error { cancel(); <-leave; return nil } })
	_, err := k.Sign(ctx, "key", crypto.SHA256, digest())
	wantIs(t, err, context.Canceled, token.Unavailable)
	x.set(func(x *faulty) { x.sign = nil })
	close(leave)
	mustSign(t, k, "key")
}
