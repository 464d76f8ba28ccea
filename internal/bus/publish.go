package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrUnavailable says that the bus did not answer: not connected, timed
	// out, nobody there. The same call may succeed later.
	ErrUnavailable = errors.New("bus unavailable")

	// ErrUnauthorized says that the server does not accept this user.
	ErrUnauthorized = errors.New("bus refuses this user")

	// ErrTooLarge says that a message is larger than its stream takes.
	ErrTooLarge = errors.New("message too large")
)

// DeniedError says that the server's permissions do not let this user publish
// to, or read from, Subject. Trying again helps only once a person has put the users
// right, or for whoever has sent its bytes of the day on the next one.
type DeniedError struct {
	Subject string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("bus permissions deny %q (hint: check this user's name and role in the server's users, and whether it has sent its bytes of the day)", e.Subject)
}

// errDisconnected wakes calls whose answer can no longer arrive.
var errDisconnected = errors.New("connection lost while waiting for an answer")

// call is one operation that waits for the server.
type call struct {
	cancel context.CancelCauseFunc
}

// Publish stores data under subject and returns once the stream acknowledged
// it. msgID is normally [MsgID] of data. It fails with a [*DeniedError],
// [ErrTooLarge] or [ErrUnavailable] as the package comment says.
func (c *Conn) Publish(ctx context.Context, subject, msgID string, data []byte) (*jetstream.PubAck, error) {
	stream := streamOf(subject)
	if stream == "" {
		return nil, fmt.Errorf("publish: no stream keeps subject %q", subject)
	}
	if limit := payloadLimit(stream); len(data) > limit {
		return nil, fmt.Errorf("publish to %s: %w: %d bytes, at most %d", subject, ErrTooLarge, len(data), limit)
	}
	var ack *jetstream.PubAck
	err := c.guard(ctx, subject, func(ctx context.Context) (err error) {
		ack, err = c.js.Publish(ctx, subject, data, jetstream.WithMsgID(msgID), jetstream.WithExpectStream(stream))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", subject, err)
	}
	return ack, nil
}

// PublishForCertain is [Conn.Publish] for what must be in the stream even if
// somebody else used up the message id: whoever can guess an id publishes anything
// under it first, and the server takes the true message for a repetition. Then it
// goes out once more under an id that nobody knows; at worst it is there twice.
func (c *Conn) PublishForCertain(ctx context.Context, subject, msgID string, data []byte) error {
	ack, err := c.Publish(ctx, subject, msgID, data)
	if err == nil && ack.Duplicate {
		_, err = c.Publish(ctx, subject, rand.Text(), data)
	}
	return err
}

func payloadLimit(stream string) int {
	if stream == StreamRecord {
		return MaxRecord
	}
	return MaxRequest
}

// Request sends data to whoever serves subject and returns the answer. While none
// comes it is sent again, so it must be a question that may be asked twice.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	var reply *nats.Msg
	err := c.guard(ctx, subject, func(ctx context.Context) (err error) {
		reply, err = c.ask(ctx, subject, data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("request to %s: %w", subject, err)
	}
	return reply.Data, nil
}

// StreamEnd returns the number of the last message that a stream has at this moment,
// for a user who may look at streams.
func (c *Conn) StreamEnd(ctx context.Context, name string) (seq uint64, err error) {
	err = c.guard(ctx, "$JS.API.STREAM.INFO."+name, func(ctx context.Context) error {
		stream, err := c.js.Stream(ctx, name)
		if err == nil {
			seq = stream.CachedInfo().State.LastSeq
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return seq, nil
}

// guard runs op, which sends to subject and waits for an answer, and ends it as
// soon as the answer cannot come any more: because the server denied the
// subject, because this user cannot read its inbox, or because the connection
// broke. What may have passed in a moment is tried again.
func (c *Conn) guard(ctx context.Context, subject string, op func(context.Context) error) error {
	limited, stop := context.WithTimeout(ctx, c.timeout)
	defer stop()
	return c.patiently(limited, func() error { return c.guardOnce(ctx, limited, subject, op) })
}

func (c *Conn) guardOnce(parent, ctx context.Context, subject string, op func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	// Registered before the state is checked and before anything is sent: a
	// denial or a disconnection after this line finds the call.
	w := &call{cancel}
	if err := c.register(subject, w); err != nil {
		return err
	}
	defer c.unregister(subject, w)
	if err := c.connected(); err != nil {
		return err
	}
	err := op(ctx)
	if err == nil {
		return nil
	}
	return c.explain(parent, context.Cause(ctx), err)
}

// connected refuses at once what the client would otherwise buffer and send
// some time later, when the caller has long been told that it failed.
func (c *Conn) connected() error {
	switch s := c.nc.Status(); s {
	case nats.CONNECTED:
		return nil
	case nats.CLOSED:
		return nats.ErrConnectionClosed
	default:
		return fmt.Errorf("%w: connection is %s", ErrUnavailable, strings.ToLower(s.String()))
	}
}

// explain turns what op returned into what a caller branches on.
func (c *Conn) explain(parent context.Context, cause, err error) error {
	var denied *DeniedError
	switch {
	case errors.As(cause, &denied):
		return denied
	case errors.Is(cause, errDisconnected):
		return fmt.Errorf("%w: %w", ErrUnavailable, cause)
	case errors.Is(parent.Err(), context.Canceled):
		return parent.Err()
	case errors.Is(err, nats.ErrMaxPayload), isTooLarge(err):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case isUnavailable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return err
	}
}

func isUnavailable(err error) bool {
	for _, e := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoServers, nats.ErrNoResponders,
		nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrStaleConnection,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	// The server answers 503 while a stream has no leader or no storage left.
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 503
}

// isNetwork reports a failure below NATS, such as a refused connection.
func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// isReset reports a connection that the other end closed.
func isReset(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// errCodeMessageTooLarge is JetStream's "message size exceeds maximum allowed".
const errCodeMessageTooLarge = 10054

func isTooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == errCodeMessageTooLarge
}

// deniedRe matches the only form in which a server says which subject it denied.
var deniedRe = regexp.MustCompile(`Permissions Violation for (Publish|Subscription) to "(\S+)"`)

// onError is where denials arrive: the operation itself hears nothing.
func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	attrs := []any{"error", err}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	c.log.Error("bus error", attrs...)
	action, subject := denial(err)
	switch {
	case action == "Publish":
		c.wake(subject, &DeniedError{subject})
	case action == "Subscription" && strings.HasPrefix(subject, InboxPrefix(c.name)+"."):
		c.denyInbox(&DeniedError{subject})
	}
}

func denial(err error) (action, subject string) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", ""
	}
	m := deniedRe.FindStringSubmatch(err.Error())
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

func (c *Conn) register(subject string, w *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inboxDenied != nil {
		return c.inboxDenied
	}
	if c.waiting[subject] == nil {
		c.waiting[subject] = map[*call]struct{}{}
	}
	c.waiting[subject][w] = struct{}{}
	return nil
}

func (c *Conn) unregister(subject string, w *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting[subject], w)
	if len(c.waiting[subject]) == 0 {
		delete(c.waiting, subject)
	}
}

func (c *Conn) wake(subject string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.waiting[subject] {
		w.cancel(cause)
	}
}

// denyInbox ends all calls and those to come: without its inbox this user gets
// no answers. The server says so once per connection, so it is remembered until
// the connection ends.
func (c *Conn) denyInbox(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inboxDenied = cause
	c.wakeAll(cause)
}

func (c *Conn) onDisconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inboxDenied = nil
	if c.lost.IsZero() {
		c.lost = time.Now()
	}
	c.wakeAll(errDisconnected)
}

func (c *Conn) onConnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = time.Time{}
}

// wakeAll needs c.mu.
func (c *Conn) wakeAll(cause error) {
	for _, calls := range c.waiting {
		for w := range calls {
			w.cancel(cause)
		}
	}
}
