package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
)

// serving is the HTTP side of a world.
type serving struct {
	server *httptest.Server
	events []string // all of them, in the order of the record
	change chan struct{}
	broken chan struct{} // closed to drop every stream
	opened int           // streams so far
	looks  int           // answers about a digest since the last of them was opened
	resume []string      // Last-Event-ID of each
	muted  bool          // events are not sent
	reset  int           // a reset is sent to streams that have sent fewer
	fault  string        // of every answer from now on
	cond   *sync.Cond
}

func (s *serving) init() {
	s.change, s.broken = make(chan struct{}), make(chan struct{})
	s.cond = sync.NewCond(&sync.Mutex{})
}

func (w *world) start() { w.server = httptest.NewServer(w.handler()) }

func (w *world) stop() {
	w.drop()
	w.server.CloseClientConnections()
	w.server.Close()
}

func (w *world) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/artifacts/{digest}", w.serveArtifacts)
	mux.HandleFunc("GET /v1/targets", w.serveTargets)
	mux.HandleFunc("GET /v1/targets/{id}", w.serveTarget)
	mux.HandleFunc("GET /v1/targets/{id}/differences", w.serveDifferences)
	mux.HandleFunc("GET /v1/events", w.serveEvents)
	mux.HandleFunc("GET /v1/", w.serveBlob)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch w.currentFault() {
		case "503":
			answer(rw, 503, api.Error{Code: api.CodeNotReady, Message: "reading the record"})
		case "hang":
			<-r.Context().Done()
		case "html":
			fmt.Fprint(rw, "<html>\x1b[2Jhello</html>")
		case "hostile":
			answer(rw, 400, api.Error{Code: "x\x1b[2J", Message: "\u202eevil"})
		default:
			mux.ServeHTTP(rw, r)
		}
	})
}

func (w *world) currentFault() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.WriteHeader(status)
	if err := json.MarshalWrite(rw, v); err != nil {
		panic(err)
	}
}

func (w *world) serveArtifacts(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out api.Artifacts
	voted := func(a *api.Artifact) bool { return votedFor(a, out.SHA256) }
	text := r.PathValue("digest")
	err := out.SHA256.UnmarshalText([]byte(text))
	if len(text) == 128 {
		err = out.SHA512.UnmarshalText([]byte(text))
		voted = func(a *api.Artifact) bool { return votedForSHA512(a, out.SHA512) }
	}
	if err != nil {
		answer(rw, 400, api.Error{Code: api.CodeBadRequest, Message: err.Error()})
		return
	}
	for _, wc := range w.sortedCases() {
		for _, a := range w.artifacts(wc) {
			if voted(&a) {
				out.Artifacts = append(out.Artifacts, w.spoil(a))
			}
		}
	}
	w.cond.L.Lock()
	w.looks++
	w.cond.Broadcast()
	w.cond.L.Unlock()
	if len(out.Artifacts) == 0 {
		answer(rw, 404, api.Error{Code: api.CodeNotFound, Message: "nobody voted for it"})
		return
	}
	answer(rw, 200, out)
}

// spoil is what a coordinator in the wrong hands might say.
func (w *world) spoil(a api.Artifact) api.Artifact {
	a.Signatures = slices.Clone(a.Signatures)
	switch w.fault {
	case "path":
		for i := range a.Signatures {
			a.Signatures[i].Path = "http://192.0.2.1/v1/x"
		}
	case "keyname":
		for i := range a.Signatures {
			a.Signatures[i].Key = "../../evil"
		}
	case "unsigned":
		a.Signatures = nil
	case "words":
		a.Quorum = "\u202eq"
	case "reason":
		a.State, a.Reason = "\x1b[2J", "\x1b[1m"
	}
	return a
}

func (w *world) serveTargets(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := r.URL.Query()
	var page api.Targets
	skipping := q.Get("after") != ""
	for _, wc := range w.sortedCases() {
		t := w.target(wc)
		if skipping {
			skipping = t.ID != q.Get("after")
			continue
		}
		if !w.selected(wc, &t, q.Get("channel"), q.Get("state"), q.Get("q")) {
			continue
		}
		if len(page.Targets) == 2 { // so that every list has pages
			page.Next = page.Targets[1].ID
			break
		}
		page.Targets = append(page.Targets, t)
	}
	answer(rw, 200, page)
}

func (w *world) selected(wc *worldCase, t *api.Target, channel, state, q string) bool {
	if (channel != "" && channel != t.Channel) || (state != "" && state != string(t.State)) {
		return false
	}
	return q == "" || strings.Contains(t.Target, q) || slices.ContainsFunc(w.artifacts(wc), func(a api.Artifact) bool { return strings.Contains(a.Artifact, q) })
}

func (w *world) serveTarget(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wc := w.cases[r.PathValue("id")]
	if wc == nil {
		answer(rw, 404, api.Error{Code: api.CodeNotFound, Message: "no such target"})
		return
	}
	d := api.TargetDetail{Target: w.target(wc)}
	for _, a := range w.artifacts(wc) {
		d.Artifacts = append(d.Artifacts, w.spoil(a))
	}
	for i, o := range wc.obs {
		d.Statements = append(d.Statements, api.StatementInfo{ID: o.ID, Seq: o.Seq, Operator: o.Operator, Builder: o.Builder, Received: o.Received,
			Started: wc.stmts[i].Started, Finished: wc.stmts[i].Finished, Status: o.Status, Reason: o.Reason, Path: "/v1/statements/" + o.ID.String(), Log: w.logs[o.ID]})
	}
	answer(rw, 200, d)
}

func (w *world) serveBlob(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, ok := w.blobs[r.URL.RequestURI()]
	if !ok {
		answer(rw, 404, api.Error{Code: api.CodeNotFound, Message: "no such thing"})
		return
	}
	if data = slices.Clone(data); w.fault == "garble" {
		data[len(data)-1]++
	}
	rw.Write(data)
}

// announce records an event for each artifact of the case.
func (w *world) announce(wc *worldCase) {
	for _, a := range w.artifacts(wc) {
		e := api.Event{Channel: a.Channel, Target: a.Target, Stage: a.Stage, TargetID: a.TargetID, Artifact: a.Artifact, State: a.State, Reason: a.Reason}
		for _, g := range a.Groups {
			e.Digests = append(e.Digests, g.SHA256)
		}
		w.events = append(w.events, string(must(json.Marshal(e))))
	}
	w.wake()
}

func (w *world) wake() {
	close(w.change)
	w.change = make(chan struct{})
}

func (w *world) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.broken)
	w.broken = make(chan struct{})
}

func (w *world) serveEvents(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	sent, resets, broken := len(w.events), w.reset, w.broken
	if n := 0; r.Header.Get("Last-Event-ID") != "" {
		fmt.Sscan(r.Header.Get("Last-Event-ID"), &n)
		sent = n
	}
	w.resume = append(w.resume, r.Header.Get("Last-Event-ID"))
	w.mu.Unlock()
	w.cond.L.Lock()
	w.opened++
	w.looks = 0
	w.cond.L.Unlock()
	rw.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(rw, ": hello\nretry: 1\n\n")
	rw.(http.Flusher).Flush()
	for {
		w.mu.Lock()
		change, muted, reset := w.change, w.muted, w.reset
		news := w.events[min(sent, len(w.events)):]
		w.mu.Unlock()
		if reset > resets {
			resets = reset
			fmt.Fprint(rw, "event: reset\ndata: {}\n\n")
		}
		for i, e := range news {
			if !muted {
				fmt.Fprintf(rw, "event: verdict\nid: %d\ndata: %s\n\n", sent+i+1, e)
			}
		}
		sent += len(news)
		rw.(http.Flusher).Flush()
		select {
		case <-change:
		case <-broken:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// await blocks until so many streams were opened in all, and whoever opened the
// last one has looked at a file.
func (s *serving) await(n int) bool {
	there := func() bool { return s.opened > n || s.opened == n && s.looks > 0 }
	late := time.AfterFunc(30*time.Second, s.cond.Broadcast) // a guard, never reached when all is well
	defer late.Stop()
	start := time.Now()
	s.cond.L.Lock()
	defer s.cond.L.Unlock()
	for !there() && time.Since(start) < 30*time.Second {
		s.cond.Wait()
	}
	return there()
}
