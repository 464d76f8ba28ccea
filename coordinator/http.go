package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quorate/coordinator/store"
	"quorate/docs"
	"quorate/internal/api"
)

// statusOf is the only place where codes become HTTP.
var statusOf = map[string]int{
	api.CodeNotFound:         http.StatusNotFound,
	api.CodeBadRequest:       http.StatusBadRequest,
	api.CodeBadCursor:        http.StatusBadRequest,
	api.CodeUnknownParameter: http.StatusBadRequest,
	api.CodeMethod:           http.StatusMethodNotAllowed,
	api.CodeNotReady:         http.StatusServiceUnavailable,
	api.CodeBadHost:          http.StatusMisdirectedRequest,
	api.CodeInternal:         http.StatusInternalServerError,
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
	c.addRoutes(func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc("GET "+pattern, c.strict(pattern, h))
		mux.HandleFunc(pattern, c.wrongMethod)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, notFound("there is nothing at %s", r.URL.Path))
	})
	return mux
}

// addRoutes names everything that is served. All of it only shows.
func (c *Coordinator) addRoutes(get func(pattern string, h http.HandlerFunc)) {
	c.pageRoutes(get)
	get("/v1/channels", serve(c, c.getChannels))
	get("/v1/targets", serve(c, c.getTargets))
	get("/v1/targets/{id}", inTurn(c, c.getTarget))
	get("/v1/targets/{id}/differences", serve(c, c.getDifferences))
	get("/v1/targets/{id}/artifacts/{name}/signatures/{file}", serve(c, c.getSignature))
	get("/v1/targets/{id}/artifacts/{name}/evidence", inTurn(c, c.getEvidence))
	get("/v1/artifacts/{digest}", inTurn(c, c.getArtifacts))
	get("/v1/statements/{sha256}", serve(c, c.getStatement))
	get("/v1/statements/{sha256}/log", c.getLog)
	get("/v1/rejected", serve(c, c.getRejected))
	get("/v1/acts", serve(c, c.getActs))
	get("/v1/alarms", serve(c, c.getAlarms))
	get("/v1/subject", serve(c, c.getSubject))
	get("/v1/receipts/{sha256}", serve(c, c.getReceipt))
	get("/v1/files/{sha256}", c.getFile)
	get("/v1/events", c.getEvents)
	get("/healthz", serve(c, c.getHealth))
	get("/readyz", c.getReady)
	get("/metrics", promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP)
	get("/v1/channels/{channel}/feed.atom", serve(c, c.getFeed))
	get("/v1/openapi.yaml", serve(c, func(*http.Request) (raw, error) { return raw{contentType: "application/yaml", data: docs.OpenAPI}, nil }))
}

// serve makes a handler of a function that returns what is to be shown.
func serve[T any](c *Coordinator, get func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := get(r)
		if err != nil {
			c.fail(w, err)
			return
		}
		f, ok := any(v).(raw)
		if !ok {
			f, err = toJSON(v)
		}
		if err != nil {
			c.fail(w, err)
			return
		}
		if f.name != "" {
			w.Header().Set("Content-Disposition", contentDisposition(f.name))
		}
		c.send(w, r, f.contentType, f.data)
	}
}

func toJSON(v any) (raw, error) {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return raw{}, fmt.Errorf("encode answer: %w", err)
	}
	return raw{contentType: "application/json", data: append(data, '\n')}, nil
}

// send answers with bytes and a tag by which the reader can ask whether they are
// still the same (RFC 9110, section 8.8.3). It may keep them, and asks each time.
func (c *Coordinator) send(w http.ResponseWriter, r *http.Request, contentType string, data []byte) {
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache")
	if isKnown(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(data) // a reader that went away is no error of ours
}

// isKnown reports whether the reader has the bytes of the tag. A proxy that
// compressed them may have made the tag a weak one.
func isKnown(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// write answers with JSON that nobody keeps.
func (c *Coordinator) write(w http.ResponseWriter, status int, v any) {
	f, err := toJSON(v)
	if err != nil {
		c.log.Error("request failed", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	w.WriteHeader(status)
	_, _ = w.Write(f.data) // a reader that went away is no error of ours
}

// fail answers with the error's code. What is not meant for readers is logged
// and stays inside.
func (c *Coordinator) fail(w http.ResponseWriter, err error) {
	e := c.public(err)
	c.write(w, statusOf[e.code], api.Error{Code: e.code, Message: e.message})
}

// public is what readers may see of an error.
func (c *Coordinator) public(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, store.ErrNotFound):
		return &apiError{api.CodeNotFound, "there is no such thing"}
	case errors.Is(err, context.Canceled):
		return &apiError{api.CodeInternal, "the reader went away"} // and must not fill the log by that
	}
	c.log.Error("request failed", "error", err)
	return &apiError{api.CodeInternal, "something failed inside the coordinator; its log says what"}
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
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		// Of what is served here, only pages are to be shown as pages, and only by
		// themselves. They loosen the first one as far as they need.
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
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
	go func() { ended <- c.web.Serve(limitReaders(c.listen)) }()
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
