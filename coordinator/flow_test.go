package coordinator_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

func caseID(channel, target string) string {
	return store.NewCaseID(statement.Case{Channel: channel, Target: target}).String()
}

var helloID = caseID("core", "pkg:generic/hello@1")

func (w *world) fetch(path string) (int, []byte) {
	w.t.Helper()
	r := must(http.Get(w.c.URL() + path))(w.t)
	defer r.Body.Close()
	return r.StatusCode, must(io.ReadAll(r.Body))(w.t)
}

func get[T any](w *world, path string) (v T) {
	w.t.Helper()
	status, body := w.fetch(path)
	if status != http.StatusOK {
		w.t.Fatalf("%s: status %d: %s", path, status, body)
	}
	check(w.t, json.Unmarshal(body, &v, json.RejectUnknownMembers(true)))
	return v
}

// hello reads the one artifact of the target that most tests use.
func (w *world) hello() api.Artifact {
	w.t.Helper()
	d := get[api.TargetDetail](w, "/v1/targets/"+helloID)
	if len(d.Artifacts) != 1 {
		w.t.Fatalf("%d artifacts", len(d.Artifacts))
	}
	return d.Artifacts[0]
}

func (w *world) wantState(s quorum.State) api.Artifact {
	w.t.Helper()
	a := w.hello()
	if a.State != s {
		w.t.Fatalf("state %s (%s), want %s", a.State, a.Reason, s)
	}
	return a
}

func (w *world) agree(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.publish(build{builder: name})
	}
	w.sync()
}

func TestFromVotesToSignature(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	w.wantState(quorum.Waiting)
	s := w.signer()
	s.none()
	w.agree("carol")
	w.wantState(quorum.Agreed)

	r := s.next()
	if r.Digest.SHA256 != digest("hello, world") || len(r.Evidence) != 3 {
		t.Fatalf("request for %s with %d statements", r.Digest.SHA256, len(r.Evidence))
	}
	ans := s.answer(r, nil)
	if ans.Refusal != nil {
		t.Fatal(ans.Refusal)
	}
	w.sync()
	a := w.wantState(quorum.Signed)
	if len(a.Signatures) != 1 || a.Signatures[0].Fingerprint != w.cert.Fingerprint() {
		t.Fatalf("signatures %+v", a.Signatures)
	}
	_, sig := w.fetch(a.Signatures[0].Path)
	h := hashstate.SHA512.New()
	io.WriteString(h, "hello, world")
	must(pgpsig.VerifyDetached(w.cert, h, sig))(t)
	if len(a.Requests) != 1 || a.Requests[0].Attempts != 1 || !a.Requests[0].Next.IsZero() {
		t.Errorf("requests %+v", a.Requests)
	}

	_, data := w.fetch(a.Evidence)
	b := must(quorum.ParseBundle(data))(t)
	p := must(policy.Load(b.Policy, a.Signatures[0].SignedAt))(t)
	approval, ref := quorum.Recheck(p, b.Request, a.Signatures[0].SignedAt)
	if ref != nil {
		t.Fatal(ref)
	}
	if approval.EvidenceDigest() != b.Answer.Evidence || b.Request.ID != r.ID {
		t.Error("the evidence file is not what the signer saw")
	}
	s.none()
}

type rejectedList = api.Rejected

func hasCode(list rejectedList, code statement.Code) bool {
	for _, r := range list.Rejected {
		if r.Code == code {
			return true
		}
	}
	return false
}

func (w *world) detail(id string) api.TargetDetail {
	w.t.Helper()
	return get[api.TargetDetail](w, "/v1/targets/"+id)
}

func (w *world) targets(query string) []api.Target {
	w.t.Helper()
	return get[api.Targets](w, "/v1/targets?"+query).Targets
}
