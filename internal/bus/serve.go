package bus

import (
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// coordinatorQueue is shared by all coordinators: one of them answers each request.
const coordinatorQueue = "coordinators"

// serviceReply begins the reply subjects that the server makes up for requests
// between accounts.
const serviceReply = "_R_."

// ServeHave answers the builders' question which of their statements are
// recorded, until stop is called. answer gets the builder's name, which the
// server's permissions vouch for, and what it sent; an error is logged and the
// builder asks again later.
//
// Builders are answered beside each other, each one question at a time. What a
// builder asks meanwhile gets no answer: a flood of questions is its own loss, and
// does not stand in the others' way.
func (c *Conn) ServeHave(answer func(builder string, data []byte) ([]byte, error)) (stop func(), err error) {
	var asking sync.Map // builder's subject: its question is being answered
	return c.subscribe(prefixHave+"*", func(m *nats.Msg) {
		if _, busy := asking.LoadOrStore(m.Subject, true); busy {
			return
		}
		go c.answer(m, func() ([]byte, error) {
			// Before the answer goes out: the next question may follow at once.
			defer asking.Delete(m.Subject)
			builder := strings.TrimPrefix(m.Subject, prefixHave)
			if !ValidName(builder) {
				return nil, fmt.Errorf("%q: %w", builder, ErrInvalidName)
			}
			return answer(builder, m.Data)
		})
	})
}

// ServeRedrive answers the request of tooling to ask a signer again, until stop
// is called. An error is logged, and the asker gets no answer.
func (c *Conn) ServeRedrive(answer func(data []byte) ([]byte, error)) (stop func(), err error) {
	return c.subscribe(SubjectRedrive, func(m *nats.Msg) {
		c.answer(m, func() ([]byte, error) { return answer(m.Data) })
	})
}

func (c *Conn) subscribe(subject string, handle nats.MsgHandler) (stop func(), err error) {
	sub, err := c.nc.QueueSubscribe(subject, coordinatorQueue, func(m *nats.Msg) {
		// The coordinator may publish where the asker may not. The server replaces
		// the reply subject of a request that comes from another account; one that
		// was not replaced would let the asker choose where the coordinator writes.
		if !strings.HasPrefix(m.Reply, serviceReply) {
			c.log.Warn("bus request with a foreign reply subject", "subject", m.Subject, "reply", m.Reply)
			return
		}
		handle(m)
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", subject, err)
	}
	stop = func() { _ = sub.Unsubscribe() }
	// While not connected the subscription waits with the connection.
	if c.nc.IsConnected() {
		if err := c.subscribed(subject); err != nil {
			stop()
			return nil, fmt.Errorf("serve %s: %w", subject, err)
		}
	}
	return stop, nil
}

// subscribed waits until the server has seen the subscription. A denial comes
// before the answer to the flush, so it is the last error by then.
func (c *Conn) subscribed(subject string) error {
	if err := c.nc.FlushTimeout(c.timeout); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if action, denied := denial(c.nc.LastError()); action == "Subscription" && denied == subject {
		return &DeniedError{subject}
	}
	return nil
}

func (c *Conn) answer(m *nats.Msg, answer func() ([]byte, error)) {
	data, err := answer()
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		c.log.Error("bus request not answered", "subject", m.Subject, "error", err)
	}
}
