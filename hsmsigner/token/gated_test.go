package token_test

import (
	"crypto"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"quorate/hsmsigner/token"
)

// TestSessionsClosedUnderLoad: one closes, four sign; each call may fail only
// as unavailable, and all is well afterwards.
func TestSessionsClosedUnderLoad(t *testing.T) {
	x := &gated{}
	t.Cleanup(token.WrapModule(func(c token.Cryptoki) token.Cryptoki { x.Cryptoki = c; return x }))
	f, k := opened(t)
	c := behind(t, f.module)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
				if err != nil && !token.IsUnavailable(err) {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		x.mu.Lock()
		_ = c.CloseAllSessions(c.slot) // the slot may have another number by now
		x.mu.Unlock()
	}
	wg.Wait()
	mustSign(t, k, "key")
}

// gated keeps the test, which is a foreign user of the module, out of it while
// a session is in use: SoftHSM frees what the call goes on with, and the process
// crashes, which is not the point. Between two calls sessions may be closed.
type gated struct {
	token.Cryptoki
	mu sync.RWMutex
}

func (g *gated) Finalize() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Cryptoki.Finalize()
}

func (g *gated) Initialize(o ...pkcs11.InitializeOption) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Cryptoki.Initialize(o...)
}

func (g *gated) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.OpenSession(slot, flags)
}

func (g *gated) CloseSession(s pkcs11.SessionHandle) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.CloseSession(s)
}

func (g *gated) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.Login(s, user, pin)
}

func (g *gated) Logout(s pkcs11.SessionHandle) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.Logout(s)
}

func (g *gated) FindObjectsInit(s pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.FindObjectsInit(s, a)
}

func (g *gated) FindObjects(s pkcs11.SessionHandle, limit int) ([]pkcs11.ObjectHandle, bool, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.FindObjects(s, limit)
}

func (g *gated) FindObjectsFinal(s pkcs11.SessionHandle) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.FindObjectsFinal(s)
}

func (g *gated) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.GetAttributeValue(s, o, a)
}

func (g *gated) SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.SignInit(s, m, o)
}

func (g *gated) Sign(s pkcs11.SessionHandle, message []byte) ([]byte, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Cryptoki.Sign(s, message)
}
