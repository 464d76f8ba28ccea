package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quorate/coordinator/store"
	"quorate/internal/api"
)

// statusOf is the only place where codes become HTTP.
var statusOf = map[string]int{
	api.CodeNotFound:   http.StatusNotFound,
	api.CodeBadRequest: http.StatusBadRequest,
	api.CodeBadCursor:  http.StatusBadRequest,
	api.CodeMethod:     http.StatusMethodNotAllowed,
	api.CodeNotReady:   http.StatusServiceUnavailable,
	api.CodeBadHost:    http.StatusMisdirectedRequest,
	api.CodeInternal:   http.StatusInternalServerError,
}

// apiError is an error that the reader may see.
type apiError struct {
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func badRequest(format string, args ...any) error {
	return &apiError{api.CodeBadRequest, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &apiError{api.CodeNotFound, fmt.Sprintf(format, args...)}
}

// raw is an answer that is not JSON.
type raw struct {
	contentType string
	name        string // of the file, when it is to be saved
	data        []byte
}

func (c *Coordinator) newServer() *http.Server {
	return &http.Server{
		Handler:           c.guard(c.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second, // events lengthen it as they go
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
}

func (c *Coordinator) routes() http.Handler {
	mux := http.NewServeMux()
	get := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc("GET "+pattern, h)
		mux.HandleFunc(pattern, c.wrongMethod)
	}
	get("/v1/channels", serve(c, c.getChannels))
	get("/v1/targets", serve(c, c.getTargets))
	get("/v1/targets/{id}", serve(c, c.getTarget))
	get("/v1/targets/{id}/differences", serve(c, c.getDifferences))
	get("/v1/targets/{id}/artifacts/{name}/signatures/{file}", serve(c, c.getSignature))
	get("/v1/targets/{id}/artifacts/{name}/evidence", serve(c, c.getEvidence))
	get("/v1/artifacts/{digest}", serve(c, c.getArtifacts))
	get("/v1/statements/{sha256}", serve(c, c.getStatement))
	get("/v1/rejected", serve(c, c.getRejected))
	get("/v1/acts", serve(c, c.getActs))
	get("/v1/subject", serve(c, c.getSubject))
	get("/v1/receipts/{sha256}", serve(c, c.getReceipt))
	get("/v1/files/{sha256}", c.getFile)
	get("/v1/events", c.getEvents)
	get("/healthz", serve(c, c.getHealth))
	get("/readyz", c.getReady)
	get("/metrics", promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, notFound("there is nothing at %s", r.URL.Path))
	})
	return mux
}

// serve makes a handler of a function that returns what is to be shown.
func serve[T any](c *Coordinator, get func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := get(r)
		if err != nil {
			c.fail(w, err)
			return
		}
		c.write(w, http.StatusOK, v)
	}
}

func (c *Coordinator) write(w http.ResponseWriter, status int, v any) {
	if f, ok := v.(raw); ok {
		w.Header().Set("Content-Type", f.contentType)
		if f.name != "" {
			w.Header().Set("Content-Disposition", contentDisposition(f.name))
		}
		_, _ = w.Write(f.data) // a reader that went away is no error of ours
		return
	}
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		c.fail(w, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

// fail answers with the error's code. What is not meant for readers is logged
// and stays inside.
func (c *Coordinator) fail(w http.ResponseWriter, err error) {
	var e *apiError
	switch {
	case errors.As(err, &e):
	case errors.Is(err, store.ErrNotFound):
		e = &apiError{api.CodeNotFound, "there is no such thing"}
	default:
		c.log.Error("request failed", "error", err)
		e = &apiError{api.CodeInternal, "something failed inside the coordinator; its log says what"}
	}
	c.write(w, statusOf[e.code], api.Error{Code: e.code, Message: e.message})
}

func (c *Coordinator) wrongMethod(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	c.fail(w, &apiError{api.CodeMethod, r.Method + " is not allowed: this interface only shows"})
}

// guard keeps web pages of others out. A page may make its own name point to
// loopback and then read what is served there; its requests still carry that name.
func (c *Coordinator) guard(next http.Handler) http.Handler {
	host, _, _ := net.SplitHostPort(c.listen.Addr().String())
	loopback := net.ParseIP(host).IsLoopback()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if loopback && !localHost(r.Host) {
			c.fail(w, &apiError{api.CodeBadHost, "this server listens on loopback and answers to localhost only"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return host == "localhost" || host == "127.0.0.1" || host == "::1" || host == "[::1]"
}

// shutdownTimeout is for answers under way. It is short because a connection on
// which nothing was asked yet uses all of it.
const shutdownTimeout = time.Second

// serveHTTP serves until ctx ends. Streams of events end with it.
func (c *Coordinator) serveHTTP(ctx context.Context) error {
	c.web.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan error, 1)
	go func() { ended <- c.web.Serve(c.listen) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := c.web.Shutdown(stop); err != nil {
		_ = c.web.Close()
	}
	<-ended
	return ctx.Err()
}
