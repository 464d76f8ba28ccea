package quorum_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// What builders say of the inside of a file and of their machines is information
// and never a vote: lies, contradictions and nonsense in it change no verdict and
// no signature.
func TestManifestsAreNoVotes(t *testing.T) {
	p := load(t, twoOfThree(`dissent = "report"`))
	lies := []string{`{"version":1,"members":1,"list":[{"name":"a"}]}`, `{"version":1,"members":9999999,"truncated":true}`, `["nonsense"]`}
	judge := func(lying bool) (quorum.Verdict, []*statement.Statement) {
		var r record
		var stmts []*statement.Statement
		for i, name := range []string{"berlin", "osaka", "reading"} {
			content := "x"
			if name == "reading" {
				content = "y"
			}
			s := corekit.Vote(name, corekit.Artifact("f", content))
			if lying {
				s.Artifacts[0].Manifest = []byte(lies[i])
				s.Environment = map[string]string{"kernel": name}
			}
			signed := corekit.Sign(s)
			o := corekit.Must(quorum.Admit(p, signed, noon))
			o.Seq = uint64(i + 1)
			r, stmts = append(r, o), append(stmts, signed)
		}
		return r.judge(t, p, nil, noon), stmts
	}
	plain, _ := judge(false)
	lying, stmts := judge(true)
	same := cmp.Options{cmpopts.IgnoreFields(quorum.Member{}, "Statement"), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(plain, lying, same); diff != "" {
		t.Errorf("manifests changed the verdict: %s", diff)
	}
	req := corekit.Must(quorum.NewRequest(p, stmts[0].Case, &lying, p.Channel("core").Sign, stmts))
	if _, refused := quorum.Check(p, req, noon); refused != nil {
		t.Errorf("the signer refuses for what is in a manifest: %v", refused)
	}
}
