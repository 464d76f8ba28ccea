package coordinator_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
	"quorate/quorum"
)

func TestErrorsHaveStableCodes(t *testing.T) {
	w := newWorld(t)
	w.start()
	zero := strings.Repeat("0", 64)
	tests := []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v1/nothing", 404, api.CodeNotFound},
		{"POST", "/v1/targets", 405, api.CodeMethod},
		{"DELETE", "/v1/channels", 405, api.CodeMethod},
		{"GET", "/v1/targets?state=good", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?limit=0", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?limit=501", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?after=x", 400, api.CodeBadCursor},
		{"GET", "/v1/targets?after=" + strings.Repeat("A", 22), 400, api.CodeBadCursor},
		{"GET", "/v1/targets?order=name", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?older=-1h", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?newer=soon", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?q=%ff", 400, api.CodeBadRequest},
		{"GET", "/v1/targets?q=" + strings.Repeat("x", 2049), 400, api.CodeBadRequest},
		{"GET", "/v1/targets/x", 400, api.CodeBadRequest},
		{"GET", "/v1/targets/" + zero[:32], 404, api.CodeNotFound},
		{"GET", "/v1/targets/" + zero[:32] + "/artifacts/a/evidence", 404, api.CodeNotFound},
		{"GET", "/v1/targets/" + zero[:32] + "/artifacts/a/signatures/k.openpgp", 404, api.CodeNotFound},
		{"GET", "/v1/artifacts/abc", 400, api.CodeBadRequest},
		{"GET", "/v1/artifacts/" + strings.Repeat("A", 64), 400, api.CodeBadRequest},
		{"GET", "/v1/artifacts/" + zero, 404, api.CodeNotFound},
		{"GET", "/v1/statements/" + zero, 404, api.CodeNotFound},
		{"GET", "/v1/rejected?before=-1", 400, api.CodeBadRequest},
		{"GET", "/v1/events?sha256=1", 400, api.CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			w.wantError(t, must(http.NewRequest(tt.method, w.c.URL()+tt.path, nil))(t), tt.status, tt.code)
		})
	}
}

func (w *world) wantError(t *testing.T, r *http.Request, status int, code string) {
	t.Helper()
	resp := must(http.DefaultClient.Do(r))(t)
	defer resp.Body.Close()
	var e api.Error
	check(t, json.UnmarshalRead(resp.Body, &e))
	if resp.StatusCode != status || e.Code != code || e.Message == "" {
		t.Errorf("status %d, error %+v, want %d %s", resp.StatusCode, e, status, code)
	}
}

// A page of somebody else can make its own name point to loopback.
func TestOtherHostsAreRefusedOnLoopback(t *testing.T) {
	w := newWorld(t)
	w.start()
	port := w.c.URL()[strings.LastIndex(w.c.URL(), ":"):]
	for _, host := range []string{"evil.example", "evil.example" + port, "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"} {
		r := must(http.NewRequest("GET", w.c.URL()+"/v1/channels", nil))(t)
		r.Host = host
		w.wantError(t, r, 421, api.CodeBadHost)
	}
	for _, host := range []string{"localhost", "localhost" + port, "127.0.0.1" + port, "[::1]" + port} {
		r := must(http.NewRequest("GET", w.c.URL()+"/v1/channels", nil))(t)
		r.Host = host
		resp := must(http.DefaultClient.Do(r))(t)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("host %s: status %d", host, resp.StatusCode)
		}
	}
}

func TestTargetsAreFilteredAndPaged(t *testing.T) {
	w := newWorld(t)
	w.start()
	for i := range 7 {
		w.publish(build{builder: "alice", target: fmt.Sprintf("pkg:generic/p%d@1", i)})
	}
	w.publish(build{builder: "erin", channel: "other", target: "pkg:generic/p1@1"})
	w.publish(build{builder: "bob", target: "pkg:generic/p3@1", files: map[string]string{"hello": "else"}})
	w.publish(build{builder: "bob", target: "pkg:generic/failed@1", status: "failed"})
	w.sync()

	var seen []string
	for after := ""; ; {
		page := get[api.Targets](w, "/v1/targets?limit=2&after="+after)
		for _, target := range page.Targets {
			seen = append(seen, target.Channel+" "+target.Target)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	want := []string{"core pkg:generic/failed@1", "other pkg:generic/p1@1"}
	for i := range 7 {
		want = append(want, fmt.Sprintf("core pkg:generic/p%d@1", 6-i))
	}
	if !slices.Equal(seen, want) {
		t.Errorf("pages give %q, want the newest first", seen)
	}
	for query, want := range map[string]int{"channel=core": 8, "channel=other": 1, "state=conflicting": 1, "state=waiting": 7,
		"q=p1": 2, "q=p1&channel=core": 1, "q=%25": 0, "state=signed": 0, "q=hello": 8, "q=hell": 0, "q=ic/p1": 2, "builder=bob": 2, "builder=bob&state=waiting": 1,
		"newer=1h": 9, "older=1h": 0, "older=0s": 9, "newer=1d&channel=other": 1, "differs=bob": 0} {
		if list := w.targets(query); len(list) != want {
			t.Errorf("%s: %d targets, want %d", query, len(list), want)
		}
	}
	failed := w.detail(caseID("core", "pkg:generic/failed@1"))
	if len(failed.Artifacts) != 0 || len(failed.Statements) != 1 || failed.Statements[0].Status != "failed" {
		t.Errorf("failed build: %+v", failed)
	}
}

func TestChannelsCountArtifacts(t *testing.T) {
	w := signedWorld(t)
	want := func() {
		t.Helper()
		ch := get[api.Channels](w, "/v1/channels")
		if len(ch.Channels) != 2 || ch.Policy.Version != 1 || ch.Channels[0].Counts[quorum.Signed] != 1 || ch.Channels[0].Counts[quorum.Waiting] != 1 {
			t.Errorf("channels %+v", ch)
		}
	}
	want()
	w.stop()
	w.start() // now the counts come from the database
	want()
}

func TestStatementsAreServedAsTheyCame(t *testing.T) {
	w := newWorld(t)
	w.start()
	st := w.publish(build{builder: "alice"})
	w.sync()
	resp := must(http.Get(w.c.URL() + w.detail(helloID).Statements[0].Path))(t)
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "application/octet-stream" {
		t.Errorf("content type %s: a browser might show what somebody sent", kind)
	}
	_, body := w.fetch("/v1/statements/" + st.ID().String())
	if string(body) != string(st.Raw()) {
		t.Error("the bytes differ")
	}
}

func TestRejectedIsPaged(t *testing.T) {
	w := newWorld(t)
	w.start()
	for i := range 5 {
		w.publishRaw("alice", "quorate.statements.core.alice", fmt.Appendf(nil, "bad %d", i))
	}
	w.sync()
	var seqs []uint64
	for before := uint64(0); ; {
		page := get[rejectedList](w, fmt.Sprintf("/v1/rejected?limit=2&before=%d", before))
		for _, r := range page.Rejected {
			seqs = append(seqs, r.Seq)
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	if !slices.Equal(seqs, []uint64{5, 4, 3, 2, 1}) {
		t.Errorf("pages give %v", seqs)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	w := signedWorld(t)
	if status, _ := w.fetch("/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	ready := get[api.Ready](w, "/readyz")
	for _, name := range []string{"bus", "database", "record", "policy"} {
		if !ready.Checks[name].OK {
			t.Errorf("check %s: %+v", name, ready.Checks[name])
		}
	}
	_, body := w.fetch("/metrics")
	for _, line := range []string{
		`quorate_artifacts{channel="core",state="signed"} 1`,
		`quorate_messages_total{result="accepted"}`,
		`quorate_messages_total{result="rejected"} 1`,
		`quorate_rejected_total{code="bad-json"} 1`,
		"quorate_requests_total 1", "quorate_signatures_total 1", "quorate_lag_messages 0", "quorate_commit_seconds_count",
	} {
		if !strings.Contains(string(body), line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// With nothing new in the record a coordinator is ready as soon as it reads that:
// whoever starts it again waits for /readyz, and an alarm does, too.
func TestReadyWithNothingToRead(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		w.start()
		// Less than the minute after which the clock wakes who decides.
		for ctx, cancel := context.WithTimeout(t.Context(), testLimit/2); ; {
			status, body := w.fetch("/readyz")
			if status == http.StatusOK {
				cancel()
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("not ready: %s", body)
			}
		}
		w.stop()
	}
}

// stream is a reader of events.
type stream struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Reader
	id   string // the latest
}

func (w *world) events(t *testing.T, query, lastID string) *stream {
	t.Helper()
	r := must(http.NewRequestWithContext(limit(t), "GET", w.c.URL()+"/v1/events?"+query, nil))(t)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp := must(http.DefaultClient.Do(r))(t)
	t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("content type %s", kind)
	}
	return &stream{t: t, resp: resp, in: bufio.NewReader(resp.Body)}
}

// next reads one block: its event and data, which are empty for the greeting.
func (s *stream) next() (event, data string) {
	s.t.Helper()
	for {
		line := strings.TrimRight(must(s.in.ReadString('\n'))(s.t), "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "":
			return event, data
		case name == "id":
			s.id = value
		case name == "event":
			event = value
		case name == "data":
			data = value
		}
	}
}

func (s *stream) wantVerdict(target string, state quorum.State) {
	s.t.Helper()
	event, data := s.next()
	var e api.Event
	if event == "verdict" {
		check(s.t, json.Unmarshal([]byte(data), &e))
	}
	if e.Target != target || e.State != state {
		s.t.Fatalf("event %s: %s, want %s %s", event, data, target, state)
	}
}

func TestEventsTellOfChangesAndResume(t *testing.T) {
	w := newWorld(t)
	w.start()
	all := w.events(t, "", "")
	all.next()
	greeting := all.id
	byDigest := w.events(t, "sha256="+digest("hello, world").String(), "")
	byDigest.next()
	byTarget := w.events(t, "target=pkg:generic/hello@1&channel=core", "")
	byTarget.next()

	w.publish(build{builder: "alice", target: "pkg:generic/b@1", files: map[string]string{"x": "y"}})
	w.sync()
	w.publish(build{builder: "alice"})
	w.sync()
	all.wantVerdict("pkg:generic/b@1", quorum.Waiting)
	all.wantVerdict("pkg:generic/hello@1", quorum.Waiting)
	byDigest.wantVerdict("pkg:generic/hello@1", quorum.Waiting)
	byTarget.wantVerdict("pkg:generic/hello@1", quorum.Waiting)
	seen := byTarget.id
	byTarget.resp.Body.Close()

	w.agree("bob", "carol")
	w.stop()
	w.start()
	again := w.events(t, "target=pkg:generic/hello@1", seen)
	again.next()
	for state := quorum.Waiting; state != quorum.Agreed; {
		_, data := again.next()
		var e api.Event
		check(t, json.Unmarshal([]byte(data), &e))
		state = e.State
	}
	first := w.events(t, "", greeting)
	first.next()
	first.wantVerdict("pkg:generic/b@1", quorum.Waiting)
}

func TestEventsOfAnotherDatabaseAreReset(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	for _, id := range []string{"123456789abc-1", "nonsense", "-5", w.epoch(t) + "-999"} {
		s := w.events(t, "", id)
		if event, _ := s.next(); event != "reset" {
			t.Errorf("Last-Event-ID %s: event %q, want reset", id, event)
		}
		w.publish(build{builder: "bob", nonce: id, files: map[string]string{"f": id}})
		if event, data := s.next(); event != "verdict" || !strings.Contains(data, "hello@1") {
			t.Errorf("after the reset: %s %s", event, data)
		}
		w.sync()
	}
}

func (w *world) epoch(t *testing.T) string {
	s := w.events(t, "", "")
	s.next()
	epoch, _, _ := strings.Cut(s.id, "-")
	return epoch
}

func TestBusURLIsWritten(t *testing.T) {
	w := newWorld(t)
	w.start()
	if text := string(must(os.ReadFile(w.path("state/bus-url")))(t)); strings.TrimSpace(text) != w.c.BusURL() {
		t.Errorf("bus-url is %q, want %q", text, w.c.BusURL())
	}
}
