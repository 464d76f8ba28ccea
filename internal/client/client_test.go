package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/quorum/statement"
)

// serve starts a server for one test and returns a client for it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return dial(t, srv.URL)
}

func dial(t *testing.T, server string) *client.Client {
	t.Helper()
	c, err := client.New(server)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesWhatIsNoServer(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:7780", "ftp://x", "http://", "http://x/?q=1", "http://x/#y", "http://\x00"} {
		if _, err := client.New(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	c := dial(t, "http://me:secret@127.0.0.1:1/")
	if strings.Contains(c.Server(), "secret") {
		t.Error(c.Server())
	}
	if _, err := c.Artifacts(t.Context(), statement.SHA256{}, client.Place{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestNobodyVotedIsNoError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"not-found","message":"nothing"}`)
	})
	a, err := c.Artifacts(t.Context(), statement.SHA256{1}, client.Place{})
	if err != nil || len(a.Artifacts) != 0 || a.SHA256 != (statement.SHA256{1}) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	for _, c := range []struct {
		status    int
		body      string
		want      string
		temporary bool
	}{
		{503, `{"code":"not-ready","message":"reading the record"}`, "503: reading the record (not-ready)", true},
		{500, `<html>`, "500 Internal Server Error", true},
		{429, ``, "429", true},
		{400, `{"code":"bad-request","message":"no"}`, "400: no (bad-request)", false},
		{404, `404 page not found`, "404 Not Found", false}, // another program's
		{200, `[]`, "server's answer to GET /v1/artifacts/", false},
		{200, `{"sha256":"zz"}`, "server's answer to GET", false},
		{200, `{} {}`, "server's answer to GET", false},
	} {
		t.Run(fmt.Sprint(c.status, c.body), func(t *testing.T) {
			cl := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			_, err := cl.Artifacts(t.Context(), statement.SHA256{}, client.Place{})
			if err == nil || !strings.Contains(err.Error(), c.want) || client.Temporary(err) != c.temporary {
				t.Errorf("%v (temporary %t)", err, client.Temporary(err))
			}
		})
	}
}

func TestUnreachableIsTemporary(t *testing.T) {
	_, err := dial(t, "http://127.0.0.1:1").Artifacts(t.Context(), statement.SHA256{}, client.Place{})
	if !client.Temporary(err) || !strings.Contains(err.Error(), "cannot reach http://127.0.0.1:1") {
		t.Error(err)
	}
}

// The bus greets whoever connects, before it is asked.
func TestTheBusIsNoCoordinator(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "INFO {\"server_id\":\"NAAA\",\"server_name\":\"quorate\"} \r\n")
		}
	}()
	_, err = dial(t, "http://"+l.Addr().String()).Artifacts(t.Context(), statement.SHA256{}, client.Place{})
	if err == nil || client.Temporary(err) || err.Error() != "http://"+l.Addr().String()+" is a bus (NATS) and not a coordinator's HTTP interface, which has another port" {
		t.Error(err)
	}
}

func TestTargetsGoesThroughAllPages(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("after") {
		case "":
			fmt.Fprint(w, `{"targets":[{"id":"a"},{"id":"b"}],"next":"b&c"}`)
		case "b&c":
			fmt.Fprint(w, `{"targets":[{"id":"d"}]}`)
		}
	})
	var ids []string
	for tg, err := range c.Targets(t.Context(), client.Query{Channel: "core"}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, tg.ID)
	}
	if strings.Join(ids, "") != "abd" {
		t.Error(ids)
	}
}

func TestTargetsEndsWhenTheServerDoesNot(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"targets":[{"id":"a"}],"next":"a"}`)
	})
	var last error
	for _, err := range c.Targets(t.Context(), client.Query{}) {
		last = err
	}
	if last == nil {
		t.Error("no error")
	}
}

func TestRawStaysOnTheServer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RequestURI()) })
	for _, bad := range []string{"http://other/v1/x", "//other/v1/x", "/etc/passwd", "v1/x", "", "/v1/\x00", "file:///v1/x"} {
		if _, err := c.Raw(t.Context(), bad, 100); err == nil {
			t.Errorf("%q was followed", bad)
		}
	}
	got, err := c.Raw(t.Context(), "/v1/signatures/a%2Fb?key=c", 100)
	if err != nil || string(got) != "/v1/signatures/a%2Fb?key=c" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := c.Raw(t.Context(), "/v1/x", 3); err == nil || client.Temporary(err) {
		t.Errorf("too long an answer: %v", err)
	}
}

func TestPathOfTheServerIsKept(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"id":%q}`, r.URL.Path) }))
	defer srv.Close()
	d, err := dial(t, srv.URL+"/quorate/").Target(t.Context(), "x y")
	if err != nil || d.ID != "/quorate/v1/targets/x y" {
		t.Errorf("%+v, %v", d, err)
	}
}

// log is a watcher that notes what it hears.
type log struct {
	heard   []string
	onFresh func() error
	onEvent func(*api.Event) error
	lost    []error
}

func (l *log) Fresh(context.Context) error {
	l.heard = append(l.heard, "fresh")
	if l.onFresh != nil {
		return l.onFresh()
	}
	return nil
}

func (l *log) Event(_ context.Context, e *api.Event) error {
	l.heard = append(l.heard, e.Artifact)
	if l.onEvent != nil {
		return l.onEvent(e)
	}
	return nil
}

func (l *log) Lost(err error) {
	l.heard = append(l.heard, "lost")
	l.lost = append(l.lost, err)
}

// TestRedirectsAreNotFollowed: a hostile coordinator would have this machine ask
// what only this machine reaches.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "{}")
	}))
	defer inside.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL+"/latest/meta-data", code)
		})
		_, raw := c.Raw(t.Context(), "/v1/x", 100)
		_, plain := c.Artifacts(t.Context(), statement.SHA256{}, client.Place{})
		watch := c.Watch(t.Context(), client.Query{}, &log{})
		for _, err := range []error{raw, plain, watch} {
			if err == nil || client.Temporary(err) || !strings.Contains(err.Error(), "instead of answering") || !strings.Contains(err.Error(), inside.URL) {
				t.Errorf("%d: %v", code, err)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were sent to the other server", n)
	}
}

// TestListThatDoesNotEnd: every page names another one; or two name each other.
func TestListThatDoesNotEnd(t *testing.T) {
	for _, cycle := range []int{0, 1, 2, 7} {
		asked := 0
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			next := asked
			if asked++; cycle > 0 {
				next %= cycle
			}
			fmt.Fprintf(w, `{"targets":[{"id":"x"}],"next":"n%d"}`, next)
		})
		client.SetMaxPages(t, 50)
		var last error
		for _, err := range c.Targets(t.Context(), client.Query{}) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), "does not end") || asked > 51 || cycle > 0 && asked > cycle+1 {
			t.Errorf("cycle of %d pages: %v after %d", cycle, last, asked)
		}
	}
}

// TestListHasADeadline: the whole list has one, not only each of its pages.
func TestListHasADeadline(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"targets":[]}`) })
	c.Lists = 0
	for _, err := range c.Targets(t.Context(), client.Query{}) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		return
	}
	t.Error("the list was read without an error")
}
