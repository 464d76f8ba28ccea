package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/builder-agent/importer"
	"quorate/coordinator"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/freeport"
	"quorate/quorum/evidence/openpgp"
)

// importLimit only ends a test that hangs.
const importLimit = 2 * time.Minute

// recordWorld is a coordinator with its bus, for importers to fill.
type recordWorld struct {
	t   testing.TB
	dir string
	bus string // address
	c   *coordinator.Coordinator
}

// newRecord starts a coordinator by the policy.
func newRecord(t testing.TB, policy string) *recordWorld {
	t.Helper()
	r := &recordWorld{t: t, dir: t.TempDir(), bus: freeport.Address(must(freeport.Pick()))}
	r.setPolicy(policy)
	ok(t, coordinator.Init(coordinator.InitOptions{State: r.path("state"), Policy: r.path("policy.toml"), Listen: "127.0.0.1:0", BusListen: r.bus, Now: time.Now()}))
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.MarshalPKIXPublicKey(key.Public()))
	ok(t, os.WriteFile(r.path("state", "k.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	r.enrol("gather")
	r.start()
	return r
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *recordWorld) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}

func (r *recordWorld) setPolicy(text string) {
	r.t.Helper()
	ok(r.t, os.WriteFile(r.path("policy.toml"), []byte(text), 0o600))
}

func (r *recordWorld) enrol(name string) {
	r.t.Helper()
	nkey, err := importer.Keygen(r.path(name), importer.Config{Name: name, NATS: "nats://" + r.bus})
	ok(r.t, err)
	_, err = coordinator.Enroll(r.path("state"), bus.User{Name: name, Role: bus.RoleImporter, NKey: nkey})
	ok(r.t, err)
	if r.c != nil {
		ok(r.t, r.c.ReloadUsers(r.t.Context()))
	}
}

func (r *recordWorld) start() {
	r.t.Helper()
	c, err := coordinator.Start(context.Background(), coordinator.Options{State: r.path("state"), Log: slog.New(slog.DiscardHandler)})
	ok(r.t, err)
	r.c = c
	r.t.Cleanup(func() { _ = c.Close() })
}

// lines is output that can be waited for.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until that many lines have the text.
func (l *lines) await(t testing.TB, text string, n int) {
	t.Helper()
	end := time.After(importLimit)
	for {
		if strings.Count(l.String(), text) >= n {
			return
		}
		select {
		case <-l.more:
		case <-end:
			t.Fatalf("%q is not there %d times:\n%s", text, n, l)
		}
	}
}

// command is an import by gather into the channel core.
func (r *recordWorld) command(kind string, sources ...string) *importCmd {
	return &importCmd{importerState: importerState{r.path("gather")}, serverFlags: serverFlags{r.c.URL()}, Channel: "core", Kind: kind, Sources: sources,
		Interval: 5 * time.Millisecond, Wait: importLimit}
}

// bring runs an import to its end and returns its lines, sorted.
func (r *recordWorld) bring(kind string, sources ...string) []string {
	r.t.Helper()
	return r.run(r.command(kind, sources...))
}

func (r *recordWorld) run(c *importCmd) []string {
	r.t.Helper()
	out := newLines()
	err := c.run(r.t.Context(), out)
	if rejected := strings.Contains(out.String(), "rejected "); rejected && exitCodeOf(err) != exitRefused || !rejected && err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	ok(r.t, r.c.Sync(r.t.Context()))
	list := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	slices.Sort(list)
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// watch runs an import that goes on until the test ends it.
func (r *recordWorld) watch(c *importCmd) (out *lines, stop func()) {
	r.t.Helper()
	c.Watch = true
	out = newLines()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, out) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Errorf("watch: %v", err)
			}
		})
	}
	r.t.Cleanup(stop)
	return out, stop
}

func (r *recordWorld) get(path string, status int) []byte {
	r.t.Helper()
	resp, err := http.Get(r.c.URL() + path)
	ok(r.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ok(r.t, err)
	if resp.StatusCode != status {
		r.t.Fatalf("%s: %s %s", path, resp.Status, data)
	}
	return data
}

// targets reads everything that is known.
func (r *recordWorld) targets() (list []api.TargetDetail) {
	r.t.Helper()
	ok(r.t, r.c.Sync(r.t.Context()))
	for after := ""; ; {
		var page api.Targets
		ok(r.t, json.Unmarshal(r.get("/v1/targets?limit=500&after="+after, 200), &page))
		for _, t := range page.Targets {
			var d api.TargetDetail
			ok(r.t, json.Unmarshal(r.get("/v1/targets/"+t.ID, 200), &d))
			list = append(list, d)
		}
		if after = page.Next; after == "" {
			return list
		}
	}
}

// verdicts says in a line what is known of each artifact.
func (r *recordWorld) verdicts() (out []string) {
	r.t.Helper()
	for _, t := range r.targets() {
		for i := range t.Artifacts {
			a := &t.Artifacts[i]
			line := fmt.Sprintf("%s %s %s %s", strings.TrimPrefix(a.Target, "pkg:generic/"), a.Stage, a.Artifact, a.State)
			for _, g := range a.Groups {
				line += fmt.Sprintf(" %d", len(g.Members))
			}
			out = append(out, line)
		}
	}
	slices.Sort(out) // lists are in the order of arrival
	return out
}

// foreignPolicy pins the people's keys for channel core.
func foreignPolicy(version, need int, people ...person) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\nexpires = 2100-01-01T00:00:00Z\n", version)
	var names []string
	for _, p := range people {
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n[[operator.builder]]\nname = %q\nkey = \"openpgp:%s\"\n", p.name, p.name, p.fingerprint())
		names = append(names, fmt.Sprintf("%q", p.name))
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"g\"\nneed = %d\nmembers = [%s]\n", need, strings.Join(names, ", "))
	b.WriteString("[[channel]]\nname = \"core\"\ntargets = [\"pkg:generic/tool@*\"]\nquorum = \"g\"\ndissent = \"report\"\nsign = [{ format = \"raw-sha256\", key = \"k\" }]\n")
	return b.String()
}

func (p person) fingerprint() string {
	return must(openpgp.Identify(must(p.key()))).String()
}

// sigs is a tree in the layout of guix.sigs.
type sigs struct {
	t   testing.TB
	dir string
}

func newSigs(t testing.TB, people ...person) *sigs {
	s := &sigs{t, t.TempDir()}
	ok(t, os.MkdirAll(filepath.Join(s.dir, "builder-keys"), 0o755))
	for _, p := range people {
		ok(t, os.WriteFile(filepath.Join(s.dir, "builder-keys", p.name+".gpg"), must(p.key()), 0o644))
	}
	return s
}

func (s *sigs) list(p person, release, list string, at time.Time) {
	s.t.Helper()
	ok(s.t, p.file(s.dir, release, p.name, list, at))
}

func newPeople(names ...string) (people []person) {
	for _, n := range names {
		people = append(people, must(newPerson(n, nil)))
	}
	return people
}

// reopen closes the coordinator, and starts it again by the policy; "rebuild"
// makes its database again before.
func (r *recordWorld) reopen(t testing.TB, how, policy string) {
	t.Helper()
	ok(t, r.c.Close())
	r.setPolicy(policy)
	if how == "rebuild" {
		_, err := coordinator.Rebuild(t.Context(), coordinator.Options{State: r.path("state"), Log: slog.New(slog.DiscardHandler)})
		ok(t, err)
	}
	r.start()
}

// exec changes the database of a coordinator, which is closed meanwhile.
func (r *recordWorld) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	ok(t, r.c.Close())
	db, err := sql.Open("sqlite", r.path("state", "coordinator.db"))
	ok(t, err)
	res, err := db.Exec(query, args...)
	ok(t, err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%d rows: %v", n, err)
	}
	ok(t, db.Close())
	r.start()
}

// remove throws the database away.
func (r *recordWorld) remove(t testing.TB) {
	t.Helper()
	ok(t, r.c.Close())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(r.path("state", "coordinator.db"+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// rejected lists everything that the coordinator refused, newest first.
func (r *recordWorld) rejected() (list []api.Rejection) {
	r.t.Helper()
	for before := uint64(0); ; {
		var page api.Rejected
		ok(r.t, json.Unmarshal(r.get(fmt.Sprintf("/v1/rejected?limit=500&before=%d", before), 200), &page))
		list = append(list, page.Rejected...)
		if before = page.Next; before == 0 {
			return list
		}
	}
}
