package web_test

import (
	"slices"
	"testing"

	"quorate/coordinator/web"
	"quorate/internal/api"
	"quorate/quorum/policy"
)

// Each key that signed has evidence of its own, however many formats it signed in.
func TestEvidenceOfEachKey(t *testing.T) {
	a := api.Artifact{Evidence: "/v1/targets/x/artifacts/hello/evidence"}
	for _, o := range []policy.Output{{Format: "openpgp", Key: "a"}, {Format: "sshsig", Key: "a"}, {Format: "raw-sha256", Key: "b"}} {
		a.Signatures = append(a.Signatures, api.Signature{Output: o})
	}
	want := []web.EvidenceFile{{Key: "a", Path: a.Evidence + "?key=a"}, {Key: "b", Path: a.Evidence + "?key=b"}}
	if got := web.NewArtifacts([]api.Artifact{a, {}}); !slices.Equal(got[0].Evidence, want) || len(got[1].Evidence) != 0 {
		t.Errorf("got %+v", got)
	}
}
