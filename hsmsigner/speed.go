package hsmsigner

import (
	"context"
	"crypto"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
	"quorate/quorum/policy"
)

// RawToken makes signatures that nobody sees; [token.Token] does.
type RawToken interface {
	Exercise(ctx context.Context, label string, hash crypto.Hash, digest []byte) error
}

// OpenForSpeed opens the configured token twice, asking for the PIN once: in this
// process, for its own speed, and in a process of its own, as a signer has it.
func OpenForSpeed(ctx context.Context, c TokenConfig, prompt io.Writer, log *slog.Logger) (*token.Token, *tokenproc.Proxy, error) {
	config, err := c.open(prompt, log)
	if err != nil {
		return nil, nil, err
	}
	raw, err := token.Open(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	p, err := tokenproc.Start(ctx, c.process(config, log))
	if err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	return raw, p, nil
}

// SpeedOptions say what [MeasureSpeed] measures. All but the functions must be set.
type SpeedOptions struct {
	Raw     RawToken
	Token   Token
	Workers int // of either
	Key     KeyConfig
	Policy  *policy.Policy // tells the format; may be nil as for [Selftest]
	Batch   int            // signatures of a batch, if the format is one of batches
	Dir     string         // the disk of the ledger; a folder is made in it and removed again
	Rounds  int            // pairs of measurements
	Round   time.Duration  // of one measurement

	// Publish, if set, is what is done with an answer. It counts.
	Publish func(ctx context.Context, r Reply) error

	// Processor, if set, is the processor time that was spent so far, by the token too.
	Processor func() time.Duration
}

// Speed is how fast a key signs. Rates are per second.
type Speed struct {
	Key    string        `json:"key"`
	Type   token.KeyType `json:"type"`
	Format policy.Format `json:"format"`

	// Batch is how many signatures a batch had; 0 if the format has none. Then Rate and
	// Cost are of single signatures, P50, P99 and Steps of a whole batch while there is
	// no other, and what is said of one request is said of a batch of one.
	Batch int `json:"batch,omitzero"`

	Limit float64 `json:"limit"` // signatures by C_Sign alone
	Rate  float64 `json:"rate"`  // requests that were answered
	Ratio float64 `json:"ratio"` // of the two; the median of all rounds

	// Processor is the same ratio of processor time: what a token that shares the
	// processors leaves, whatever else runs. It is zero if it was not measured.
	Processor float64 `json:"processor,omitzero"`

	// The two processor times of that ratio, for one signature: of C_Sign alone, and
	// of all that a request takes.
	LimitCost Milliseconds `json:"limit_cost_ms,omitzero"`
	Cost      Milliseconds `json:"cost_ms,omitzero"`

	P50      Milliseconds `json:"p50_ms"` // of one request among as many as are worked on at a time
	P99      Milliseconds `json:"p99_ms"`
	AloneP50 Milliseconds `json:"alone_p50_ms"` // of one request while there is no other
	AloneP99 Milliseconds `json:"alone_p99_ms"`
	Steps    []StepCost   `json:"steps"` // of one request while there is no other

	// Of one request while another one wants thousands of signatures.
	BesideP50 Milliseconds `json:"beside_p50_ms"`
	BesideP99 Milliseconds `json:"beside_p99_ms"`
}

// StepCost is what one step of a request takes on average.
type StepCost struct {
	Name  string       `json:"name"`
	Time  Milliseconds `json:"ms"`
	Share float64      `json:"share"` // of all steps
}

// Milliseconds is a time as it is printed.
type Milliseconds float64

func milliseconds(d time.Duration) Milliseconds { return Milliseconds(float64(d.Nanoseconds()) / 1e6) }

// speedSteps names the steps of a trace as they are printed.
var speedSteps = []struct{ name, title string }{
	{"parse", "parse"}, {"check", "evidence"}, {"commit", "ledger"}, {"token", "token"}, {"verify", "check"}, {"store", "ledger"}, {"publish", "publish"},
}

// MeasureSpeed has a signer with a policy, builders and a ledger of its own answer
// requests for the self-test's text, which is all that the key signs, and throws
// the answers away. Beside it the token signs alone, in turns, so that what else
// the machine does falls on both.
func MeasureSpeed(ctx context.Context, o SpeedOptions) (*Speed, error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("measure key %q: %w", o.Key.Label, err)
	}
	defer b.close()
	s, err := b.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure key %q: %w", o.Key.Label, err)
	}
	return s, nil
}

func (b *bench) run(ctx context.Context) (*Speed, error) {
	k, err := b.Token.Key(b.output.Key)
	if err != nil {
		return nil, err
	}
	s := &Speed{Key: b.output.Key, Type: k.Type, Format: b.output.Format, Batch: b.Batch}
	if err := errors.Join(b.alone(ctx, s), b.beside(ctx, s)); err != nil {
		return nil, err
	}
	var ratios, costs []float64
	var times []time.Duration
	var limit, rate rates
	for range b.Rounds {
		before, err := b.limit(ctx)
		if err != nil {
			return nil, err
		}
		path, took, err := b.wholeWay(ctx, s, int(before.perSecond()*b.Round.Seconds())+1)
		if err != nil {
			return nil, err
		}
		after, err := b.limit(ctx)
		if err != nil {
			return nil, err
		}
		before.add(after)
		limit.add(before)
		rate.add(path)
		times = append(times, took...)
		ratios = append(ratios, path.perSecond()/before.perSecond())
		costs = append(costs, before.cost()/path.cost())
	}
	s.Limit, s.Rate, s.Ratio = limit.perSecond(), rate.perSecond(), middle(ratios)
	if b.Processor != nil {
		s.Processor = middle(costs)
		s.LimitCost, s.Cost = Milliseconds(1e3*limit.cost()), Milliseconds(1e3*rate.cost())
	}
	s.P50, s.P99 = percentiles(times)
	return s, nil
}

// wholeWay has requests answered for a while, or a few batches.
func (b *bench) wholeWay(ctx context.Context, s *Speed, n int) (rates, []time.Duration, error) {
	if b.Batch > 0 {
		return b.batches(ctx, s)
	}
	return b.path(ctx, n)
}

// rates counts what was done in a time.
type rates struct {
	n          int
	took, used time.Duration
}

func (r *rates) add(o rates) { r.n, r.took, r.used = r.n+o.n, r.took+o.took, r.used+o.used }

// cost is the processor time of one.
func (r rates) cost() float64 { return r.used.Seconds() / float64(r.n) }

func (r rates) perSecond() float64 { return float64(r.n) / r.took.Seconds() }

func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

func percentiles(list []time.Duration) (p50, p99 Milliseconds) {
	slices.Sort(list)
	return milliseconds(list[len(list)/2]), milliseconds(list[len(list)*99/100])
}

// alone answers requests one by one and notes what each step takes.
func (b *bench) alone(ctx context.Context, s *Speed) error {
	spent, watch := stepTimes()
	b.signer.watchSteps = watch
	times, err := b.oneByOne(ctx)
	if b.signer.watchSteps = nil; err != nil {
		return err
	}
	if b.Batch == 0 {
		s.Steps = stepCosts(spent, len(times))
	}
	s.AloneP50, s.AloneP99 = percentiles(times)
	return nil
}

// beside does so while another request wants the token all the time.
func (b *bench) beside(ctx context.Context, s *Speed) error {
	huge, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	if b.Batch > 0 {
		wg.Go(func() { b.batchAfterBatch(huge, end) })
	} else {
		b.occupy(huge, end, &wg)
	}
	times, err := b.oneByOne(ctx)
	end()
	wg.Wait()
	if err != nil {
		return err
	}
	s.BesideP50, s.BesideP99 = percentiles(times)
	return nil
}

// occupy takes turns at the token as a request for thousands of signatures would.
func (b *bench) occupy(huge context.Context, end func(), wg *sync.WaitGroup) {
	digest := sha512.Sum512([]byte(selftestText))
	for range 2 * b.Workers {
		wg.Go(func() {
			for b.signer.turns.take(huge, "huge", "huge") == nil {
				if _, err := b.Token.SignUnverified(huge, b.Key.Label, crypto.SHA512, digest[:]); err != nil {
					end() // it is measured without, and the next measurement fails
				}
				b.signer.turns.giveBack()
			}
		})
	}
}

// oneByOne answers requests for the time of a round, but some in any case.
func (b *bench) oneByOne(ctx context.Context) (times []time.Duration, err error) {
	// No request takes less than a millisecond.
	requests, err := b.requests(min(minOneByOne+int(b.Round.Milliseconds()), maxOneByOne))
	if err != nil {
		return nil, err
	}
	for start := time.Now(); len(times) < len(requests) && (len(times) < minOneByOne || time.Since(start) < b.Round); {
		took, err := b.answer(ctx, requests[len(times)])
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	return times, nil
}

func stepCosts(spent map[string]time.Duration, n int) (list []StepCost) {
	var all time.Duration
	for _, d := range spent {
		all += d
	}
	for _, step := range speedSteps {
		if spent[step.name] == 0 {
			continue
		}
		i := slices.IndexFunc(list, func(c StepCost) bool { return c.Name == step.title })
		if i < 0 {
			i, list = len(list), append(list, StepCost{Name: step.title})
		}
		list[i].Time += milliseconds(spent[step.name]) / Milliseconds(n)
		list[i].Share += float64(spent[step.name]) / float64(all)
	}
	return list
}

func (b *bench) answer(ctx context.Context, request []byte) (time.Duration, error) {
	start := time.Now()
	reply, err := b.signer.AnswerParts(ctx, request, b.release)
	switch {
	case err != nil:
		return 0, err
	case reply.Refusal != nil:
		return 0, fmt.Errorf("refused: %s: %s", reply.Refusal.Code, reply.Refusal.Message)
	case b.Publish == nil || reply.Answer == nil:
		return time.Since(start), nil
	}
	answered := time.Now()
	err = b.Publish(ctx, reply)
	if b.signer.watchSteps != nil {
		b.signer.watchSteps("publish", time.Since(answered))
	}
	return time.Since(start), err
}

// limit has the token sign alone for a while.
func (b *bench) limit(ctx context.Context) (rates, error) {
	digest := sha512.Sum512([]byte(selftestText))
	return b.spread(2*b.Workers, func(int) error {
		return b.Raw.Exercise(ctx, b.Key.Label, crypto.SHA512, digest[:])
	}, 1<<30)
}

// path has as many requests answered at a time as a server does, for a while or
// until there are no more.
func (b *bench) path(ctx context.Context, n int) (rates, []time.Duration, error) {
	requests, err := b.requests(n)
	if err != nil {
		return rates{}, nil, err
	}
	times := make([]time.Duration, len(requests))
	r, err := b.spread(slotsFor(b.Workers), func(i int) (err error) {
		times[i], err = b.answer(ctx, requests[i])
		return err
	}, len(requests))
	return r, times[:r.n], err
}

// spread calls f with 0, 1, 2, ... below most from so many goroutines, for the time
// of a round.
func (b *bench) spread(goroutines int, f func(i int) error, most int) (rates, error) {
	var next, done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	start, used := time.Now(), b.processor()
	for g := range goroutines {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < most; i = int(next.Add(1)) - 1 {
				if errs[g] = f(i); errs[g] != nil {
					return
				}
				if done.Add(1); time.Since(start) > b.Round {
					return
				}
			}
		})
	}
	wg.Wait()
	return rates{int(done.Load()), time.Since(start), b.processor() - used}, errors.Join(errs...)
}

func (b *bench) processor() time.Duration {
	if b.Processor == nil {
		return 0
	}
	return b.Processor()
}
