package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/hsmsigner/token/softhsm"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// testLimit only ends a test that hangs; no test waits for it to pass.
const testLimit = time.Minute

const (
	pin    = "4444987654"
	target = "pkg:generic/hello@1.0"
)

var content = []byte("hello, world\n")

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// place is a folder in which the command is run.
type place struct {
	t     testing.TB
	dir   string
	env   []string
	coord *bus.Conn
	asked int
}

// TestRun is the life of a signer, from an empty folder to a signature that gpg
// accepts, by the commands that a person gives.
func TestRun(t *testing.T) {
	p := newPlace(t)
	module := must(softhsm.Find())(t)
	check(t, os.WriteFile(p.path("so-pin"), []byte("5555123456\n"), 0o600))
	check(t, os.WriteFile(p.path("pin"), []byte(pin+"\n"), 0o600))
	p.command("token", "init", "--module", module, "--label", "test", "--so-pin-file", "so-pin", "--pin-file", "pin")
	broker := p.startBus(t)
	nkey := p.command("init", "--state", "state", "--name", "hsm", "--nats", broker.URL(), "--module", module, "--token", "test",
		"--pin-file", "pin", "--key", "core-2026=core.asc")
	p.enrol(broker, strings.TrimSpace(nkey))
	fingerprint := strings.TrimSpace(p.command("key", "create", "--config", "state/signer.toml", "--label", "core-2026", "--type", "rsa3072",
		"--user-id", "Example <a@example.org>", "--created", "2024-01-02T03:04:05Z"))
	first := p.writePolicy(1)

	// A signal that comes while the token is waited for ends nothing.
	conf := must(os.ReadFile(p.path("state/signer.toml")))(t)
	check(t, os.WriteFile(p.path("state/early.toml"), bytes.Replace(conf, []byte(`"test"`), []byte(`"absent"`), 1), 0o600))
	early := p.start("run", "--config", "state/early.toml")
	early.wait("the token is away; it is waited for")
	early.signal(syscall.SIGHUP)
	early.signal(syscall.SIGTERM)
	early.end()

	signer := p.start("run", "--config", "state/signer.toml")
	signer.wait("reading requests")
	a := p.ask(first, "hello")
	if a.Refusal != nil {
		t.Fatalf("refused: %v", a.Refusal)
	}
	if a.Signatures[0].Fingerprint != fingerprint {
		t.Errorf("signed by %s", a.Signatures[0].Fingerprint)
	}
	p.judge(a.Signatures[0].Signature)

	// A new policy comes into force by a signal, a broken one does not.
	second := p.writePolicy(2)
	if a := p.ask(second, "second"); a.Refusal == nil || a.Refusal.Code != quorum.RefusePolicyMismatch || !a.Refusal.Retryable {
		t.Errorf("got %+v", a.Refusal)
	}
	signer.signal(syscall.SIGHUP)
	signer.wait("policy loaded")
	if a := p.ask(second, "second"); a.Refusal != nil {
		t.Errorf("got %+v", a.Refusal)
	}
	check(t, os.WriteFile(p.path("state/policy.toml"), nil, 0o600))
	signer.signal(syscall.SIGHUP)
	signer.wait("not reloaded; the policy and the certificates in force stay")
	if a := p.ask(second, "third"); a.Refusal != nil {
		t.Errorf("got %+v", a.Refusal)
	}

	// So does a changed certificate.
	p.writePolicy(2)
	p.command("key", "revoke", "core-2026", "--config", "state/signer.toml", "--reason", "retired", "--apply", "--yes", "-o", "own.rev")
	signer.signal(syscall.SIGHUP)
	signer.wait("certificate is revoked; requests for this key are refused")
	if a := p.ask(second, "fourth"); a.Refusal == nil || a.Refusal.Code != quorum.RefuseKeyNotUsable {
		t.Errorf("got %+v", a.Refusal)
	}
	signer.signal(syscall.SIGTERM)
	signer.end()

	if out := p.command("ledger", "list", "--config", "state/signer.toml"); strings.Count(out, "core-2026") != 3 {
		t.Errorf("ledger:\n%s", out)
	}
	if out := p.command("ledger", "list", "--config", "state/signer.toml", "--refusals"); !strings.Contains(out, "policy-mismatch") {
		t.Errorf("refusals:\n%s", out)
	}
	stored := p.command("ledger", "show", "--config", "state/signer.toml", a.ID.String())
	if again := must(quorum.ParseAnswer([]byte(stored)))(t); !bytes.Equal(again.Signatures[0].Signature, a.Signatures[0].Signature) {
		t.Error("the ledger shows another signature")
	}
}

func newPlace(t *testing.T) *place {
	dir := t.TempDir()
	conf := must(softhsm.NewConfig(filepath.Join(dir, "softhsm")))(t)
	return &place{t: t, dir: dir, env: softhsm.Environ(append(os.Environ(), "LC_ALL=C"), conf)}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// cmd is the command under test, which the test's main put into the path.
func (p *place) cmd(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// command runs the command to its good end and returns standard output.
func (p *place) command(args ...string) string {
	p.t.Helper()
	var out, log bytes.Buffer
	cmd := p.cmd("quorate-signer", args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("quorate-signer %v: %v\n%s", args, err, log.String())
	}
	if strings.Contains(out.String()+log.String(), pin) {
		p.t.Errorf("quorate-signer %v shows the PIN", args)
	}
	return out.String()
}

func (p *place) startBus(t *testing.T) *embedded.Server {
	nkey := must(bus.WriteSeedFile(p.path("coord.seed")))(t)
	broker := must(embedded.Start(embedded.Options{StoreDir: p.path("bus"), Logger: slog.New(slog.DiscardHandler),
		Users: []bus.User{{Name: "coord", Role: bus.RoleCoordinator, NKey: nkey}}}))(t)
	t.Cleanup(broker.Shutdown)
	return broker
}

// enrol tells the bus who the signer is, as a coordinator does.
func (p *place) enrol(broker *embedded.Server, nkey string) {
	p.t.Helper()
	check(p.t, broker.Reload([]bus.User{
		{Name: "coord", Role: bus.RoleCoordinator, NKey: must(bus.PublicFromSeedFile(p.path("coord.seed")))(p.t)},
		{Name: "hsm", Role: bus.RoleSigner, NKey: nkey, Keys: []string{"core-2026"}},
	}))
	p.coord = must(bus.Connect(bus.Options{URL: broker.URL(), Name: "coord", SeedFile: p.path("coord.seed"), Logger: slog.New(slog.DiscardHandler)}))(p.t)
	p.t.(*testing.T).Cleanup(p.coord.Close)
	check(p.t, bus.EnsureStreams(p.t.Context(), p.coord.JS(), 1))
	check(p.t, bus.EnsureSignerConsumer(p.t.Context(), p.coord.JS(), "core-2026"))
}

func builderKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) }

func (p *place) writePolicy(version int) *policy.Policy {
	p.t.Helper()
	pub := must(statement.NewPublicKey(builderKey().Public()))(p.t)
	text := fmt.Appendf(nil, `version = %d
expires = 2090-01-01T00:00:00Z
operator = [{ name = "a", builder = [{ name = "a", key = %q }] }]
channel = [{ name = "core", targets = ["pkg:generic/*"], quorum = "a", sign = [{ format = "openpgp", key = "core-2026" }] }]
`, version, pub)
	check(p.t, os.WriteFile(p.path("state/policy.toml"), text, 0o600))
	return must(policy.Load(text, time.Now()))(p.t)
}

// ask files a request as a coordinator does and waits for its answer.
func (p *place) ask(pol *policy.Policy, artifact string) *quorum.Answer {
	p.t.Helper()
	h256, h512 := sha256.New(), sha512.New()
	h256.Write(content)
	h512.Write(content)
	c := statement.Case{Channel: "core", Target: target}
	stmt := must(statement.Sign(&statement.Statement{Case: c, Builder: "a", Started: time.Now().Add(-time.Minute), Finished: time.Now(),
		Artifacts: []statement.Artifact{{Name: artifact, Size: uint64(len(content)), SHA256: sha256.Sum256(content), SHA512: sha512.Sum512(content),
			State256: must(hashstate.Of(hashstate.SHA256, h256))(p.t), State512: must(hashstate.Of(hashstate.SHA512, h512))(p.t)}},
	}, builderKey()))(p.t)
	r := must(quorum.NewRequest(pol, c, &quorum.Verdict{Artifact: artifact, SHA256: sha256.Sum256(content), SHA512: sha512.Sum512(content)},
		[]policy.Output{{Format: policy.OpenPGP, Key: "core-2026"}}, []*statement.Statement{stmt}))(p.t)
	// White space makes each one new to the bus, which drops what it saw before.
	p.asked++
	data := append(must(json.Marshal(r, json.Deterministic(true)))(p.t), bytes.Repeat([]byte(" "), p.asked)...)
	answers := must(p.coord.JS().OrderedConsumer(p.t.Context(), bus.StreamRecord, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}))(p.t)
	messages := must(answers.Messages())(p.t)
	defer messages.Stop()
	_, err := p.coord.Publish(p.t.Context(), must(bus.RequestSubject("core-2026"))(p.t), bus.MsgID(data), data)
	check(p.t, err)
	msg := must(messages.Next(jetstream.NextMaxWait(testLimit)))(p.t)
	return must(quorum.ParseAnswer(msg.Data()))(p.t)
}

// judge asks gpg about the signature, with the certificate that was exported.
func (p *place) judge(sig []byte) {
	p.t.Helper()
	home := must(os.MkdirTemp("", "pgp"))(p.t) // a short path, for gpg-agent's socket
	p.env = append(p.env, "GNUPGHOME="+home)
	defer os.RemoveAll(home)
	defer func() { p.cmd("gpgconf", "--kill", "all").Run() }()
	check(p.t, os.WriteFile(p.path("file"), content, 0o600))
	check(p.t, os.WriteFile(p.path("file.sig"), sig, 0o600))
	p.command("key", "export", "core-2026", "--config", "state/signer.toml", "-o", "exported.pgp")
	for _, args := range [][]string{{"gpg", "--batch", "--import", "exported.pgp"}, {"gpg", "--batch", "--verify", "file.sig", "file"},
		{"sq", "verify", "--signer-cert", "exported.pgp", "--detached", "file.sig", "file"}} {
		if out, err := p.cmd(args[0], args[1:]...).CombinedOutput(); err != nil {
			p.t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// process is the command, running.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string
}

func (p *place) start(args ...string) *process {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*testLimit)
	p.t.(*testing.T).Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "quorate-signer", args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	log := must(cmd.StderrPipe())(p.t)
	check(p.t, cmd.Start())
	r := &process{p.t, cmd, make(chan string, 1000)}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(log); s.Scan(); {
			r.lines <- s.Text()
		}
		io.Copy(io.Discard, log)
	}()
	return r
}

// wait reads the log up to a line with the message.
func (r *process) wait(message string) {
	r.t.Helper()
	var seen []string
	for line := range r.lines {
		seen = append(seen, line)
		if strings.Contains(line, pin) {
			r.t.Error("the log shows the PIN")
		}
		if strings.Contains(line, message) {
			return
		}
	}
	r.t.Fatalf("the process ended without %q:\n%s", message, strings.Join(seen, "\n"))
}

func (r *process) signal(s os.Signal) {
	r.t.Helper()
	check(r.t, r.cmd.Process.Signal(s))
}

// end waits for exit code 0.
func (r *process) end() {
	r.t.Helper()
	for range r.lines {
	}
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("quorate-signer run: %v", err)
	}
}
