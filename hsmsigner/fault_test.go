//go:build linux

package hsmsigner_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/sys/unix"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
	"quorate/hsmsigner/tokenproc/faultmodule"
	"quorate/quorum"
)

// TestTokenFaults: what the token does wrong while the signer runs. Each is
// refused with a code, and asked again it is signed once the fault is over,
// without a new start of the signer.
func TestTokenFaults(t *testing.T) {
	for _, c := range []struct {
		name, call, fault string
		log               []string
	}{
		{"the module crashes", "C_Sign", "abort", []string{"token process is replaced", "module: cannot go on"}},
		{"the module ends the process", "C_Sign", "exit", []string{"token process is replaced", "exit status 3"}},
		{"the module never returns", "C_Sign", "hang", []string{"token process is replaced", "a signature exceeded its deadline"}},
		{"no session is free", "C_OpenSession", "full", []string{"code=token-unavailable", "CKR_SESSION_COUNT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := faultmodule.New(t)
			deadline := testLimit
			if c.fault == "hang" {
				deadline = time.Second
			}
			w := newApart(t, m.Library, deadline)
			m.Set(t, c.call, c.fault)
			data := w.data("file-0")
			if r := w.refused(data, quorum.RefuseToken); !r.Refusal.Retryable {
				t.Errorf("%v", r.Refusal)
			}
			w.log.has(t, c.log...)
			m.Clear(t, c.call, c.fault)
			answer, err := w.insist(data)
			check(t, err)
			w.audit(map[string][]byte{"file-0": answer})
		})
	}
}

// TestTokenRemoved takes the token away and puts it back.
func TestTokenRemoved(t *testing.T) {
	w := newApart(t, soft.module, testLimit)
	data := w.data("file-0")
	check(t, os.Rename(w.tokens, w.tokens+".away"))
	if r := w.refused(data, quorum.RefuseToken); !r.Refusal.Retryable {
		t.Errorf("%v", r.Refusal)
	}
	w.log.has(t, "refused", "code=token-unavailable", "error=")
	check(t, os.Rename(w.tokens+".away", w.tokens))
	answer, err := w.insist(data)
	check(t, err)
	w.audit(map[string][]byte{"file-0": answer})
}

// TestKeyRemoved puts another token in the place of the token, which has its name
// and its PIN, but not the key.
func TestKeyRemoved(t *testing.T) {
	w := newApart(t, soft.module, testLimit)
	data := w.data("file-0")
	full := w.tokens
	check(t, os.Rename(full, full+".away"))
	check(t, os.CopyFS(full, os.DirFS(emptyToken(t))))
	w.signal(syscall.SIGKILL) // the module would not notice
	r := w.refused(data, quorum.RefuseUnknownKey)
	if !strings.Contains(r.Refusal.Message, `key "p256"`) {
		t.Errorf("%v", r.Refusal)
	}
	w.log.has(t, "refused", "code=unknown-key", token.ErrKeyNotFound.Error())
	check(t, os.RemoveAll(full))
	check(t, os.Rename(full+".away", full))
	w.signal(syscall.SIGKILL)
	reply, _ := w.signed(data)
	w.audit(map[string][]byte{"file-0": reply.Answer})
}

// emptyToken is the folder of a token without keys. A process of its own makes it:
// the library of this one is in use.
func emptyToken(t testing.TB) (tokens string) {
	t.Helper()
	dir := t.TempDir()
	runSelf(t, initRole, softhsm.EnvConf+"="+must(softhsm.NewConfig(dir))(t))
	return filepath.Join(dir, "tokens")
}

// TestTwinLabels: with two keys under one label nobody knows which one is meant, so
// the signer does not start.
func TestTwinLabels(t *testing.T) {
	module := pkcs11.New(soft.module) // initialised and logged in by soft.token
	slots := must(module.GetSlotList(true))(t)
	slot := slots[slices.IndexFunc(slots, func(s uint) bool { return must(module.GetTokenInfo(s))(t).Label == tokenLabel })]
	session := must(module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION))(t)
	defer module.CloseSession(session)
	for range 2 {
		common := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "twin")}
		p256 := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})
		pub, private, err := module.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
			append(common, p256), append(common, pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)))
		check(t, err)
		defer module.DestroyObject(session, private)
		defer module.DestroyObject(session, pub)
	}
	w := newApart(t, soft.module, testLimit)
	o := w.options()
	o.Keys = []hsmsigner.Key{{Label: "twin"}}
	_, err := hsmsigner.New(o)
	if !errors.Is(err, token.ErrKeyAmbiguous) || token.IsUnavailable(err) || !strings.Contains(err.Error(), `key "twin"`) {
		t.Errorf("got %v", err)
	}
}

// TestPINRefusedLater changes the PIN under a signer that runs. It is tried once,
// by the next process, and then never again.
func TestPINRefusedLater(t *testing.T) {
	m := faultmodule.New(t)
	w := newApart(t, m.Library, testLimit)
	wrong := filepath.Join(t.TempDir(), "pin")
	writeFile(t, wrong, []byte("11112222"), 0o600)
	check(t, os.Rename(tokenConfig().PINFile, wrong+".right"))
	defer os.Rename(wrong+".right", tokenConfig().PINFile)
	check(t, os.Symlink(wrong, tokenConfig().PINFile))
	defer os.Remove(tokenConfig().PINFile)
	before := m.Calls(t, "C_Login")
	w.signal(syscall.SIGKILL)
	w.log.await(t, "token process is not started again: a pin was refused")
	w.log.has(t, `hint="correct the pin and restart the signer"`)
	for range 3 {
		if r := w.refused(w.data("file-0"), quorum.RefuseToken); r.Refusal.Retryable {
			t.Errorf("%v", r.Refusal)
		}
	}
	if n := m.Calls(t, "C_Login") - before; n != 1 {
		t.Errorf("the PIN was tried %d times", n)
	}
	w.log.has(t, "code=token-unavailable", token.ErrPINIncorrect.Error())
	if n := len(w.records()); n != 0 {
		t.Errorf("%d answers in the ledger", n)
	}
}

// TestPINFlagsAtStart: a token that says that its PIN is locked, or has one try
// left, gets no PIN. Both need a person: the command exits with 2.
func TestPINFlagsAtStart(t *testing.T) {
	m := faultmodule.New(t)
	ownToken(t)
	c := tokenConfig()
	c.Module = m.Library
	for fault, want := range map[string]error{"locked": token.ErrPINLocked, "final": token.ErrPINFinalTry} {
		m.Set(t, "C_GetTokenInfo", fault)
		_, err := hsmsigner.StartToken(t.Context(), c, nil, quiet())
		if !errors.Is(err, want) || token.IsUnavailable(err) {
			t.Errorf("%s: %v", fault, err)
		}
		m.Clear(t, "C_GetTokenInfo", fault)
	}
	if n := m.Calls(t, "C_Login"); n != 0 {
		t.Errorf("a PIN was tried %d times", n)
	}
	check(t, must(hsmsigner.StartToken(t.Context(), c, nil, quiet()))(t).Close())
}

// TestAbsentAtStart starts a service whose token is not there yet.
func TestAbsentAtStart(t *testing.T) {
	hsmsigner.HurryAbsent(t)
	s := newSite(t)
	tokens, log := ownToken(t), newJournal(t)
	check(t, os.Rename(tokens, tokens+".away"))
	check(t, os.Mkdir(tokens, 0o700))
	opened := make(chan *hsmsigner.Service)
	go func() {
		defer close(opened)
		v, err := hsmsigner.Open(t.Context(), s.config, nil, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Error(err)
			return
		}
		opened <- v
	}()
	log.await(t, "the token is away; it is waited for")
	log.has(t, "token not found", "hint=\"check module, label and serial")
	check(t, os.Remove(tokens))
	check(t, os.Rename(tokens+".away", tokens))
	v := <-opened
	if v == nil {
		t.FailNow()
	}
	defer v.Close()
	w := &apart{world: s.world}
	reply := must(hsmsigner.SignerOf(v).Answer(t.Context(), freshRequest(w)))(t)
	if reply.Refusal != nil {
		t.Errorf("refused: %v", reply.Refusal)
	}
	log.has(t, "the token is there now")
}

// TestLoginUnknown: the module dies with the first PIN in its hands. Nobody knows
// what the token made of it, so the service ends instead of trying again.
func TestLoginUnknown(t *testing.T) {
	hsmsigner.HurryAbsent(t)
	s, m := newSite(t), faultmodule.New(t)
	ownToken(t)
	s.config.Token.Module = m.Library
	m.Set(t, "C_Login", "exit")
	ctx, cancel := context.WithTimeout(t.Context(), testLimit) // only ends one that tries again
	defer cancel()
	_, err := hsmsigner.Open(ctx, s.config, nil, quiet())
	if !token.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	if n := m.Calls(t, "C_Login"); n != 1 {
		t.Errorf("the PIN was tried %d times", n)
	}
}

// freshRequest is one of this hour, for a signer with the clock of the machine.
func freshRequest(w *apart) []byte {
	a := w.ask("p256")
	a.finished = time.Now().Add(-time.Hour)
	return encode(w.t, a.request(w.t))
}

// TestDiskFull: the ledger cannot be written, before the token is asked or when
// the signature is made. No signature leaves, and all is well when there is room.
func TestDiskFull(t *testing.T) {
	for _, stage := range []string{"checked", "signed"} {
		t.Run(stage, func(t *testing.T) {
			w := newWorld(t)
			log := newJournal(t)
			w.log = slog.New(slog.NewTextHandler(log, nil))
			w.restart()
			data := encode(t, w.ask("p256").request(t))
			var room func()
			hsmsigner.SetStage(w.signer, func(at string) {
				if at == stage && room == nil {
					room = noRoom(t)
				}
			})
			reply := w.answer(data)
			room()
			if r := reply.Refusal; r == nil || r.Code != quorum.RefuseLedger || !r.Retryable || bytes.Contains(reply.Answer, []byte(`"signatures"`)) {
				t.Fatalf("got %s", reply.Answer)
			}
			log.has(t, "refused", "code=ledger-unavailable", "error=")
			signs := map[string]int64{"checked": 0, "signed": 1}[stage]
			w.wantSigns(signs)
			if n := len(w.records()); n != 0 {
				t.Errorf("%d answers in the ledger", n)
			}
			w.signed(data)
			w.wantSigns(signs + 1)
			w.restart()
			if n := len(w.records()); n != 1 {
				t.Errorf("%d answers in the ledger", n)
			}
		})
	}
}

// TestClockBackwards sets the clock back under a signer: nothing is signed with a
// time before the key or the build, and what was signed is still answered.
func TestClockBackwards(t *testing.T) {
	w := newWorld(t)
	old := encode(t, w.ask("ed25519").request(t))
	first, _ := w.signed(old)
	a := w.ask("ed25519")
	a.artifact = "later"
	data := encode(t, a.request(t))
	for _, at := range []time.Time{keyTime.Add(-time.Hour), a.finished.Add(-time.Hour)} {
		w.now = at
		if r := w.refused(data, quorum.RefuseEvidence); !strings.Contains(r.Refusal.Message, "ahead of the time of receipt (time-in-future)") {
			t.Errorf("%s: %+v", at, r.Refusal)
		}
		again, _ := w.signed(old)
		sameBytes(t, again.Answer, first.Answer)
	}
	w.now = now
	w.signed(data)
	w.wantSigns(2)
}

// noRoom is a full disk for this process, until room is called: no file grows, and
// none of one page takes another.
func noRoom(t testing.TB) (room func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 512, Max: limit.Max}))
	return func() { check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }
}
