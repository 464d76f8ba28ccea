package tokenproc

import (
	"bufio"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/token"
)

// Sizes of the child's buffers.
const (
	readBuffer = 64 << 10
	// perWorker is how many requests the child holds for each worker of the
	// token: one under way and one that is ready when that ends, so that the
	// token does not wait for the pipe.
	perWorker = 2
	maxJobs   = perWorker * maxWorkers
)

// Child opens the token that the first frame names and serves requests until in
// ends or ctx does. It is what [Main] runs, without anything that concerns the
// process as a whole.
//
// What was under way when in ended is finished and answered; then the token is
// closed. If the module does not let go of that within the time that the parent
// granted, Child returns all the same, and the process should end.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	c := &child{
		in:    bufio.NewReaderSize(in, readBuffer),
		out:   out,
		jobs:  make(chan frame, maxJobs),
		pins:  make(chan frame, 1),
		ended: make(chan struct{}),
	}
	open, id, err := c.first()
	if err != nil {
		return err
	}
	if closer, ok := in.(io.Closer); ok {
		defer context.AfterFunc(ctx, func() { _ = closer.Close() })()
	}
	go c.read()
	served := make(chan error, 1)
	go func() { served <- c.serve(ctx, open, id) }()
	select {
	case err := <-served:
		return err
	case <-c.ended:
	}
	select {
	case err := <-served:
		return err
	case <-time.After(open.grace()):
		return errors.New("the module did not return in time")
	}
}

// child is the far end of a Proxy.
type child struct {
	in    *bufio.Reader // owned by read, after the first frame
	jobs  chan frame    // closed by read
	pins  chan frame
	ended chan struct{} // closed by read
	err   error         // why read ended, nil for the end of input; written before ended is closed

	mu     sync.Mutex // held for a whole frame, and while a state is told before what depends on it
	out    io.Writer
	told   counts // that the parent knows of
	asked  uint64 // id of the newest question for the PIN
	asking bool   // it is not answered yet
}

// first reads the frame that says which token to open.
func (c *child) first() (openMessage, uint64, error) {
	f, err := readFrame(c.in)
	if err != nil {
		return openMessage{}, 0, fmt.Errorf("read first frame: %w", err)
	}
	var open openMessage
	if f.kind != kindOpen {
		return open, 0, fmt.Errorf("%w: first frame is of kind %d", errProtocol, f.kind)
	}
	if err := decode("open", f.body, &open); err != nil {
		return open, 0, err
	}
	if open.Version != version {
		return open, 0, fmt.Errorf("%w: open: version %d, want %d", errProtocol, open.Version, version)
	}
	return open, f.id, nil
}

// read sorts what comes in, until it ends.
func (c *child) read() {
	defer close(c.ended)
	defer close(c.jobs)
	for {
		f, err := readFrame(c.in)
		if err == nil {
			err = c.sort(f)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) || errors.Is(err, errProtocol) {
				c.err = err
			}
			return
		}
	}
}

func (c *child) sort(f frame) error {
	switch f.kind {
	case kindSign, kindSignUnverified, kindLookup:
		c.jobs <- f
		return nil
	case kindPIN, kindNoPIN:
		return c.hand(f)
	}
	return fmt.Errorf("%w: frame of kind %d", errProtocol, f.kind)
}

func (c *child) hand(pin frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asking || pin.id != c.asked {
		return fmt.Errorf("%w: pin %d was not asked for", errProtocol, pin.id)
	}
	c.asking = false
	c.pins <- pin // never blocks: one answer to one question
	return nil
}

func (c *child) serve(ctx context.Context, open openMessage, id uint64) error {
	config := token.Config{Module: open.Module, Label: open.Label, Serial: open.Serial, Workers: open.Workers,
		Logger: slog.New(farLog{child: c})}
	if open.PIN {
		config.PIN = c.pin
	}
	tok, err := token.Open(ctx, config)
	if err != nil {
		return c.send(encodeError(err).frame(id))
	}
	if err := c.tell(tok, id); err != nil {
		err = errors.Join(err, tok.Close())
		return c.send(encodeError(&token.Error{Op: "open token", Class: token.Permanent, Err: err}).frame(id))
	}
	var workers sync.WaitGroup
	for range perWorker * tok.Stats().Workers {
		workers.Go(func() { c.work(ctx, tok) })
	}
	<-c.ended
	// Requests that wait for the token get ErrClosed from here on.
	err = tok.Close()
	workers.Wait()
	return errors.Join(c.err, c.bye(err))
}

func (c *child) bye(err error) error {
	f := frame{kind: kindClosed}
	if err != nil {
		f.body = encodeError(err).frame(0).body
	}
	return c.send(f)
}

// work serves requests in the order in which they came.
func (c *child) work(ctx context.Context, tok *token.Token) {
	for f := range c.jobs {
		answer := c.answer(ctx, tok, f)
		answer.id = f.id
		if countsOf(tok.Stats()) != c.known() {
			_ = c.tell(tok, 0) // if it cannot be told now, it is tried after the next request
		}
		_ = c.send(answer) // a parent that does not read is gone, and so are we soon
	}
}

func (c *child) answer(ctx context.Context, tok *token.Token, f frame) frame {
	if f.kind == kindLookup {
		return lookup(tok, string(f.body))
	}
	hash, label, digest, err := parseSign(f.body)
	if err != nil {
		return encodeError(err).frame(0)
	}
	sign := tok.Sign
	if f.kind == kindSignUnverified {
		sign = tok.SignUnverified
	}
	sig, err := sign(ctx, label, crypto.Hash(hash), digest)
	if err != nil {
		return encodeError(err).frame(0)
	}
	return frame{kind: kindSignature, body: sig}
}

func lookup(tok *token.Token, label string) frame {
	k, err := tok.Key(label)
	if err != nil {
		return encodeError(err).frame(0)
	}
	m, err := encodeKey(k)
	if err != nil {
		return encodeError(err).frame(0)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return encodeError(err).frame(0)
	}
	return frame{kind: kindKey, body: data}
}

func (c *child) known() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// tell sends the state. Counters only grow, so the newer of two states that meet
// here is the one to send.
func (c *child) tell(tok *token.Token, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := countsOf(tok.Stats())
	data, err := encodeState(tok)
	if err != nil {
		return err
	}
	c.told = now
	return c.write(frame{kindState, id, data})
}

func (c *child) send(f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(f)
}

// write is called with mu held.
func (c *child) write(f frame) error {
	_, err := c.out.Write(appendFrame(make([]byte, 0, lengthSize+headSize+len(f.body)), f))
	return err
}

// pin asks the parent. The token calls it from one goroutine at a time.
func (c *child) pin() ([]byte, error) {
	c.mu.Lock()
	c.asked++
	c.asking = true
	err := c.write(frame{kind: kindAskPIN, id: c.asked})
	c.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("ask for the pin: %w", err)
	}
	select {
	case f := <-c.pins:
		if f.kind == kindPIN {
			return f.body, nil
		}
		e, err := parseError(f.body)
		if err != nil {
			return nil, err
		}
		return nil, e.Err
	case <-c.ended:
		return nil, errors.New("ask for the pin: the parent is gone")
	}
}

// farLog sends log records to the parent, which has the log.
type farLog struct {
	child *child
	attrs []slog.Attr
}

func (l farLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l farLog) Handle(_ context.Context, r slog.Record) error {
	m := logMessage{Level: int(r.Level), Text: clip(r.Message, maxText)}
	add := func(a slog.Attr) bool {
		m.Attrs = append(m.Attrs, logAttr{clip(a.Key, maxText), clip(a.Value.String(), maxText)})
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return l.child.send(frame{kind: kindLog, body: data})
}

func (l farLog) WithAttrs(more []slog.Attr) slog.Handler {
	l.attrs = append(l.attrs[:len(l.attrs):len(l.attrs)], more...)
	return l
}

// WithGroup ignores the group: package token makes none.
func (l farLog) WithGroup(string) slog.Handler { return l }
