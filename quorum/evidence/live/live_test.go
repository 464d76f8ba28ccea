package live_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/live"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

var (
	born = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	made = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

// person is a builder with an OpenPGP key.
type person struct {
	name string
	e    *pgp.Entity
	file []byte
}

func newPerson(t testing.TB, name string, lifetime time.Duration) *person {
	t.Helper()
	c := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return born }, KeyLifetimeSecs: uint32(lifetime / time.Second)}
	e, err := pgp.NewEntity(name, "", name+"@example.org", c)
	check(t, err)
	var b bytes.Buffer
	check(t, e.Serialize(&b))
	return &person{name, e, b.Bytes()}
}

func (p *person) fingerprint(t testing.TB) string {
	f, err := openpgp.Identify(p.file)
	check(t, err)
	return f.String()
}

func (p *person) list(t testing.TB, path, body string) evidence.Bundle {
	t.Helper()
	var sig bytes.Buffer
	check(t, pgp.DetachSign(&sig, p.e, strings.NewReader(body), &packet.Config{Time: func() time.Time { return made }}))
	return evidence.Bundle{Kind: evidence.GuixSigs, Path: path, Body: []byte(body), Signature: sig.Bytes()}
}

func sums(files ...string) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256([]byte(f)), f)
	}
	return b.String()
}

func policyOf(t testing.TB, need int, channel string, people ...*person) *policy.Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString("version = 1\nexpires = 2100-01-01T00:00:00Z\n")
	var names []string
	for _, p := range people {
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n[[operator.builder]]\nname = %q\nkey = \"openpgp:%s\"\n", p.name, p.name, p.fingerprint(t))
		names = append(names, fmt.Sprintf("%q", p.name))
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"g\"\nneed = %d\nmembers = [%s]\n[[channel]]\nname = \"core\"\nquorum = \"g\"\n%s\n", need, strings.Join(names, ", "), channel)
	p, err := policy.Load([]byte(b.String()), noon)
	check(t, err)
	return p
}

const plain = `targets = ["pkg:generic/tool@*"]
sign = [{ format = "raw-sha256", key = "k" }]`

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func admit(p *policy.Policy, b evidence.Bundle, target string, keys ...[]byte) (quorum.Observation, error) {
	e := quorum.Evidence{Kind: live.KindOf(b.Kind), Raw: b.Encode(), Keys: keys}
	return quorum.AdmitEvidence(p, statement.Case{Channel: "core", Target: target, Stage: "all"}, e, noon)
}

func code(err error) statement.Code {
	var e *evidence.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestAListCountsForWhatItsSignedNamesSay(t *testing.T) {
	alice, mallory := newPerson(t, "alice", 0), newPerson(t, "mallory", 0)
	p := policyOf(t, 1, plain, alice)
	body := sums("tool-22.0-x.tar.gz", "tool-22.0rc1-x.tar.gz", "tool-v22.0.zip", "README")
	good := alice.list(t, "22.0/alice/all.SHA256SUMS", body)
	o, err := admit(p, good, "pkg:generic/tool@22.0", mallory.file, alice.file)
	check(t, err)
	if o.Operator != "alice" || len(o.Files) != 2 || o.Files[0].Name != "tool-22.0-x.tar.gz" || o.Files[1].Name != "tool-v22.0.zip" {
		t.Fatalf("the vote is %+v", o)
	}
	moved := good
	moved.Path = "23.0/alice/all.SHA256SUMS" // who carries it says it is a newer release
	for name, c := range map[string]struct {
		b      evidence.Bundle
		target string
		keys   [][]byte
		want   statement.Code
	}{
		"another release":          {moved, "pkg:generic/tool@23.0", [][]byte{alice.file}, live.CodeRelease},
		"another target":           {good, "pkg:generic/tool@22.1", [][]byte{alice.file}, evidence.CodeBadField},
		"another project":          {good, "pkg:generic/other@22.0", [][]byte{alice.file}, evidence.CodeBadField},
		"no key":                   {good, "pkg:generic/tool@22.0", nil, statement.Code(evidence.NoKey)},
		"somebody's key":           {good, "pkg:generic/tool@22.0", [][]byte{mallory.file}, statement.Code(evidence.NoKey)},
		"filed by somebody else":   {alice.list(t, "22.0/bob/all.SHA256SUMS", body), "pkg:generic/tool@22.0", [][]byte{alice.file}, evidence.CodeUnknownName},
		"signed by somebody else":  {mallory.list(t, "22.0/alice/all.SHA256SUMS", body), "pkg:generic/tool@22.0", [][]byte{mallory.file}, statement.Code(evidence.NoKey)},
		"not a list":               {evidence.Bundle{Kind: evidence.GuixSigs, Path: good.Path, Body: []byte("{}"), Signature: good.Signature}, "pkg:generic/tool@22.0", [][]byte{alice.file}, evidence.CodeWrongKind},
		"a list offered as a link": {evidence.Bundle{Kind: evidence.Rebuilderd, Body: good.Body}, "pkg:generic/tool@22.0", [][]byte{alice.file}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admit(p, c.b, c.target, c.keys...)
			if err == nil || c.want != "" && code(err) != c.want {
				t.Fatalf("want %s, got %v", c.want, err)
			}
		})
	}
	changed := bytes.Replace(good.Encode(), []byte("README"), []byte("READMI"), 1)
	if _, err := quorum.AdmitEvidence(p, statement.Case{Channel: "core", Target: "pkg:generic/tool@22.0", Stage: "all"},
		quorum.Evidence{Kind: "guix.sigs", Raw: changed, Keys: [][]byte{alice.file}}, noon); code(err) != statement.Code(evidence.Bad) {
		t.Errorf("a list that was changed after it was signed: %v", err)
	}
	if _, err := quorum.AdmitEvidence(p, statement.Case{Channel: "core", Target: "pkg:generic/tool@22.0", Stage: "all"},
		quorum.Evidence{Kind: "narinfo", Raw: good.Encode(), Keys: [][]byte{alice.file}}, noon); code(err) != evidence.CodeWrongKind {
		t.Errorf("evidence under the word of another kind: %v", err)
	}
}

func TestWhatAChannelSaysOfReleases(t *testing.T) {
	alice := newPerson(t, "alice", 0)
	b := alice.list(t, "22.0/alice/all.SHA256SUMS", sums("tool-22.0.zip"))
	for _, c := range []struct {
		targets string
		want    statement.Code
	}{
		{`["pkg:generic/tool@*"]`, ""},
		{`["pkg:generic/tool@22.*", "pkg:generic/tool@22.0"]`, ""},
		{`["pkg:*"]`, live.CodeName},
		{`["pkg:generic/*"]`, live.CodeName},
		{`["pkg:generic/tool@*", "pkg:generic/other@*"]`, live.CodeName},
		{`["pkg:generic/tool@23*"]`, quorum.CodeTargetChannel},
	} {
		p := policyOf(t, 1, "targets = "+c.targets+"\nsign = [{ format = \"raw-sha256\", key = \"k\" }]", alice)
		if _, err := admit(p, b, "pkg:generic/tool@22.0", alice.file); code(err) != c.want {
			t.Errorf("targets %s: want %q, got %v", c.targets, c.want, err)
		}
	}
}

// What a signer checks is a request with foreign evidence alone.
func TestThreeListsMakeARequestThatPasses(t *testing.T) {
	people := []*person{newPerson(t, "alice", 0), newPerson(t, "bob", 0), newPerson(t, "carol", 0), newPerson(t, "dave", 0)}
	p := policyOf(t, 3, plain+"\ndissent = \"hold\"", people...)
	c := statement.Case{Channel: "core", Target: "pkg:generic/tool@22.0", Stage: "all"}
	v := &quorum.Verdict{Artifact: "tool-22.0.zip", SHA256: sha256.Sum256([]byte("tool-22.0.zip"))}
	request := func(n int) *quorum.Request {
		var stmts []*statement.Statement
		for _, x := range people[:n] {
			s, err := live.Claims(p, c, x.list(t, "22.0/"+x.name+"/all.SHA256SUMS", sums("tool-22.0.zip")).Encode(), [][]byte{x.file})
			check(t, err)
			stmts = append(stmts, s)
		}
		r, err := quorum.NewRequest(p, c, v, p.Channel("core").Sign, stmts)
		check(t, err)
		return r
	}
	if a, ref := quorum.Check(p, request(3), noon); ref != nil || a.Verdict().SHA256 != v.SHA256 {
		t.Fatalf("refused: %v", ref)
	}
	for name, c := range map[string]struct {
		change func(*quorum.Request)
		want   quorum.RefusalCode
	}{
		"two lists":            {func(r *quorum.Request) { r.Evidence = r.Evidence[:2] }, quorum.RefuseQuorum},
		"one list twice":       {func(r *quorum.Request) { r.Evidence[2] = r.Evidence[1] }, quorum.RefuseEvidence},
		"without a key":        {func(r *quorum.Request) { r.Evidence[1].Keys = nil }, quorum.RefuseEvidence},
		"another's key":        {func(r *quorum.Request) { r.Evidence[1].Keys = r.Evidence[0].Keys }, quorum.RefuseEvidence},
		"called another kind":  {func(r *quorum.Request) { r.Evidence[1].Kind = "buildinfo" }, quorum.RefuseEvidence},
		"called an agent's":    {func(r *quorum.Request) { r.Evidence[1].Kind, r.Evidence[1].Keys = quorum.KindDSSE, nil }, quorum.RefuseEvidence},
		"an agent's with keys": {func(r *quorum.Request) { r.Evidence[1].Kind = quorum.KindDSSE }, quorum.RefuseEvidence},
		"a changed list": {func(r *quorum.Request) {
			r.Evidence[1].Raw = bytes.Replace(bytes.Clone(r.Evidence[1].Raw), []byte("22.0.zip"), []byte("22.0.zap"), 1)
		}, quorum.RefuseEvidence},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(3)
			c.change(r)
			if _, ref := quorum.Check(p, r, noon); ref == nil || ref.Code != c.want {
				t.Fatalf("want %s, got %v", c.want, ref)
			}
		})
	}
	// The request id is that of what is signed; evidence and keys stay out.
	if request(3).ID != request(4).ID {
		t.Error("one more list makes another request")
	}
}

// A key that expired after it signed counts by the signer's own clock, unless the
// policy says that it does not.
func TestExpiredSinceIsThePolicysToSay(t *testing.T) {
	alice := newPerson(t, "alice", 3*365*24*time.Hour) // born 2020, signs 2021, expires 2022
	b := alice.list(t, "22.0/alice/all.SHA256SUMS", sums("tool-22.0.zip"))
	p := policyOf(t, 1, plain, alice)
	if _, err := admit(p, b, "pkg:generic/tool@22.0", alice.file); err != nil {
		t.Errorf("accept: %v", err)
	}
	text := strings.Replace(policyText(t, alice), "key = ", "expired_since = \"reject\"\nkey = ", 1)
	strict, err := policy.Load([]byte(text), noon)
	check(t, err)
	if _, err := admit(strict, b, "pkg:generic/tool@22.0", alice.file); code(err) != statement.Code(evidence.ExpiredSince) {
		t.Errorf("reject: %v", err)
	}
}

func policyText(t testing.TB, p *person) string {
	return fmt.Sprintf("version = 1\nexpires = 2100-01-01T00:00:00Z\n[[operator]]\nname = \"alice\"\n[[operator.builder]]\nname = \"alice\"\nkey = \"openpgp:%s\"\n[[channel]]\nname = \"core\"\nquorum = \"alice\"\n%s\n",
		p.fingerprint(t), plain)
}

// A carrier cannot bring back an old vote in a new wrapping: what is said twice
// has one payload, and a list that was signed anew has another.
func TestPayloadIsWhatIsSaid(t *testing.T) {
	alice := newPerson(t, "alice", 0)
	p := policyOf(t, 1, plain, alice)
	r, err := live.NewReader(p)
	check(t, err)
	payload := func(b evidence.Bundle) statement.SHA256 {
		s, err := r.Read(b.Encode(), [][]byte{alice.file}, noon)
		check(t, err)
		list, err := r.Ballots("core", s, noon)
		check(t, err)
		return list[0].Observation.Payload
	}
	one := alice.list(t, "22.0/alice/all.SHA256SUMS", sums("tool-22.0.zip"))
	wrapped := one
	wrapped.Signature = append(append([]byte{}, one.Signature...), one.Signature...)
	if wrapped.ID() == one.ID() || payload(wrapped) != payload(one) {
		t.Error("the same words in another wrapping are another vote")
	}
	if other := alice.list(t, "22.0/alice/all.SHA256SUMS", sums("tool-22.0.zip", "tool-22.0.exe")); payload(other) == payload(one) {
		t.Error("other words are the same vote")
	}
}

func FuzzAdmit(f *testing.F) {
	alice := newPerson(f, "alice", 0)
	p := policyOf(f, 1, plain, alice)
	good := alice.list(f, "22.0/alice/all.SHA256SUMS", sums("tool-22.0.zip"))
	f.Add("guix.sigs", good.Encode(), alice.file)
	f.Fuzz(func(t *testing.T, kind string, raw, key []byte) {
		c := statement.Case{Channel: "core", Target: "pkg:generic/tool@22.0", Stage: "all"}
		o, err := quorum.AdmitEvidence(p, c, quorum.Evidence{Kind: kind, Raw: raw, Keys: [][]byte{key}}, noon)
		if err == nil && (o.Operator != "alice" || len(o.Files) != 1 || o.Files[0].SHA256 != sha256.Sum256([]byte("tool-22.0.zip"))) {
			t.Fatalf("a vote that nobody signed: %+v", o)
		}
	})
}
