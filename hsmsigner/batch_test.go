package hsmsigner_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// TestBatchForOthers: a batch has a value for each file, in order, which the program
// takes that writes them; asked again it is the same, and the token is not asked.
func TestBatchForOthers(t *testing.T) {
	for channel := range batchChannels() {
		t.Run(channel, func(t *testing.T) {
			w := newFormatWorld(t, batchChannels())
			const n = 300
			a := w.batch(channel, n)
			parts, values := w.signedBatch(a)
			w.wantSigns(n)
			for _, file := range [][]byte{inside(n)[0], inside(n)[n-1]} {
				judgeValue(t, a.outputs[0], file, values[sha256.Sum256(file)])
			}
			w.restart()
			again, _ := w.signedBatch(a)
			for i, data := range parts {
				sameBytes(t, again[i], data)
			}
			w.wantSigns(n)
		})
	}
}

// TestEveryBatchFormat: there is no format of batches that the signer does not make.
func TestEveryBatchFormat(t *testing.T) {
	made := map[policy.Format]bool{}
	for _, outputs := range batchChannels() {
		made[outputs[0].Format] = true
	}
	for _, f := range format.All() {
		if format.IsBatch(f.Name) != made[f.Name] {
			t.Errorf("%s: made by tests %t", f.Name, made[f.Name])
		}
	}
}

// TestBatchWantsAShelf: without somebody to release parts to, nothing is done.
func TestBatchWantsAShelf(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	if _, err := w.signer.Answer(t.Context(), encode(t, w.batch("bare-p256", 3).request(t))); !errors.Is(err, hsmsigner.ErrBatch) {
		t.Errorf("got %v", err)
	}
	w.wantSigns(0)
	if n := len(w.commitments()); n > 0 {
		t.Errorf("%d commitments", n)
	}
}

// TestBatchRefusals: nothing of a batch that is refused is signed.
func TestBatchRefusals(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	good := w.batch("bare-p256", 300)
	edit := func(f func(*quorum.Request)) []byte {
		r := good.request(t)
		f(r)
		r.ID = r.ComputeID()
		return encode(t, r)
	}
	tooMany := func(r *quorum.Request) { // no builder can say so, and no set be made of it
		joined := make([]byte, 0, 32*(statement.MaxDigests+1))
		for i := range statement.MaxDigests + 1 {
			joined = append(joined, make([]byte, 28)...)
			joined = append(joined, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
		}
		value := must(jsontext.AppendQuote(nil, base64.StdEncoding.EncodeToString(joined)))(t)
		r.Signables[statement.FileDigests] = jsontext.Value(`{"digests":` + string(value) + `}`)
	}
	with := func(files [][]byte) func(r *quorum.Request) {
		return func(r *quorum.Request) {
			r.Signables[statement.FileDigests] = digestsOf(t, files).Signable().Value
		}
	}
	for _, c := range []struct {
		name string
		code quorum.RefusalCode
		data []byte
	}{
		{"10,001 digests", quorum.RefuseState, edit(tooMany)},
		{"a digest that is not in the votes", quorum.RefuseState, edit(with(append(inside(300), []byte("evil"))))},
		{"another digest than in the votes", quorum.RefuseState, edit(with(append(inside(299), []byte("evil"))))},
		{"a digest less", quorum.RefuseState, edit(with(inside(299)))},
		{"no digests", quorum.RefuseBadRequest, edit(func(r *quorum.Request) { clear(r.Signables) })},
		{"one vote", quorum.RefuseQuorum, edit(func(r *quorum.Request) { r.Evidence = r.Evidence[:1] })},
		{"two outputs", quorum.RefuseBadRequest, edit(func(r *quorum.Request) { r.Outputs = append(r.Outputs, r.Outputs[0]) })},
		{"a key of another channel", quorum.RefuseFormat, edit(func(r *quorum.Request) { r.Outputs[0].Key = "bare-p384" })},
	} {
		w.run(c.name, func(t *testing.T) {
			before := len(w.refusals())
			reply, parts := w.answerParts(c.data)
			if reply.Refusal == nil || reply.Refusal.Code != c.code || len(parts) > 0 || len(reply.Answer) > 4096 {
				t.Errorf("got %+v and %d parts, want %s", reply.Refusal, len(parts), c.code)
			}
			if len(w.refusals()) != before+1 {
				t.Error("the refusal is not recorded")
			}
		})
	}
	w.wantSigns(0)
	w.signedBatch(good)
	// The package's name belongs to these digests from now on.
	other := good
	other.inner = digestsOf(t, inside(301))
	if reply, _ := w.answerParts(encode(t, other.request(t))); reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseOtherDigest || len(reply.Alarms) != 1 {
		t.Errorf("other digests under the same name: %+v", reply)
	}
	w.wantSigns(300)
}

// faultyAt spoils what the token answers for the digests of one file.
func (w *world) faultyAt(content []byte, fault func(sig []byte) ([]byte, error)) {
	bad := sha256.Sum256(content)
	w.token.sign = func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
		sig, err := soft.token.Sign(ctx, label, h, digest)
		if err == nil && bytes.Equal(digest, bad[:]) {
			return fault(sig)
		}
		return sig, err
	}
}

// TestBatchWithABadSignature: a part with a signature that does not verify does not
// leave. The others stay, and are not made again when the token is mended.
func TestBatchWithABadSignature(t *testing.T) {
	for name, fault := range map[string]func(sig []byte) ([]byte, error){
		"wrong":     func(sig []byte) ([]byte, error) { sig[len(sig)-1] ^= 1; return sig, nil },
		"too short": func(sig []byte) ([]byte, error) { return sig[1:], nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFormatWorld(t, batchChannels())
			log := newJournal(t)
			w.log = slog.New(slog.NewTextHandler(log, nil))
			w.restart()
			a := w.batch("bare-p256", 700)
			file := inside(700)[0]
			w.faultyAt(file, fault)
			number, _ := a.inner.Find(sha256.Sum256(file))
			data := encode(t, a.request(t))
			reply, parts := w.answerParts(data)
			if reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseSignatureCheck || len(reply.Alarms) != 1 || reply.Alarms[0].Code != hsmsigner.AlarmSignatureCheck {
				t.Fatalf("got %+v", reply)
			}
			for _, p := range parts {
				if answer := must(quorum.ParseAnswer(p))(t); answer.Part.Index == number/quorum.PartSize {
					t.Errorf("part %d was released", answer.Part.Index)
				}
			}
			log.has(t, "batch begun", "digests=700", "parts=3")
			log.has(t, "a signature does not verify")
			log.has(t, "code=signature-check-failed")
			w.token.sign = nil
			before := w.token.signs.Load()
			w.now = w.now.AddDate(0, 0, 1)
			_, more := w.answerParts(data)
			w.wholeBatch(a, append(parts, more...))
			left := 700
			for _, p := range parts {
				left -= len(must(quorum.ParseAnswer(p))(t).Signatures[0].Values)
			}
			w.wantSigns(before + int64(left))
			log.has(t, "batch signed", fmt.Sprint("signed=", left))
		})
	}
}

// TestBadSignatureInABatchOnce: the token was confused once, and the part is made
// again by the way on which each step verifies.
func TestBadSignatureInABatchOnce(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	a := w.batch("bare-p256", 300)
	var once sync.Once
	w.faultyAt(inside(300)[7], func(sig []byte) ([]byte, error) {
		once.Do(func() { sig[0] ^= 1 })
		return sig, nil
	})
	w.signedBatch(a)
	if n := w.token.verified.Load(); n != 256 && n != 300-256 {
		t.Errorf("%d signatures by the way that verifies, want those of one part", n)
	}
}

// TestBatchTokenLost: the token goes away in the middle. The request is refused to be
// asked again, what is stored stays, and the rest is signed later.
func TestBatchTokenLost(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	const n = 1000
	a := w.batch("bare-p256", n)
	data := encode(t, a.request(t))
	w.token.sign = func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
		if w.token.signs.Load() > 600 {
			return nil, &token.Error{Class: token.Unavailable, Op: "sign", Err: errors.New("gone")}
		}
		return soft.token.Sign(ctx, label, h, digest)
	}
	reply, parts := w.answerParts(data)
	if reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseToken || !reply.Refusal.Retryable || len(reply.Alarms) > 0 {
		t.Fatalf("got %+v", reply.Refusal)
	}
	if len(parts) != 2 {
		t.Errorf("%d parts were released, want the two that were complete", len(parts))
	}
	w.token.sign = nil
	w.token.signs.Store(0)
	w.restart()
	w.now = w.now.AddDate(0, 0, 1) // a part of another day is another part
	_, more := w.answerParts(data)
	w.wholeBatch(a, append(parts, more...))
	w.wantSigns(n - 512)
	rec := w.records()
	if len(rec) != 1 || rec[0].Batch == nil || rec[0].Batch.Stored != n || rec[0].Batch.StoredParts != 4 || len(rec[0].Statements) != 2 {
		t.Errorf("the ledger has %+v", rec)
	}
}

// TestBatchNotReleased: what was stored when it could not be released is released
// later, and is the same.
func TestBatchNotReleased(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	a := w.batch("bare-p256", 600)
	data := encode(t, a.request(t))
	full := &shelf{err: errors.New("the bus is full")}
	if _, err := w.signer.AnswerParts(t.Context(), data, full.put); !errors.Is(err, full.err) {
		t.Fatalf("got %v", err)
	}
	_, parts := w.answerParts(data)
	w.wholeBatch(a, append(parts, full.parts...))
}

// TestBatchEndsWithItsContext: a batch that is cut off leaves what it stored, and is
// no refusal.
func TestBatchEndsWithItsContext(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	a := w.batch("bare-p256", 900)
	data := encode(t, a.request(t))
	ctx, cancel := context.WithCancel(t.Context())
	var parts [][]byte
	var mu sync.Mutex
	_, err := w.signer.AnswerParts(ctx, data, func(_ context.Context, _ string, part []byte) error {
		mu.Lock()
		defer mu.Unlock()
		parts = append(parts, part)
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(w.refusals()) > 0 {
		t.Fatalf("got %v, refusals %v", err, w.refusals())
	}
	_, more := w.answerParts(data)
	w.wholeBatch(a, append(parts, more...))
}

// TestTwoSignersOneBatch: two processes that share a ledger give the same parts.
func TestTwoSignersOneBatch(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	a := w.batch("bare-p256", 600)
	data := encode(t, a.request(t))
	other := must(hsmsigner.New(w.options()))(t)
	s := new(shelf)
	var both sync.WaitGroup
	for _, signer := range []*hsmsigner.Signer{w.signer, other} {
		both.Go(func() {
			if reply, err := signer.AnswerParts(t.Context(), data, s.put); err != nil || reply.Refusal != nil {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	both.Wait()
	w.wholeBatch(a, s.parts)
}

// TestPolicyWithBatches: a key that cannot, or that must not, is found out when the
// policy is loaded.
func TestPolicyWithBatches(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	for key, want := range map[string]string{"bare-ed25519": "signature_v2_hdr", "p256": "OpenPGP certificate"} {
		p := loadPolicy(t, policyText(t, 9, func(text string) string {
			return strings.ReplaceAll(text, `key = "p256"`, `key = "rsa3072"`) + channelText("ima", policy.Output{Format: format.IMA, Key: key})
		}))
		err := w.signer.Replace(p, append(must(hsmsigner.LoadKeys(keyConfigs()))(t), w.more...))
		if !errors.Is(err, hsmsigner.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestSelftestOfABatch: one signature of a batch says that the key can make them.
func TestSelftestOfABatch(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	config := []hsmsigner.KeyConfig{{Label: "bare-p256", X509: x509File("bare-p256")}}
	if r := hsmsigner.Selftest(t.Context(), soft.token, config, w.policy); len(r) != 1 || r[0].Format != format.IMA || r[0].Err != nil || r[0].Fingerprint == "" {
		t.Errorf("got %+v", r)
	}
	broken := &watchedToken{Token: soft.token, sign: func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
		sig, err := soft.token.Sign(ctx, label, h, digest)
		sig[3] ^= 1
		return sig, err
	}}
	if r := hsmsigner.Selftest(t.Context(), broken, config, w.policy); r[0].Err == nil {
		t.Error("a token that signs badly passes")
	}
}

// TestMeasureSpeedOfBatches: what is measured are signatures of whole batches, beside
// those of the token.
func TestMeasureSpeedOfBatches(t *testing.T) {
	w := newFormatWorld(t, batchChannels())
	var parts atomic.Int64
	o := hsmsigner.SpeedOptions{Raw: soft.token, Token: w.token, Workers: 2, Key: hsmsigner.KeyConfig{Label: "bare-p256", X509: x509File("bare-p256")},
		Policy: w.policy, Batch: 300, Dir: t.TempDir(), Rounds: 1, Round: time.Millisecond,
		Publish: func(_ context.Context, r hsmsigner.Reply) error {
			if must(quorum.ParseAnswer(r.Answer))(t).Part != nil {
				parts.Add(1)
			}
			return nil
		}}
	s := must(hsmsigner.MeasureSpeed(t.Context(), o))(t)
	if s.Format != format.IMA || s.Batch != 300 || s.Limit <= 0 || s.Rate <= 0 || s.Ratio <= 0 || s.P50 <= 0 || s.AloneP50 <= 0 || s.BesideP99 <= 0 || parts.Load() == 0 {
		t.Errorf("%+v, %d parts", s, parts.Load())
	}
	var names []string
	for _, c := range s.Steps {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "parse evidence ledger check publish" {
		t.Errorf("steps %s", got)
	}
	for _, n := range []int{0, statement.MaxDigests + 1} {
		o.Batch = n
		if _, err := hsmsigner.MeasureSpeed(t.Context(), o); err == nil || !strings.Contains(err.Error(), "want 1 to 10000") {
			t.Errorf("a batch of %d: %v", n, err)
		}
	}
}
