package quorum_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// vectors are the files that other implementations can test against. README.md
// beside them says what each must give.
func vectors(t *testing.T) map[string][]byte {
	vote := corekit.Vote("berlin", corekit.Artifact(corekit.File, "quorate test vector\n"))
	second := corekit.Vote("osaka", vote.Artifacts...)
	stmts := []*statement.Statement{corekit.Sign(vote), corekit.Must(statement.Sign(second, corekit.P256("osaka")))}
	text := twoOfThree(`settle = "10m"`)
	text = string(bytes.Replace([]byte(text), []byte(corekit.Text(corekit.Ed25519("osaka"))), []byte(corekit.Text(corekit.P256("osaka"))), 1))
	p := load(t, text)
	r := request2(t, p, stmts)
	return map[string][]byte{
		"statement.json":      stmts[0].Raw(),
		"statement-p256.json": stmts[1].Raw(),
		"no-vote.json":        corekit.Sign(corekit.NoVote("berlin", statement.Failed)).Raw(),
		"policy.toml":         []byte(text),
		"request.json":        corekit.Must(json.Marshal(r)),
	}
}

// request2 is request after the settle time.
func request2(t *testing.T, p *policy.Policy, stmts []*statement.Statement) *quorum.Request {
	v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon.AddDate(0, 0, 1))[0]
	return corekit.Must(quorum.NewRequest(p, stmts[0].Case, &v, p.Channel("core").Sign, stmts))
}

func vector(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
	if err != nil {
		t.Fatalf("%v; go test ./quorum -run Vectors -update writes the vectors", err)
	}
	return data
}

func TestVectorsAreWhatWeWrite(t *testing.T) {
	for name, want := range vectors(t) {
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", "vectors", name), want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := vector(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: we write other bytes by now; is that a new version of the protocol?", name)
		}
	}
}

func TestVectorsAreRead(t *testing.T) {
	p := load(t, string(vector(t, "policy.toml")))
	for _, name := range []string{"statement.json", "statement-p256.json", "no-vote.json"} {
		s, err := statement.Parse(vector(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := quorum.Admit(p, s, noon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, ref := quorum.ParseRequest(vector(t, "request.json"))
	if ref != nil {
		t.Fatal(ref)
	}
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	// The numbers in the README.
	readme := vector(t, "README.md")
	for _, word := range []string{r.ID.String(), p.Digest.String(), a.EvidenceDigest().String(), r.Digest.SHA256.String(),
		statement.ID(vector(t, "statement.json")).String(), statement.ID(vector(t, "no-vote.json")).String()} {
		if !bytes.Contains(readme, []byte(word)) {
			t.Errorf("README.md does not name %s", word)
		}
	}
}
