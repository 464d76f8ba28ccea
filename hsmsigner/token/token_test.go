package token_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"quorate/hsmsigner/token"
)

func TestEveryKeyType(t *testing.T) {
	f := newFixture(t)
	k := f.open(t)
	for _, kt := range token.KeyTypes() {
		made := create(t, k, string(kt), kt)
		if made.Type != kt || made.Label != string(kt) || len(made.ID) != 20 {
			t.Errorf("made %+v", made)
		}
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			d := h.New()
			d.Write([]byte("file"))
			sig, err := k.Sign(t.Context(), made.Label, h, d.Sum(nil))
			if err != nil {
				t.Fatal(err)
			}
			if !verifies(made.Public, h, d.Sum(nil), sig) {
				t.Errorf("%s with %v does not verify", kt, h)
			}
		}
	}
	before := k.Keys()
	if len(before) != len(token.KeyTypes()) {
		t.Fatalf("%d keys", len(before))
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	again := f.open(t)
	for i, key := range again.Keys() {
		if !key.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(before[i].Public) || !bytes.Equal(key.ID, before[i].ID) {
			t.Errorf("%s changed by being read again", key.Label)
		}
	}
}

func verifies(pub crypto.PublicKey, h crypto.Hash, digest, sig []byte) bool {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, h, digest, sig) == nil
	case *ecdsa.PublicKey:
		n := len(sig) / 2
		return n == p.Curve.Params().BitSize/8 && ecdsa.Verify(p, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case ed25519.PublicKey:
		return ed25519.Verify(p, digest, sig)
	}
	return false
}

func TestConcurrency(t *testing.T) {
	_, k := opened(t)
	create(t, k, "ed", token.Ed25519)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for range 200 {
				name := []string{"key", "ed"}[g%2]
				if _, err := k.Sign(t.Context(), name, crypto.SHA512, digest512()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s := k.Stats()
	want := token.Stats{Generation: 1, Signatures: 1600, Workers: 2}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

func TestSignRefuses(t *testing.T) {
	_, k := opened(t)
	create(t, k, "rsa", token.RSA3072)
	for _, tt := range []struct {
		label  string
		hash   crypto.Hash
		digest []byte
		want   error
	}{
		{"key", crypto.SHA256, digest()[1:], token.ErrDigest},
		{"key", crypto.SHA512, digest(), token.ErrDigest},
		{"rsa", crypto.SHA256, nil, token.ErrDigest},
		{"rsa", crypto.SHA1, make([]byte, 20), token.ErrDigest},
		{"rsa", 0, digest(), token.ErrDigest},
		{"nobody", crypto.SHA256, digest(), token.ErrKeyNotFound},
	} {
		_, err := k.Sign(t.Context(), tt.label, tt.hash, tt.digest)
		wantIs(t, err, tt.want, token.Permanent)
	}
	if s := k.Stats(); s.Failures != 6 || s.Generation != 1 {
		t.Errorf("%+v", s)
	}
}

func TestContext(t *testing.T) {
	f, k := opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.Sign(ctx, "key", crypto.SHA256, digest())
	wantIs(t, err, context.Canceled, token.Unavailable)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = token.Open(ctx, f.config)
	wantIs(t, err, context.Canceled, token.Unavailable)
	f.open(t) // the module was given back
}

func TestClose(t *testing.T) {
	_, k := opened(t)
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := k.Sign(t.Context(), "key", crypto.SHA256, digest())
	wantIs(t, err, token.ErrClosed, token.Permanent)
	_, err = k.CreateKey("other", token.P256)
	wantIs(t, err, token.ErrClosed, token.Permanent)
}

func TestOneTokenPerModule(t *testing.T) {
	f, k := opened(t)
	_, err := token.Open(t.Context(), f.config)
	wantIs(t, err, token.ErrModuleInUse, token.Permanent)
	link := filepath.Join(t.TempDir(), "link.so")
	if err := os.Symlink(f.module, link); err != nil {
		t.Fatal(err)
	}
	other := f.config
	other.Module = link
	_, err = token.Open(t.Context(), other)
	wantIs(t, err, token.ErrModuleInUse, token.Permanent)
	wantIs(t, token.InitToken(f.module, "second", []byte(soPIN), []byte(userPIN)), token.ErrModuleInUse, token.Permanent)
	mustSign(t, k, "key")
}

func TestForeignUserOfModule(t *testing.T) {
	f := newFixture(t)
	foreign := pkcs11.New(f.module)
	if err := foreign.Initialize(); err != nil {
		t.Fatal(err)
	}
	_, err := token.Open(t.Context(), f.config)
	wantIs(t, err, token.ErrModuleInUse, token.Permanent)
	if err := foreign.Finalize(); err != nil {
		t.Fatal(err)
	}
	f.open(t)
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t)
	notLibrary := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(notLibrary, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*token.Config)
		want   error
		class  token.Class
		text   string
	}{
		"no such module": {func(c *token.Config) { c.Module = "/nonexistent/module.so" }, token.ErrModule, token.Permanent, "/nonexistent/module.so"},
		"not a library":  {func(c *token.Config) { c.Module = notLibrary }, token.ErrModule, token.Permanent, "not a PKCS#11 library"},
		"no module":      {func(c *token.Config) { c.Module = "" }, token.ErrModule, token.Permanent, "no module path"},
		"other label":    {func(c *token.Config) { c.Label = "other" }, token.ErrTokenNotFound, token.Unavailable, `found label "quorate-test" serial "`},
		"other serial":   {func(c *token.Config) { c.Serial = "123" }, token.ErrTokenNotFound, token.Unavailable, `want label "quorate-test" serial "123"`},
		"no choice":      {func(c *token.Config) { c.Label = "" }, nil, token.Permanent, "neither a token label"},
		"many workers":   {func(c *token.Config) { c.Workers = 1000 }, nil, token.Permanent, "workers: 1000"},
		"no pin":         {func(c *token.Config) { c.PIN = nil }, nil, token.Permanent, "needs a pin"},
		"pin not given":  {func(c *token.Config) { c.PIN = func() ([]byte, error) { return nil, os.ErrNotExist } }, os.ErrNotExist, token.Permanent, "get pin"},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.config
			tt.change(&c)
			_, err := token.Open(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("error %v, want one that contains %q", err, tt.text)
			}
			var e *token.Error
			if !errors.As(err, &e) || e.Class != tt.class || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestChooseBySerial(t *testing.T) {
	f := newFixture(t)
	if err := token.InitToken(f.module, "second", []byte(soPIN), []byte(userPIN)); err != nil {
		t.Fatal(err)
	}
	k := f.open(t)
	c := behind(t, f.module)
	info, err := c.GetTokenInfo(c.slot)
	if err != nil {
		t.Fatal(err)
	}
	// The same label again: only somebody else's tool would do that.
	slots, err := c.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if i, err := c.GetTokenInfo(s); err == nil && i.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			if err := c.InitToken(s, soPIN, label); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = token.Open(t.Context(), f.config)
	wantIs(t, err, token.ErrTokenAmbiguous, token.Permanent)
	for _, l := range []string{"", label} {
		c := f.config
		c.Label, c.Serial = l, info.SerialNumber
		byserial := fixture{f.module, f.dir, c}.open(t)
		if err := byserial.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInitTokenRefuses(t *testing.T) {
	f := newFixture(t)
	wantIs(t, token.InitToken(f.module, label, []byte(soPIN), []byte(userPIN)), token.ErrTokenExists, token.Permanent)
	for _, bad := range []string{"", strings.Repeat("x", 33), "a\nb", "\xff", "end "} {
		if err := token.InitToken(f.module, bad, []byte(soPIN), []byte(userPIN)); err == nil {
			t.Errorf("label %q accepted", bad)
		}
	}
	err := token.InitToken(f.module, "short", []byte("1"), []byte(userPIN))
	wantIs(t, err, token.ErrPINIncorrect, token.Permanent)
	f.open(t)
}

func TestCreateKeyRefuses(t *testing.T) {
	_, k := opened(t)
	_, err := k.CreateKey("key", token.Ed25519)
	wantIs(t, err, token.ErrKeyExists, token.Permanent)
	for _, bad := range []string{"", strings.Repeat("x", 65), "a\x1b", "end "} {
		if _, err := k.CreateKey(bad, token.P256); err == nil {
			t.Errorf("label %q accepted", bad)
		}
	}
	if _, err := k.CreateKey("dsa", "dsa"); err == nil || !strings.Contains(err.Error(), "want one of rsa3072, rsa4096, p256, p384, ed25519") {
		t.Errorf("%v", err)
	}
	mustSign(t, k, "key")
}

// TestKeyAttributes asks the token itself.
func TestKeyAttributes(t *testing.T) {
	f, k := opened(t)
	key, err := k.Key("key")
	if err != nil {
		t.Fatal(err)
	}
	c := behind(t, f.module)
	s := c.session(t)
	defer c.CloseSession(s)
	objects := c.objects(t, s, "key")
	if len(objects) != 2 {
		t.Fatalf("%d objects", len(objects))
	}
	for _, o := range objects {
		got := attribute(t, c, s, o, pkcs11.CKA_ID)
		if !bytes.Equal(got, key.ID) {
			t.Errorf("id %x, want %x", got, key.ID)
		}
		class := attribute(t, c, s, o, pkcs11.CKA_CLASS)
		if class[0] != pkcs11.CKO_PRIVATE_KEY {
			continue
		}
		for kind, want := range map[uint]byte{
			pkcs11.CKA_SENSITIVE: 1, pkcs11.CKA_ALWAYS_SENSITIVE: 1, pkcs11.CKA_EXTRACTABLE: 0, pkcs11.CKA_NEVER_EXTRACTABLE: 1,
			pkcs11.CKA_PRIVATE: 1, pkcs11.CKA_SIGN: 1, pkcs11.CKA_DECRYPT: 0, pkcs11.CKA_UNWRAP: 0, pkcs11.CKA_LOCAL: 1,
		} {
			if got := attribute(t, c, s, o, kind); !bytes.Equal(got, []byte{want}) {
				t.Errorf("attribute 0x%x is %x, want %d", kind, got, want)
			}
		}
	}
}

func attribute(t *testing.T, c raw, s pkcs11.SessionHandle, o pkcs11.ObjectHandle, kind uint) []byte {
	t.Helper()
	a, err := c.GetAttributeValue(s, o, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return a[0].Value
}

// TestForeignKeys: what others put into the token is named, not used, and
// keeps nobody from signing.
func TestForeignKeys(t *testing.T) {
	f, k := opened(t)
	c := behind(t, f.module)
	s := c.session(t)
	generate := func(name string, mechanism uint, public ...*pkcs11.Attribute) {
		t.Helper()
		common := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, name)}
		_, _, err := c.GenerateKeyPair(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)},
			append(public, common...), append([]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)}, common...))
		if err != nil {
			t.Fatal(err)
		}
	}
	p256 := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})
	p521 := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23})
	edOID := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x03, 0x2b, 0x65, 0x70})
	generate("twice", pkcs11.CKM_EC_KEY_PAIR_GEN, p256)
	generate("twice", pkcs11.CKM_EC_KEY_PAIR_GEN, p256)
	generate("p521", pkcs11.CKM_EC_KEY_PAIR_GEN, p521)
	generate("small", pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 2048), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	generate("oid", 0x1055, edOID)
	if err := errors.Join(c.CloseSession(s), k.Close()); err != nil {
		t.Fatal(err)
	}
	again := f.open(t)
	for name, want := range map[string]error{
		"twice": token.ErrKeyAmbiguous, "p521": token.ErrKeyUnsupported, "small": token.ErrKeyUnsupported, "none": token.ErrKeyNotFound,
	} {
		_, err := again.Key(name)
		wantIs(t, err, want, token.Permanent)
		_, err = again.Sign(t.Context(), name, crypto.SHA256, digest())
		wantIs(t, err, want, token.Permanent)
	}
	mustSign(t, again, "key")
	mustSign(t, again, "oid")
	if n := len(again.Keys()); n != 2 {
		t.Errorf("%d usable keys", n)
	}
	out := again.Unusable()
	if len(out) != 3 || !errors.Is(out["twice"], token.ErrKeyAmbiguous) || !errors.Is(out["p521"], token.ErrKeyUnsupported) || !errors.Is(out["small"], token.ErrKeyUnsupported) {
		t.Errorf("unusable: %v", out)
	}
}
