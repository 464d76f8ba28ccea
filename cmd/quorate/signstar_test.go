package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/rogpeppe/go-internal/testscript"

	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

func votedForSHA512(a *api.Artifact, d statement.SHA512) bool {
	return a.SHA512 == d || slices.ContainsFunc(a.Groups, func(g quorum.Group) bool {
		return g.SHA512 == d || slices.ContainsFunc(g.Members, func(m quorum.Member) bool { return m.OtherSHA512 != nil && *m.OtherSHA512 == d })
	})
}

// signstar-request FILE REQUEST writes the signing request that Signstar's client
// makes of a file.
func scriptSignstarRequest(ts *testscript.TestScript, _ bool, a []string) {
	artifact := artifactOf(ts.MkAbs(a[0]), a[0])
	state, err := artifact.State512.Signstar()
	ts.Check(err)
	numbers := make([]string, len(state))
	for i, b := range state {
		numbers[i] = strconv.Itoa(int(b))
	}
	text := `{"version":"1.0.0","required":{"input":{"type":"` + hashstate.SignstarType + `","content":[` + strings.Join(numbers, ",") +
		`]},"output":{"type":"OpenPGPv4"}},"optional":{"request-time":1728913277,"file-name":"x","k3Jd9aQ":"https://example.org/"}}`
	ts.Check(os.WriteFile(ts.MkAbs(a[1]), []byte(text), 0o600))
}

// signstar-signature FILE takes the signature out of the response on the standard
// output of the last command.
func scriptSignstarSignature(ts *testscript.TestScript, _ bool, a []string) {
	var r struct {
		Version, Signature string
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &r, json.RejectUnknownMembers(true), json.MatchCaseInsensitiveNames(true)))
	if r.Version != "1.0.0" {
		ts.Fatalf("version %q", r.Version)
	}
	ts.Check(os.WriteFile(ts.MkAbs(a[0]), []byte(r.Signature), 0o600))
}
