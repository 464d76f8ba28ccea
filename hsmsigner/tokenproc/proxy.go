package tokenproc

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"quorate/hsmsigner/token"
)

// Options say which token to use and how long to wait for it.
type Options struct {
	// Command starts the child; nil means this program's own binary, as it is
	// running, with the argument [Command].
	Command []string

	// Token is what the child opens. PIN stays in this process and is called
	// for every login of every child. Its Logger is used if ours is nil.
	Token token.Config

	// Network leaves the child the network. Modules of network HSMs and those
	// that reach a device through a local server by TCP need it (NetHSM, cloud
	// HSMs, YubiHSM 2 with its connector); SoftHSM, cards and TPMs do not.
	Network bool

	// Deadline is how long one signature may take from when the child's token
	// takes it; 30 seconds if it is zero. Close waits as long.
	Deadline time.Duration

	// StartDeadline is how long a child may take until its token is open; 60
	// seconds if it is zero.
	StartDeadline time.Duration

	// MaxRetries is how many times a request is asked again after a child died
	// under it, and how many starts may fail in a row before requests fail
	// without waiting; 2 if it is zero, none if it is negative.
	MaxRetries int

	// Backoff is the pause before a child is started when the one before was of
	// no use; 200 ms if it is zero. It doubles each time, up to 10 seconds or
	// itself. A child that did some work is replaced at once.
	Backoff time.Duration

	// Logger gets what happens besides the answers; nil discards it.
	Logger *slog.Logger
}

const (
	defaultDeadline      = 30 * time.Second
	defaultStartDeadline = time.Minute
	defaultRetries       = 2
	defaultBackoff       = 200 * time.Millisecond
	maxBackoff           = 10 * time.Second
)

func (o *Options) complete() {
	def := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	def(&o.Deadline, defaultDeadline)
	def(&o.StartDeadline, defaultStartDeadline)
	def(&o.Backoff, defaultBackoff)
	switch {
	case o.MaxRetries == 0:
		o.MaxRetries = defaultRetries
	case o.MaxRetries < 0:
		o.MaxRetries = 0
	}
	if o.Logger == nil {
		o.Logger = o.Token.Logger
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Proxy is a token in a child process. It is safe for use by many goroutines.
type Proxy struct {
	options Options
	log     *slog.Logger
	command []string
	name    string // argv[0], if it is not the command's own

	ctx   context.Context // ends when Close is called
	stop  context.CancelFunc
	ended chan struct{} // closed when supervise has ended
	shut  error         // result of Close; written before ended is closed

	catalog atomic.Pointer[catalog] // replaced with mu held
	counts  counters

	// mu guards what follows, and is held only for moments.
	mu       sync.Mutex
	proc     *process // the newest; it may be dying
	changed  chan struct{}
	failures int      // starts that failed in a row
	failure  error    // the newest of them
	final    error    // no child is started any more
	past     counts   // of the children before counted
	present  counts   // of counted
	counted  *process // the newest that told its counts
	pinErr   error    // a PIN was refused: none is given any more
	pinSrc   error    // the newest error of Token.PIN

	shared bool // the network cannot be taken away; used by launch alone, which never runs twice at once
}

type counters struct {
	signatures, failures, retries atomic.Uint64
	starts, deadlines             atomic.Uint64
	queued                        atomic.Int64
}

// Start starts a child that opens the token, once. Errors are those of
// token.Open, and of class Unavailable if the child died or took too long.
//
// A wrong PIN is tried once. Callers that are restarted automatically must not
// restart on a Permanent error: tokens lock after a few wrong PINs.
func Start(ctx context.Context, options Options) (*Proxy, error) {
	options.complete()
	p := &Proxy{options: options, log: options.Logger, command: options.Command,
		ended: make(chan struct{}), changed: make(chan struct{})}
	if len(p.command) == 0 {
		path, err := self()
		if err != nil {
			return nil, unavailable("start token process", err)
		}
		p.command, p.name = []string{path, Command}, os.Args[0]
	}
	p.catalog.Store(&catalog{})
	first, err := p.launch(ctx)
	if err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.up(first)
	go p.supervise(first)
	return p, nil
}

// Key returns a key of the token by its label; see token.Token.Key. A key that
// was seen once is known as long as the Proxy lives.
func (p *Proxy) Key(label string) (token.Key, error) {
	if k, ok := p.catalog.Load().keys[label]; ok {
		return k, nil
	}
	const op = "look up key"
	f, _, err := p.do(context.Background(), kindLookup, []byte(label))
	switch {
	case err != nil:
		return token.Key{}, wrap(op, err)
	case f.kind == kindError:
		return token.Key{}, p.far(f.body)
	}
	var m keyMessage
	if err := decode("key", f.body, &m); err != nil {
		return token.Key{}, unavailable(op, err)
	}
	k, err := m.key()
	return k, wrap(op, err)
}

// Keys returns the keys that can sign, sorted by label.
func (p *Proxy) Keys() []token.Key { return p.catalog.Load().sorted() }

// Sign returns a raw signature over digest by the key with this label; see
// token.Token.Sign, which it does in the child. When ctx ends, Sign returns; if
// the child has the request already, it goes on there, and its deadline counts.
func (p *Proxy) Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	return p.signWith(ctx, kindSign, label, hash, digest)
}

// SignUnverified is Sign without the checks here and in the child; see
// token.Token.SignUnverified. Who finds that the signature is bad asks Sign: that
// finds out whether it is the token or the child that is broken, and ends the child.
func (p *Proxy) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	return p.signWith(ctx, kindSignUnverified, label, hash, digest)
}

func (p *Proxy) signWith(ctx context.Context, ask kind, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	sig, err := p.sign(ctx, ask, label, hash, digest)
	if err != nil {
		p.counts.failures.Add(1)
		return nil, wrap(fmt.Sprintf("sign with key %q", label), err)
	}
	p.counts.signatures.Add(1)
	return sig, nil
}

func (p *Proxy) sign(ctx context.Context, ask kind, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	switch {
	case len(label) > math.MaxUint16:
		return nil, token.ErrKeyNotFound
	case len(digest) > maxDigest:
		return nil, fmt.Errorf("%w: %d bytes, at most %d", token.ErrDigest, len(digest), maxDigest)
	}
	body := appendSign(make([]byte, 0, signHead+len(label)+len(digest)), uint64(hash), label, digest)
	digest = body[signHead+len(label):] // a copy: the caller may use his again when ctx ends
	for lied := false; ; lied = true {
		if p.catalog.Load().exchanged[label] {
			return nil, fmt.Errorf("%w: the token has another key under this label", token.ErrBadSignature)
		}
		f, from, err := p.do(ctx, ask, body)
		switch {
		case err != nil:
			return nil, err
		case f.kind == kindError:
			return nil, p.far(f.body)
		case f.kind == kindSignature && ask == kindSignUnverified:
			return f.body, nil
		}
		known := p.catalog.Load()
		k, ok := known.keys[label]
		switch {
		case ok && f.kind == kindSignature && verify(k.Public, hash, digest, f.body):
			return f.body, nil
		case known.exchanged[label]:
			continue
		}
		// The child has checked it too, so it is the child that is broken.
		from.kill(errLied)
		if lied {
			return nil, token.ErrBadSignature
		}
	}
}

// Stats returns the counters of token.Token over all children: Generation counts
// their logins. Retries includes requests that were asked again in a new child.
// It never waits for the child.
func (p *Proxy) Stats() token.Stats {
	p.mu.Lock()
	c, proc := p.past.add(p.present), p.proc
	p.mu.Unlock()
	waiting, running := proc.load()
	return token.Stats{
		Generation:     c.Generation,
		Reopens:        c.Reopens,
		ReopenFailures: c.ReopenFailures,
		Retries:        c.Retries + p.counts.retries.Load(),
		Signatures:     p.counts.signatures.Load(),
		Failures:       p.counts.failures.Load(),
		QueueDepth:     int(p.counts.queued.Load()) + waiting,
		Busy:           running,
		Workers:        proc.workers,
	}
}

// Process is the state of the child.
type Process struct {
	PID       int    // of the newest child
	Up        bool   // it takes requests
	Restarts  uint64 // children that were started to replace one
	Deadlines uint64 // children that were killed for a signature that took too long
	Isolated  bool   // it has no network
	Failure   error  // why the newest start failed, or why there will be no other; nil when up
}

// Process returns the state of the child. It never waits for it.
func (p *Proxy) Process() Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := Process{PID: p.proc.cmd.Process.Pid, Up: p.final == nil && p.proc.alive(),
		Restarts: p.counts.starts.Load() - 1, Deadlines: p.counts.deadlines.Load(),
		Isolated: p.proc.isolated, Failure: p.failure}
	if p.final != nil {
		out.Failure = p.final
	}
	return out
}

// Close lets the child finish what its token has under way, closes the token and
// ends the child. Requests that still wait get ErrClosed.
func (p *Proxy) Close() error {
	p.stop()
	<-p.ended
	return p.shut
}

// do has a child answer a request, and asks again when one died under it. It
// also returns the child that answered.
func (p *Proxy) do(ctx context.Context, k kind, body []byte) (frame, *process, error) {
	if err := ctx.Err(); err != nil {
		return frame{}, nil, err
	}
	for try := 1; ; try++ {
		proc, c, err := p.hand(ctx, k, body)
		if err != nil {
			return frame{}, nil, err
		}
		var r result
		select {
		case r = <-c.result:
		case <-ctx.Done():
			return frame{}, nil, ctx.Err()
		}
		switch {
		case r.err == nil:
			return r.frame, proc, nil
		case p.ctx.Err() != nil:
			return frame{}, nil, token.ErrClosed
		case try > p.options.MaxRetries:
			return frame{}, nil, unavailable("token process", fmt.Errorf("given up after %d tries: %w", try, r.err))
		}
		p.counts.retries.Add(1)
	}
}

// hand gives a request to a child that takes it.
func (p *Proxy) hand(ctx context.Context, k kind, body []byte) (*process, *call, error) {
	for {
		proc, err := p.place(ctx)
		if err != nil {
			return nil, nil, err
		}
		if c := newCall(k, body); proc.begin(c) {
			return proc, c, nil
		}
	}
}

// place waits for a place in a child.
func (p *Proxy) place(ctx context.Context) (*process, error) {
	p.counts.queued.Add(1)
	defer p.counts.queued.Add(-1)
	for {
		proc, err := p.await(ctx)
		if err != nil {
			return nil, err
		}
		select {
		case proc.window <- struct{}{}:
			return proc, nil
		case <-proc.dying:
		case <-p.ctx.Done():
			return nil, token.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// await waits for a child that takes requests, unless there is no hope of one
// soon.
func (p *Proxy) await(ctx context.Context) (*process, error) {
	for {
		p.mu.Lock()
		proc, changed := p.proc, p.changed
		err := p.hopeless()
		p.mu.Unlock()
		switch {
		case p.ctx.Err() != nil:
			return nil, token.ErrClosed
		case err != nil:
			return nil, err
		case proc.alive():
			return proc, nil
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hopeless is called with mu held.
func (p *Proxy) hopeless() error {
	switch {
	case p.final != nil:
		return p.final
	case p.failures > p.options.MaxRetries:
		return p.failure
	}
	return nil
}

// openRequest is what a new child is told.
func (p *Proxy) openRequest() openMessage {
	c := p.options.Token
	return openMessage{Version: version, Module: c.Module, Label: c.Label, Serial: c.Serial, Workers: c.Workers,
		PIN: c.PIN != nil, Grace: int64(p.options.Deadline)}
}

// far reads an error that a child sent, and puts back what could not travel.
func (p *Proxy) far(body []byte) error {
	e, err := parseError(body)
	if err != nil {
		return unavailable("token process", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	far := e.Err.(*farError)
	for i, is := range far.is {
		if errors.Is(is, errPINSource) && p.pinSrc != nil {
			far.is[i] = p.pinSrc
		}
	}
	return e
}
