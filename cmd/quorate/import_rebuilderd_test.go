package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	stdjson "encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/rebuilderd"
)

// rebuilder serves what an instance of rebuilderd answers under api/v1: lists of
// {total, records} and bare lists of artifacts, GOOD, BAD and FAIL, attestations of
// two signatures, and 404 where there is none.
type rebuilder struct {
	*httptest.Server
	worker, own ed25519.PrivateKey

	mu     sync.Mutex
	builds []fakeBuild
	faults []int    // status of the next answers; 0: none
	asked  []string // paths with their queries
	sick   string   // path that is always answered with an error, or the end of such paths
	long   string   // path that is answered without end
}

type fakeBuild struct {
	id     int64
	status string
	files  []string
}

func newRebuilder(t testing.TB, number int) *rebuilder {
	r := &rebuilder{worker: bareKey(100 + number), own: bareKey(number)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sub/api/v1/builds", r.list)
	mux.HandleFunc("GET /sub/api/v1/builds/{id}", r.one)
	mux.HandleFunc("GET /sub/api/v1/builds/{id}/artifacts", r.artifacts)
	mux.HandleFunc("GET /sub/api/v1/builds/{id}/artifacts/{aid}/attestation", r.attestation)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, strings.TrimPrefix(q.URL.RequestURI(), "/sub/api/v1/"))
		if len(r.faults) > 0 {
			status := r.faults[0]
			r.faults = r.faults[1:]
			if status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		switch asked := r.asked[len(r.asked)-1]; {
		case r.sick != "" && strings.HasSuffix(asked, r.sick):
			w.WriteHeader(http.StatusInternalServerError)
		case asked == r.long:
			_, _ = w.Write(make([]byte, evidence.MaxBody+1))
		default:
			mux.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(r.Server.Close)
	return r
}

func (r *rebuilder) address() string { return r.URL + "/sub/" }

func (r *rebuilder) add(id int64, status string, files ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.builds = append(r.builds, fakeBuild{id, status, files})
}

func (r *rebuilder) fail(status ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = status
}

func (r *rebuilder) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sick = ""
}

// since returns what was asked and forgets it.
func (r *rebuilder) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

func (r *rebuilder) list(w http.ResponseWriter, q *http.Request) {
	after, _ := strconv.ParseInt(q.FormValue("after"), 10, 64)
	limit, _ := strconv.Atoi(q.FormValue("limit"))
	records := []string{}
	for _, b := range r.builds {
		if b.id > after && len(records) < limit {
			records = append(records, b.record())
		}
	}
	fmt.Fprintf(w, `{"total":%d,"records":[%s]}`, len(r.builds), strings.Join(records, ","))
}

func (b fakeBuild) record() string {
	return fmt.Sprintf(`{"id":%d,"name":"zlib","version":"1.3","distribution":"archlinux","release":null,"component":"core","architecture":"x86_64",`+
		`"backend":"archlinux","retries":0,"started_at":"2026-05-01T11:00:00","built_at":"2026-05-01T12:00:00","status":%q}`, b.id, b.status)
}

func (r *rebuilder) find(w http.ResponseWriter, q *http.Request) *fakeBuild {
	i := slices.IndexFunc(r.builds, func(b fakeBuild) bool { return strconv.FormatInt(b.id, 10) == q.PathValue("id") })
	if i < 0 {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	return &r.builds[i]
}

func (r *rebuilder) one(w http.ResponseWriter, q *http.Request) {
	if b := r.find(w, q); b != nil {
		fmt.Fprint(w, b.record())
	}
}

func (r *rebuilder) artifacts(w http.ResponseWriter, q *http.Request) {
	b := r.find(w, q)
	if b == nil {
		return
	}
	var list []string
	for i, f := range b.files {
		status := "GOOD"
		if strings.HasPrefix(f, "bad-") {
			status = "BAD"
		}
		list = append(list, fmt.Sprintf(`{"id":%d,"name":%q,"has_diffoscope":false,"has_attestation":true,"status":%q}`, 10*b.id+int64(i), f, status))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
}

func (r *rebuilder) attestation(w http.ResponseWriter, q *http.Request) {
	b := r.find(w, q)
	if b == nil {
		return
	}
	n, _ := strconv.ParseInt(q.PathValue("aid"), 10, 64)
	name := b.files[n-10*b.id]
	if strings.HasPrefix(name, "none-") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	sum := fmt.Sprintf("%x", bareKey(int(len(name))).Seed()) // any digest will do
	signed := fmt.Sprintf(`{"_type":"link","byproducts":{},"command":[],"environment":null,"materials":{%q:{"sha256":%q}},"name":"rebuild %s","products":{%q:{"sha256":%q}}}`,
		name, sum, name, name, sum)
	canonical := must(cjson.EncodeCanonical(stdjson.RawMessage(signed)))
	var sigs []string
	for _, k := range []ed25519.PrivateKey{r.worker, r.own} {
		id, _ := rebuilderd.KeyID(must(evidence.ParseKey(keyOf(k))))
		sigs = append(sigs, fmt.Sprintf(`{"keyid":%q,"sig":%q}`, id, hex.EncodeToString(ed25519.Sign(k, canonical))))
	}
	fmt.Fprintf(w, `{"signatures":[%s],"signed":%s}`, strings.Join(sigs, ","), signed)
}

func keyOf(k ed25519.PrivateKey) string {
	return "ed25519:" + base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey))
}

func rebuilderPolicy() string {
	return strings.NewReplacer(`name = "bench"`, `name = "core"`, `format = "openpgp", key = "none"`, `format = "raw-sha256", key = "k"`).Replace(dssePolicy(2))
}

func TestImportFollowsRebuilders(t *testing.T) {
	w := newRecord(t, rebuilderPolicy())
	one, two := newRebuilder(t, 0), newRebuilder(t, 1)
	one.add(7, "GOOD", "zlib-1.3.pkg", "zlib-docs-1.3.pkg")
	one.add(9, "FAIL")
	one.add(12, "BAD", "bad-curl-8.pkg", "none-curl-8.pkg", "curl-libs-8.pkg")
	two.add(1, "GOOD", "zlib-1.3.pkg")

	out, stop := w.watch(w.command("rebuilderd", one.address(), two.address()))
	out.await(t, "recorded", 4)
	want := []string{"curl-libs-8.pkg  curl-libs-8.pkg waiting 1", "zlib-1.3.pkg  zlib-1.3.pkg agreed 2", "zlib-docs-1.3.pkg  zlib-docs-1.3.pkg waiting 1"}
	if v := w.verdicts(); !slices.Equal(v, want) {
		t.Errorf("verdicts %q", v)
	}
	if !strings.Contains(out.String(), one.address()+"api/v1/builds/7/artifacts/70/attestation") {
		t.Errorf("no origin: %s", out)
	}
	for _, a := range one.since() {
		if strings.HasPrefix(a, "builds/9/") || strings.HasPrefix(a, "builds/12/artifacts/120/") {
			t.Errorf("asked for %s, which nobody could have attested", a)
		}
	}
	one.add(13, "GOOD", "new-1.pkg")
	out.await(t, "recorded", 5)
	stop()

	// A new process goes on where the last one stopped.
	one.since()
	one.add(14, "GOOD", "new-2.pkg")
	if got := w.bring("rebuilderd", one.address()); len(got) != 1 {
		t.Errorf("brought %q", got)
	}
	if asked := one.since(); !slices.Equal(asked, []string{"builds/13", "builds?limit=100&after=13", "builds/14/artifacts",
		"builds/14/artifacts/140/attestation", "builds?limit=100&after=14"}) {
		t.Errorf("asked %q", asked)
	}
}

func TestImportOutlivesFailures(t *testing.T) {
	defer func(was time.Duration) { firstInstance = was }(firstInstance)
	firstInstance = time.Millisecond
	w := newRecord(t, rebuilderPolicy())
	one := newRebuilder(t, 0)
	one.add(1, "GOOD", "zlib-1.3.pkg")
	one.fail(503, 0, 502, 0, 0, 429)
	if got := w.bring("rebuilderd", one.address()); len(got) != 1 {
		t.Errorf("brought %q", got)
	}
	one.fail(404)
	one.since()
	if got := w.bring("rebuilderd", one.address()); len(got) != 0 { // the last build is gone: from the beginning
		t.Errorf("brought %q", got)
	}
	if asked := one.since(); len(asked) < 2 || asked[1] != "builds?limit=100&after=0" {
		t.Errorf("asked %q", asked)
	}
	for _, status := range []int{403, 301, 404} {
		one.fail(0, status)
		if err := w.command("rebuilderd", one.address()).run(t.Context(), newLines()); exitCodeOf(err) != exitFailure || !strings.Contains(err.Error(), strconv.Itoa(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}
	html := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") }))
	defer html.Close()
	if err := w.command("rebuilderd", html.URL).run(t.Context(), newLines()); exitCodeOf(err) != exitFailure {
		t.Errorf("no instance: %v", err)
	}
}

// TestImportPassesOverSickBuilds: what the instance cannot give does not keep back what
// comes after it, and what was read before a failure is not asked for again. What the
// instance may mend is asked for once by each later import, until it is there.
func TestImportPassesOverSickBuilds(t *testing.T) {
	defer func(was time.Duration) { firstInstance = was }(firstInstance)
	firstInstance = time.Millisecond
	w := newRecord(t, rebuilderPolicy())
	one := newRebuilder(t, 0)
	for id := range int64(5) {
		one.add(id+1, "GOOD", fmt.Sprintf("zlib-1.%d.pkg", id+1))
	}
	one.sick, one.long = "builds/2/artifacts/20/attestation", "builds/4/artifacts/40/attestation"
	if got := w.bring("rebuilderd", one.address()); len(got) != 3 {
		t.Errorf("brought %q", got)
	}
	times := map[string]int{}
	for _, a := range one.since() {
		times[a]++
	}
	if times["builds/1/artifacts"] != 1 || times[one.sick] != sickTries || times[one.long] != 1 {
		t.Errorf("asked %v", times)
	}
	if got := w.bring("rebuilderd", one.address()); len(got) != 0 {
		t.Errorf("brought %q", got)
	}
	clear(times)
	for _, a := range one.since() {
		times[a]++
	}
	if times["builds?limit=100&after=5"] != 1 || times[one.sick] != 1 || times[one.long] != 0 {
		t.Errorf("asked again %v", times)
	}
	one.mend()
	if got := w.bring("rebuilderd", one.address()); len(got) != 1 {
		t.Errorf("brought %q", got)
	}
	one.since()
	if got := w.bring("rebuilderd", one.address()); len(got) != 0 || slices.Contains(one.since(), "builds/2/artifacts") {
		t.Errorf("brought %q, and asked for what it has", got)
	}
}

// TestImportDoesNotWaitForSilence: --wait is also how long one request may take.
func TestImportDoesNotWaitForSilence(t *testing.T) {
	w := newRecord(t, rebuilderPolicy())
	end := make(chan struct{})
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-q.Context().Done():
		case <-end:
		}
	}))
	defer mute.Close()
	defer close(end)
	c := w.command("rebuilderd", mute.URL)
	c.Wait = 10 * time.Millisecond
	if err := c.run(t.Context(), newLines()); exitCodeOf(err) != exitFailure || !strings.Contains(err.Error(), "Client.Timeout") {
		t.Errorf("a mute instance: %v", err)
	}
}

// TestImportWaitsForASickInstance: one that has nothing but errors to give is waited
// for, and nothing of it is passed over beyond a bound.
func TestImportWaitsForASickInstance(t *testing.T) {
	defer func(was time.Duration) { firstInstance = was }(firstInstance)
	firstInstance = time.Microsecond
	w := newRecord(t, rebuilderPolicy())
	one := newRebuilder(t, 0)
	for id := range int64(maxSick + 2) {
		one.add(id+1, "GOOD", fmt.Sprintf("zlib-1.%d.pkg", id+1))
	}
	one.sick = "/attestation"
	c := w.command("rebuilderd", one.address())
	c.Wait = 2 * time.Second
	if err := c.run(t.Context(), newLines()); exitCodeOf(err) != exitFailure || !strings.Contains(err.Error(), "500") {
		t.Errorf("an instance that is sick altogether: %v", err)
	}
	one.mend()
	if got := w.bring("rebuilderd", one.address()); len(got) != maxSick+2 {
		t.Errorf("%d are brought, want %d", len(got), maxSick+2)
	}
}
