package hsmsigner

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// MakesBatches reports whether [MeasureSpeed] measures batches with the key.
func MakesBatches(p *policy.Policy, c KeyConfig) bool { return format.IsBatch(benchFormat(p, c)) }

// checkBatch leaves Batch to keys that make batches.
func (b *bench) checkBatch() error {
	switch {
	case !format.IsBatch(b.output.Format):
		b.Batch = 0
	case b.Batch < 1 || b.Batch > statement.MaxDigests:
		return fmt.Errorf("a batch of %d signatures, want 1 to %d", b.Batch, statement.MaxDigests)
	}
	return nil
}

// batchRequest makes the bytes of a request for a batch that nobody made before. The
// files are the self-test's text with their number behind it.
func (b *bench) batchRequest(n int) ([]byte, error) {
	if b.inner[n] == nil {
		list := make([]statement.SHA256, n)
		for i := range list {
			list[i] = sha256.Sum256(fmt.Append([]byte(selftestText), i))
		}
		set, err := statement.NewDigestSet(list)
		if err != nil {
			return nil, err
		}
		if b.inner == nil {
			b.inner = map[int][]statement.Signable{}
		}
		b.inner[n] = []statement.Signable{set.Signable()}
	}
	a := b.content
	a.Signables = b.inner[n]
	return b.requestFor(a)
}

// release is a [ReleaseFunc]: it publishes parts as answers are published.
func (b *bench) release(ctx context.Context, channel string, part []byte) error {
	if b.Publish == nil {
		return nil
	}
	return b.Publish(ctx, Reply{Channel: channel, Answer: part})
}

// batches has one batch after the other answered for the time of a round.
func (b *bench) batches(ctx context.Context, s *Speed) (r rates, times []time.Duration, err error) {
	spent, watch := stepTimes()
	b.signer.watchSteps = watch
	defer func() { b.signer.watchSteps = nil }()
	for r.took < b.Round {
		request, err := b.batchRequest(b.Batch)
		if err != nil {
			return r, nil, err
		}
		used := b.processor()
		took, err := b.answer(ctx, request)
		if err != nil {
			return r, nil, err
		}
		r.add(rates{b.Batch, took, b.processor() - used})
		times = append(times, took)
	}
	delete(spent, "parts") // the others are in it
	s.Steps = stepCosts(spent, len(times))
	for i := range s.Steps {
		s.Steps[i].Share = float64(s.Steps[i].Time) / float64(milliseconds(r.took)) * float64(len(times))
	}
	return r, times, nil
}

// batchAfterBatch keeps the token busy with the largest batches until ctx ends.
func (b *bench) batchAfterBatch(ctx context.Context, failed func()) {
	other := &bench{SpeedOptions: b.SpeedOptions, output: b.output, policy: b.policy, voters: b.voters, signer: b.signer, content: b.content}
	other.content.Name = "beside-"
	for ctx.Err() == nil {
		request, err := other.batchRequest(b.Batch)
		if err == nil {
			_, err = other.answer(ctx, request)
		}
		if err != nil {
			failed() // it is measured without, and the next measurement fails
		}
	}
}

// stepTimes adds up what steps take, of whichever goroutine.
func stepTimes() (spent map[string]time.Duration, watch func(step string, took time.Duration)) {
	var mu sync.Mutex
	spent = map[string]time.Duration{}
	return spent, func(step string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		spent[step] += took
	}
}
