package coordinator_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// keepFiles switches the keeping of files on.
func (w *world) keepFiles(settings string) {
	w.t.Helper()
	path := filepath.Join(w.state(), "coordinator.toml")
	text := string(must(os.ReadFile(path))(w.t))
	head, rest, ok := strings.Cut(text, "[files]\n")
	_, tail, ok2 := strings.Cut(rest, "max_count = 1000\n")
	if !ok || !ok2 {
		w.t.Fatal("the configuration has no table files")
	}
	check(w.t, os.WriteFile(path, []byte(head+"[files]\n"+settings+"\n"+tail), 0o600))
}

// asked waits for a request for a file that reaches the builder.
func (w *world) askedFor(builder string) *wire.Upload { return w.asked(wire.KindUpload, builder) }

func (w *world) asked(kind, builder string) *wire.Upload {
	w.t.Helper()
	conn := w.as(builder)
	defer conn.Close()
	consumer := must(conn.AgentConsumer(limit(w.t)))(w.t)
	for {
		m := must(consumer.Next(jetstream.FetchMaxWait(testLimit)))(w.t)
		check(w.t, m.DoubleAck(limit(w.t)))
		u := must(wire.ParseUpload(m.Data()))(w.t)
		if u.Kind == kind && u.Builders[0] == builder {
			return u
		}
	}
}

// upload sends a file as a builder does.
func (w *world) upload(builder string, d statement.SHA256, data []byte) {
	w.t.Helper()
	w.streamOfFiles()
	conn := w.as(builder)
	defer conn.Close()
	c := bus.Chunk{SHA256: d, Count: max(1, (len(data)+bus.FileChunk-1)/bus.FileChunk)}
	for ; c.Index < c.Count; c.Index++ {
		n := min(len(data), bus.FileChunk)
		check(w.t, conn.PublishChunk(limit(w.t), c, data[:n]))
		data = data[n:]
	}
}

// sendNoLog says as a builder does that it sends no log.
func (w *world) sendNoLog(builder string, d statement.SHA256, n wire.NoLog) {
	w.t.Helper()
	w.streamOfFiles()
	conn := w.as(builder)
	defer conn.Close()
	n.Version = 1
	check(w.t, conn.PublishNoFile(limit(w.t), d, must(wire.Encode(&n))(w.t)))
}

// streamOfFiles waits until the coordinator has made it.
func (w *world) streamOfFiles() {
	w.t.Helper()
	js, ctx := w.as("coordinator").JS(), limit(w.t)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if _, err := js.Stream(ctx, bus.StreamFiles); err == nil || ctx.Err() != nil {
			check(w.t, err)
			return
		}
	}
}

// uploads waits until so many files have been dealt with, with that result.
func (w *world) uploads(result string, n int) {
	w.t.Helper()
	w.wantMetric(fmt.Sprintf("quorate_uploads_total{result=%q} %d\n", result, n))
}

// wantMetric waits until the line is among the metrics.
func (w *world) wantMetric(line string) {
	w.t.Helper()
	ctx := limit(w.t)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if _, body := w.fetch("/metrics"); strings.Contains(string(body), line) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("it does not come to pass that %s", line)
		}
	}
}

// differ makes alice and bob agree and carol differ. Nobody is asked for a file before
// all have said theirs.
func (w *world) differ(agreed, other string) {
	w.t.Helper()
	w.publish(build{builder: "alice", files: map[string]string{"hello": agreed}})
	w.publish(build{builder: "bob", files: map[string]string{"hello": agreed}})
	w.publish(build{builder: "carol", files: map[string]string{"hello": other}})
	w.sync()
}

const hour = "keep = '1h'\n"

func TestFilesThatDifferAreAskedForAndServed(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	large := strings.Repeat("0123456789", 300_000)
	w.differ(large, "other")
	w.wantState(quorum.Conflicting)
	u := w.askedFor("carol")
	if u.Artifact != "hello" || u.SHA256 != digest("other") || u.Channel != "core" || len(u.Builders) != 1 {
		t.Errorf("%+v", u)
	}
	w.upload("carol", digest("other"), []byte("other"))
	w.upload("bob", digest(large), []byte(large))
	w.uploads("kept", 2)
	for _, want := range []string{large, "other"} {
		r := must(http.Get(w.c.URL() + "/v1/files/" + digest(want).String()))(t)
		got := new(bytes.Buffer)
		must(got.ReadFrom(r.Body))(t)
		r.Body.Close()
		if r.StatusCode != 200 || got.String() != want || r.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(r.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("status %d, %d bytes, %v", r.StatusCode, got.Len(), r.Header)
		}
	}
	d := w.differences("")
	if d.Artifacts[0].Groups[0].File != "/v1/files/"+digest(large).String() || d.Artifacts[0].Groups[1].File == "" {
		t.Errorf("%+v", d.Artifacts[0].Groups)
	}
	// The files are there after a restart as well.
	w.stop()
	w.start()
	if status, _ := w.fetch("/v1/files/" + digest("other").String()); status != 200 {
		t.Errorf("status %d after a restart", status)
	}
}

// Dissent after the signature is asked for too.
func TestFilesOfADisputeAreAskedFor(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	s := w.signer()
	for _, builder := range []string{"alice", "bob", "carol"} {
		w.publish(build{builder: builder, files: map[string]string{"hello": "one"}})
	}
	s.answer(s.next(), nil)
	w.sync()
	w.wantState(quorum.Signed)
	w.publish(build{builder: "dave", files: map[string]string{"hello": "late"}})
	w.sync()
	w.wantState(quorum.Disputed)
	if u := w.askedFor("dave"); u.SHA256 != digest("late") {
		t.Errorf("%+v", u)
	}
	w.upload("dave", digest("late"), []byte("late"))
	w.uploads("kept", 1)
}

// A builder that sends other bytes than it voted for is not to be trusted: nothing
// of them is kept, and somebody is told.
func TestUploadWithAnotherDigestRaisesAnAlarm(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	w.differ("one", "two")
	before := w.alarms()
	w.upload("carol", digest("two"), []byte("evil"))
	w.uploads("mismatch", 1)
	w.upload("carol", digest("two"), []byte("evil again"))
	w.uploads("mismatch", 2)
	w.publish(build{builder: "carol", files: map[string]string{"hello": "three"}})
	w.sync()
	w.upload("carol", digest("three"), []byte("evil"))
	w.uploads("mismatch", 3)
	w.publish(build{builder: "carol", files: map[string]string{"hello": "two"}, nonce: "again"})
	w.sync()
	if n := w.alarms() - before; n != 1 {
		t.Errorf("%d alarms, want one however often it is tried", n)
	}
	if status, _ := w.fetch("/v1/files/" + digest("two").String()); status != 404 {
		t.Errorf("status %d", status)
	}
	if left := must(filepath.Glob(filepath.Join(w.state(), "files", "*")))(t); len(left) != 0 {
		t.Errorf("there is still %q", left)
	}
	// The true file is still welcome.
	w.upload("carol", digest("two"), []byte("two"))
	w.uploads("kept", 1)
}

// What nobody asked for does not reach the disk.
func TestUnwantedUploadsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.keepFiles("keep = '1h'\nmax_file = 2097152\nmax_total = 3145728\nmax_count = 2\n")
	w.start()
	w.differ("one", "two")
	large := strings.Repeat("x", 2<<20+1)
	w.publish(build{builder: "dave", files: map[string]string{"hello": large}})
	w.sync()
	w.upload("dave", digest("one"), []byte("one")) // of others
	w.uploads("refused", 1)
	w.upload("carol", digest("nobody's"), []byte("nobody's"))
	w.uploads("refused", 2)
	w.upload("dave", digest(large), []byte(large))
	w.uploads("refused", 3)
	w.upload("carol", digest("two"), []byte("two"))
	w.upload("alice", digest("one"), []byte("one"))
	w.uploads("kept", 2)
	w.publish(build{builder: "dave", files: map[string]string{"hello": "third"}})
	w.sync()
	w.upload("dave", digest("third"), []byte("third"))
	w.uploads("refused", 4) // max_count
}

// Pieces that are lost, repeated or out of order make no file; beginning anew does.
func TestPiecesOutOfOrder(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	content := strings.Repeat("x", bus.FileChunk) + "end"
	w.differ(content, "two")
	w.streamOfFiles()
	conn := w.as("alice")
	piece := func(index int) {
		data := content[index*bus.FileChunk : min(len(content), (index+1)*bus.FileChunk)]
		check(t, conn.PublishChunk(limit(t), bus.Chunk{SHA256: digest(content), Count: 2, Index: index}, []byte(data)))
	}
	for _, index := range []int{1, 0, 0, 0, 1, 1} {
		piece(index)
	}
	w.uploads("kept", 1)
	if status, body := w.fetch("/v1/files/" + digest(content).String()); status != 200 || string(body) != content {
		t.Errorf("status %d, %d bytes", status, len(body))
	}
}

// Who does not answer is passed over after a while, and what was kept long enough
// goes.
func TestTheNextBuilderIsAskedAndFilesExpire(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	start := time.Now()
	w.setClock(start)
	w.start()
	w.differ("one", "two")
	w.askedFor("alice")
	w.upload("carol", digest("two"), []byte("two"))
	w.uploads("kept", 1)
	w.setClock(start.Add(11 * time.Minute))
	if u := w.askedFor("bob"); u.SHA256 != digest("one") {
		t.Errorf("%+v", u)
	}
	w.setClock(start.Add(2 * time.Hour))
	ctx := limit(t)
	for status := 200; status != 404; status, _ = w.fetch("/v1/files/" + digest("two").String()) {
		if ctx.Err() != nil {
			t.Fatal("a file does not expire")
		}
	}
}

// Who was asked is known by name: a vote that comes later, and stands before the
// others, has nobody asked twice and nobody passed over.
func TestABuilderThatComesLaterIsAskedToo(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	start := time.Now()
	w.setClock(start)
	w.start()
	w.publish(build{builder: "bob", files: map[string]string{"hello": "one"}})
	w.publish(build{builder: "carol", files: map[string]string{"hello": "two"}})
	w.sync()
	w.askedFor("bob")
	w.askedFor("carol")
	w.publish(build{builder: "alice", files: map[string]string{"hello": "one"}})
	w.sync()
	w.setClock(start.Add(11 * time.Minute))
	if u := w.askedFor("alice"); u.SHA256 != digest("one") {
		t.Errorf("%+v", u)
	}
}

// Without being told to, a coordinator asks for nothing and takes nothing.
func TestFilesAreOffByDefault(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.differ("one", "two")
	c := bus.Chunk{SHA256: digest("two"), Count: 1}
	if err := w.as("carol").PublishChunk(limit(t), c, []byte("two")); err == nil {
		t.Error("there is a stream for files")
	}
	r := must(http.NewRequest("GET", w.c.URL()+"/v1/files/"+digest("two").String(), nil))(t)
	w.wantError(t, r, 404, api.CodeNotFound)
	jobs := must(w.as("coordinator").JS().Stream(limit(t), bus.StreamJobs))(t)
	if n := jobs.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d jobs", n)
	}
}

func TestBadFilesSettings(t *testing.T) {
	for settings, want := range map[string]string{
		"keep = '-1s'":                  "negative",
		"max_file = -1":                 "negative",
		"max_file = 3000000000":         "max_file",
		"max_file = 100\nmax_total = 9": "max_total",
		"mx = 1":                        "unknown key",
	} {
		w := newWorld(t)
		w.keepFiles(settings)
		if _, err := coordinator.LoadConfig(w.state()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", settings, err)
		}
	}
}

// A builder that begins many uploads and ends none leaves room for others: it has
// two at a time, and not for longer than another builder would be asked.
func TestUploadsThatAreNotEndedLeaveRoomForOthers(t *testing.T) {
	w := newWorld(t)
	w.keepFiles("keep = '1h'\nmax_file = 4194304\nmax_total = 12582912\n")
	now := time.Now()
	w.setClock(now)
	w.start()
	mine, theirs := map[string]string{}, map[string]string{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		mine[name], theirs[name] = "dave's "+name, "alice's "+name
	}
	honest := strings.Repeat("x", 2<<20)
	theirs["hello"], mine["hello"] = honest, "dave's"
	w.publish(build{builder: "dave", files: mine})
	w.publish(build{builder: "alice", files: theirs})
	w.sync()
	w.streamOfFiles()
	conn := w.as("dave")
	begin := func(name string) {
		check(t, conn.PublishChunk(limit(t), bus.Chunk{SHA256: digest(mine[name]), Count: 4}, make([]byte, bus.FileChunk)))
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		begin(name)
	}
	w.upload("alice", digest(honest), []byte(honest))
	w.uploads("kept", 1)
	parts := func() int {
		return len(must(filepath.Glob(filepath.Join(w.state(), "files", "part-*")))(t))
	}
	if n := parts(); n != 2 {
		t.Errorf("%d uploads of dave are under way, want 2", n)
	}
	w.setClock(now.Add(11 * time.Minute))
	w.upload("alice", digest("alice's a"), []byte("alice's a"))
	w.uploads("kept", 2)
	if n := parts(); n != 0 {
		t.Errorf("%d uploads are still waited for", n)
	}
}
