package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say where and as whom to connect.
type Options struct {
	// URL of the server: nats:// or tls://. Ignored if InProcess is set.
	URL string

	// Name of the user, exactly as the coordinator's users file has it. It
	// decides the inbox this connection may read, so a wrong one gets no
	// answer to anything.
	Name string

	// SeedFile holds the user's nkey seed. Nobody but its owner may read it.
	// It must not be the key that signs statements: a client signs what the
	// server sends it when it connects.
	SeedFile string

	// CAFile, if set, is the only root that the server's certificate is
	// checked against; setting it makes TLS mandatory.
	CAFile string

	// InProcess connects to a server in this process, without a socket.
	InProcess nats.InProcessConnProvider

	// Retry makes Connect succeed even while the server is away or does not
	// know the user yet, and never gives up. For daemons. Without it, Connect
	// fails at once where no server is, and where one refuses the user after the
	// time that a reload of the users may take.
	Retry bool

	// Timeout bounds one publish or request, from sending to the answer. Zero
	// means ten seconds.
	Timeout time.Duration

	// Logger gets connection events. Nil means slog.Default().
	Logger *slog.Logger
}

const defaultTimeout = 10 * time.Second

// Conn is a connection as one user. Its methods may be called concurrently.
type Conn struct {
	nc      *nats.Conn
	js      jetstream.JetStream // as users of the core account speak to it
	outside jetstream.JetStream // as all others do
	name    string
	timeout time.Duration
	log     *slog.Logger
	server  string      // where it connects to, for the log
	closing atomic.Bool // set by Close
	away    seldom      // limits how often an unreachable server is mentioned

	mu sync.Mutex
	// waiting, inboxDenied and lost are owned by mu. waiting holds, per subject, the
	// calls that the server may still deny.
	waiting     map[string]map[*call]struct{}
	inboxDenied error
	lost        time.Time // since when there is no connection; zero while there is one
}

// InboxPrefix is the prefix of the subjects on which the named user gets
// answers. Each user may read its own only: with the common default, every user
// could read every other's.
func InboxPrefix(name string) string { return "_INBOX_" + name }

// Connect connects. Failures: [ErrAddress], [ErrUnauthorized] if the server refuses the user,
// [ErrUnavailable] if there is no server to talk to; neither of the latter is
// returned when o.Retry is set.
func Connect(o Options) (*Conn, error) {
	if !ValidName(o.Name) {
		return nil, fmt.Errorf("connect to bus: user %q: %w", o.Name, ErrInvalidName)
	}
	if o.InProcess == nil {
		if err := CheckAddress(o.URL); err != nil {
			return nil, fmt.Errorf("connect to bus: %w", err)
		}
	}
	key, public, err := readSeedFile(o.SeedFile)
	if err != nil {
		return nil, fmt.Errorf("connect to bus: %w", err)
	}
	c := newConn(o)
	opts := append(c.handlers(),
		nats.Name(o.Name),
		nats.Nkey(public, key.Sign),
		nats.CustomInboxPrefix(InboxPrefix(o.Name)),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		// A reload refuses users for a moment that it knows; and one who is removed
		// and added again must get in without anybody restarting the agent.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(20*time.Second))
	opts = append(opts, o.transport()...)
	if c.nc, err = connectPatiently(o.URL, opts); err != nil {
		return nil, connectError(err, o, public)
	}
	if err := c.clients(); err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("connect to bus: %w", err)
	}
	if o.Retry && !c.nc.IsConnected() {
		c.onUnreachable(c.nc.LastError())
	}
	return c, nil
}

func (c *Conn) clients() (err error) {
	timeout := jetstream.WithDefaultTimeout(c.timeout)
	if c.js, err = jetstream.New(c.nc, timeout); err != nil {
		return err
	}
	c.outside, err = jetstream.NewWithAPIPrefix(c.nc, outsideAPI, timeout)
	return err
}

func newConn(o Options) *Conn {
	c := &Conn{name: o.Name, timeout: o.Timeout, log: o.Logger, server: o.server(), waiting: map[string]map[*call]struct{}{}, lost: time.Now()}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	return c
}

// server is the address as logs may show it.
func (o Options) server() string {
	if o.InProcess != nil {
		return "in-process"
	}
	return redacted(o.URL)
}

func (o Options) transport() []nats.Option {
	var opts []nats.Option
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile))
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	if o.Retry {
		opts = append(opts, nats.RetryOnFailedConnect(true))
	}
	return opts
}

// handlers are the only place that hears why the server refused something.
func (c *Conn) handlers() []nats.Option {
	return []nats.Option{
		nats.ErrorHandler(c.onError),
		nats.ConnectHandler(func(nc *nats.Conn) {
			c.onConnect()
			c.log.Info("bus connected", "server", c.connectedTo(nc))
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.onConnect()
			c.log.Info("bus reconnected", "server", c.connectedTo(nc))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.onUnreachable(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.onDisconnect()
			if err != nil {
				c.log.Warn("bus disconnected", "error", err)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			c.onDisconnect()
			// Of the last error nobody knows whether it has to do with the end.
			if !c.closing.Load() {
				c.log.Error("bus connection closed for good", "error", nc.LastError())
			}
		}),
	}
}

// connectedTo is the server at the other end, which may be another one of a
// cluster than was configured. In this process the client makes up an address.
func (c *Conn) connectedTo(nc *nats.Conn) string {
	if nc.Opts.InProcessServer != nil {
		return c.server
	}
	return nc.ConnectedUrlRedacted()
}

// awayPause is how long an unreachable server is not mentioned again.
const awayPause = time.Minute

// onUnreachable says that an attempt to connect failed: a daemon that waits for
// its bus without a word looks like one that works.
func (c *Conn) onUnreachable(err error) {
	if c.closing.Load() || !c.away.pass(time.Now(), awayPause) {
		return
	}
	if err == nil {
		err = nats.ErrNoServers // all that the client says of a refused connection
	}
	c.log.Warn("bus unreachable, trying again", "server", c.server, "error", err)
}

// seldom lets something pass once in a while.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

func (s *seldom) pass(now time.Time, pause time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < pause {
		return false
	}
	s.last = now
	return true
}

func connectError(err error, o Options, public string) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("connect to bus as %s: %w: %w (hint: the server's users must have nkey %s)", o.Name, ErrUnauthorized, err, public)
	case isUnavailable(err) || isNetwork(err) || isCutOff(err):
		return fmt.Errorf("connect to bus at %q: %w: %w", o.server(), ErrUnavailable, err)
	default:
		return fmt.Errorf("connect to bus at %q: %w", o.server(), err)
	}
}

// JS is the JetStream client for coordinators; other roles have no right to
// its API and use [Conn.AgentConsumer] or [Conn.SignerConsumer]. What it
// publishes itself does not fail fast when denied: that is [Conn.Publish].
func (c *Conn) JS() jetstream.JetStream { return c.js }

// NATS is the connection underneath.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Name is the user this connection was made as.
func (c *Conn) Name() string { return c.name }

// Status is the state of the connection at this moment.
func (c *Conn) Status() nats.Status { return c.nc.Status() }

// Close ends the connection. Calls under way fail.
func (c *Conn) Close() {
	c.closing.Store(true)
	c.nc.Close()
}

// Ready waits until the server has answered once, or ctx is done. It is for
// connections made with Retry, which start out unconnected.
func (c *Conn) Ready(ctx context.Context) error {
	// Subscribed before the state is read, so that no change falls between.
	changes := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(changes)
	for {
		switch c.nc.Status() {
		case nats.CONNECTED:
			return nil
		case nats.CLOSED:
			return fmt.Errorf("wait for bus: %w", nats.ErrConnectionClosed)
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("wait for bus: %w: %w", ErrUnavailable, ctx.Err())
		}
	}
}
