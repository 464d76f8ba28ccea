package coordinator_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// testLimit only ends a test that hangs; no test waits for it to pass.
const testLimit = time.Minute

// builders of the test policy; each is an operator of its own.
var builders = []string{"alice", "bob", "carol", "dave"}

// world is one deployment: a state directory, builders' keys and a token.
type world struct {
	t    testing.TB
	dir  string // holds everything
	keys map[string]ed25519.PrivateKey
	cert *pgpsig.Certificate
	sign ed25519.PrivateKey
	now  *atomic.Pointer[time.Time] // nil: the true clock
	log  *slog.Logger               // nil: says nothing

	c *coordinator.Coordinator
}

func key(name string) ed25519.PrivateKey {
	seed := statement.ID([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func keyText(t testing.TB, name string) string {
	return must(statement.NewPublicKey(key(name).Public()))(t).String()
}

// policyText makes a policy of all builders for channel core, and of dave alone
// for channel other. extra is put into the channel core.
func policyText(t testing.TB, version, need int, extra string, revoked map[string]time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\nexpires = 2100-01-01T00:00:00Z\n", version)
	for _, name := range append([]string{"erin"}, builders...) {
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n[[operator.builder]]\nname = %q\nkey = %q\n", name, name, keyText(t, name))
		if at, ok := revoked[name]; ok {
			fmt.Fprintf(&b, "revoked = %s\n", at.Format(time.RFC3339))
		}
		if name == "carol" {
			b.WriteString("not_before = 2020-01-01T00:00:00Z\n")
		}
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"all\"\nneed = %d\nmembers = [\"alice\", \"bob\", \"carol\", \"dave\"]\n", need)
	if !strings.Contains(extra, "dissent") {
		extra += "\ndissent = \"report\""
	}
	fmt.Fprintf(&b, "[[channel]]\nname = \"core\"\ntargets = [\"pkg:*\"]\nquorum = \"all\"\nsign = [{format = \"openpgp\", key = \"core-key\"}]\n%s\n", extra)
	b.WriteString("[[channel]]\nname = \"other\"\ntargets = [\"pkg:generic/*\"]\nquorum = \"erin\"\nsign = [{format = \"openpgp\", key = \"core-key\"}]\n")
	return b.String()
}

func newWorld(t testing.TB) *world { return newWorldWith(t, policyText(t, 1, 3, "", nil)) }

func newWorldWith(t testing.TB, policy string) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), policy)
}

func newWorldIn(t testing.TB, dir, policy string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, keys: map[string]ed25519.PrivateKey{}, sign: key("token")}
	w.cert = certificate(t, w.sign)
	w.setPolicy(policy)
	check(t, coordinator.Init(coordinator.InitOptions{State: w.state(), Policy: w.path("policy.toml"), Listen: "127.0.0.1:0", BusListen: "127.0.0.1:0", Now: time.Now()}))
	check(t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), w.cert.Bytes(), 0o600))
	for _, name := range append([]string{"erin"}, builders...) {
		w.enroll(name, bus.RoleBuilder)
	}
	w.enroll("watch", bus.RoleReader)
	public := must(bus.WriteSeedFile(filepath.Join(w.state(), "signer.nk")))(t)
	must(coordinator.Enroll(w.state(), bus.User{Name: "signer", Role: bus.RoleSigner, NKey: public, Keys: []string{"core-key"}}))(t)
	return w
}

func certificate(t testing.TB, k ed25519.PrivateKey) *pgpsig.Certificate {
	t.Helper()
	data := must(pgpsig.MakeCertificate(k.Public(), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "test <test@example.org>", softToken(k)))(t)
	return must(pgpsig.ParseCertificate(data))(t)
}

func softToken(k ed25519.PrivateKey) pgpsig.SignFunc {
	return func(_ crypto.Hash, digest []byte) ([]byte, error) { return ed25519.Sign(k, digest), nil }
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }
func (w *world) state() string           { return w.path("state") }
func (w *world) setPolicy(text string) {
	w.t.Helper()
	check(w.t, os.WriteFile(w.path("policy.toml"), []byte(text), 0o600))
}

func (w *world) enroll(name string, role bus.Role) {
	w.t.Helper()
	public := must(bus.WriteSeedFile(w.path(name + ".nk")))(w.t)
	must(coordinator.Enroll(w.state(), bus.User{Name: name, Role: role, NKey: public}))(w.t)
}

func (w *world) options() coordinator.Options {
	o := coordinator.Options{State: w.state(), Log: quiet()}
	if w.log != nil {
		o.Log = w.log
	}
	if w.now != nil {
		o.Now = func() time.Time { return *w.now.Load() }
	}
	return o
}

// setClock makes the coordinator's clock stand still at the time.
func (w *world) setClock(at time.Time) {
	if w.now == nil {
		w.now = &atomic.Pointer[time.Time]{}
	}
	w.now.Store(&at)
	if w.c != nil {
		w.c.Wake()
	}
}

func (w *world) start() *coordinator.Coordinator {
	w.t.Helper()
	w.c = must(coordinator.Start(context.Background(), w.options()))(w.t)
	c := w.c
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) stop() {
	w.t.Helper()
	check(w.t, w.c.Close())
}

func (w *world) sync() {
	w.t.Helper()
	check(w.t, w.c.Sync(limit(w.t)))
}

// as connects to the bus as an enrolled user, or as one that init made.
func (w *world) as(name string) *bus.Conn {
	w.t.Helper()
	seed := w.path(name + ".nk")
	if _, err := os.Stat(seed); err != nil {
		seed = filepath.Join(w.state(), name+".nk")
	}
	conn := must(bus.Connect(bus.Options{URL: w.c.BusURL(), Name: name, SeedFile: seed, Logger: quiet(), Timeout: testLimit}))(w.t)
	w.t.Cleanup(conn.Close)
	return conn
}

// build is what a statement of the tests says.
type build struct {
	builder string
	channel string // empty: core
	target  string // empty: pkg:generic/hello@1
	files   map[string]string
	status  statement.Status
	reason  string
	at      time.Time // zero: now
	nonce   string
	signer  string // empty: builder
	source  string
	log     string // content of the build's log; empty: none is named
}

func (b build) statement(t testing.TB) *statement.Statement {
	t.Helper()
	s := &statement.Statement{Case: statement.Case{Channel: or(b.channel, "core"), Target: or(b.target, "pkg:generic/hello@1")},
		Builder: b.builder, Status: b.status, Reason: b.reason, Invocation: b.nonce, Started: b.at, Finished: b.at}
	if b.source != "" {
		s.Source = &statement.Source{URI: b.source}
	}
	if b.at.IsZero() {
		s.Started, s.Finished = time.Now(), time.Now()
	}
	if b.files == nil && b.status == "" {
		b.files = map[string]string{"hello": "hello, world"}
	}
	if b.log != "" {
		s.Byproducts = []statement.Byproduct{{Name: wire.LogName, Digest: map[string]string{"sha256": digest(b.log).String()}}}
	}
	for name, content := range b.files {
		s.Artifacts = append(s.Artifacts, artifact(t, name, content))
	}
	return must(statement.Sign(s, key(or(b.signer, b.builder))))(t)
}

func artifact(t testing.TB, name, content string) statement.Artifact {
	a := statement.Artifact{Name: name, Size: uint64(len(content))}
	h256, h512 := hashstate.SHA256.New(), hashstate.SHA512.New()
	io.WriteString(h256, content)
	io.WriteString(h512, content)
	a.State256 = must(hashstate.Of(hashstate.SHA256, h256))(t)
	a.State512 = must(hashstate.Of(hashstate.SHA512, h512))(t)
	copy(a.SHA256[:], h256.Sum(nil))
	copy(a.SHA512[:], h512.Sum(nil))
	return a
}

func digest(content string) statement.SHA256 { return statement.ID([]byte(content)) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// publish sends a build as its builder and returns the statement.
func (w *world) publish(b build) *statement.Statement {
	w.t.Helper()
	s := b.statement(w.t)
	w.publishRaw(b.builder, must(bus.StatementSubject(s.Channel, b.builder))(w.t), s.Raw())
	return s
}

func (w *world) publishRaw(user, subject string, data []byte) {
	w.t.Helper()
	conn := w.as(user)
	defer conn.Close()
	must(conn.Publish(limit(w.t), subject, bus.MsgID(data), data))(w.t)
}

// signer is a signer without a token: it believes nothing, but its key is a file.
type signer struct {
	w      *world
	conn   *bus.Conn
	policy *policy.Policy
	reader jetstream.Consumer
	memory *quorum.Memory // nil: nothing is remembered
}

func (w *world) signer() *signer {
	w.t.Helper()
	s := &signer{w: w, conn: w.as("signer")}
	s.policy = must(policy.Load(must(os.ReadFile(w.path("policy.toml")))(w.t), time.Now()))(w.t)
	s.reader = must(s.conn.SignerConsumer(limit(w.t), "core-key"))(w.t)
	return s
}

// next waits for a request.
func (s *signer) next() *quorum.Request {
	s.w.t.Helper()
	m := must(s.reader.Next(jetstream.FetchMaxWait(testLimit)))(s.w.t)
	r, ref := quorum.ParseRequest(m.Data())
	if ref != nil {
		s.w.t.Fatal(ref)
	}
	check(s.w.t, m.DoubleAck(limit(s.w.t)))
	return r
}

// none fails if a request is waiting.
func (s *signer) none() {
	s.w.t.Helper()
	batch := must(s.reader.FetchNoWait(1))(s.w.t)
	for m := range batch.Messages() {
		s.w.t.Fatalf("there is a request: %s", m.Data())
	}
}

func (s *signer) answer(r *quorum.Request, change func(*quorum.Answer)) *quorum.Answer {
	s.w.t.Helper()
	a := &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Stage: r.Stage, Artifact: r.Artifact,
		Digest: r.Digest, Policy: r.Policy, Evidence: quorum.EvidenceDigest(r.Evidence)}
	for _, e := range r.Evidence {
		a.Statements = append(a.Statements, statement.ID(e.Raw))
	}
	if approval, ref := s.memory.Check(s.policy, r, time.Now()); ref != nil {
		a.Refusal = ref
	} else {
		h := must(approval.State().Resume())(s.w.t)
		for _, o := range r.Outputs {
			sig := must(pgpsig.SignDetached(s.w.cert, h, crypto.SHA512, time.Now(), why(a), softToken(s.w.sign)))(s.w.t)
			a.Signatures = append(a.Signatures, quorum.SignedOutput{Output: o, Fingerprint: s.w.cert.Fingerprint(), Signature: sig, SignedAt: time.Now()})
		}
	}
	if change != nil {
		change(a)
	}
	s.publish(a)
	return a
}

// why is what a signer writes into the signature of an answer.
func why(a *quorum.Answer) []pgpsig.Notation {
	return sigcheck.Notations(a.Channel, a.Target, a.Policy, a.Evidence)
}

func (s *signer) publish(a *quorum.Answer) {
	s.w.t.Helper()
	data := must(json.Marshal(a))(s.w.t)
	subject := must(bus.SignatureSubject(a.Channel))(s.w.t)
	must(s.conn.Publish(limit(s.w.t), subject, bus.MsgID(data), data))(s.w.t)
}

func (s *signer) refuse(r *quorum.Request, code quorum.RefusalCode, retryable bool) {
	s.w.t.Helper()
	s.answer(r, func(a *quorum.Answer) {
		a.Signatures, a.Refusal = nil, &quorum.Refusal{Code: code, Message: time.Now().String(), Retryable: retryable}
	})
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

func quiet() *slog.Logger {
	if os.Getenv("QUORATE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}
