package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/tokenproc"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/connlimit"
)

// health serves /healthz, /readyz and /metrics. It shows and changes nothing, and
// nothing that it shows is secret.
type health struct {
	log      *slog.Logger
	conn     *bus.Conn
	ledger   *ledger.Ledger
	metrics  *Metrics
	registry *prometheus.Registry
	listener net.Listener
	server   *http.Server
	ended    chan struct{} // closed when server has

	working atomic.Pointer[working] // nil before the token is open
}

// working is what there is to ask once the token is open.
type working struct {
	signer   *Signer
	token    *tokenproc.Proxy
	canaries *canaries
}

// maxHealthConns is how many connections health has at a time. Any account of the
// machine may open them on loopback, and each takes a descriptor that the signer
// needs for its token, its ledger and the bus.
const maxHealthConns = 32

// startHealth listens, so that somebody else who does so is found at the start.
func startHealth(c HealthConfig, conn *bus.Conn, l *ledger.Ledger, log *slog.Logger) (*health, error) {
	listener, err := listenHealth(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: health: listen: %w", ErrConfig, err)
	}
	h := &health{log: log, conn: conn, ledger: l, metrics: NewMetrics(), registry: prometheus.NewRegistry(),
		listener: connlimit.New(listener, maxHealthConns), ended: make(chan struct{})}
	h.registry.MustRegister(h.metrics.collectors()...)
	h.registry.MustRegister(&healthCollector{h}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h.server = &http.Server{Handler: h.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go func() {
		defer close(h.ended)
		if err := h.server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health is not served any more", "error", err)
		}
	}()
	log.Info("health is served", "address", h.address())
	return h, nil
}

// socketMode lets the group in, so that who scrapes need not be the signer.
const socketMode = 0o660

func listenHealth(address string) (net.Listener, error) {
	path, isPath := strings.CutPrefix(address, unixPrefix)
	if !isPath {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket that a killed signer left. One that somebody
// answers on stays, and so does everything that is no socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s: another process listens on it", path)
	}
	return os.Remove(path)
}

// address is where it listens, with the port that the system chose.
func (h *health) address() string {
	if h.listener.Addr().Network() == "unix" {
		return unixPrefix + h.listener.Addr().String()
	}
	return h.listener.Addr().String()
}

// close ends what is under way soon.
func (h *health) close() error {
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := h.server.Shutdown(stop)
	if err != nil {
		err = h.server.Close()
	}
	<-h.ended
	return err
}

func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h.write(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", h.getReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{}))
	return h.guard(mux)
}

// guard keeps web pages out: one may make its own name point to loopback and read
// what is served there, but its requests still carry that name.
func (h *health) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if h.listener.Addr().Network() == "tcp" && !isLoopback(r.Host) {
			http.Error(w, "this server listens on loopback and answers to localhost only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func (h *health) write(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		h.log.Error("health: encode answer", "error", err)
		status, data = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a reader that went away is no error of ours
}

// getReady says whether a good request would be signed now.
func (h *health) getReady(w http.ResponseWriter, r *http.Request) {
	out := api.Ready{Ready: true, Checks: map[string]api.Check{}}
	for name, err := range h.checks(r.Context()) {
		if err != nil {
			out.Ready = false
			out.Checks[name] = api.Check{Message: err.Error()}
		} else {
			out.Checks[name] = api.Check{OK: true}
		}
	}
	status := http.StatusOK
	if !out.Ready {
		status = http.StatusServiceUnavailable
	}
	h.write(w, status, out)
}

// checks are what a signature needs, by name. The words of the module and of the
// system stay in the log.
func (h *health) checks(ctx context.Context) map[string]error {
	out := map[string]error{"bus": h.checkBus(), "ledger": h.checkLedger(ctx)}
	now := h.working.Load()
	if now == nil {
		out["token"] = errors.New("the token is not open yet; the log says why")
		return out
	}
	out["token"], out["policy"], out["canary"], out["keys"] = h.checkToken(now), nil, now.canaries.check(), now.signer.checkKeys()
	if !now.token.Process().Up {
		out["token"] = errors.New("the token's process is down; the log says why")
	}
	if p := now.signer.Policy(); p.Expired(now.signer.now()) {
		out["policy"] = fmt.Errorf("the policy expired on %s: nothing is signed", p.Expires.Format(time.RFC3339))
	}
	return out
}

// checkToken reports the keys for which the token did not do what it was asked last. What
// it is asked may be long ago, so it is asked again.
func (h *health) checkToken(now *working) error {
	var problems []error
	for _, label := range h.metrics.failingKeys() {
		now.canaries.hurry(label)
		problems = append(problems, fmt.Errorf("the token did not sign with key %q when it was asked last; the log says why", label))
	}
	return errors.Join(problems...)
}

func (h *health) checkBus() error {
	if h.conn.Status() != nats.CONNECTED {
		return errors.New("the bus is not connected")
	}
	return nil
}

// ledgerLimit is how long a check waits for others that write.
const ledgerLimit = 5 * time.Second

// checkLedger tries to write once a write has failed, so that nobody has to wait for
// the next request to know that there is room again.
func (h *health) checkLedger(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerLimit)
	defer cancel()
	check, failing := h.ledger.Check, h.metrics.ledgerFailing.Load()
	if failing {
		check = h.ledger.Probe
	}
	if err := check(ctx); err != nil {
		h.log.Error("ledger cannot be used", "error", err)
		return errors.New("the ledger cannot be used; the log says why")
	}
	if failing {
		h.metrics.ledgerFailing.Store(false)
		h.log.Info("ledger can be written again")
	}
	return nil
}
