package hsmsigner

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Token is what the signer uses of a PKCS#11 token. [token.Token] is one; a
// process that can be killed when the module hangs is another.
type Token interface {
	// Key returns the public half of the private key with the label.
	Key(label string) (token.Key, error)
	// Sign signs a digest as package token describes it, and verifies the signature.
	Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
	// SignUnverified does not. Where what it gives turns out to be bad, Sign is asked.
	SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
}

// Options are the parts of a [Signer]. All but Now and Logger must be set.
type Options struct {
	Token  Token
	Ledger *ledger.Ledger
	Policy *policy.Policy
	Keys   []Key
	Name   string // of this process, for alarms
	// Workers is how many operations the token does at the same time; 0 means two.
	Workers int
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil means slog.Default

	// Metrics counts what the signer does; nil means that nobody looks.
	Metrics *Metrics
}

// Signer judges requests and signs. Its methods may be called concurrently.
type Signer struct {
	token  Token
	ledger *ledger.Ledger
	name   string
	now    func() time.Time
	log    *slog.Logger

	rules   atomic.Pointer[rules] // replaced as a whole by Replace
	flights flights
	turns   *turns
	workers int           // of the token
	parsing chan struct{} // held while a large request is parsed
	memory  *quorum.Memory

	metrics *Metrics

	watchSteps    func(step string, took time.Duration) // set before the first request, if at all
	testOnlyStage func(stage string)                    // called after each step; tests die here
}

// rules are what a request is judged by, from its beginning to its end. They never
// change; the labels of the keys are those of the start in all of them.
type rules struct {
	policy *policy.Policy
	keys   map[string]Key
}

// New makes a signer. It fails if there is no ledger to write the audit to, no
// key, a certificate that is not the certificate of the token's key, or a policy
// that [Signer.Replace] refuses.
func New(o Options) (*Signer, error) {
	switch {
	case o.Token == nil || o.Policy == nil:
		return nil, errors.New("make signer: no token or no policy")
	case o.Ledger == nil:
		return nil, errors.New("make signer: no ledger; nothing is signed without a record of it")
	case len(o.Keys) == 0:
		return nil, errors.New("make signer: no keys")
	}
	s := &Signer{token: o.Token, ledger: o.Ledger, name: o.Name, now: o.Now, log: o.Logger,
		flights: flights{running: map[statement.SHA256]chan struct{}{}}, parsing: make(chan struct{}, 1), memory: quorum.NewMemory(rememberedBytes), testOnlyStage: func(string) {}}
	if s.workers = o.Workers; s.workers == 0 {
		s.workers = 2
	}
	s.turns = newTurns(s.workers)
	s.ledger.LingerWhile(s.crowded)
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.metrics = o.Metrics; s.metrics == nil {
		s.metrics = NewMetrics()
	}
	s.token = meteredToken{o.Token, s.metrics}
	keys := map[string]Key{}
	for _, k := range o.Keys {
		if _, twice := keys[k.Label]; twice {
			return nil, fmt.Errorf("make signer: key %q is configured twice", k.Label)
		}
		bound, err := k.bind(o.Token)
		if err != nil {
			return nil, fmt.Errorf("make signer: %w", err)
		}
		keys[k.Label] = bound
	}
	if err := s.use(&rules{o.Policy, keys}); err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	return s, nil
}

// crowded reports whether so many requests are at work, and wait for the token, that
// nobody is answered later when writes to the ledger wait for others: each spares the
// processors a commit, which a soft token needs as well. One huge request is no crowd.
func (s *Signer) crowded() bool {
	return s.flights.count() > 4*s.workers && s.turns.depth() > 0
}

// Replace makes p the policy, and the certificates of keys those of the signer's keys,
// for requests that begin from now on. Both are checked as [New] does, but against
// the keys that the token had then: it may be away. If one of them is refused, such
// as a policy that wants of a key what it cannot or must not make, both that are
// in force stay.
func (s *Signer) Replace(p *policy.Policy, keys []Key) error {
	old, next := s.keys(), map[string]Key{}
	for _, k := range keys {
		was, held := old[k.Label]
		if !held {
			return fmt.Errorf("key %q was not there at the start", k.Label)
		}
		if err := k.checkPublic(was.public); err != nil {
			return err
		}
		k.public = was.public
		next[k.Label] = k
	}
	if len(next) != len(old) {
		return fmt.Errorf("%d keys, at the start there were %d", len(next), len(old))
	}
	return s.use(&rules{p, next})
}

func (s *Signer) use(r *rules) error {
	if err := s.checkPolicy(r); err != nil {
		return err
	}
	s.rules.Store(r)
	return nil
}

// Policy returns the policy in force.
func (s *Signer) Policy() *policy.Policy { return s.rules.Load().policy }

// keys are those in force, by their labels.
func (s *Signer) keys() map[string]Key { return s.rules.Load().keys }

// Reply is what came of a request.
type Reply struct {
	Channel string           // where the answer belongs; empty: it cannot be answered
	ID      statement.SHA256 // of the request, as it claims
	Answer  []byte           // a [quorum.Answer] in JSON; nil: its parts were released
	Refusal *quorum.Refusal  // nil for signatures
	Alarms  []wire.Alarm     // to be raised
}

// Answer judges one request and signs what it asks for, or says why not. The
// error is only ever that of ctx: then there is no answer, and the request must
// be delivered again; or [ErrBatch].
func (s *Signer) Answer(ctx context.Context, data []byte) (Reply, error) {
	return s.respond(ctx, data, nil)
}

// respond answers a batch only if there is somebody to release its parts to.
func (s *Signer) respond(ctx context.Context, data []byte, release ReleaseFunc) (Reply, error) {
	s.metrics.inWork.Inc()
	defer s.metrics.inWork.Dec()
	t := s.begin()
	r, ref, err := s.parse(ctx, data)
	if err != nil {
		return Reply{}, err
	}
	t.ask(r)
	if ref != nil {
		return s.refuse(ctx, t, r, &denial{Refusal: ref})
	}
	if r.IsBatch() && release == nil {
		return Reply{}, ErrBatch
	}
	// Copies of a request that come at once wait for the first one, so that
	// the token is not asked for what the ledger is about to have.
	if err := s.flights.enter(ctx, r.ID); err != nil {
		return Reply{}, err
	}
	defer s.flights.leave(r.ID)
	if r.IsBatch() {
		return s.answerBatch(ctx, t, r, release)
	}
	return s.answerOnce(ctx, t, r)
}

// GiveUp refuses a request on which work began so many times without coming to an end,
// and reads as little of it as possible: perhaps it is what ends the process each time.
// An answer that is stored already is given again; else, and for a batch, whoever asks
// honestly asks again.
func (s *Signer) GiveUp(ctx context.Context, data []byte, attempts int) (Reply, error) {
	t, r := s.begin(), salvage(data)
	t.ask(r)
	if stored, found, err := s.ledger.Answer(ctx, r.ID); err == nil && found && isAnswerTo(stored, r) {
		return s.repeat(t, r, stored), nil
	}
	return s.refuse(ctx, t, r, &denial{Refusal: &quorum.Refusal{Code: quorum.RefuseBadRequest, Retryable: true,
		Message: fmt.Sprintf("request: work on it began %d times and did not come to an end", attempts)}})
}

// isAnswerTo compares all that was read of a request, whose id is only a claim here.
func isAnswerTo(stored []byte, r *quorum.Request) bool {
	a, err := quorum.ParseAnswer(stored)
	return err == nil && a.Channel == r.Channel && a.Target == r.Target && a.Stage == r.Stage && a.Artifact == r.Artifact && a.Digest == r.Digest
}

// largeRequest is how many bytes make a request one that is parsed alone.
const largeRequest = 512 << 10

// parse reads a request; where it refuses, the request has what could be read. Large
// ones wait for each other: a queue full of them must not take the memory of as
// many as there are slots. The error is only ever that of ctx.
func (s *Signer) parse(ctx context.Context, data []byte) (*quorum.Request, *quorum.Refusal, error) {
	if len(data) > largeRequest {
		select {
		case s.parsing <- struct{}{}:
			defer func() { <-s.parsing }()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	r, ref := quorum.ParseRequest(data)
	if ref != nil {
		return salvage(data), ref, nil
	}
	return r, checkID(r), nil
}

func (s *Signer) answerOnce(ctx context.Context, t *trace, r *quorum.Request) (Reply, error) {
	stored, found, err := s.ledger.Answer(ctx, r.ID)
	switch {
	case err != nil:
		return s.refuse(ctx, t, r, ledgerDenial(err))
	case found:
		return s.repeat(t, r, stored), nil
	}
	p, den := s.authorise(ctx, t, r)
	if den != nil {
		return s.refuse(ctx, t, r, den)
	}
	rec, den := s.sign(ctx, t, p)
	if den != nil {
		return s.refuse(ctx, t, r, den)
	}
	answer, den := s.store(ctx, t, rec)
	if den != nil {
		return s.refuse(ctx, t, r, den)
	}
	t.signed(s.log, rec)
	return Reply{Channel: r.Channel, ID: r.ID, Answer: answer}, nil
}

// repeat gives the stored answer again. Neither policy nor token is asked: what
// was released cannot be taken back, and whoever lost it may have it again.
func (s *Signer) repeat(t *trace, r *quorum.Request, stored []byte) Reply {
	t.repeated(s.log)
	return Reply{Channel: r.Channel, ID: r.ID, Answer: stored}
}

func checkID(r *quorum.Request) *quorum.Refusal {
	switch {
	case r.Version != quorum.Version:
		return &quorum.Refusal{Code: quorum.RefuseBadRequest, Message: fmt.Sprintf("request: version %d, want %d", r.Version, quorum.Version)}
	case r.ID != r.ComputeID():
		// Asked before the ledger: else a request with the id of another one
		// would get that one's signatures as its own.
		return &quorum.Refusal{Code: quorum.RefuseBadRequest, Message: "request: id is not the hash of what is asked"}
	}
	return nil
}
