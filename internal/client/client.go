// Package client reads the coordinator's HTTP interface.
//
// Guarantees: every answer is bounded in size, every plain request in time, a
// list in pages and in time; a path that the server names is followed on that
// server only, and a redirect never; an error of the server is an [*Error] with
// its stable code. Not guaranteed: that what the
// server says is true. A coordinator is believed by nobody: callers verify
// signatures and evidence themselves, and make its text harmless before they
// show it.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
	"quorate/quorum/statement"
)

// maxJSON bounds an answer in JSON: a target with thousands of artifacts and a
// few dozen operators fits.
const maxJSON = 64 << 20

// maxPage is the largest page of a list that the server gives.
const maxPage = 500

// Bounds of a list: what an honest server could hold is far below them, and one
// that always names another page ends somewhere.
var maxPages = 20_000 // a constant; tests do not wait for so many

const maxCursor = 4096 // bytes

// Client talks to one coordinator. Its zero value is of no use, see [New].
type Client struct {
	base *url.URL
	http *http.Client

	// Timeout bounds one plain request, its answer included.
	Timeout time.Duration
	// Lists bounds going through a whole list, what the caller does with it included.
	Lists time.Duration
	// Idle is how long the stream of events may be silent before the connection
	// is given up and made anew. The server sends something well within it.
	Idle time.Duration
	// Backoff gives the pause before the n-th attempt in a row to reconnect.
	Backoff func(n int) time.Duration
}

// New returns a client for the server's address, such as http://127.0.0.1:7780.
func New(server string) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("server address is not a URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("server address %q is not http://HOST:PORT or https://HOST", u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{base: u, http: &http.Client{CheckRedirect: stay}, Timeout: 30 * time.Second, Lists: 10 * time.Minute,
		Idle: 75 * time.Second, Backoff: backoff}, nil
}

// stay keeps a server from having requests sent to others, which the server
// itself may not reach and this machine does: a cloud's metadata, a router.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Server returns the server's address without a password.
func (c *Client) Server() string { return c.base.Redacted() }

// Error is an answer of the server that is not a success.
type Error struct {
	Status  int    // of HTTP
	Code    string // see package api; empty when the answer was none of the interface
	Message string
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("server answered %d: %s (%s)", e.Status, e.Message, e.Code)
}

// IsNotFound reports whether the server answered that there is no such thing.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == api.CodeNotFound
}

// Temporary reports whether the same question may be answered later: the server
// could not be reached, is starting, or has a fault.
func Temporary(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
	}
	var u *unreachable
	return errors.As(err, &u)
}

// unreachable is a fault of the network between here and the server.
type unreachable struct {
	doing string
	err   error
}

func (e *unreachable) Error() string { return e.doing + ": " + e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// badAnswer is an answer that is not of this interface: asking again is of no use.
type badAnswer struct{ msg string }

func (e *badAnswer) Error() string { return e.msg }

// Place narrows a list of artifacts; empty fields do not. The server may list more
// than was asked for.
type Place struct {
	Channel, Target, Stage string
	Name                   string // of the artifact
}

func (p Place) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"channel": p.Channel, "target": p.Target, "stage": p.Stage, "name": p.Name} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// Artifacts returns the artifacts for which somebody voted with the digest, what
// is signed first; none is no error. The server cuts a long list, so say what is
// known of the file.
func (c *Client) Artifacts(ctx context.Context, d statement.SHA256, p Place) (*api.Artifacts, error) {
	out := &api.Artifacts{SHA256: d}
	err := c.json(ctx, "/v1/artifacts/"+d.String(), p.values(), out)
	if IsNotFound(err) {
		return out, nil
	}
	return out, err
}

// ArtifactsBySHA512 is [Client.Artifacts] for whoever has the other digest.
func (c *Client) ArtifactsBySHA512(ctx context.Context, d statement.SHA512, p Place) (*api.Artifacts, error) {
	out := &api.Artifacts{SHA512: d}
	err := c.json(ctx, "/v1/artifacts/"+d.String(), p.values(), out)
	if IsNotFound(err) {
		return out, nil
	}
	return out, err
}

// Target returns one target with its artifacts.
func (c *Client) Target(ctx context.Context, id string) (*api.TargetDetail, error) {
	out := new(api.TargetDetail)
	return out, c.json(ctx, "/v1/targets/"+url.PathEscape(id), nil, out)
}

// Differences returns why builders differ on a target, on one artifact of it
// unless artifact is empty.
func (c *Client) Differences(ctx context.Context, id, artifact string) (*api.Differences, error) {
	out, q := new(api.Differences), url.Values{}
	if artifact != "" {
		q.Set("artifact", artifact)
	}
	return out, c.json(ctx, "/v1/targets/"+url.PathEscape(id)+"/differences", q, out)
}

// Query narrows a list of targets or a stream of events; empty fields do not.
type Query struct {
	Channel string
	Target  string // exact; events only
	State   string // targets only
	Text    string // part of a target's or an artifact's name; targets only
	Page    int    // how many targets to ask for at once; 0: the server chooses
}

func (q Query) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"channel": q.Channel, "target": q.Target, "state": q.State, "q": q.Text} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Page > 0 {
		v.Set("limit", strconv.Itoa(min(q.Page, maxPage)))
	}
	return v
}

// Targets goes through all pages of the list. It ends after an error. A list whose
// pages come back to one that was read, or never end, is an error.
func (c *Client) Targets(ctx context.Context, q Query) iter.Seq2[api.Target, error] {
	return func(yield func(api.Target, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, c.Lists)
		defer cancel()
		values, seen := q.values(), map[string]bool{}
		for {
			var page api.Targets
			if err := c.json(ctx, "/v1/targets", values, &page); err != nil {
				yield(api.Target{}, err)
				return
			}
			for _, t := range page.Targets {
				if !yield(t, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if seen[page.Next] || len(seen) >= maxPages || len(page.Next) > maxCursor {
				yield(api.Target{}, &badAnswer{"server answered with a list that does not end"})
				return
			}
			seen[page.Next] = true
			values.Set("after", page.Next)
		}
	}
}

// Raw returns the bytes at a path that the server named. One that leads to
// another server is refused.
func (c *Client) Raw(ctx context.Context, path string, limit int) ([]byte, error) {
	ref, err := url.Parse(path)
	if err != nil || ref.IsAbs() || ref.Host != "" || !strings.HasPrefix(ref.Path, "/v1/") {
		return nil, &badAnswer{fmt.Sprintf("server named the path %.200q, which is not one of its own", path)}
	}
	return c.get(ctx, ref.EscapedPath(), ref.Query(), limit)
}

func (c *Client) json(ctx context.Context, path string, q url.Values, into any) error {
	data, err := c.get(ctx, path, q, maxJSON)
	if err != nil {
		return err
	}
	// Unknown fields are passed over: a newer server may say more.
	if err := json.Unmarshal(data, into); err != nil {
		return &badAnswer{fmt.Sprintf("server's answer to GET %s: %v", path, err)}
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, q url.Values, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	resp, err := c.do(ctx, path, q, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, &unreachable{"read from " + c.Server(), err}
	}
	if len(data) > limit {
		return nil, &badAnswer{fmt.Sprintf("server's answer to GET %s has more than %d bytes", path, limit)}
	}
	return data, nil
}

// do sends a request. The path is in its escaped form. A response that is
// returned is a success.
func (c *Client) do(ctx context.Context, path string, q url.Values, header http.Header) (*http.Response, error) {
	target := c.base.String() + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, &badAnswer{fmt.Sprintf("path %.200q is not one", path)}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil && c.isBus(ctx, err) {
		return nil, &badAnswer{c.Server() + " is a bus (NATS) and not a coordinator's HTTP interface, which has another port"}
	}
	if err != nil {
		return nil, &unreachable{"cannot reach " + c.Server(), plain(err)}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, &badAnswer{fmt.Sprintf("%s sends to %.200q instead of answering; that is not followed: name the coordinator's own address",
			c.Server(), resp.Header.Get("Location"))}
	}
	var told api.Error
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status says enough if this fails
	if json.Unmarshal(body, &told) != nil {
		told = api.Error{}
	}
	return nil, &Error{resp.StatusCode, told.Code, told.Message}
}

// isBus tells a NATS server by the greeting that it sends to everybody. The two
// addresses of a coordinator are easily mistaken for each other.
func (c *Client) isBus(ctx context.Context, err error) bool {
	text := err.Error()
	if strings.Contains(text, "malformed HTTP") {
		return strings.Contains(text, `\"server_id\"`)
	}
	// The greeting came before the request was sent. net/http does not say what it
	// was, so the server is asked for it once more.
	return strings.Contains(text, "readLoopPeekFail") && c.greets(ctx)
}

const greetingWait = 2 * time.Second

func (c *Client) greets(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, greetingWait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.base.Host)
	if err != nil {
		return false
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(end)
	greeting := make([]byte, len("INFO {"))
	_, err = io.ReadFull(conn, greeting)
	return err == nil && string(greeting) == "INFO {"
}

// plain takes method and URL out of the error: the caller names the server.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
