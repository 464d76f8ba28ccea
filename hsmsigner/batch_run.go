package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/sourcegraph/conc/pool"

	"quorate/internal/sigformat"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// partsAhead is how many parts of a batch are in memory at a time: one that is being
// signed, one that begins while the last signatures of that one are made, and those
// that are verified, wait for the disk, or are published meanwhile.
const partsAhead = 4

// batch makes the parts of one answer. The token is asked by as many goroutines as it
// takes operations; a part that is complete is verified, stored and released beside
// them.
type batch struct {
	s       *Signer
	p       *permit
	out     permitted           // the one output
	set     statement.DigestSet // of the approval
	value   valueFunc
	release ReleaseFunc
	tok     access
	blank   quorum.Answer // what all parts have in common

	ctx     context.Context // of the request
	signing context.Context // ends at the first error; its cause is that error
	stop    context.CancelCauseFunc

	ahead     chan struct{} // one for each part in memory
	storing   sync.Mutex    // held for one part, so that a small request waits for the disk of one only
	releasing sync.Mutex    // the same at the bus
	signers   *pool.Pool
	finishers *pool.Pool

	signed, storedParts atomic.Int64
}

// part is one that is being made.
type part struct {
	quorum.Part
	values [][]byte // owned by whoever makes the value, and by finish when left is 0
	left   atomic.Int64
}

func (s *Signer) newBatch(ctx context.Context, p *permit, release ReleaseFunc) (*batch, *denial) {
	r, out := p.approval.Request(), p.outputs[0]
	b := &batch{s: s, p: p, out: out, set: p.approval.Batch(), release: release, ctx: ctx,
		tok: access{Token: s.turns.of(s.token, r)}, ahead: make(chan struct{}, partsAhead),
		signers: pool.New().WithMaxGoroutines(2 * s.workers), finishers: pool.New().WithMaxGoroutines(partsAhead)}
	var err error
	if b.value, err = out.values(out.key); err != nil {
		return nil, tokenDenial(out.Key, err)
	}
	fingerprint, err := out.key.checker().Fingerprint(out.Format)
	if err != nil {
		return nil, tokenDenial(out.Key, err)
	}
	b.blank = *p.answer()
	b.blank.Signatures = []quorum.SignedOutput{{Output: out.Output, Fingerprint: fingerprint, SignedAt: p.at}}
	return b, nil
}

// errBroken ends a batch of which a goroutine panics; whoever waits panics, too.
var errBroken = errors.New("batch: a goroutine panicked")

// run makes the parts that are not stored. When it returns nothing is under way.
func (b *batch) run(stored []int) error {
	b.signing, b.stop = context.WithCancelCause(b.ctx)
	defer b.stop(nil)
	h, err := b.tok.handle(b.signing, b.out.key)
	if err != nil {
		return tokenDenial(b.out.Key, err)
	}
	n, todo := b.set.Len(), missing(quorum.PartCount(b.set.Len()), stored)
	wanted := 0
	for _, i := range todo {
		p, end := quorum.NewPart(n, i)
		wanted += end - p.First
	}
	b.s.metrics.batchWaiting.Add(float64(wanted))
	defer func() { b.s.metrics.batchWaiting.Sub(float64(wanted) - float64(b.signed.Load())) }()
	for _, i := range todo {
		if !b.begin(h, n, i) {
			break
		}
	}
	b.signers.Wait()
	b.finishers.Wait()
	return context.Cause(b.signing)
}

// begin has a part signed as soon as there is room for it; false, if the batch ended.
func (b *batch) begin(h *sigformat.Key, n, index int) bool {
	select {
	case b.ahead <- struct{}{}:
	case <-b.signing.Done():
		return false
	}
	place, end := quorum.NewPart(n, index)
	p := &part{Part: place, values: make([][]byte, end-place.First)}
	p.left.Store(int64(len(p.values)))
	for i := range p.values {
		if b.signing.Err() != nil {
			return false
		}
		b.signers.Go(b.guarded(func() { b.sign(h, p, i) }))
	}
	return true
}

// guarded ends the batch when f panics. The pool panics again for whoever waits.
func (b *batch) guarded(f func()) func() {
	return func() {
		done := false
		defer func() {
			if !done {
				b.stop(errBroken)
			}
		}()
		f()
		done = true
	}
}

// sign makes one signature, and hands over the part if it is the last one in it.
func (b *batch) sign(h *sigformat.Key, p *part, i int) {
	value, err := b.make(b.p.approval, h, p.First+i)
	switch {
	case isSignatureCheck(err): // the check of the part finds that there is none
	case err != nil:
		b.stop(tokenDenial(b.out.Key, err))
		return
	}
	b.signed.Add(1)
	b.s.metrics.batchWaiting.Dec()
	p.values[i] = value
	if p.left.Add(-1) == 0 {
		b.finishers.Go(b.guarded(func() {
			defer func() { <-b.ahead }()
			if err := b.finish(p); err != nil {
				b.stop(err)
			}
		}))
	}
}

// make makes the i-th signature of what was approved. It takes the approval itself,
// as [makeFunc] does and for the same reason.
func (b *batch) make(a *quorum.Approval, h *sigformat.Key, i int) ([]byte, error) {
	return b.value(h, a.Batch().At(i))
}

// finish verifies, stores and releases a part, in that order. It goes on when the
// token failed at another part: what is signed need not be signed again.
func (b *batch) finish(p *part) error {
	b.s.testOnlyStage("part signed")
	step := b.s.stopwatch()
	answer, data, err := b.verified(p)
	step("verify")
	if err != nil {
		return err
	}
	b.storing.Lock()
	stored, err := b.s.ledger.StorePart(b.ctx, partRecord(answer, data, b.set.Len()))
	b.storing.Unlock()
	step("store")
	if err != nil {
		return ledgerDenial(err)
	}
	b.storedParts.Add(1)
	b.s.metrics.partSigned(b.out.Output, len(p.values))
	b.s.testOnlyStage("part stored")
	b.releasing.Lock()
	defer b.releasing.Unlock()
	if err := b.release(b.ctx, answer.Channel, stored); err != nil {
		return fmt.Errorf("release part %d: %w", p.Index, err)
	}
	step("publish")
	b.s.testOnlyStage("part released")
	return nil
}

// verified is the part as it may leave. If it does not verify, it is made a second
// time, and then each step verifies for itself.
func (b *batch) verified(p *part) (*quorum.Answer, []byte, error) {
	answer, data, err := b.compose(p)
	if err == nil {
		return answer, data, nil
	}
	b.s.log.Error("a signature does not verify; the token is asked again, and each step verified",
		"request", answer.ID, "part", p.Index, "error", err)
	doubted := b.tok
	doubted.doubted = true
	h, err := doubted.handle(b.ctx, b.out.key)
	for i := 0; i < len(p.values) && err == nil; i++ {
		p.values[i], err = b.make(b.p.approval, h, p.First+i)
	}
	if err != nil {
		return nil, nil, tokenDenial(b.out.Key, err)
	}
	if answer, data, err = b.compose(p); err != nil {
		return nil, nil, unverified(err)
	}
	return answer, data, nil
}

// compose writes the part and checks it as it is written.
func (b *batch) compose(p *part) (*quorum.Answer, []byte, error) {
	answer := b.blank
	answer.Part, answer.Signatures = &p.Part, slices.Clone(answer.Signatures)
	answer.Signatures[0].Values = p.values
	data, err := json.Marshal(&answer, json.Deterministic(true))
	if err == nil {
		err = checkPart(b.p, p.Index, data)
	}
	return &answer, data, err
}

// checkPart is [checkRelease] for a part: it reads the bytes as their receivers will,
// and verifies each signature in them under the digest that was approved.
func checkPart(p *permit, index int, data []byte) error {
	a, err := quorum.ParseAnswer(data)
	if err != nil {
		return err
	}
	r, set, out := p.approval.Request(), p.approval.Batch(), p.outputs[0]
	if a.ID != r.ID || a.Digest != r.Digest {
		return errors.New("check answer: it is not for this request")
	}
	if err := a.CheckPart(set); err != nil {
		return err
	}
	o := a.Signatures[0]
	if a.Part.Index != index || o.Output != out.Output {
		return fmt.Errorf("check answer: it is part %d, %s with key %q", a.Part.Index, o.Format, o.Key)
	}
	checker := out.key.checker()
	for i, value := range o.Values {
		if err := checker.VerifyValue(o.Format, set.At(a.Part.First+i), value); err != nil {
			return fmt.Errorf("check answer: values[%d]: %w", i, err)
		}
		runtime.Gosched() // a small request must not wait for all of them
	}
	return nil
}
