// Package embedded runs a NATS server with JetStream inside this process, set
// up as Quorate needs it. Only the coordinator and tests import it: it makes a
// binary several megabytes larger.
//
// # Guarantees
//
//   - A message is on the disk before it is acknowledged.
//   - Only the users it was given connect, each with the rights that
//     bus.Permissions lists. There is no anonymous access, not even in-process.
//   - It listens on loopback unless told otherwise.
//   - Two processes never use one store directory at the same time (on systems
//     with flock).
//
// # Non-guarantees
//
//   - The store directory is created if it is missing: an empty bus is no error
//     here. A coordinator sees it because its cursor lies beyond the stream's
//     end.
//   - Without a certificate the traffic is readable and can be held back by
//     whoever is on the way. It holds no secrets, and connecting proves the
//     possession of a key without sending it.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"quorate/internal/bus"
)

// startTimeout is generous: a large store is read at start-up.
const startTimeout = 2 * time.Minute

// Options of the server.
type Options struct {
	StoreDir string     // JetStream's files; created if missing
	Host     string     // empty means 127.0.0.1
	Port     int        // 0 or -1 means a free one
	Users    []bus.User // nobody else connects
	Logger   *slog.Logger

	// CertFile and KeyFile, if set, make the server speak TLS only.
	CertFile, KeyFile string

	// DontListen opens no socket: only in-process connections.
	DontListen bool
}

// Server is a running server.
type Server struct {
	ns   *server.Server
	lock *os.File // held until Shutdown

	mu   sync.Mutex
	opts Options // owned by mu; what Reload starts from
}

// Start starts a server and returns when it accepts connections.
func Start(o Options) (*Server, error) {
	opts, err := serverOptions(o)
	if err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.StoreDir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("start bus: lock store directory: %w (hint: is another coordinator running on %s?)", err, o.StoreDir)
	}
	ns, err := run(opts, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("start bus: %w", errors.Join(err, lock.Close()))
	}
	return &Server{ns: ns, lock: lock, opts: o}, nil
}

func run(opts *server.Options, log *slog.Logger) (*server.Server, error) {
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	fatal := make(chan string, 1)
	ns.SetLogger(newLogger(log, fatal), false, false)
	ns.Start()
	ready := make(chan bool, 1)
	go func() { ready <- ns.ReadyForConnections(startTimeout) }()
	select {
	case text := <-fatal:
		err = errors.New(text)
	case ok := <-ready:
		if ok {
			return ns, nil
		}
		err = errors.New("server does not get ready (hint: see its log lines)")
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil, err
}

// serverOptions reads the very text that is generated for external servers, so
// that there is one way to enforce the rights, and the tests of one are the
// tests of the other.
func serverOptions(o Options) (*server.Options, error) {
	if o.StoreDir == "" {
		return nil, errors.New("no store directory given")
	}
	// A server without users lets everybody in.
	if len(o.Users) == 0 {
		return nil, errors.New("no users given (hint: the server would accept everybody)")
	}
	if err := bus.ValidateUsers(o.Users); err != nil {
		return nil, err
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("of certificate and key only one is given")
	}
	host, port := o.Host, o.Port
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{}
	err := opts.ProcessConfigString(bus.ServerConfig(o.Users, bus.ConfigOptions{
		ServerName: "quorate",
		Listen:     net.JoinHostPort(host, strconv.Itoa(port)),
		StoreDir:   o.StoreDir,
		CertFile:   o.CertFile,
		KeyFile:    o.KeyFile,
	}))
	if err != nil {
		return nil, fmt.Errorf("server configuration: %w", err)
	}
	opts.DontListen = o.DontListen
	opts.NoSigs = true // the process that embeds it decides about signals
	return opts, nil
}

// Reload replaces the users. Who was added can connect when it returns; who was
// removed, or has another key than before, is disconnected. Who has another role
// has its rights, on connections that are open too.
func (s *Server) Reload(users []bus.User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.opts
	next.Users = users
	opts, err := serverOptions(next)
	if err != nil {
		return fmt.Errorf("reload bus users: %w", err)
	}
	// The server does not activate the imports of an account that is new in a
	// reload, only those of one it knew before. Made known here, and not by a
	// second reload: each is a moment in which requests of everybody fail.
	for _, a := range opts.Accounts {
		s.ns.LookupOrRegisterAccount(a.Name)
	}
	if err := s.ns.ReloadOptions(opts); err != nil {
		return fmt.Errorf("reload bus users: %w", err)
	}
	s.opts = next
	return nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.ns.ClientURL() }

// InProcess is for bus.Options.InProcess. The connection still proves its key.
func (s *Server) InProcess() nats.InProcessConnProvider { return s.ns }

// Shutdown stops the server and returns when its files are closed.
func (s *Server) Shutdown() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.lock.Close()
}
