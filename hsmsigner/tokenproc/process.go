package tokenproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/token"
)

// Why a child is given up.
var (
	errEnded    = errors.New("the token process ended")
	errDeadline = errors.New("a signature exceeded its deadline")
	errStart    = errors.New("the token was not open within its deadline")
	errLied     = errors.New("the token process returned a signature that does not verify")
	errClosing  = errors.New("it did not close within its deadline")
)

// drain is how long the pipes of an ended child are read. Everything that it
// wrote is there already; they stay open only if something left its group.
const drain = time.Second

// call is one request to a child.
type call struct {
	frame   frame
	timed   bool // its deadline counts, and it takes a place in the window
	started bool // a worker of the token has it; guarded by process.mu
	timer   *time.Timer
	result  chan result // buffered: the caller may have left
}

type result struct {
	frame frame
	err   error // the call was not answered, and can be repeated
}

func newCall(k kind, body []byte) *call {
	return &call{frame: frame{kind: k, body: body}, timed: true, result: make(chan result, 1)}
}

// process is one life of a child.
type process struct {
	owner    *Proxy
	isolated bool
	cmd      *exec.Cmd
	in, out  *os.File // our ends of the pipes
	errs     *stderr
	deadline time.Duration // of a timed call
	asks     chan *call    // to the writer; nil closes the child's input

	window  chan struct{} // a place for each timed call; made by open
	workers int           // likewise

	dying chan struct{} // closed when no call can succeed any more
	gone  chan struct{} // closed when nothing of it is left here

	mu       sync.Mutex       // guards what follows
	next     uint64           // id of the newest call
	pending  map[uint64]*call // nil when dying
	waiting  []*call          // timed calls that no worker has yet, in order
	running  int              // timed calls that a worker has
	cause    error            // why it is dying
	lost     int              // calls that were pending then
	reaped   bool             // its number may be somebody else's
	asking   bool             // for the PIN
	answered bool             // it was of use
	closed   *token.Error     // from its last frame
}

// spawn starts a child with nothing open yet.
func (o *Proxy) spawn(isolate bool) (*process, error) {
	p := &process{
		owner: o, isolated: isolate, deadline: o.options.Deadline,
		asks:    make(chan *call, maxJobs+8), // more than can be under way
		dying:   make(chan struct{}),
		gone:    make(chan struct{}),
		pending: map[uint64]*call{},
	}
	p.cmd = exec.Command(o.command[0], o.command[1:]...)
	if o.name != "" {
		p.cmd.Args[0] = o.name
	}
	p.cmd.SysProcAttr = attributes(isolate)
	theirs, err := p.pipes()
	if err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go p.host(theirs, started)
	if err := <-started; err != nil {
		<-p.gone
		return nil, err
	}
	return p, nil
}

// pipes makes the three pipes and returns the child's ends.
func (p *process) pipes() (theirs []*os.File, err error) {
	var ours []*os.File
	defer func() {
		if err != nil {
			closeAll(append(ours, theirs...))
		}
	}()
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	ours[0], theirs[0] = theirs[0], ours[0] // requests go the other way
	p.in, p.out, p.errs = ours[0], ours[1], &stderr{file: ours[2]}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	return theirs, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// host starts the child and stays with it until it is gone. It keeps its thread
// for itself, because the child is killed when the thread that started it ends.
func (p *process) host(theirs []*os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.gone)
	err := p.cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll([]*os.File{p.in, p.out, p.errs.file})
		started <- err
		return
	}
	started <- nil
	p.live()
}

func (p *process) live() {
	var streams sync.WaitGroup
	heard := make(chan struct{})
	streams.Go(func() { defer close(heard); p.read() })
	streams.Go(p.write)
	streams.Go(p.errs.read)
	unreaped := waitUnreaped(p.cmd.Process.Pid) == nil
	if unreaped {
		p.signal() // what the module started and left behind
	} else {
		_ = p.cmd.Wait() // the state says it
	}
	until := time.Now().Add(drain)
	_, _ = p.out.SetReadDeadline(until), p.errs.file.SetReadDeadline(until)
	<-heard
	p.end(errEnded)
	_ = p.in.Close() // ends a write that nobody reads
	streams.Wait()
	closeAll([]*os.File{p.out, p.errs.file})
	p.reap(unreaped)
}

func (p *process) reap(unreaped bool) {
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	if unreaped {
		_ = p.cmd.Wait()
	}
}

// kill ends the child and everything in its group, once.
func (p *process) kill(cause error) (first bool) {
	first = p.end(cause)
	p.signal()
	return first
}

func (p *process) signal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped && p.cmd.Process != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	}
}

// end gives up on the child: all calls return, to be repeated elsewhere.
func (p *process) end(cause error) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return false
	}
	p.cause, p.lost = cause, len(p.pending)
	for _, c := range p.pending {
		c.stop()
		c.result <- result{err: cause}
	}
	p.pending, p.waiting, p.running = nil, nil, 0
	close(p.dying)
	return true
}

func (c *call) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// begin hands a call to the child, unless that is dying. A timed one needs a
// place in the window.
func (p *process) begin(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return false
	}
	p.next++
	c.frame.id = p.next
	p.pending[c.frame.id] = c
	if c.timed {
		p.waiting = append(p.waiting, c)
		p.advance()
	}
	p.ask(c)
	return true
}

// ask gives a call to the writer. There is room unless the child answers what it
// did not read. mu is held.
func (p *process) ask(c *call) {
	select {
	case p.asks <- c:
	default:
		go p.kill(fmt.Errorf("%w: answers without reading", errProtocol))
	}
}

// advance starts the clocks of calls that the token takes now. The child serves
// in order, with a known number of workers, so that this side knows when a
// worker is free without being told. mu is held.
func (p *process) advance() {
	for p.running < p.workers && len(p.waiting) > 0 {
		c := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.running++
		c.started = true
		c.timer = time.AfterFunc(p.deadline, func() { p.expire(c) })
	}
}

func (p *process) expire(c *call) {
	p.mu.Lock()
	_, still := p.pending[c.frame.id]
	p.mu.Unlock()
	if still {
		p.kill(errDeadline)
	}
}

// complete gives an answer to whom it belongs.
func (p *process) complete(f frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return nil // too late; it is being asked again
	}
	c, ok := p.pending[f.id]
	if !ok {
		return fmt.Errorf("%w: answer to request %d, which is not open", errProtocol, f.id)
	}
	delete(p.pending, f.id)
	c.stop()
	if c.timed {
		p.answered = true
		p.release(c)
	}
	c.result <- result{frame: f}
	return nil
}

// release frees the place of a call. mu is held.
func (p *process) release(c *call) {
	if c.started {
		p.running--
	} else { // two that came at the same time overtook each other in the child
		p.waiting = slices.DeleteFunc(p.waiting, func(w *call) bool { return w == c })
	}
	p.advance()
	<-p.window
}

// open has the child open its token. An error is the child's if it is a
// token.Error.
func (p *process) open(ctx context.Context, m openMessage, within time.Duration) error {
	data, err := json.Marshal(m)
	if err != nil {
		return &token.Error{Op: "open token", Class: token.Permanent, Err: fmt.Errorf("configuration: %w", err)}
	}
	c := newCall(kindOpen, data)
	c.timed = false
	timer := time.AfterFunc(within, func() { p.kill(errStart) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { p.kill(ctx.Err()) })()
	if !p.begin(c) {
		return p.why()
	}
	r := <-c.result
	switch {
	case r.err != nil:
		return r.err
	case r.frame.kind == kindError:
		return p.owner.far(r.frame.body)
	case r.frame.kind != kindState:
		return fmt.Errorf("%w: open: answer of kind %d", errProtocol, r.frame.kind)
	}
	s, err := parseState(r.frame.body)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers = s.workers
	p.window = make(chan struct{}, perWorker*s.workers)
	return nil
}

// close has the child finish what is under way and end. What hangs is killed.
func (p *process) close(within time.Duration) error {
	if !p.alive() { // it took the token with it
		p.awaitGone(within)
		return nil
	}
	p.mu.Lock()
	p.ask(nil)
	p.mu.Unlock()
	timer := time.AfterFunc(within, func() { p.kill(errClosing) })
	defer timer.Stop()
	p.awaitGone(2 * within) // not even SIGKILL may end it
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed == nil:
		return unavailable("close token", p.cause)
	case p.closed.Err != nil:
		return p.closed
	}
	return nil
}

// alive reports whether calls can be made.
func (p *process) alive() bool {
	select {
	case <-p.dying:
		return false
	default:
		return true
	}
}

// awaitGone reports whether nothing is left of the child.
func (p *process) awaitGone(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.gone:
		return true
	case <-timer.C:
		return false
	}
}

// why returns what ended the child.
func (p *process) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// legacy returns how many calls the child left open, and whether it ever did any
// work.
func (p *process) legacy() (lost int, useful bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost, p.answered
}

// load returns how many calls wait in the child, and how many workers are busy.
func (p *process) load() (waiting, running int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting), p.running
}
