package quorum_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/hashstate"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// signs is the policy of two of three with other outputs.
func signs(t testing.TB, outputs string) *policy.Policy {
	t.Helper()
	return load(t, signing(twoOfThree(), outputs))
}

// signing changes what the policy's channel signs.
func signing(text, outputs string) string {
	const one = `sign = [{ format = "openpgp", key = "core-2026" }]`
	if !strings.Contains(text, one) {
		panic("the policy of the tests signs something else")
	}
	return strings.Replace(text, one, "sign = ["+outputs+"]", 1)
}

const (
	sums      = `{ format = "vsa", key = "own" }`
	ssh       = `{ format = "sshsig", key = "own" }`
	pgp       = `{ format = "openpgp", key = "own" }`
	cleartext = `{ format = "openpgp-cleartext", key = "own" }`
	raw256    = `{ format = "raw-sha256", key = "bare" }`
)

// lying is a vote of the builder for the file whose SHA-512, and state, are those
// of another one.
func lying(builder, content string) *statement.Statement {
	a := corekit.Artifact(corekit.File, content)
	evil := corekit.Artifact(corekit.File, strings.Repeat("z", len(content)))
	a.SHA512, a.State512 = evil.SHA512, evil.State512
	return corekit.Sign(corekit.Vote(builder, a))
}

// TestRequestCarriesWhatItsOutputsNeed: the state for OpenPGP only, a SHA-512 only
// in channels that sign something made from it.
func TestRequestCarriesWhatItsOutputsNeed(t *testing.T) {
	for _, c := range []struct {
		name, outputs string
		ask           []policy.Output // nil: all of them
		state, sha512 bool
	}{
		{"openpgp", pgp, nil, true, true},
		{"all", pgp + "," + ssh + "," + sums + "," + raw256, nil, true, true},
		{"one of them", pgp + "," + raw256, []policy.Output{{Format: format.RawSHA256, Key: "bare"}}, false, true},
		{"sshsig", ssh, nil, false, true},
		{"sha256 alone", sums + "," + raw256, nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := signs(t, c.outputs)
			stmts := builds("x", "berlin", "osaka")
			v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
			if c.ask == nil {
				c.ask = p.Channel("core").Sign
			}
			r := corekit.Must(quorum.NewRequest(p, stmts[0].Case, &v, c.ask, stmts))
			if (len(r.Signables) == 1) != c.state || (r.Digest.SHA512 != statement.SHA512{}) != c.sha512 {
				t.Errorf("signables %v, sha512 %s", r.Signables, r.Digest.SHA512)
			}
			a, ref := quorum.Check(p, r, noon)
			if ref != nil {
				t.Fatal(ref)
			}
			if _, err := a.State().Resume(); (err == nil) != c.state {
				t.Errorf("state of the approval: %v", err)
			}
		})
	}
}

// TestCheckAcceptsExactlyWhatIsNeeded changes good requests in each way that the
// gate must see.
func TestCheckAcceptsExactlyWhatIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name, outputs string
		change        func(*quorum.Request)
		code          quorum.RefusalCode
	}{
		{"a state that nothing needs", ssh, func(r *quorum.Request) {
			r.Signables[quorum.StateSHA512] = corekit.Must(corekit.State(hashstate.SHA512, "x").MarshalJSON())
		}, quorum.RefuseBadRequest},
		{"a state of another file that nothing needs", sums, func(r *quorum.Request) {
			r.Signables[quorum.StateSHA512] = corekit.Must(corekit.State(hashstate.SHA512, "evil").MarshalJSON())
		}, quorum.RefuseBadRequest},
		{"another signable", ssh, func(r *quorum.Request) { r.Signables["x"] = jsontext.Value(`{}`) }, quorum.RefuseBadRequest},
		{"no state where one is needed", pgp + "," + ssh, func(r *quorum.Request) { clear(r.Signables) }, quorum.RefuseBadRequest},
		{"a state of another file", pgp + "," + ssh, func(r *quorum.Request) {
			r.Signables[quorum.StateSHA512] = corekit.Must(corekit.State(hashstate.SHA512, "evil").MarshalJSON())
		}, quorum.RefuseState},
		{"no SHA-512 where one is agreed", ssh, func(r *quorum.Request) { r.Digest.SHA512 = statement.SHA512{} }, quorum.RefuseQuorum},
		{"no SHA-512 in a channel that has one", pgp + "," + raw256, func(r *quorum.Request) {
			r.Digest.SHA512, r.Outputs = statement.SHA512{}, r.Outputs[1:]
			clear(r.Signables)
		}, quorum.RefuseQuorum},
		{"another SHA-512", ssh, func(r *quorum.Request) { r.Digest.SHA512[0] ^= 1 }, quorum.RefuseQuorum},
		{"a SHA-512 that nobody had to agree on", sums, func(r *quorum.Request) {
			r.Digest.SHA512 = corekit.Artifact(corekit.File, "x").SHA512
		}, quorum.RefuseQuorum},
		{"a made-up SHA-512", sums, func(r *quorum.Request) { r.Digest.SHA512[0] = 1 }, quorum.RefuseQuorum},
		{"another SHA-256", raw256, func(r *quorum.Request) { r.Digest.SHA256[0] ^= 1 }, quorum.RefuseQuorum},
		{"a format that the channel does not sign", sums, func(r *quorum.Request) { r.Outputs[0].Format = format.SSHSIG }, quorum.RefuseFormat},
		{"a key that does not make it", sums, func(r *quorum.Request) { r.Outputs[0].Key = "bare" }, quorum.RefuseFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := signs(t, c.outputs)
			r := request(t, p, builds("x", "berlin", "osaka")...)
			if _, ref := quorum.Check(p, r, noon); ref != nil {
				t.Fatal(ref)
			}
			r.Outputs = append([]policy.Output(nil), r.Outputs...)
			c.change(r)
			a, ref := quorum.Check(p, withID(r), noon)
			wantRefused(t, a, ref, c.code, false, "")
		})
	}
}

// TestSHA512NeedsItsQuorumWhereItIsSigned: one liar stops what is made from
// SHA-512, and does nothing, not even to the id of the request, where nothing is.
func TestSHA512NeedsItsQuorumWhereItIsSigned(t *testing.T) {
	stmts := append([]*statement.Statement{lying("berlin", "x")}, builds("x", "osaka")...)
	for outputs, agreed := range map[string]bool{pgp: false, ssh: false, sums + "," + ssh: false, sums: true, raw256: true,
		`{ format = "cms-sha256", key = "c" }`: true, `{ format = "cms", key = "c" }`: false, `{ format = "raw-sha512", key = "c" }`: false} {
		p := signs(t, outputs)
		v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
		if agreed {
			r := request(t, p, stmts...)
			if _, ref := quorum.Check(p, r, noon); ref != nil {
				t.Errorf("%s: %v", outputs, ref)
			}
			if more := request(t, p, append(stmts, builds("x", "reading")...)...); more.ID != r.ID {
				t.Errorf("%s: one more vote is another request", outputs)
			}
			continue
		}
		if v.State == quorum.Agreed {
			t.Errorf("%s: agreed (%s)", outputs, v.Reason)
		}
	}
}

// TestRecheckUnderALaterPolicy looks at an old summary by a policy that signs more.
func TestRecheckUnderALaterPolicy(t *testing.T) {
	old, later := signs(t, sums), signs(t, sums+","+pgp)
	for _, c := range []struct{ made, judged *policy.Policy }{{old, later}, {later, old}} {
		stmts := builds("x", "berlin", "osaka")
		v := quorum.Decide(c.made.Channel("core"), observe(t, c.made, stmts), nil, noon)[0]
		r := corekit.Must(quorum.NewRequest(c.made, stmts[0].Case, &v, []policy.Output{{Format: format.VSA, Key: "own"}}, stmts))
		if _, ref := quorum.Recheck(c.judged, r, noon); ref != nil {
			t.Error(ref)
		}
		r.Digest.SHA512[0] ^= 1
		if _, ref := quorum.Recheck(c.judged, withID(r), noon); ref == nil {
			t.Error("a made-up SHA-512 passed")
		}
	}
}
