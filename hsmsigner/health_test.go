//go:build linux

package hsmsigner_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/api"
	"quorate/internal/pgpsig"
	"quorate/quorum"
)

// healthy is a service with its health, as the command runs it.
type healthy struct {
	*site
	service *hsmsigner.Service
	log     *journal
	client  *http.Client
	base    string
}

// open opens the service, with the health that listens there.
func openHealthy(t testing.TB, listen string) *healthy {
	t.Helper()
	return openHealthyEvery(t, listen, time.Second)
}

// openHealthyEvery does the same, with as much time between canaries.
func openHealthyEvery(t testing.TB, listen string, canary time.Duration) *healthy {
	t.Helper()
	s := &healthy{site: newSite(t), log: newJournal(t)}
	s.config.Health = hsmsigner.HealthConfig{Listen: listen, Canary: hsmsigner.Duration(canary)}
	s.service = must(hsmsigner.Open(t.Context(), s.config, nil, slog.New(slog.NewTextHandler(s.log, nil))))(t)
	t.Cleanup(func() { check(t, s.service.Close()) })
	s.reach(hsmsigner.HealthAddress(s.service))
	return s
}

// reach makes the client for an address that is told in the log.
func (s *healthy) reach(address string) {
	s.client, s.base = http.DefaultClient, "http://"+address
	if path, is := strings.CutPrefix(address, "unix:"); is {
		s.base = "http://signer"
		s.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
	}
	s.t.Cleanup(s.client.CloseIdleConnections)
}

// run has the service take requests until the test ends.
func (s *healthy) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.service.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		check(s.t, <-ended)
	})
}

func (s *healthy) get(path string) (status int, body string) {
	s.t.Helper()
	r := must(s.client.Get(s.base + path))(s.t)
	defer r.Body.Close()
	return r.StatusCode, string(must(io.ReadAll(r.Body))(s.t))
}

func (s *healthy) ready() (int, api.Ready) {
	s.t.Helper()
	status, body := s.get("/readyz")
	var out api.Ready
	check(s.t, json.Unmarshal([]byte(body), &out))
	if out.Ready != (status == http.StatusOK) {
		s.t.Errorf("status %d for %s", status, body)
	}
	return status, out
}

// metric returns the value of one line of the metrics.
func (s *healthy) metric(name string) float64 {
	s.t.Helper()
	_, body := s.get("/metrics")
	m := regexp.MustCompile(`(?m)^quorate_signer_` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		s.t.Fatalf("no %s in\n%s", name, body)
	}
	return must(strconv.ParseFloat(m[1], 64))(s.t)
}

// awaitReady asks until each key has signed its first canary.
func (s *healthy) awaitReady() {
	s.t.Helper()
	for deadline := time.Now().Add(testLimit); ; {
		status, r := s.ready()
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("never ready: %+v", r)
		}
	}
}

// TestHealth watches a signer that signs, loses its token's process and its token,
// and gets both back.
func TestHealth(t *testing.T) {
	tokens := ownToken(t)
	s := openHealthy(t, "127.0.0.1:0")
	if status, r := s.ready(); status != http.StatusServiceUnavailable || r.Checks["token"].OK {
		t.Errorf("ready before it runs: %+v", r)
	}
	s.run()
	s.awaitReady()
	if status, body := s.get("/healthz"); status != http.StatusOK || !strings.Contains(body, "alive") {
		t.Errorf("%d %s", status, body)
	}
	s.publish(freshRequest(&apart{world: s.world}))
	if _, a := s.nextAnswer(); a.Refusal != nil {
		t.Fatalf("refused: %v", a.Refusal)
	}
	s.log.has(t, "signatures=[openpgp:p256]")
	old := s.ask("p256")
	old.outputs[0].Key, old.artifact = "ed25519", "odd"
	s.publish(encode(t, old.request(t)))
	if _, a := s.nextAnswer(); a.Refusal == nil || a.Refusal.Code != quorum.RefuseFormat {
		t.Fatalf("got %+v", a)
	}
	for name, want := range map[string]float64{
		`signatures_total{format="openpgp",key="p256"}`: 1, `request_seconds_count{key="p256"}`: 1, `refusals_total{code="format-not-allowed"}`: 1,
		`policy_version`: 7, `policy_expires_timestamp_seconds`: float64(s.policy.Expires.Unix()), `token_up`: 1, `token_workers`: 2,
		`token_logins_total`: 1, `token_restarts_total`: 0, `requests_in_work`: 0, `ledger_errors_total`: 0,
	} {
		if got := s.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for s.metric("token_queue") != 0 { // a canary may be on its way
	}
	for _, kt := range keyTypes {
		at, key := time.Now().Add(-testLimit), fmt.Sprintf("{key=%q}", kt)
		if got := s.metric("canary_success_timestamp_seconds" + key); got < float64(at.Unix()) || s.metric("token_seconds_count"+key) == 0 {
			t.Errorf("%s: canary at %v", kt, got)
		}
	}

	check(t, syscall.Kill(hsmsigner.TokenPID(s.service), syscall.SIGKILL))
	s.log.await(t, "token process is up again")
	if got := s.metric("token_restarts_total"); got != 1 {
		t.Errorf("%v restarts", got)
	}
	check(t, os.Rename(tokens, tokens+".away"))
	s.log.await(t, "canary failed: this key does not sign")
	if status, r := s.ready(); status != http.StatusServiceUnavailable || !strings.Contains(r.Checks["canary"].Message, "the log says why") {
		t.Errorf("%+v", r)
	}
	check(t, os.Rename(tokens+".away", tokens))
	s.awaitReady()
	s.log.has(t, "canary succeeded again")
	s.wantDocumented()
}

// wantDocumented wants every metric that there is in the operator's list.
func (s *healthy) wantDocumented() {
	s.t.Helper()
	docs := string(must(os.ReadFile("../docs/operating.md"))(s.t))
	_, body := s.get("/metrics")
	found := regexp.MustCompile(`(?m)^# TYPE quorate_signer_(\S+)`).FindAllStringSubmatch(body, -1)
	for _, m := range found {
		if !strings.Contains(docs, "`"+m[1]+"`") && !strings.Contains(docs, "`"+m[1]+"{") {
			s.t.Errorf("docs/operating.md says nothing of %s", m[1])
		}
	}
	if len(found) < 15 {
		s.t.Errorf("%d metrics", len(found))
	}
}

// TestHealthShowsToken: a request was refused because of the token, the next canary is
// hours away, and nobody asks for a signature when the token is back.
func TestHealthShowsToken(t *testing.T) {
	tokens := ownToken(t)
	s := openHealthyEvery(t, "unix:"+filepath.Join(t.TempDir(), "health.sock"), 24*time.Hour)
	s.run()
	s.awaitReady()
	check(t, os.Rename(tokens, tokens+".away"))
	s.publish(freshRequest(&apart{world: s.world}))
	if _, a := s.nextAnswer(); a.Refusal == nil || a.Refusal.Code != quorum.RefuseToken {
		t.Fatalf("got %+v", a)
	}
	if _, r := s.ready(); r.Checks["token"].OK || !strings.Contains(r.Checks["token"].Message, `key "p256"`) {
		t.Errorf("%+v", r)
	}
	check(t, os.Rename(tokens+".away", tokens))
	s.awaitReady()
}

// TestHealthShowsLedger: a write failed, and nobody asks for a signature when there
// is room again.
func TestHealthShowsLedger(t *testing.T) {
	ownToken(t)
	s := openHealthy(t, "unix:"+filepath.Join(t.TempDir(), "health.sock"))
	s.run()
	s.awaitReady()
	signer, data := hsmsigner.SignerOf(s.service), freshRequest(&apart{world: s.world})
	var room func()
	var inWork float64
	hsmsigner.SetStage(signer, func(at string) {
		if at == "signed" && room == nil {
			inWork = s.metric("requests_in_work")
			room = noRoom(t)
		}
	})
	must(signer.Answer(t.Context(), data))(t)
	if _, r := s.ready(); r.Checks["ledger"].OK || s.metric("ledger_errors_total") == 0 {
		t.Errorf("%+v", r)
	}
	room()
	if inWork != 1 || s.metric("requests_in_work") != 0 {
		t.Errorf("%v requests were in work, and %v are", inWork, s.metric("requests_in_work"))
	}
	if _, r := s.ready(); !r.Checks["ledger"].OK {
		t.Errorf("there is room again: %+v", r)
	}
	s.log.has(t, "ledger can be written again")
}

// TestHealthShowsKeys: a key whose certificate is revoked or has ended is named, and
// one that the policy does not ask for holds nobody up.
func TestHealthShowsKeys(t *testing.T) {
	ownToken(t)
	s := openHealthy(t, "unix:"+filepath.Join(t.TempDir(), "health.sock"))
	s.run()
	s.awaitReady()
	put := func(label string, data []byte) {
		t.Helper()
		i := slices.IndexFunc(s.config.Keys, func(k hsmsigner.KeyConfig) bool { return k.Label == label })
		s.config.Keys[i].Certificate = writeFile(t, filepath.Join(t.TempDir(), label), data, 0o600)
		check(t, s.service.Reload())
	}
	put("ed25519", expired(t, "ed25519"))
	_, dead, err := hsmsigner.Key{Label: "p256", Certificate: certificate(t, "p256")}.Revoke(t.Context(), soft.token, pgpsig.ReasonCompromised, "stolen", now.Add(-time.Hour))
	check(t, err)
	put("p256", dead.Bytes())
	_, r := s.ready()
	said := r.Checks["keys"].Message
	if r.Ready || !strings.Contains(said, `"ed25519"`) || !strings.Contains(said, "expired") || !strings.Contains(said, `"p256": its OpenPGP certificate is revoked`) || strings.Contains(said, "p384") {
		t.Errorf("%+v", r)
	}
	if got := s.metric(`key_expires_timestamp_seconds{key="ed25519"}`); got != float64(now.Add(-time.Hour).Unix()) {
		t.Errorf("ends at %v", got)
	}
	if got := s.metric(`key_expires_timestamp_seconds{key="p256"}`); got != 0 {
		t.Errorf("a compromised key ends at %v", got)
	}
	put("ed25519", certificate(t, "ed25519").Bytes())
	put("p256", certificate(t, "p256").Bytes())
	s.awaitReady()

	// What nobody may ask for holds nobody up.
	put("p256", dead.Bytes())
	text := policyText(t, 8, func(p string) string { return strings.ReplaceAll(p, `key = "p256"`, `key = "other"`) })
	writeFile(t, s.config.Policy, []byte(text), 0o600)
	check(t, s.service.Reload())
	s.awaitReady()
}

// TestHealthBeforeToken: a signer that waits for its token says so.
func TestHealthBeforeToken(t *testing.T) {
	hsmsigner.HurryAbsent(t)
	tokens := ownToken(t)
	check(t, os.Rename(tokens, tokens+".away"))
	s := &healthy{site: newSite(t), log: newJournal(t)}
	socket := "unix:" + filepath.Join(t.TempDir(), "health.sock")
	s.config.Health.Listen = socket
	ctx, stop := context.WithCancel(t.Context())
	opened := make(chan error)
	go func() {
		_, err := hsmsigner.Open(ctx, s.config, nil, slog.New(slog.NewTextHandler(s.log, nil)))
		opened <- err
	}()
	s.log.await(t, "the token is away; it is waited for")
	s.reach(socket)
	if _, r := s.ready(); r.Ready || r.Checks["token"].OK || !r.Checks["ledger"].OK {
		t.Errorf("%+v", r)
	}
	if s.metric("token_up") != 0 {
		t.Error("the token is up")
	}
	stop()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestHealthKeepsOthersOut: who may ask, and what.
func TestHealthKeepsOthersOut(t *testing.T) {
	ownToken(t)
	s := openHealthy(t, "127.0.0.1:0")
	for host, want := range map[string]int{"": 200, "localhost": 200, "[::1]:80": 200, "evil.example": 421, "127.0.0.1.evil.example:80": 421} {
		r := must(http.NewRequest(http.MethodGet, s.base+"/healthz", nil))(t)
		r.Host = host
		a := must(s.client.Do(r))(t)
		a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("host %q: status %d, want %d", host, a.StatusCode, want)
		}
	}
	a := must(s.client.Post(s.base+"/readyz", "text/plain", nil))(t)
	a.Body.Close()
	if a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("status %d", a.StatusCode)
	}
	if status, _ := s.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}

// TestHealthSocket: whose socket is taken, and whose is not.
func TestHealthSocket(t *testing.T) {
	ownToken(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "health.sock")
	// As a killed signer leaves it.
	l := must(net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}))(t)
	l.SetUnlinkOnClose(false)
	check(t, l.Close())
	s := openHealthy(t, "unix:"+path)
	if mode := must(os.Stat(path))(t).Mode().Perm(); mode != 0o660 {
		t.Errorf("mode %o", mode)
	}
	if status, _ := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	file := writeFile(t, filepath.Join(dir, "file"), []byte("precious"), 0o600)
	for address, want := range map[string]string{"unix:" + path: "another process listens on it", "unix:" + file: "not a socket",
		hsmsigner.HealthAddress(openHealthy(t, "127.0.0.1:0").service): "address already in use"} {
		s.config.Health.Listen = address
		_, err := hsmsigner.Open(t.Context(), s.config, nil, quiet())
		if !errors.Is(err, hsmsigner.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want one that says %q", address, err, want)
		}
	}
	if text := must(os.ReadFile(file))(t); string(text) != "precious" {
		t.Error("a file was overwritten")
	}
}

// TestListensOnNothing: without health there is no socket to connect to, and with
// it there is one.
func TestListensOnNothing(t *testing.T) {
	ownToken(t)
	s := newSite(t)
	for listen, want := range map[string]int{"": 0, "127.0.0.1:0": 1, "unix:" + filepath.Join(t.TempDir(), "sock"): 1} {
		before := listening(t)
		s.config.Health.Listen = listen
		v := must(hsmsigner.Open(t.Context(), s.config, nil, quiet()))(t)
		if got := listening(t) - before; got != want {
			t.Errorf("%q: %d sockets are open to others, want %d", listen, got, want)
		}
		check(t, v.Close())
	}
}

// listening counts the sockets of this process that wait for connections.
func listening(t testing.TB) (n int) {
	t.Helper()
	own := map[string]bool{}
	for _, e := range must(os.ReadDir("/proc/self/fd"))(t) {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name()) // it may be closed by now
		if inode, is := strings.CutPrefix(to, "socket:["); is {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for file, column := range map[string]struct {
		state string
		at    int
		inode int
	}{"tcp": {"0A", 3, 9}, "tcp6": {"0A", 3, 9}, "unix": {"00010000", 3, 6}} {
		for line := range strings.Lines(string(must(os.ReadFile("/proc/self/net/" + file))(t))) {
			f := strings.Fields(line)
			if len(f) > column.inode && f[column.at] == column.state && own[f[column.inode]] {
				n++
			}
		}
	}
	return n
}

// TestCanary: what a canary signs is a constant that is no digest of anything, and
// what does not verify fails it.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	var asked [][]byte
	w.token.sign = func(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
		asked = append(asked, digest)
		return soft.token.Sign(ctx, label, hash, digest)
	}
	for _, kt := range keyTypes {
		check(t, w.signer.Canary(t.Context(), string(kt)))
	}
	for _, digest := range asked {
		if string(digest) != "quorate canary: no file has this" || len(digest) != crypto.SHA256.Size() {
			t.Errorf("signed %q", digest)
		}
	}
	if len(asked) != len(keyTypes) || len(w.commitments()) != 0 {
		t.Errorf("%d signatures, %v", len(asked), w.commitments())
	}
	w.token.sign = signAs("p384") // whatever it is asked for
	if err := w.signer.Canary(t.Context(), "p256"); !errors.Is(err, pgpsig.ErrSignatureCheck) {
		t.Errorf("got %v", err)
	}
	w.token.key = func(string) (token.Key, error) { return soft.token.Key("p256") }
	if err := w.signer.Canary(t.Context(), "p384"); !hsmsigner.IsOtherKey(err) {
		t.Errorf("got %v", err)
	}
	if err := w.signer.Canary(t.Context(), "nowhere"); err == nil {
		t.Error("a key that there is not has signed")
	}
}
