package coordinator_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator"
	"quorate/quorum"
	"quorate/quorum/act"
)

var hookSecret = []byte("0123456789abcdef0123456789abcdef")

// receiver is somebody's endpoint.
type receiver struct {
	*httptest.Server
	got    chan delivered
	status chan int // what to answer next; 200 when there is nothing in it
}

type delivered struct {
	id, stamp, sig string
	body           coordinator.HookBody
	raw            []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{got: make(chan delivered, 100), status: make(chan int, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		d := delivered{id: q.Header.Get("webhook-id"), stamp: q.Header.Get("webhook-timestamp"), sig: q.Header.Get("webhook-signature")}
		d.raw, _ = io.ReadAll(q.Body)
		if err := json.Unmarshal(d.raw, &d.body); err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", q.Method, q.Header, err)
		}
		select {
		case status := <-r.status:
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		default:
		}
		r.got <- d
	}))
	t.Cleanup(r.Close)
	return r
}

// next waits for a delivery and verifies it as the specification says.
func (r *receiver) next(t *testing.T) delivered {
	t.Helper()
	select {
	case d := <-r.got:
		h := hmac.New(sha256.New, hookSecret)
		h.Write([]byte(d.id + "." + d.stamp + "." + string(d.raw)))
		if want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); d.sig != want {
			t.Errorf("signature %s, want %s", d.sig, want)
		}
		if n, err := strconv.ParseInt(d.stamp, 10, 64); err != nil || n == 0 {
			t.Errorf("timestamp %q", d.stamp)
		}
		return d
	case <-limit(t).Done():
		t.Fatal("nothing was delivered")
		panic("unreachable")
	}
}

func (r *receiver) none(t *testing.T) {
	t.Helper()
	select {
	case d := <-r.got:
		t.Errorf("delivered: %s", d.raw)
	default:
	}
}

// hook appends a webhook to the configuration.
func (w *world) hook(name, url, lines string) {
	w.t.Helper()
	secret := w.path(name + ".secret")
	check(w.t, os.WriteFile(secret, []byte("whsec_"+base64.StdEncoding.EncodeToString(hookSecret)+"\n"), 0o600))
	w.config(fmt.Sprintf("\n[[webhook]]\nname = %q\nurl = %q\nsecret_file = %q\n%s\n", name, url, secret, lines))
}

func (w *world) config(text string) {
	w.t.Helper()
	path := filepath.Join(w.state(), "coordinator.toml")
	f := must(os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600))(w.t)
	must(f.WriteString(text))(w.t)
	check(w.t, f.Close())
}

func TestWebhookTellsInOrder(t *testing.T) {
	s := newStaffed(t)
	r, signed := newReceiver(t), newReceiver(t)
	s.hook("ops", r.URL, "")
	s.hook("signed", signed.URL, `events = ["signed"]`+"\n"+`channels = ["core"]`)
	s.start()
	signer := s.signer()
	s.agree("alice", "bob", "carol")
	hold := s.do(act.Hold, onHello, nil)
	s.do(act.Release, onHello, hold)
	signer.answer(signer.next(), nil)
	s.sync()
	s.publish(build{builder: "dave", files: map[string]string{"hello": "other bytes"}})
	s.sync()
	var kinds []string
	for range 5 {
		d := r.next(t)
		kinds = append(kinds, d.body.Type)
		if d.body.Data.Target != helloTarget || d.body.At.IsZero() {
			t.Errorf("%s", d.raw)
		}
	}
	if got := strings.Join(kinds, " "); got != "act.hold act.release verdict.signed verdict.disputed alarm" {
		t.Error(got)
	}
	// That the reasons of a verdict changed is no news.
	s.publish(build{builder: "dave", files: map[string]string{"hello": "yet other bytes"}})
	s.sync()
	s.do(act.Note, onHello, nil)
	if d := r.next(t); d.body.Type != "act.note" {
		t.Errorf("%s", d.raw)
	}
	if d := signed.next(t); d.body.Type != "verdict.signed" || d.body.Data.State != quorum.Signed {
		t.Errorf("%s", d.raw)
	}
	r.none(t)
	signed.none(t)
	s.wantMetric(`quorate_webhook_events_total{result="delivered",webhook="signed"} 1`)
}

// TestWebhookTellsOfDissent: that somebody differs is told once, whatever they go on
// to say, also to who leaves the events out.
func TestWebhookTellsOfDissent(t *testing.T) {
	w := newWorldWith(t, policyText(t, 1, 3, `dissent = "hold"`, nil))
	r := newReceiver(t)
	w.hook("ops", r.URL, "")
	w.start()
	signer := w.signer()
	w.publish(build{builder: "dave", files: map[string]string{"hello": "other bytes"}})
	w.agree("alice") // it is decided that they differ, before others agree
	w.agree("bob", "carol")
	w.publish(build{builder: "dave", files: map[string]string{"hello": "yet other bytes"}})
	w.agree("dave")
	signer.answer(signer.next(), nil)
	w.sync()
	var kinds []string
	for len(kinds) == 0 || kinds[len(kinds)-1] != "verdict.signed" {
		d := r.next(t)
		if kinds = append(kinds, d.body.Type); d.body.Type == "verdict.held" && d.body.Data.Reason != quorum.ReasonDissent {
			t.Errorf("%s", d.raw)
		}
	}
	if got := strings.Join(kinds, " "); got != "verdict.conflicting verdict.held verdict.signed" {
		t.Error(got)
	}
	r.none(t)
}

// TestWebhookTriesAgain: what was not taken comes again under its id, also after the
// coordinator was started anew, and nothing overtakes it.
func TestWebhookTriesAgain(t *testing.T) {
	s := newStaffed(t)
	r := newReceiver(t)
	s.hook("ops", r.URL, "")
	now := time.Now()
	s.setClock(now)
	s.start()
	r.status <- 503
	s.do(act.Note, onHello, nil)
	lost := r.next(t)
	s.do(act.Hold, onHello, nil)
	s.stop()
	r.none(t)
	s.setClock(now.Add(time.Minute))
	s.start()
	if again := r.next(t); again.id != lost.id || string(again.raw) != string(lost.raw) || again.stamp == lost.stamp {
		t.Errorf("%+v, and before %+v", again, lost)
	}
	if d := r.next(t); d.body.Type != "act.hold" || d.id == lost.id {
		t.Errorf("%+v", d)
	}
	// What the other side refuses is given up in the end, so that the rest comes.
	for range 12 {
		r.status <- 400
	}
	s.do(act.Note, onHello, nil)
	poison := r.next(t)
	for i := range 11 {
		if d := r.later(t, s.world); d.id != poison.id {
			t.Errorf("attempt %d is %s", i, d.id)
		}
	}
	s.do(act.Note, onHello, nil)
	if d := r.next(t); d.id == poison.id {
		t.Error("it was not given up")
	}
	// A redirect is a failure and not followed.
	r.status <- 307
	s.do(act.Note, onHello, nil)
	moved := r.next(t)
	if d := r.later(t, s.world); d.id != moved.id {
		t.Errorf("%+v", d)
	}
	// Gone is gone.
	r.status <- 410
	s.do(act.Note, onHello, nil)
	r.next(t)
	s.do(act.Note, onHello, nil)
	s.setClock(s.now.Load().Add(hookPatience))
	s.sync()
	s.stop()
	r.none(t)
}

// hookPatience is longer than any pause between two attempts.
const hookPatience = 2 * time.Hour

// later sets the clock forward until something is delivered: when the pause begins
// is the coordinator's to know.
func (r *receiver) later(t *testing.T, w *world) delivered {
	t.Helper()
	ctx := limit(t)
	for len(r.got) == 0 {
		w.setClock(w.now.Load().Add(hookPatience))
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("nothing was delivered")
		}
	}
	return r.next(t)
}

// TestADeadWebhookHoldsNothingUp: neither the work nor the end.
func TestADeadWebhookHoldsNothingUp(t *testing.T) {
	s := newStaffed(t)
	called, end := make(chan bool, 10), make(chan bool)
	dead := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		called <- true
		<-end
	}))
	t.Cleanup(func() { close(end); dead.Close() })
	s.hook("dead", dead.URL, "")
	s.hook("nobody", "http://127.0.0.1:1/", "")
	s.start()
	signer := s.signer()
	s.do(act.Note, onHello, nil)
	<-called
	s.agree("alice", "bob", "carol")
	signer.answer(signer.next(), nil)
	s.sync()
	s.wantState(quorum.Signed)
	s.stop()
}

// TestANewWebhookHearsNoHistory: also not when the database is made again.
func TestANewWebhookHearsNoHistory(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.do(act.Note, onHello, nil)
	s.stop()
	r := newReceiver(t)
	s.hook("ops", r.URL, "")
	must(coordinator.Rebuild(limit(t), s.options()))(t)
	s.start()
	s.do(act.Hold, onHello, nil)
	if d := r.next(t); d.body.Type != "act.hold" {
		t.Errorf("%s", d.raw)
	}
	r.none(t)
}

func TestWebhooksThatAreRefused(t *testing.T) {
	w := newWorld(t)
	good := must(os.ReadFile(filepath.Join(w.state(), "coordinator.toml")))(t)
	readable := w.path("readable")
	check(t, os.WriteFile(readable, []byte("whsec_"+base64.StdEncoding.EncodeToString(hookSecret)), 0o644))
	short := w.path("short")
	check(t, os.WriteFile(short, []byte("whsec_c2hvcnQ="), 0o600))
	for want, change := range map[string]func(){
		"http to another machine": func() { w.hook("a", "http://example.org/x", "") },
		"want https://":           func() { w.hook("a", "ftp://example.org/token", "") },
		"no user and password":    func() { w.hook("a", "https://me:token@example.org/", "") },
		"no channel \"typo\"":     func() { w.hook("a", "https://example.org/", `channels = ["typo"]`) },
		"\"x\" is no verdict":     func() { w.hook("a", "https://example.org/", `events = ["x"]`) },
		"name: a name":            func() { w.hook("a b", "https://example.org/", "") },
		"stands twice":            func() { w.hook("a", "https://example.org/", ""); w.hook("a", "https://example.org/", "") },
		"others can read": func() {
			w.config("\n[[webhook]]\nname = \"a\"\nurl = \"https://example.org/\"\nsecret_file = \"" + readable + "\"\n")
		},
		"24 to 64 bytes": func() {
			w.config("\n[[webhook]]\nname = \"a\"\nurl = \"https://example.org/\"\nsecret_file = \"" + short + "\"\n")
		},
		"secret_file: missing": func() { w.config("\n[[webhook]]\nname = \"a\"\nurl = \"https://example.org/\"\n") },
		"unknown key":          func() { w.config("\n[[webhook]]\nname = \"a\"\nsecret = \"x\"\n") },
	} {
		check(t, os.WriteFile(filepath.Join(w.state(), "coordinator.toml"), good, 0o600))
		change()
		_, err := coordinator.Start(limit(t), w.options())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "whsec_c2") {
			t.Errorf("%s: %v", want, err)
		}
	}
	check(t, os.WriteFile(filepath.Join(w.state(), "coordinator.toml"), good, 0o600))
	w.hook("a", "http://example.org/x", "plain_http = true")
	w.start()
}
