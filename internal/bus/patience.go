package bus

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"quorate/internal/rest"
)

// A server that reloads its users drops requests, finds nobody who serves the
// streams, ends connections that are just being made and refuses users it knows,
// all for a moment. It reloads whenever somebody is enrolled, so nobody is told
// of a failure before it has lasted longer than that.
const (
	patience  = 2 * time.Second        // how long a failure may last before it is one
	retryWait = 100 * time.Millisecond // between two tries
	askAgain  = time.Second            // a request without an answer is sent again
)

// patiently repeats op while it fails in a way that a reload would explain. A
// connection that was lost longer ago is not waited for.
func (c *Conn) patiently(ctx context.Context, op func() error) error {
	end := time.Now().Add(patience)
	for {
		err := op()
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil || !time.Now().Before(end) || c.lostFor() > patience {
			return err
		}
		if rest.For(ctx, retryWait) != nil {
			return err
		}
	}
}

// lostFor is how long there has been no connection.
func (c *Conn) lostFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc.IsConnected() || c.lost.IsZero() {
		return 0
	}
	return time.Since(c.lost)
}

// connectPatiently connects, also in the middle of a reload.
func connectPatiently(url string, opts []nats.Option) (*nats.Conn, error) {
	end := time.Now().Add(patience)
	for {
		nc, err := nats.Connect(url, opts...)
		if err == nil || !time.Now().Before(end) || !errors.Is(err, nats.ErrAuthorization) && !isCutOff(err) {
			return nc, err
		}
		time.Sleep(retryWait)
	}
}

// isCutOff says that a server was there and ended the conversation.
func isCutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err)
}

// reconnectDelay is short at first: most connections are lost for a moment only.
func reconnectDelay(attempts int) time.Duration {
	d := 100 * time.Millisecond << min(attempts-1, 5)
	return d/2 + rand.N(d)
}

// ask sends data until somebody answers. All answers come to one inbox, so that a
// slow answer to the first sending counts too.
func (c *Conn) ask(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	sub, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		if err := c.nc.PublishRequest(subject, sub.Subject, data); err != nil {
			return nil, err
		}
		turn, cancel := context.WithTimeout(ctx, askAgain)
		reply, err := sub.NextMsgWithContext(turn)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return reply, err
		}
	}
}
