package hsmsigner

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/ledger"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// bench is one measurement.
type bench struct {
	SpeedOptions
	output  policy.Output
	dir     string
	policy  *policy.Policy
	voters  []ed25519.PrivateKey
	ledger  *ledger.Ledger
	signer  *Signer
	made    int // requests so far
	content statement.Artifact
	inner   map[int][]statement.Signable // of packages with so many files
}

const benchOperators, benchNeed = 3, 2

func newBench(ctx context.Context, o SpeedOptions) (_ *bench, err error) {
	b := &bench{SpeedOptions: o, output: policy.Output{Key: o.Key.Label, Format: benchFormat(o.Policy, o.Key)}}
	if err := b.checkBatch(); err != nil {
		return nil, err
	}
	key, err := LoadKey(o.Key)
	if err != nil {
		return nil, err
	}
	if b.policy, err = b.makePolicy(); err != nil {
		return nil, err
	}
	if b.content, err = selftestArtifact(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(o.Dir, "quorate-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	path := filepath.Join(b.dir, "ledger.db")
	if err := ledger.Create(ctx, path); err != nil {
		return nil, err
	}
	if b.ledger, err = ledger.Open(ctx, path); err != nil {
		return nil, err
	}
	b.signer, err = New(Options{Token: o.Token, Workers: o.Workers, Ledger: b.ledger, Policy: b.policy, Keys: []Key{key},
		Name: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// benchFormat is the first that the policy wants of the key. A cleartext message costs
// what a detached signature does, and needs a text besides.
func benchFormat(p *policy.Policy, c KeyConfig) policy.Format {
	for _, f := range formatsOf(p, c) {
		if f != format.Cleartext {
			return f
		}
	}
	return format.OpenPGP
}

func (b *bench) close() {
	if b.ledger != nil {
		_ = b.ledger.Close()
	}
	_ = os.RemoveAll(b.dir) // a folder of nothing but throw-away files
}

// makePolicy makes operators that exist for as long as the measurement does.
func (b *bench) makePolicy() (*policy.Policy, error) {
	var text, members strings.Builder
	fmt.Fprintf(&text, "version = 1\nexpires = %s\n", time.Now().UTC().Add(24*time.Hour).Format(time.RFC3339))
	for i := range benchOperators {
		pub, priv, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		name, err := statement.NewPublicKey(pub)
		if err != nil {
			return nil, err
		}
		b.voters = append(b.voters, priv)
		fmt.Fprintf(&text, "[[operator]]\nname = \"%s\"\n[[operator.builder]]\nname = \"%[1]s\"\nkey = %q\n", benchVoter(i), name)
		fmt.Fprintf(&members, "%q, ", benchVoter(i))
	}
	fmt.Fprintf(&text, "[[group]]\nname = \"all\"\nneed = %d\nmembers = [%s]\n[[channel]]\nname = \"selftest\"\n"+
		"targets = [%q]\nquorum = \"all\"\nsign = [{ format = %q, key = %q }]\n",
		benchNeed, strings.TrimSuffix(members.String(), ", "), selftestTarget, b.output.Format, b.output.Key)
	return policy.Load([]byte(text.String()), time.Now())
}

func benchVoter(i int) string { return fmt.Sprint("bench-", i) }

// selftestTarget exists nowhere.
const selftestTarget = "pkg:generic/quorate-selftest@0"

func selftestArtifact() (a statement.Artifact, err error) {
	a = statement.Artifact{Size: uint64(len(selftestText)), SHA256: sha256.Sum256([]byte(selftestText)), SHA512: sha512.Sum512([]byte(selftestText))}
	h256, h512 := sha256.New(), sha512.New()
	h256.Write([]byte(selftestText))
	h512.Write([]byte(selftestText))
	if a.State256, err = hashstate.Of(hashstate.SHA256, h256); err != nil {
		return a, err
	}
	a.State512, err = hashstate.Of(hashstate.SHA512, h512)
	return a, err
}

// request makes the bytes of a request that nobody made before, with as many
// statements as the quorum needs.
func (b *bench) request() ([]byte, error) {
	if b.Batch > 0 {
		return b.batchRequest(1)
	}
	return b.requestFor(b.content)
}

// requestFor makes it for a file under a name that no file had before.
func (b *bench) requestFor(a statement.Artifact) ([]byte, error) {
	c := statement.Case{Channel: "selftest", Target: selftestTarget}
	a.Name = fmt.Sprint(a.Name, "selftest-", b.made)
	b.made++
	var stmts []*statement.Statement
	at := time.Now().Add(-time.Minute)
	for i := range benchNeed {
		s, err := statement.Sign(&statement.Statement{Case: c, Builder: benchVoter(i), Version: "bench",
			Started: at.Add(-time.Minute), Finished: at, Artifacts: []statement.Artifact{a}}, b.voters[i])
		if err != nil {
			return nil, err
		}
		stmts = append(stmts, s)
	}
	r, err := quorum.NewRequest(b.policy, c, &quorum.Verdict{Artifact: a.Name, SHA256: a.SHA256, SHA512: a.SHA512},
		[]policy.Output{b.output}, stmts)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r, json.Deterministic(true))
}

// What bounds the memory of a round, and the time to make ready for one.
const (
	maxBenchRequests = 20_000
	minOneByOne      = 20
	maxOneByOne      = 1_000
)

func (b *bench) requests(n int) (list [][]byte, err error) {
	list = make([][]byte, min(n, maxBenchRequests))
	for i := range list {
		if list[i], err = b.request(); err != nil {
			return nil, err
		}
	}
	return list, nil
}
