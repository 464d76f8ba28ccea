package coordinator_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"quorate/internal/api"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// logOf is what is said of the log of a builder's newest statement.
func (w *world) logOf(builder string) (l api.Log) {
	w.t.Helper()
	for _, s := range w.detail(helloID).Statements {
		if s.Builder == builder && s.Log != nil {
			l = *s.Log
		}
	}
	return l
}

// wantLog waits until the log of the builder is in that state.
func (w *world) wantLog(builder, state string) api.Log {
	w.t.Helper()
	ctx := limit(w.t)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if l := w.logOf(builder); l.State == state {
			return l
		} else if ctx.Err() != nil {
			w.t.Fatalf("the log of %s is %+v, want %s", builder, l, state)
		}
	}
}

// fails publishes a build that failed.
func (w *world) fails(builder, log string) *statement.Statement {
	w.t.Helper()
	s := w.publish(build{builder: builder, status: statement.Failed, log: log})
	w.sync()
	return s
}

const hostileLog = "cc: error\n<script>alert(1)</script>\n\x1b[31mred\u202e\xff\n"

// The log of a build that failed is asked for, and what comes is text that nothing
// in a browser runs. A vote comes along so that there is a page.
func TestLogOfAFailedBuildIsShown(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	w.publish(build{builder: "bob", log: "fine"})
	s := w.fails("alice", hostileLog)
	u := w.asked(wire.KindLog, "alice")
	if u.Statement != s.ID() || u.SHA256 != digest(hostileLog) || u.Max != 32<<20 || u.Target != "pkg:generic/hello@1" {
		t.Errorf("%+v", u)
	}
	if l := w.wantLog("alice", api.LogAsked); l.Path != "" || l.SHA256 != digest(hostileLog) {
		t.Errorf("%+v", l)
	}
	w.upload("alice", digest(hostileLog), []byte(hostileLog))
	path := w.wantLog("alice", api.LogKept).Path
	for range 2 {
		r := must(http.Get(w.c.URL() + path))(t)
		body := must(io.ReadAll(r.Body))(t)
		r.Body.Close()
		h := r.Header
		if r.StatusCode != 200 || string(body) != hostileLog || h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox; frame-ancestors 'none'" {
			t.Errorf("status %d, %q, %v", r.StatusCode, body, h)
		}
		if _, page := w.fetch("/targets/" + helloID); !strings.Contains(string(page), `<a href="`+path+`">log</a>`) {
			t.Error("the page has no link to the log")
		}
		w.stop() // it is there after a restart as well
		w.start()
	}
	// A build that is like the others is of no interest.
	if l := w.logOf("bob"); l.State != api.LogNotAsked {
		t.Errorf("%+v", l)
	}
	w.wantError(t, must(http.NewRequest("GET", w.c.URL()+strings.Replace(path, s.ID().String(), strings.Repeat("0", 64), 1), nil))(t), 404, api.CodeNotFound)
}

// Where builders differ, the logs of each group are asked for; a builder that sends
// none says why, and the page does.
func TestLogsOfBuildersThatDiffer(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	for builder, content := range map[string]string{"alice": "one", "bob": "one", "carol": "two", "dave": "two"} {
		w.publish(build{builder: builder, files: map[string]string{"hello": content}, log: "log of " + builder})
	}
	w.sync()
	w.wantState(quorum.Unreachable)
	for builder, answer := range map[string]wire.NoLog{"bob": {Reason: wire.NoLogGone}, "carol": {Reason: wire.NoLogLarge, Bytes: 99_000_000}, "dave": {Reason: wire.NoLogKept}} {
		w.asked(wire.KindLog, builder)
		w.sendNoLog(builder, digest("log of "+builder), answer)
	}
	w.asked(wire.KindLog, "alice")
	w.upload("alice", digest("log of alice"), []byte("log of alice"))
	w.wantLog("alice", api.LogKept)
	w.wantLog("bob", api.LogGone)
	w.wantLog("dave", api.LogNotGiven)
	if l := w.wantLog("carol", api.LogLarge); l.Bytes != 99_000_000 {
		t.Errorf("%+v", l)
	}
	_, page := w.fetch("/targets/" + helloID)
	for _, want := range []string{"its builder no longer keeps it", "too large to be kept here: 99000000 bytes", "kept by its builder, which gives no logs away"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	// An answer to what is settled, and one that cannot be read, change nothing.
	w.sendNoLog("alice", digest("log of alice"), wire.NoLog{Reason: wire.NoLogGone})
	w.sendNoLog("bob", digest("log of bob"), wire.NoLog{Reason: "nonsense"})
	w.upload("carol", digest("two"), []byte("two")) // the file itself, for a sign that both were read
	w.uploads("kept", 2)
	w.wantLog("alice", api.LogKept)
	w.wantLog("bob", api.LogGone)
}

// Other bytes than were signed, too many of them, and logs that nobody asked for
// are not kept.
func TestBadLogsAreNotKept(t *testing.T) {
	w := newWorld(t)
	w.keepFiles("keep = '1h'\nmax_log = 1048576\nmax_logs = 2097152\n")
	w.start()
	w.publish(build{builder: "bob"})
	large := strings.Repeat("x", 1<<20+1)
	for builder, log := range map[string]string{"alice": "true", "carol": large, "dave": "fourth"} {
		w.fails(builder, log)
		w.asked(wire.KindLog, builder)
	}
	before := w.alarms()
	w.upload("alice", digest("true"), []byte("lie"))
	w.wantLog("alice", api.LogMismatch)
	w.sync()
	if n := w.alarms() - before; n != 1 {
		t.Errorf("%d alarms", n)
	}
	w.wantAlarm("upload-digest")
	w.upload("carol", digest(large), []byte(large))
	w.wantLog("carol", api.LogLarge)
	w.upload("bob", digest("fourth"), []byte("fourth")) // dave's
	w.uploads("refused", 2)
	w.wantLog("dave", api.LogAsked)
	w.upload("dave", digest("fourth"), []byte("fourth"))
	w.wantLog("dave", api.LogKept)
}

// What was kept long enough goes, and the page says so. Without keep nothing is
// asked for.
func TestLogsExpire(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	start := time.Now()
	w.setClock(start)
	w.start()
	w.publish(build{builder: "bob"})
	w.fails("alice", "because")
	w.asked(wire.KindLog, "alice")
	w.upload("alice", digest("because"), []byte("because"))
	path := w.wantLog("alice", api.LogKept).Path
	w.setClock(start.Add(2 * time.Hour))
	w.wantLog("alice", api.LogExpired)
	if status, _ := w.fetch(path); status != 404 {
		t.Errorf("status %d", status)
	}
}

func TestLogsAreOffByDefault(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.publish(build{builder: "bob"})
	s := w.fails("alice", "because")
	w.wantLog("alice", api.LogNotAsked)
	if status, body := w.fetch("/v1/statements/" + s.ID().String() + "/log"); status != 404 || !strings.Contains(string(body), "keep") {
		t.Errorf("status %d: %s", status, body)
	}
}

// The link opens the log, in which nothing runs, and the page names the command.
func TestLogInABrowser(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	w.publish(build{builder: "bob"})
	w.fails("alice", hostileLog)
	w.asked(wire.KindLog, "alice")
	b := newBrowser(t)
	page := w.c.URL() + "/targets/" + helloID
	b.open(t, page)
	b.wantText(t, "asked for, its builder has not answered yet")
	w.upload("alice", digest(hostileLog), []byte(hostileLog))
	w.wantLog("alice", api.LogKept)
	b.open(t, page)
	b.wantText(t, "quorate log --builder alice pkg:generic/hello@1 --channel core")
	b.wantAccessible(t)
	b.do(t, chromedp.Click(chromedp.CSS(".timeline a[href$='/log']")), chromedp.WaitReady(chromedp.CSS("pre")))
	if text := eval[string](t, b, "document.body.innerText"); !strings.Contains(text, "<script>alert(1)</script>") {
		t.Errorf("the log is shown as %q", text)
	}
	if n := eval[int](t, b, "document.scripts.length"); n != 0 {
		t.Errorf("%d scripts", n)
	}
	if list := b.heard(); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
	b.picture(t, "log")
}

// A builder whose every build fails is asked for two logs at a time: what it sends
// beside each other would otherwise be dropped half-way.
func TestLogsAreAskedForInTurn(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	w.publish(build{builder: "bob"})
	logs := []string{"first", "second", "third", "fourth"}
	for _, log := range logs {
		w.fails("alice", log)
	}
	for n, log := range logs {
		if u := w.asked(wire.KindLog, "alice"); u.SHA256 != digest(log) {
			t.Fatalf("asked for %s, want that of %q", u.SHA256, log)
		}
		states := map[string]int{}
		for _, s := range w.detail(helloID).Statements {
			if s.Log != nil {
				states[s.Log.State]++
			}
		}
		if states[api.LogAsked] > 2 || states[api.LogKept] != n {
			t.Errorf("after %d: %v", n, states)
		}
		w.upload("alice", digest(log), []byte(log))
		w.uploads("kept", n+1)
	}
}
