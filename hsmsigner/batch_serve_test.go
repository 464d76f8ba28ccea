//go:build linux

package hsmsigner_test

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const imaKey = "bare-p256" // ECDSA: a second signature would have other bytes

// newBatchSite is a site with a key for batches, and a channel for it.
func newBatchSite(t testing.TB) *site {
	t.Helper()
	check(t, moreKeys())
	w := newWorld(t)
	text := policyText(t, 8) + channelText(imaKey, policy.Output{Format: format.IMA, Key: imaKey})
	config := hsmsigner.KeyConfig{Label: imaKey, X509: x509File(imaKey)}
	w.policy, w.more = loadPolicy(t, text), []hsmsigner.Key{must(hsmsigner.LoadKey(config))(t)}
	w.restart()
	return siteOf(t, w, text, append(keyConfigs(), config))
}

// publishBatch files a request as a coordinator files one for a batch.
func (s *site) publishBatch(key string, data []byte) {
	s.t.Helper()
	_, err := s.coord.Publish(s.t.Context(), must(bus.BatchSubject(key))(s.t), bus.MsgID(data), data)
	check(s.t, err)
}

// nextParts waits for so many answers.
func (s *site) nextParts(n int) (parts [][]byte) {
	s.t.Helper()
	for range n {
		data, a := s.nextAnswer()
		if a.Refusal != nil {
			s.t.Fatalf("got %+v", a.Refusal)
		}
		parts = append(parts, data)
	}
	return parts
}

// acknowledged waits until the signer has done with all requests of the consumer.
func (s *site) acknowledged(name string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testLimit)
	defer cancel()
	consumer := must(s.coord.JS().Consumer(ctx, bus.StreamRequests, name))(s.t)
	for {
		if info := must(consumer.Info(ctx))(s.t); info.NumAckPending == 0 && info.NumPending == 0 {
			return
		}
	}
}

// TestServeBatches: a batch is one by what it asks for, whichever subject it comes
// on; and what is none is answered where batches are read, too.
func TestServeBatches(t *testing.T) {
	s := newBatchSite(t)
	s.serve()
	first, second, small := s.batch(imaKey, 600), s.batch(imaKey, 300), s.ask("ed25519")
	second.artifact = "second.rpm"
	s.publishBatch(imaKey, encode(t, first.request(t)))
	s.wholeBatch(first, s.nextParts(3))
	s.publish(encode(t, second.request(t)))
	s.wholeBatch(second, s.nextParts(2))
	s.publishBatch("ed25519", encode(t, small.request(t)))
	if _, a := s.nextAnswer(); a.Artifact != small.artifact || a.Part != nil || len(a.Signatures) != 1 {
		t.Errorf("got %+v", a)
	}
	for _, name := range []string{bus.BatchConsumerName(imaKey), bus.SignerConsumerName(imaKey), bus.BatchConsumerName("ed25519")} {
		s.acknowledged(name)
	}
	// Asked again, the same parts come again.
	s.publishBatch(imaKey, append(encode(t, first.request(t)), ' '))
	s.acknowledged(bus.BatchConsumerName(imaKey))
	s.wantSigns(900 + 1)
}

// TestServeRefusesABatch: a refusal has no part, and the request is done with.
func TestServeRefusesABatch(t *testing.T) {
	s := newBatchSite(t)
	s.serve()
	r := s.batch(imaKey, 3).request(t)
	r.Evidence = r.Evidence[:1]
	s.publishBatch(imaKey, encode(t, r))
	if _, a := s.nextAnswer(); a.Refusal == nil || a.Refusal.Code != quorum.RefuseQuorum || a.ID != r.ID || a.Part != nil {
		t.Errorf("got %+v", a)
	}
	s.acknowledged(bus.BatchConsumerName(imaKey))
}

// TestServeBatchesTakeNoSlots: batches that get no further, on either subject, leave
// all other requests where they were.
func TestServeBatchesTakeNoSlots(t *testing.T) {
	s := newBatchSite(t)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	hsmsigner.SetStage(s.signer, func(stage string) {
		if stage == "part signed" {
			<-gate
		}
	})
	s.serve()
	for i := range slots() + 10 {
		a := s.batch(imaKey, 1)
		a.artifact = fmt.Sprint("package-", i)
		if data := encode(t, a.request(t)); i%2 == 0 {
			s.publishBatch(imaKey, data)
		} else {
			s.publish(data)
		}
	}
	for i := range 3 {
		a := s.ask("ed25519")
		a.artifact = fmt.Sprint("file-", i)
		s.publish(encode(t, a.request(t)))
		if _, answer := s.nextAnswer(); answer.Artifact != a.artifact || answer.Refusal != nil {
			t.Fatalf("got %+v", answer)
		}
	}
	open()
	s.nextParts(slots() + 10)
}

// TestKillInTheMiddleOfABatch kills a signer behind each step of a part. In the end
// all parts are in the record, and what was published of each is one and the same.
func TestKillInTheMiddleOfABatch(t *testing.T) {
	s := newBatchSite(t)
	s.impatientOf(bus.BatchConsumerName(imaKey), 300*time.Millisecond)
	t.Setenv(childAwake, "yes")
	a := s.batch(imaKey, 2000)
	s.publishBatch(imaKey, encode(t, a.request(t)))
	for _, stage := range []string{"committed", "part signed", "part stored", "part released", "acknowledged"} {
		s.child(stage)
	}
	s.wholeBatch(a, s.recorded())
	l := must(ledger.Open(t.Context(), s.config.Ledger))(t)
	defer l.Close()
	for _, part := range s.recorded() {
		p := must(quorum.ParseAnswer(part))(t)
		stored, found, err := l.AnswerPart(t.Context(), p.ID, p.Part.Index)
		if err != nil || !found {
			t.Fatalf("part %d is not stored: %v", p.Part.Index, err)
		}
		sameBytes(t, part, stored)
	}
}

// TestKillTheTokenInTheMiddleOfABatch kills the token's process between two parts.
// Another one goes on, and the batch is whole.
func TestKillTheTokenInTheMiddleOfABatch(t *testing.T) {
	check(t, moreKeys())
	w := newApart(t, soft.module, testLimit)
	w.policy = loadPolicy(t, policyText(t, 8)+channelText(imaKey, policy.Output{Format: format.IMA, Key: imaKey}))
	w.more = []hsmsigner.Key{must(hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: imaKey, X509: x509File(imaKey)}))(t)}
	w.restart()
	a := w.batch(imaKey, 1000)
	var once sync.Once
	s := new(shelf)
	reply, err := w.signer.AnswerParts(t.Context(), encode(t, a.request(t)), func(ctx context.Context, channel string, part []byte) error {
		once.Do(func() { w.signal(syscall.SIGKILL) })
		return s.put(ctx, channel, part)
	})
	if err != nil || reply.Refusal != nil {
		t.Fatalf("%+v, %v", reply, err)
	}
	w.wholeBatch(a, s.parts)
	if n := w.proxy.Process().Restarts; n != 1 {
		t.Errorf("%d restarts", n)
	}
}

// TestBatchTakesTurns: while a batch keeps the token busy, each small request gets it
// after one more of the batch's signatures at most, be it of the same channel, of
// the same key, or of others.
func TestBatchTakesTurns(t *testing.T) {
	s := newBatchSite(t)
	const n = statement.MaxDigests
	huge := s.batch(imaKey, n)
	began, step, free := make(chan bool, 100), make(chan struct{}), make(chan struct{})
	s.token.sign = func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
		_, isHuge := huge.inner.Find(statement.SHA256(digest[:32]))
		select {
		case <-free:
			return soft.token.Sign(ctx, label, h, digest)
		case began <- isHuge:
		}
		if isHuge {
			select {
			case <-step:
			case <-free:
			}
		}
		return soft.token.Sign(ctx, label, h, digest)
	}
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	shelf := new(shelf)
	var whole sync.WaitGroup
	whole.Go(func() {
		if reply, err := s.signer.AnswerParts(t.Context(), encode(t, huge.request(t)), shelf.put); err != nil || reply.Refusal != nil {
			t.Errorf("%+v, %v", reply, err)
		}
	})
	turns := hsmsigner.TurnsOf(s.signer)
	for range 4 { // as many as the token takes of two workers
		<-began
	}
	for i := range 20 {
		a := s.ask("ed25519")
		if i%2 == 0 {
			a = s.batch(imaKey, 1)
			a.inner = digestsOf(t, [][]byte{fmt.Appendf(nil, "small %d", i)})
		}
		a.artifact = fmt.Sprint("small-", i)
		answered := make(chan struct{})
		whole.Go(func() {
			defer close(answered)
			if reply, err := s.signer.AnswerParts(t.Context(), encode(t, a.request(t)), shelf.put); err != nil || reply.Refusal != nil {
				t.Errorf("%+v, %v", reply, err)
			}
		})
		waitFor(turns, 1)
		passed := -1
		for isHuge := true; isHuge; passed++ {
			step <- struct{}{}
			isHuge = <-began
		}
		if passed > 1 {
			t.Errorf("%d signatures of the batch passed small request %d", passed, i)
		}
		<-answered
		<-began // the batch goes on
	}
	release()
	whole.Wait()
	var parts [][]byte
	for _, p := range shelf.parts {
		if must(quorum.ParseAnswer(p))(t).Artifact == huge.artifact {
			parts = append(parts, p)
		}
	}
	s.wholeBatch(huge, parts)
}
