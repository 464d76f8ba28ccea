//go:build linux

package hsmsigner_test

import (
	"context"
	"crypto"
	"log/slog"
	"testing"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc/faultmodule"
	"quorate/quorum"
)

// TestBadSignatureOnce: a token that signed badly once is asked again, by the way on
// which each step verifies, and the log says so.
func TestBadSignatureOnce(t *testing.T) {
	for _, label := range []string{"rsa3072", "ed25519", "p256"} {
		t.Run(label, func(t *testing.T) {
			w := newWorld(t)
			log := newJournal(t)
			w.log = slog.New(slog.NewTextHandler(log, nil))
			w.restart()
			a := w.ask(label)
			w.token.sign = func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
				w.token.sign = nil
				sig, err := soft.token.Sign(ctx, label, h, digest)
				if err == nil {
					sig[len(sig)-1] ^= 1
				}
				return sig, err
			}
			w.signed(encode(t, a.request(t)))
			w.wantSigns(2)
			if n := w.token.verified.Load(); n != 1 {
				t.Errorf("%d signatures by the way that verifies, want the second", n)
			}
			log.has(t, "a signature does not verify")
		})
	}
}

// TestLiarBehindTheWall: a token that signs badly is found out by the signer, and
// told from a process that lies: it is not replaced.
func TestLiarBehindTheWall(t *testing.T) {
	m := faultmodule.New(t)
	w := newApart(t, m.Library, testLimit)
	data := w.data("file-0")
	m.Set(t, "C_Sign", "liar")
	if r := w.refused(data, quorum.RefuseSignatureCheck); len(r.Alarms) != 1 || r.Alarms[0].Code != hsmsigner.AlarmSignatureCheck {
		t.Errorf("%+v", r)
	}
	w.log.has(t, "a signature does not verify")
	w.log.has(t, "code=signature-check-failed", token.ErrBadSignature.Error())
	if s := w.proxy.Process(); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	m.Clear(t, "C_Sign", "liar")
	answer, err := w.insist(data)
	check(t, err)
	w.audit(map[string][]byte{"file-0": answer})
}
