package hsmsigner_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/internal/sigformat/text"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const target = "pkg:generic/hello@1.0"

var operators = []string{"berlin", "osaka", "reading"}

// builderKey is the statement key of the operator's builder, which has its name.
func builderKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("builder " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// policyText is a policy of version v: two of three operators, one channel for
// each key of the token.
func policyText(t testing.TB, v int, edit ...func(string) string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\nexpires = 2090-01-01T00:00:00Z\n", v)
	for _, name := range operators {
		pub := must(statement.NewPublicKey(builderKey(name).Public()))(t)
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n[[operator.builder]]\nname = %q\nkey = %q\n", name, name, pub)
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"distro\"\nneed = 2\nmembers = [\"berlin\", \"osaka\", \"reading\"]\n")
	for _, kt := range keyTypes {
		fmt.Fprintf(&b, "[[channel]]\nname = %q\ntargets = [\"pkg:generic/*\"]\nquorum = \"distro\"\ndissent = \"report\"\n"+
			"sign = [{ format = \"openpgp\", key = %q }]\n", kt, kt)
	}
	text := b.String()
	for _, f := range edit {
		text = f(text)
	}
	return text
}

func loadPolicy(t testing.TB, text string) *policy.Policy {
	t.Helper()
	return must(policy.Load([]byte(text), now))(t)
}

// world is a signer with its ledger, around the token of the process.
type world struct {
	t      testing.TB // of the running subtest
	dir    string
	policy *policy.Policy
	token  *watchedToken
	ledger *ledger.Ledger
	signer *hsmsigner.Signer
	now    time.Time
	log    *slog.Logger
	more   []hsmsigner.Key // beside one for each type
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), policy: loadPolicy(t, policyText(t, 7)), token: &watchedToken{Token: soft.token}, now: now,
		log: slog.New(slog.DiscardHandler)}
	check(t, ledger.Create(t.Context(), w.ledgerPath()))
	w.start()
	return w
}

// run runs a subtest that uses the same world.
func (w *world) run(name string, f func(t *testing.T)) {
	parent := w.t.(*testing.T)
	defer func() { w.t = parent }()
	parent.Run(name, func(t *testing.T) {
		w.t = t
		f(t)
	})
}

func (w *world) ledgerPath() string { return filepath.Join(w.dir, "ledger.db") }

// start opens the ledger and makes a signer, as a new process does.
func (w *world) start() {
	w.t.Helper()
	l := must(ledger.Open(w.t.Context(), w.ledgerPath()))(w.t)
	w.t.Cleanup(func() { l.Close() })
	w.ledger = l
	w.signer = must(hsmsigner.New(w.options()))(w.t)
}

func (w *world) restart() {
	w.t.Helper()
	check(w.t, w.ledger.Close())
	w.start()
}

func (w *world) options() hsmsigner.Options {
	w.t.Helper()
	return hsmsigner.Options{Token: w.token, Ledger: w.ledger, Policy: w.policy, Name: "hsm", Logger: w.log,
		Keys: append(must(hsmsigner.LoadKeys(keyConfigs()))(w.t), w.more...), Now: func() time.Time { return w.now }}
}

// watchedToken counts the calls that reach the token, and lets a test stand in
// for it.
type watchedToken struct {
	hsmsigner.Token
	signs atomic.Int64
	// verified is how many of them were Sign, and not SignUnverified.
	verified atomic.Int64
	sign     func(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
	key      func(label string) (token.Key, error)
}

func (w *watchedToken) Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	w.signs.Add(1)
	w.verified.Add(1)
	if w.sign != nil {
		return w.sign(ctx, label, hash, digest)
	}
	return w.Token.Sign(ctx, label, hash, digest)
}

func (w *watchedToken) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	w.signs.Add(1)
	if w.sign != nil {
		return w.sign(ctx, label, hash, digest)
	}
	return w.Token.SignUnverified(ctx, label, hash, digest)
}

func (w *watchedToken) Key(label string) (token.Key, error) {
	if w.key != nil {
		return w.key(label)
	}
	return w.Token.Key(label)
}

// ask is what a test changes about a good request.
type ask struct {
	policy   *policy.Policy
	channel  string // also the key's label
	target   string
	stage    string
	artifact string
	content  []byte
	text     []byte              // of the file, as the builders say; nil: it is the content
	inner    statement.DigestSet // of the files inside of it; empty: it is no package
	voters   []string
	outputs  []policy.Output
	finished time.Time // of the builds
}

func (w *world) ask(channel string) ask {
	return ask{policy: w.policy, channel: channel, target: target, artifact: "hello", content: []byte("hello, world\n"),
		voters: operators[:2], outputs: []policy.Output{{Format: policy.OpenPGP, Key: channel}}, finished: now.Add(-time.Hour)}
}

func (a ask) request(t testing.TB) *quorum.Request {
	t.Helper()
	var stmts []*statement.Statement
	for _, v := range a.voters {
		stmts = append(stmts, a.statement(t, v))
	}
	r := must(quorum.NewRequest(a.policy, statement.Case{Channel: a.channel, Target: a.target, Stage: a.stage},
		&quorum.Verdict{Artifact: a.artifact, SHA256: sha256.Sum256(a.content), SHA512: sha512.Sum512(a.content)}, slices.Clone(a.outputs), stmts))(t)
	return r
}

// statement is the vote of an operator's builder.
func (a ask) statement(t testing.TB, builder string) *statement.Statement {
	t.Helper()
	file := artifact(t, a.artifact, a.content)
	if a.text != nil {
		file.Signables = textOf(t, a.text)
	}
	if a.inner.Len() > 0 {
		file.Signables = append(file.Signables, a.inner.Signable())
	}
	return must(statement.Sign(&statement.Statement{
		Case:    statement.Case{Channel: a.channel, Target: a.target, Stage: a.stage},
		Builder: builder, Version: "test", Started: a.finished.Add(-time.Hour), Finished: a.finished,
		Artifacts: []statement.Artifact{file},
	}, builderKey(builder)))(t)
}

// textOf is what a builder says of a file that is a text.
func textOf(t testing.TB, content []byte) []statement.Signable {
	t.Helper()
	st, err := text.State(bytes.NewReader(content))
	if errors.Is(err, text.ErrNotText) {
		return nil
	}
	check(t, err)
	return []statement.Signable{{Name: statement.TextState, Value: must(st.MarshalJSON())(t)}}
}

func artifact(t testing.TB, name string, content []byte) statement.Artifact {
	t.Helper()
	h256, h512 := sha256.New(), sha512.New()
	h256.Write(content)
	h512.Write(content)
	return statement.Artifact{Name: name, Size: uint64(len(content)), Signables: textOf(t, content),
		SHA256: sha256.Sum256(content), SHA512: sha512.Sum512(content),
		State256: must(hashstate.Of(hashstate.SHA256, h256))(t), State512: must(hashstate.Of(hashstate.SHA512, h512))(t)}
}

func encode(t testing.TB, r *quorum.Request) []byte {
	t.Helper()
	return must(json.Marshal(r, json.Deterministic(true)))(t)
}

// answer asks the signer.
func (w *world) answer(data []byte) hsmsigner.Reply {
	w.t.Helper()
	return must(w.signer.Answer(w.t.Context(), data))(w.t)
}

// signed asks, and wants signatures.
func (w *world) signed(data []byte) (hsmsigner.Reply, *quorum.Answer) {
	w.t.Helper()
	reply := w.answer(data)
	if reply.Refusal != nil {
		w.t.Fatalf("refused: %v", reply.Refusal)
	}
	a := must(quorum.ParseAnswer(reply.Answer))(w.t)
	if len(a.Signatures) == 0 {
		w.t.Fatalf("no signature in %s", reply.Answer)
	}
	return reply, a
}

// refused asks, and wants a refusal with the code that is recorded and, if it has
// a channel, in the answer.
func (w *world) refused(data []byte, code quorum.RefusalCode) hsmsigner.Reply {
	w.t.Helper()
	before := w.refusals()
	reply := w.answer(data)
	if reply.Refusal == nil || reply.Refusal.Code != code {
		w.t.Fatalf("got %v, want %s", reply.Refusal, code)
	}
	if reply.Channel != "" {
		a := must(quorum.ParseAnswer(reply.Answer))(w.t)
		if a.Refusal == nil || *a.Refusal != *reply.Refusal || len(a.Signatures) > 0 {
			w.t.Fatalf("answer %s does not carry the refusal %v", reply.Answer, reply.Refusal)
		}
	}
	after := w.refusals()
	if len(after) != len(before)+1 || after[len(after)-1].Code != string(code) {
		w.t.Fatalf("refusal %s is not recorded in %v", code, after)
	}
	return reply
}

func (w *world) refusals() (out []ledger.Refusal) {
	w.t.Helper()
	check(w.t, w.ledger.Refusals(w.t.Context(), func(r ledger.Refusal) error { out = append(out, r); return nil }))
	return out
}

func (w *world) records() (out []ledger.Record) {
	w.t.Helper()
	check(w.t, w.ledger.Records(w.t.Context(), func(r ledger.Record) error { out = append(out, r); return nil }))
	return out
}

func (w *world) commitments() (out []ledger.Commitment) {
	w.t.Helper()
	check(w.t, w.ledger.Commitments(w.t.Context(), func(c ledger.Commitment) error { out = append(out, c); return nil }))
	return out
}

func (w *world) wantSigns(n int64) {
	w.t.Helper()
	if got := w.token.signs.Load(); got != n {
		w.t.Fatalf("the token was asked %d times, want %d", got, n)
	}
}

func sameBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("got other bytes:\n%s\nwant\n%s", got, want)
	}
}

func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) string {
	t.Helper()
	check(t, os.WriteFile(path, data, mode))
	check(t, os.Chmod(path, mode)) // whatever the umask
	return path
}
