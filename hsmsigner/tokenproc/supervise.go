package tokenproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"quorate/hsmsigner/token"
)

// supervise replaces the child whenever it ends, until Close is called or a PIN
// was refused.
func (p *Proxy) supervise(proc *process) {
	defer close(p.ended)
	barren := 0 // children in a row that were of no use
	for {
		select {
		case <-p.ctx.Done():
			p.shut = proc.close(p.options.Deadline)
			return
		case <-proc.dying:
		}
		if p.bury(proc) {
			barren = 0
		} else {
			barren++
		}
		next := p.replace(proc, barren)
		if next == nil {
			return
		}
		proc = next
	}
}

// bury waits for the end of a child and says how it came. It reports whether
// the child was of any use.
func (p *Proxy) bury(proc *process) (useful bool) {
	cause := proc.why()
	lost, useful := proc.legacy()
	if errors.Is(cause, errDeadline) {
		p.counts.deadlines.Add(1)
	}
	status := "killed, but not gone"
	if proc.awaitGone(p.options.StartDeadline) {
		status = proc.cmd.ProcessState.String()
	}
	p.log.Warn("token process is replaced", "cause", cause, "pid", proc.cmd.Process.Pid, "status", status,
		"asked_again", lost, "stderr", proc.errs.text(p.options.Token.PIN))
	return useful
}

// replace starts children until one has the token open. It returns nil if that
// is not to be.
func (p *Proxy) replace(old *process, barren int) *process {
	for {
		if err := p.refused(); err != nil {
			return p.giveUp(err)
		}
		if !pause(p.ctx, p.backoff(barren)) {
			return nil
		}
		next, err := p.relaunch(old)
		if err == nil {
			p.up(next)
			p.log.Info("token process is up again", "pid", next.cmd.Process.Pid, "restarts", p.counts.starts.Load()-1)
			return next
		}
		if p.refused() == nil && p.ctx.Err() == nil {
			p.failed(err)
		}
		barren++
	}
}

// relaunch waits for the end of the child before: the token may take no other
// login as long as that one holds it.
func (p *Proxy) relaunch(old *process) (*process, error) {
	if !old.awaitGone(p.options.StartDeadline) {
		return nil, errors.New("the killed process is not gone; a device or a disk may hold it")
	}
	return p.launch(p.ctx)
}

// backoff is the pause after so many children of no use.
func (p *Proxy) backoff(barren int) time.Duration {
	if barren == 0 {
		return 0
	}
	limit := max(maxBackoff, p.options.Backoff)
	d := p.options.Backoff
	for range barren - 1 {
		if d *= 2; d >= limit {
			return limit
		}
	}
	return d
}

// pause reports whether the whole time has passed.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// refused returns the refusal of a PIN, if there was one.
func (p *Proxy) refused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pinErr
}

// giveUp ends all hope: the same PIN would be refused again, and after a few
// times the token locks. A person has to correct it and start the signer anew.
func (p *Proxy) giveUp(err error) *process {
	p.log.Error("token process is not started again: a pin was refused", "error", err, "hint", "correct the pin and restart the signer")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.final = err
	p.tellAll()
	return nil
}

// failed counts a start that did not succeed. Only the first of a row and a new
// reason are worth a line.
func (p *Proxy) failed(err error) {
	// It did succeed once, so what is missing now may come back, whatever the
	// class of the error is at other times.
	err = unavailable("restart token process", err)
	p.mu.Lock()
	news := p.failure == nil || p.failure.Error() != err.Error()
	p.failures++
	p.failure = err
	p.tellAll()
	p.mu.Unlock()
	if news {
		p.log.Error("token process does not start; it is tried again", "error", err)
	}
}

// up makes a child the one that requests go to.
func (p *Proxy) up(next *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proc = next
	p.failures, p.failure = 0, nil
	p.tellAll()
}

// tellAll wakes whoever waits for a change. mu is held.
func (p *Proxy) tellAll() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// launch starts one child and has it open the token. Nothing is left of it if
// that fails.
func (p *Proxy) launch(ctx context.Context) (*process, error) {
	const op = "start token process"
	proc, err := p.fork()
	if err != nil {
		return nil, &token.Error{Op: op, Class: token.Permanent, Err: err}
	}
	p.counts.starts.Add(1)
	err = proc.open(ctx, p.openRequest(), p.options.StartDeadline)
	if err == nil {
		return proc, nil
	}
	proc.kill(errEnded)
	gone := proc.awaitGone(p.options.StartDeadline)
	var own *token.Error
	if errors.As(err, &own) {
		return nil, own
	}
	if gone && errors.Is(err, errEnded) {
		err = fmt.Errorf("%w: %s", err, proc.cmd.ProcessState)
	}
	if text := proc.errs.text(p.options.Token.PIN); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return nil, unavailable(op, err)
}

// fork starts the program without the network, or with it if that is wanted or
// the kernel does not allow anything else.
func (p *Proxy) fork() (*process, error) {
	if canIsolate && !p.options.Network && !p.shared {
		proc, err := p.spawn(true)
		if err == nil {
			return proc, nil
		}
		p.shared = true
		p.log.Info("token process keeps the network: the system does not allow to take it away", "error", err)
	}
	return p.spawn(false)
}

// seen takes what a child says about its token.
func (p *Proxy) seen(proc *process, s *state) {
	p.mu.Lock()
	if proc != p.counted {
		p.past, p.counted = p.past.add(p.present), proc
	}
	p.present = s.counts
	before := p.catalog.Load()
	after := before.merge(s.keys)
	p.catalog.Store(after)
	p.mu.Unlock()
	for label := range after.exchanged {
		if !before.exchanged[label] {
			p.log.Error("the token has another key under a known label; it signs nothing", "key", label)
		}
	}
}

// heard looks at every error of a child, wanted or not: the one that says that a
// PIN was refused may be the answer to somebody who has left.
func (p *Proxy) heard(e *token.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isPIN(e) && p.pinErr == nil {
		p.pinErr = e
	}
}

// pin gives the PIN to a child, unless one was refused before.
func (p *Proxy) pin() ([]byte, error) {
	if err := p.refused(); err != nil {
		return nil, err
	}
	pin, err := p.options.Token.PIN()
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pinSrc = err
		return nil, pinSourceError{err}
	}
	return pin, nil
}

// relog writes a record of the child to our log.
func (p *Proxy) relog(m logMessage) {
	attrs := []slog.Attr{slog.String("from", "token process")}
	for _, a := range m.Attrs {
		attrs = append(attrs, slog.String(a.Key, a.Value))
	}
	p.log.LogAttrs(context.Background(), slog.Level(m.Level), m.Text, attrs...)
}
