package quorum_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// builds are votes of builders for content of [corekit.File], signed.
func builds(content string, builders ...string) (out []*statement.Statement) {
	for _, b := range builders {
		out = append(out, corekit.Sign(corekit.Vote(b, corekit.Artifact(corekit.File, content))))
	}
	return out
}

// observe admits and orders statements as a coordinator does.
func observe(t testing.TB, p *policy.Policy, stmts []*statement.Statement) (obs []quorum.Observation) {
	t.Helper()
	for i, s := range stmts {
		o, err := quorum.Admit(p, s, noon.Add(time.Duration(i)*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		o.Seq = uint64(i + 1)
		obs = append(obs, o)
	}
	return obs
}

// request asks for what the statements agree on.
func request(t testing.TB, p *policy.Policy, stmts ...*statement.Statement) *quorum.Request {
	t.Helper()
	v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
	r, err := quorum.NewRequest(p, stmts[0].Case, &v, p.Channel("core").Sign, stmts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask makes a request by hand, as a coordinator would that wants more than it has.
func ask(p *policy.Policy, content string, stmts ...*statement.Statement) *quorum.Request {
	a := corekit.Artifact(corekit.File, content)
	r := &quorum.Request{Version: quorum.Version, Channel: "core", Target: corekit.Target, Artifact: corekit.File,
		Digest:    quorum.Digests{SHA256: a.SHA256, SHA512: a.SHA512},
		Signables: map[string]jsontext.Value{quorum.StateSHA512: corekit.Must(a.State512.MarshalJSON())},
		Outputs:   p.Channel("core").Sign, Policy: quorum.PolicyRef{Version: p.Version, Digest: p.Digest}}
	for _, s := range stmts {
		r.Evidence = append(r.Evidence, quorum.Evidence{Kind: quorum.KindDSSE, Raw: s.Raw()})
	}
	r.ID = r.ComputeID()
	return r
}

func wantRefused(t *testing.T, a *quorum.Approval, ref *quorum.Refusal, code quorum.RefusalCode, retry bool, words string) {
	t.Helper()
	if a != nil {
		t.Error("an approval")
	}
	if ref == nil || ref.Code != code || ref.Retryable != retry || !strings.Contains(ref.Message, words) {
		t.Errorf("got %+v, want %s with %q, retryable %t", ref, code, words, retry)
	}
}

// forgeries are requests of a coordinator that is not honest, or not lucky.
var forgeries = []struct {
	name  string
	make  func(t *testing.T, p *policy.Policy) *quorum.Request
	code  quorum.RefusalCode
	words string
}{
	{"no statement at all", func(t *testing.T, p *policy.Policy) *quorum.Request { return ask(p, "x") }, quorum.RefuseQuorum, "no statement votes"},
	{"one vote of two", func(t *testing.T, p *policy.Policy) *quorum.Request { return ask(p, "x", builds("x", "berlin")...) }, quorum.RefuseQuorum, "waiting (too-few)"},
	{"one statement twice", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", builds("x", "berlin", "berlin")...)
	}, quorum.RefuseEvidence, `evidence[1]: operator "berlin" stands in it twice`},
	{"one operator with two statements", func(t *testing.T, p *policy.Policy) *quorum.Request {
		second := corekit.Vote("berlin", corekit.Artifact(corekit.File, "x"))
		second.Invocation = "again"
		return ask(p, "x", append(builds("x", "berlin"), corekit.Sign(second))...)
	}, quorum.RefuseEvidence, "twice"},
	{"an operator that withdrew, with its vote", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", append(builds("x", "berlin", "osaka"), corekit.Sign(corekit.NoVote("osaka", statement.Withdrawn)))...)
	}, quorum.RefuseEvidence, "twice"},
	{"an operator that withdrew", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", append(builds("x", "berlin"), corekit.Sign(corekit.NoVote("osaka", statement.Withdrawn)))...)
	}, quorum.RefuseQuorum, "waiting"},
	{"an outsider makes two", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", builds("x", "berlin", "outsider")...)
	}, quorum.RefuseEvidence, "builder-not-in-channel"},
	{"a builder that nobody knows", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", builds("x", "berlin", "sybil")...)
	}, quorum.RefuseEvidence, "unknown-builder"},
	{"a statement in another builder's name", func(t *testing.T, p *policy.Policy) *quorum.Request {
		forged := corekit.Must(statement.Sign(corekit.Vote("osaka", corekit.Artifact(corekit.File, "x")), corekit.Ed25519("berlin")))
		return ask(p, "x", append(builds("x", "berlin"), forged)...)
	}, quorum.RefuseEvidence, "bad-signature"},
	{"a statement that was touched", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Evidence[1].Raw = bytes.Replace(r.Evidence[1].Raw, []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1)
		return r
	}, quorum.RefuseEvidence, "bad-signature"},
	{"a statement about another target", func(t *testing.T, p *policy.Policy) *quorum.Request {
		other := corekit.Vote("osaka", corekit.Artifact(corekit.File, "x"))
		other.Target = "pkg:alpm/arch/zlib@1.3.1-1?arch=x86_64"
		return ask(p, "x", append(builds("x", "berlin"), corekit.Sign(other))...)
	}, quorum.RefuseEvidence, "another channel, target or stage"},
	{"a statement about another stage", func(t *testing.T, p *policy.Policy) *quorum.Request {
		other := corekit.Vote("osaka", corekit.Artifact(corekit.File, "x"))
		other.Stage = "noncodesigned"
		return ask(p, "x", append(builds("x", "berlin"), corekit.Sign(other))...)
	}, quorum.RefuseEvidence, "another channel, target or stage"},
	{"a request for another target than was built", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Target = "pkg:alpm/arch/openssl@3"
		return withID(r)
	}, quorum.RefuseEvidence, "another channel, target or stage"},
	{"a target that is not the channel's", func(t *testing.T, p *policy.Policy) *quorum.Request {
		var all []*statement.Statement
		for _, b := range []string{"berlin", "osaka"} {
			s := corekit.Vote(b, corekit.Artifact(corekit.File, "x"))
			s.Target = "pkg:deb/debian/zlib@1"
			all = append(all, corekit.Sign(s))
		}
		r := ask(p, "x", all...)
		r.Target = "pkg:deb/debian/zlib@1"
		return withID(r)
	}, quorum.RefuseEvidence, "target-not-in-channel"},
	{"a digest that nobody voted for", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "evil", builds("x", "berlin", "osaka")...)
	}, quorum.RefuseQuorum, "agrees on another digest"},
	{"a digest that only a minority voted for", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "y", append(builds("x", "berlin", "osaka"), builds("y", "reading")...)...)
	}, quorum.RefuseHeld, "holds on dissent"},
	{"another SHA-512 than was voted for", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		evil := corekit.Artifact(corekit.File, "evil")
		r.Digest.SHA512 = evil.SHA512
		r.Signables[quorum.StateSHA512] = corekit.Must(evil.State512.MarshalJSON())
		return withID(r)
	}, quorum.RefuseQuorum, "agrees on another digest"},
	{"another SHA-256 than was voted for", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Digest.SHA256[0] ^= 1
		return withID(r)
	}, quorum.RefuseQuorum, "agrees on another digest"},
	{"a file that nobody listed", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Artifact = "other.pkg"
		return withID(r)
	}, quorum.RefuseQuorum, `no statement votes on "other.pkg"`},
	{"they all differ", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", slices.Concat(builds("x", "berlin"), builds("y", "osaka"), builds("z", "reading"))...)
	}, quorum.RefuseQuorum, "unreachable"},
	{"one differs and the channel holds", func(t *testing.T, p *policy.Policy) *quorum.Request {
		return ask(p, "x", append(builds("x", "berlin", "osaka"), builds("y", "reading")...)...)
	}, quorum.RefuseHeld, "holds on dissent"},
	{"a key that is revoked by now", func(t *testing.T, p *policy.Policy) *quorum.Request {
		p.Builder("osaka").Keys[0].Revoked = noon
		return ask(p, "x", builds("x", "berlin", "osaka")...)
	}, quorum.RefuseEvidence, "key-revoked"},
	{"a build that has not happened yet", func(t *testing.T, p *policy.Policy) *quorum.Request {
		s := corekit.Vote("osaka", corekit.Artifact(corekit.File, "x"))
		s.Finished = noon.Add(time.Hour)
		return ask(p, "x", append(builds("x", "berlin"), corekit.Sign(s))...)
	}, quorum.RefuseEvidence, "time-in-future"},
	{"evidence of a kind that nobody knows", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Evidence[1].Kind = "trust-me"
		return r
	}, quorum.RefuseEvidence, `evidence[1]: kind "trust-me"`},
	{"evidence that is no statement", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Evidence[0].Raw = []byte("{}")
		return r
	}, quorum.RefuseEvidence, "evidence[0]"},
	{"257 statements", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x")
		r.Evidence = make([]quorum.Evidence, quorum.MaxEvidence+1)
		return r
	}, quorum.RefuseTooLarge, "257 statements"},

	{"the state of another file", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables[quorum.StateSHA512] = corekit.Must(corekit.State(hashstate.SHA512, "evil").MarshalJSON())
		return withID(r)
	}, quorum.RefuseState, "does not finalise"},
	{"a state made up", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables[quorum.StateSHA512] = jsontext.Value(`{"h":"` + strings.Repeat("00", 64) + `","tail":"","length":0}`)
		return withID(r)
	}, quorum.RefuseState, "does not finalise"},
	{"the state of SHA-256", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables[quorum.StateSHA512] = corekit.Must(corekit.State(hashstate.SHA256, "x").MarshalJSON())
		return withID(r)
	}, quorum.RefuseState, "h has 32 bytes"},
	{"a state that is no state", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables[quorum.StateSHA512] = jsontext.Value(`"x"`)
		return withID(r)
	}, quorum.RefuseState, ""},
	{"the state spelt in another way, which is another id", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		text := string(r.Signables[quorum.StateSHA512])
		length := text[strings.Index(text, `"length"`) : len(text)-1]
		r.Signables[quorum.StateSHA512] = jsontext.Value("{" + length + "," + strings.TrimSuffix(text[1:strings.Index(text, `"length"`)], ",") + "}")
		return withID(r)
	}, quorum.RefuseBadRequest, "not in its one form"},
	{"no state", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables = nil
		return withID(r)
	}, quorum.RefuseBadRequest, "signables must be exactly"},
	{"a second thing to sign", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Signables["rpm:header"] = jsontext.Value(`{}`)
		return withID(r)
	}, quorum.RefuseBadRequest, "signables must be exactly"},

	{"the id of something else", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.ID[0] ^= 1
		return r
	}, quorum.RefuseBadRequest, "id is not the hash"},
	{"a version of the future", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Version = 2
		return withID(r)
	}, quorum.RefuseBadRequest, "version 2, want 1"},
	{"a channel that the policy has not", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Channel = "testing"
		return withID(r)
	}, quorum.RefuseBadRequest, `no channel "testing"`},
	{"no output", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Outputs = nil
		return withID(r)
	}, quorum.RefuseBadRequest, "outputs is empty"},
	{"a format that the channel does not sign", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Outputs = []policy.Output{{Format: "sshsig", Key: "core-2026"}}
		return withID(r)
	}, quorum.RefuseFormat, "does not sign sshsig"},
	{"the key of another channel", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Outputs = []policy.Output{{Format: policy.OpenPGP, Key: "release-2026"}}
		return withID(r)
	}, quorum.RefuseFormat, `with key "release-2026"`},
	{"one output twice", func(t *testing.T, p *policy.Policy) *quorum.Request {
		r := ask(p, "x", builds("x", "berlin", "osaka")...)
		r.Outputs = append(slices.Clone(r.Outputs), r.Outputs...)
		return withID(r)
	}, quorum.RefuseBadRequest, "stands twice"},
}

// withID gives a changed request the id that belongs to it.
func withID(r *quorum.Request) *quorum.Request {
	r.ID = r.ComputeID()
	return r
}

// TestInvariant1EvidenceFirst: Check gives an approval for a request whose
// evidence meets the signer's own policy, and for no other.
func TestInvariant1EvidenceFirst(t *testing.T) {
	t.Run("two genuine votes of two", func(t *testing.T) {
		p := load(t, twoOfThree())
		r := request(t, p, builds("x", "berlin", "osaka")...)
		a, ref := quorum.Check(p, r, noon)
		if ref != nil {
			t.Fatal(ref)
		}
		wantApproved(t, a, r)
	})
	for _, c := range forgeries {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, twoOfThree())
			r := c.make(t, p)
			a, ref := quorum.Check(p, r, noon)
			wantRefused(t, a, ref, c.code, false, c.words)
			if a, again := quorum.Recheck(p, r, noon); a != nil || again == nil || *again != *ref {
				t.Errorf("Recheck says %v", again)
			}
		})
	}
}

func wantApproved(t *testing.T, a *quorum.Approval, r *quorum.Request) {
	t.Helper()
	if a.Request().ID != r.ID || a.Verdict().State != quorum.Agreed || a.Verdict().SHA256 != r.Digest.SHA256 || a.EvidenceDigest() != quorum.EvidenceDigest(r.Evidence) {
		t.Errorf("approved %+v", a.Verdict())
	}
}

func TestFlippedBitsOfTheEvidenceAreSeen(t *testing.T) {
	p := load(t, twoOfThree())
	good := request(t, p, builds("x", "berlin", "osaka")...)
	raw := good.Evidence[1].Raw
	approved := 0
	for i := 0; i < len(raw); i += 3 {
		r := *good
		r.Evidence = slices.Clone(good.Evidence)
		r.Evidence[1].Raw = bytes.Clone(raw)
		r.Evidence[1].Raw[i] ^= 1
		if a, _ := quorum.Check(p, &r, noon); a != nil {
			approved++
			if !sameStatement(raw, r.Evidence[1].Raw) {
				t.Errorf("approved with byte %d changed", i)
			}
		}
	}
	if approved > 20 { // the keyid and its name are outside of the signature, as DSSE has it
		t.Errorf("%d changes were approved", approved)
	}
}

func sameStatement(a, b []byte) bool {
	x, err := statement.Parse(a)
	y, err2 := statement.Parse(b)
	return err == nil && err2 == nil && x.PayloadID() == y.PayloadID()
}

func TestAnApprovalOutlivesTheRequest(t *testing.T) {
	p := load(t, twoOfThree())
	r := request(t, p, builds("x", "berlin", "osaka")...)
	r.Outputs = slices.Clone(r.Outputs)
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	id, key := r.ID, r.Outputs[0].Key
	r.Target, r.Outputs[0].Key, r.Digest.SHA256[0] = "pkg:evil/x", "other", r.Digest.SHA256[0]^1
	r.Signables[quorum.StateSHA512] = nil
	if got := a.Request(); got.ComputeID() != id || got.Outputs[0].Key != key {
		t.Error("what was approved changed with the request")
	}
}

// TestInvariant4NoArtifactAtTheSigner: what comes to the signer is a state of a
// few hundred bytes whatever the file, and a clone of it gives the voted digest.
func TestInvariant4NoArtifactAtTheSigner(t *testing.T) {
	p := load(t, twoOfThree())
	for _, size := range []int{0, 1, 127, 128, 129, 1 << 20} {
		content := strings.Repeat("z", size)
		r := request(t, p, builds(content, "berlin", "osaka")...)
		if n := len(r.Signables[quorum.StateSHA512]); n > 400 {
			t.Errorf("the state of %d bytes has %d bytes", size, n)
		}
		a, ref := quorum.Check(p, r, noon)
		if ref != nil {
			t.Fatal(ref)
		}
		want := corekit.Artifact(corekit.File, content)
		for range 2 { // finalising takes a clone, so it can be done again
			h := corekit.Must(a.State().Resume())
			if !bytes.Equal(h.Sum(nil), want.SHA512[:]) || a.State().Length != uint64(size) {
				t.Errorf("the approved state of %d bytes is not that of the file", size)
			}
			h.Write([]byte("trailer"))
		}
	}
}

func TestThePolicyIsTheSigners(t *testing.T) {
	asked := load(t, twoOfThree())
	r := request(t, asked, builds("x", "berlin", "osaka")...)
	newer := load(t, strings.Replace(twoOfThree(), "version = 7", "version = 8", 1))
	touched := load(t, twoOfThree()+"# a comment\n")
	for _, p := range []*policy.Policy{newer, touched} {
		a, ref := quorum.Check(p, r, noon)
		wantRefused(t, a, ref, quorum.RefusePolicyMismatch, true, "policy version 7")
		if _, ref := quorum.Recheck(p, r, noon); ref != nil {
			t.Errorf("Recheck under another policy that agrees: %v", ref)
		}
	}
	stricter := load(t, strings.Replace(twoOfThree(), "need = 2", "need = 3", 1))
	a, ref := quorum.Recheck(stricter, r, noon)
	wantRefused(t, a, ref, quorum.RefuseQuorum, false, "waiting")

	end := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	a, ref = quorum.Check(asked, r, end)
	wantRefused(t, a, ref, quorum.RefusePolicyExpired, true, "2036-01-01")
	if _, ref := quorum.Check(asked, r, end.Add(-1)); ref != nil {
		t.Error(ref)
	}
}

func TestTheSignerSignsWithDissentWhereTheChannelReports(t *testing.T) {
	p := load(t, twoOfThree(report, settle))
	r := request(t, p, append(builds("x", "berlin", "osaka"), builds("y", "reading")...)...)
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	wantApproved(t, a, r)
}

// One of two liars: with everybody on SHA-256, and the SHA-512 of another file.
// Its statement does not even parse; as an observation it does not count.
func TestALyingBuilderCannotSlipInAState(t *testing.T) {
	a, evil := corekit.Artifact(corekit.File, "x"), corekit.Artifact(corekit.File, "evil")
	a.SHA512, a.State512 = evil.SHA512, evil.State512
	liar := corekit.Vote("osaka", a)
	if _, err := statement.Sign(liar, corekit.Ed25519("osaka")); err == nil {
		t.Fatal("states of two lengths in one vote")
	}
	// Of the same length it parses: nobody can see that SHA-256 and SHA-512 are of two files.
	same := corekit.Artifact(corekit.File, "y")
	a.SHA512, a.State512 = same.SHA512, same.State512
	liar = corekit.Sign(corekit.Vote("osaka", a))
	p := load(t, twoOfThree())
	r := ask(p, "x", append(builds("x", "berlin"), liar)...)
	r.Digest.SHA512, r.Signables[quorum.StateSHA512] = same.SHA512, corekit.Must(same.State512.MarshalJSON())
	got, ref := quorum.Check(p, withID(r), noon)
	wantRefused(t, got, ref, quorum.RefuseQuorum, false, "conflicting (sha512-differs)")
}

func TestManyOperatorsFitIntoARequest(t *testing.T) {
	names := make([]string, quorum.MaxEvidence)
	for i := range names {
		names[i] = fmt.Sprintf("o%d", i)
	}
	p := load(t, corekit.Head+corekit.Operators(names...)+corekit.Group("g", "129", names...)+corekit.Channel("g"))
	r := request(t, p, builds("x", names...)...)
	if _, ref := quorum.Check(p, r, noon); ref != nil {
		t.Error(ref)
	}
}
