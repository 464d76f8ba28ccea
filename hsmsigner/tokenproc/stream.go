package tokenproc

import (
	"bufio"
	"errors"
	"fmt"

	"quorate/hsmsigner/token"
)

// read takes what the child says, until that ends or makes no sense.
func (p *process) read() {
	r := bufio.NewReaderSize(p.out, readBuffer)
	for {
		f, err := readFrame(r)
		if err == nil {
			err = p.dispatch(f)
		}
		switch {
		case err == nil:
		case errors.Is(err, errProtocol):
			p.kill(err)
			return
		default:
			// A child that closed its token is about to exit; any other one
			// that closes its pipe cannot be used any more.
			if !p.isClosed() {
				p.kill(errEnded)
			}
			return
		}
	}
}

func (p *process) dispatch(f frame) error {
	switch f.kind {
	case kindError:
		e, err := parseError(f.body)
		if err != nil {
			return err
		}
		p.owner.heard(e)
		return p.complete(f)
	case kindSignature, kindKey:
		return p.complete(f)
	case kindState:
		return p.takeState(f)
	case kindLog:
		var m logMessage
		if err := decode("log", f.body, &m); err != nil {
			return err
		}
		p.owner.relog(m)
		return nil
	case kindAskPIN:
		return p.askedPIN(f.id)
	case kindClosed:
		return p.takeClosed(f.body)
	}
	return fmt.Errorf("%w: frame of kind %d from a child", errProtocol, f.kind)
}

func (p *process) takeState(f frame) error {
	s, err := parseState(f.body)
	if err != nil {
		return err
	}
	p.owner.seen(p, s)
	if f.id == 0 {
		return nil
	}
	return p.complete(f)
}

func (p *process) takeClosed(body []byte) error {
	var closed *token.Error
	if len(body) > 0 {
		var err error
		if closed, err = parseError(body); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if closed == nil {
		closed = &token.Error{}
	}
	p.closed = closed
	return nil
}

func (p *process) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed != nil
}

// askedPIN answers a question for the PIN. A child asks once for each login, and
// waits for the answer.
func (p *process) askedPIN(id uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking {
		return fmt.Errorf("%w: asks for the pin twice", errProtocol)
	}
	p.asking = true
	go p.answerPIN(id)
	return nil
}

func (p *process) answerPIN(id uint64) {
	pin, err := p.owner.pin()
	f := frame{kindPIN, id, pin}
	if err != nil {
		f = encodeError(err).frame(id)
		f.kind = kindNoPIN
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = false
	p.ask(&call{frame: f})
}

// maxBatch is when the writer stops collecting. A pipe holds 64 KiB.
const maxBatch = 32 << 10

// write sends what is asked, as much as there is in one go.
func (p *process) write() {
	var batch []byte
	for {
		select {
		case c := <-p.asks:
			var last bool
			batch, last = p.collect(batch[:0], c)
			_, err := p.in.Write(batch)
			clear(batch) // there may be a PIN in it
			if err != nil {
				p.kill(errEnded) // it closed its input, by ending or otherwise
				return
			}
			if last {
				_ = p.in.Close()
				return
			}
		case <-p.dying:
			return
		}
	}
}

func (p *process) collect(batch []byte, c *call) (_ []byte, last bool) {
	for {
		if c == nil {
			return batch, true
		}
		batch = appendFrame(batch, c.frame)
		if c.frame.kind == kindPIN {
			clear(c.frame.body)
		}
		if len(batch) >= maxBatch {
			return batch, false
		}
		select {
		case c = <-p.asks:
		default:
			return batch, false
		}
	}
}
