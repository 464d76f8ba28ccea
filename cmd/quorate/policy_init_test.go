package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestPolicyInitTakesAnyName: what others call their folders keeps nobody from a
// first policy. Names that become alike are told apart, and what no policy takes is said.
func TestPolicyInitTakesAnyName(t *testing.T) {
	people := newPeople("Ann Lee", "Ann+Lee", "Ann-Lee", "b\u00f6b", "b\u00fcb")
	s := newSigs(t, people...)
	for _, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born)
	}
	var out bytes.Buffer
	if err := (&policyInitCmd{Name: "tool", At: judgedAt, Path: s.dir}).run(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name = \"Ann-Lee\"\n  key", "filed_as = [\"Ann Lee\"]", "filed_as = [\"Ann+Lee\"]", "name = \"Ann-Lee-2\"", "name = \"Ann-Lee-3\"",
		"name = \"b-b\"", "name = \"b-b-2\"", `# "b\u00f6b" cannot stand in a policy, so what operator b-b`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: inFile(t, out.String()), Name: "tool", Keys: s.dir + "/builder-keys"}, Paths: []string{s.dir}}
	lineWith(t, decideOut(t, exitOK, c), "agreed       3, needs 3 of 5 ", "tool-1.0.zip")
}
