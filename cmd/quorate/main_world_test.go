package main

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/sshsig"
	"quorate/internal/sigformat/vsa"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// worldTime is when everything in a world happens.
var worldTime = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// world is a coordinator, its builders and its signer in one process: statements
// and signatures are real, verdicts are those of quorum.Decide, only the bus
// and the token are missing. Script commands change it and the server in
// main_serve_test.go shows it.
type world struct {
	mu      sync.Mutex
	policy  *policy.Policy
	text    []byte // of the policy
	seq     uint64
	cases   map[string]*worldCase
	blobs   map[string][]byte            // path -> what is served there
	facts   map[string]map[string]string // by builder, see scriptFacts
	logs    map[statement.SHA256]*api.Log
	log     map[string]statement.SHA256 // by builder: the digest that its next statement names
	serving                             // see main_serve_test.go
}

type worldCase struct {
	statement.Case
	stmts    []*statement.Statement
	obs      []quorum.Observation
	signed   map[string]quorum.Signature
	requests map[string][]api.Request
	sigs     map[string][]api.Signature
	evidence map[string]string
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// seeded is a key that is the same in every run.
func seeded(name string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(sum[:])
}

func certificate(key string) *pgpsig.Certificate {
	k := seeded(key)
	raw := must(pgpsig.MakeCertificate(k.Public(), worldTime.AddDate(-1, 0, 0), key+" <"+key+"@example.org>", signWith(k)))
	return must(pgpsig.ParseCertificate(raw))
}

func signWith(k ed25519.PrivateKey) pgpsig.SignFunc {
	return func(_ crypto.Hash, digest []byte) ([]byte, error) { return ed25519.Sign(k, digest), nil }
}

// policyText is the policy of the world with another need and expiry.
func policyText(need, expires string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version = 7\nexpires = %s\n", expires)
	for _, o := range []string{"berlin", "osaka", "reading"} {
		fmt.Fprintf(&b, "\n[[operator]]\nname = %q\n", o)
		for i := range 2 {
			name := fmt.Sprintf("%s-%d", o, i+1)
			pub := seeded(name).Public().(ed25519.PublicKey)
			fmt.Fprintf(&b, "  [[operator.builder]]\n  name = %q\n  key = \"ed25519:%s\"\n", name, base64.StdEncoding.EncodeToString(pub))
		}
	}
	fmt.Fprintf(&b, "\n[[group]]\nname = \"distro\"\nneed = %s\nmembers = [\"berlin\", \"osaka\", \"reading\"]\n", need)
	for _, c := range []struct{ name, rest string }{
		{"core", `sign = [ { format = "openpgp", key = "core-2026" } ]`},
		{"twin", "dissent = \"report\"\nsign = [ { format = \"openpgp\", key = \"core-2026\" }, { format = \"openpgp\", key = \"next-2027\" } ]"},
		{"slow", "settle = \"10m\"\nsign = [ { format = \"openpgp\", key = \"core-2026\" } ]"},
		{"many", `sign = [ { format = "openpgp", key = "core-2026" }, { format = "sshsig", key = "core-2026" }, { format = "sshsig", key = "ssh-2026" }, { format = "vsa", key = "ssh-2026" } ]`},
		{"files", `sign = [ { format = "sshsig-files", key = "files-2026" } ]`},
	} {
		fmt.Fprintf(&b, "\n[[channel]]\nname = %q\ntargets = [\"pkg:generic/*\"]\nquorum = \"distro\"\n%s\n", c.name, c.rest)
	}
	return []byte(b.String())
}

func newWorld() *world {
	w := &world{text: policyText("2", "2099-01-01T00:00:00Z"), cases: map[string]*worldCase{}, blobs: map[string][]byte{}, facts: map[string]map[string]string{},
		logs: map[statement.SHA256]*api.Log{}, log: map[string]statement.SHA256{}}
	w.policy = must(policy.Load(w.text, worldTime))
	w.serving.init()
	return w
}

// writeKeys puts what a user of the world has into a folder.
func (w *world) writeKeys(dir string) {
	for name, data := range map[string][]byte{
		"policy.toml":        w.text,
		"policy-strict.toml": policyText("\"all\"", "2099-01-01T00:00:00Z"),
		"policy-short.toml":  policyText("2", "2025-07-01T00:00:00Z"),
		"policy-over.toml":   policyText("2", "2025-05-01T00:00:00Z"),
		"cert.asc":           pgpsig.ArmorCertificate(certificate("core-2026").Bytes()),
		"next.pgp":           certificate("next-2027").Bytes(),
		"other.asc":          pgpsig.ArmorCertificate(certificate("other").Bytes()),
		"ssh.pub":            must(sshsig.AuthorizedKey(seeded("ssh-2026").Public(), "ssh-2026")),
		"ssh.pem":            publicPEM("ssh-2026"),
		"other.pem":          publicPEM("other"),
		"files.pub":          must(sshsig.AuthorizedKey(seeded("files-2026").Public(), "files-2026")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			panic(err)
		}
	}
}

func (w *world) of(c statement.Case) *worldCase {
	id := caseID(c)
	if w.cases[id] == nil {
		w.cases[id] = &worldCase{Case: c, signed: map[string]quorum.Signature{}, requests: map[string][]api.Request{},
			sigs: map[string][]api.Signature{}, evidence: map[string]string{}}
	}
	return w.cases[id]
}

func caseID(c statement.Case) string {
	sum := sha256.Sum256([]byte(c.Channel + "\x00" + c.Target + "\x00" + c.Stage))
	return fmt.Sprintf("%x", sum[:8])
}

// artifactOf hashes a file as an agent does.
func artifactOf(path, name string) statement.Artifact {
	data := must(os.ReadFile(path))
	a := statement.Artifact{Name: name, Size: uint64(len(data)), Manifest: manifestOf(path)}
	for alg, h := range map[hashstate.Algorithm]*hashstate.State{hashstate.SHA256: &a.State256, hashstate.SHA512: &a.State512} {
		running := alg.New()
		running.Write(data)
		*h = must(hashstate.Of(alg, running))
	}
	copy(a.SHA256[:], must(a.State256.Sum()))
	copy(a.SHA512[:], must(a.State512.Sum()))
	return a
}

// state records a statement by a builder about a case.
func (w *world) state(builder string, c statement.Case, s *statement.Statement) {
	s.Case, s.Builder, s.Version, s.Environment = c, builder, "test", w.facts[builder]
	s.Started, s.Finished = worldTime.Add(-time.Hour), worldTime.Add(-time.Minute)
	d, hasLog := w.log[builder]
	if hasLog {
		s.Byproducts = []statement.Byproduct{{Name: wire.LogName, Digest: map[string]string{"sha256": d.String()}}}
	}
	signed := must(statement.Sign(s, seeded(builder)))
	if hasLog {
		w.logs[signed.ID()] = &api.Log{SHA256: d, State: api.LogNotAsked}
	}
	o := must(quorum.Admit(w.policy, signed, worldTime))
	w.seq++
	o.Seq = w.seq
	wc := w.of(c)
	wc.stmts, wc.obs = append(wc.stmts, signed), append(wc.obs, o)
	w.blobs["/v1/statements/"+signed.ID().String()] = signed.Raw()
	w.announce(wc)
}

func (w *world) decide(wc *worldCase) []quorum.Verdict {
	return quorum.Decide(w.policy.Channel(wc.Channel), wc.obs, wc.signed, worldTime)
}

func (w *world) verdict(wc *worldCase, name string) *quorum.Verdict {
	for _, v := range w.decide(wc) {
		if v.Artifact == name {
			return &v
		}
	}
	panic("no artifact " + name)
}

// sign does what coordinator and signer do together for an agreed artifact:
// one request and one answer for each key.
func (w *world) sign(c statement.Case, name string) {
	wc := w.of(c)
	v := w.verdict(wc, name)
	byKey, keys := map[string][]policy.Output{}, []string{}
	for _, o := range w.policy.Channel(c.Channel).Sign {
		if byKey[o.Key] == nil {
			keys = append(keys, o.Key)
		}
		byKey[o.Key] = append(byKey[o.Key], o)
	}
	for _, key := range keys {
		w.signWith(wc, v, name, byKey[key])
	}
	w.announce(wc)
}

func (w *world) signWith(wc *worldCase, v *quorum.Verdict, name string, outputs []policy.Output) {
	c := wc.Case
	r := must(quorum.NewRequest(w.policy, c, v, outputs, wc.counting()))
	approval, refused := quorum.Check(w.policy, r, worldTime)
	if refused != nil {
		panic(refused)
	}
	a := &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: name,
		Digest: r.Digest, Policy: r.Policy, Evidence: approval.EvidenceDigest()}
	for _, e := range r.Evidence {
		a.Statements = append(a.Statements, statement.ID(e.Raw))
	}
	if r.IsBatch() {
		w.signBatch(wc, approval, a)
		return
	}
	for _, o := range outputs {
		a.Signatures = append(a.Signatures, w.signOutput(approval, o))
	}
	w.publish(wc, r, a)
}

func publicPEM(key string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(seeded(key).Public()))})
}

func (w *world) signOutput(approval *quorum.Approval, o policy.Output) quorum.SignedOutput {
	if o.Format != policy.OpenPGP {
		return w.signDigests(approval, o)
	}
	running := must(approval.State().Resume())
	cert := certificate(o.Key)
	notes := []pgpsig.Notation{{Name: "evidence@quorate.invalid", Value: approval.EvidenceDigest().String()}}
	sig := must(pgpsig.SignDetached(cert, running, crypto.SHA512, worldTime, notes, signWith(seeded(o.Key))))
	return quorum.SignedOutput{Output: o, Fingerprint: cert.Fingerprint(), Signature: sig, SignedAt: worldTime}
}

// signDigests makes the formats that need no state.
func (w *world) signDigests(approval *quorum.Approval, o policy.Output) quorum.SignedOutput {
	r, v := approval.Request(), approval.Verdict()
	k := must(sigformat.NewKey(seeded(o.Key).Public(), signWith(seeded(o.Key))))
	var sig []byte
	switch o.Format {
	case format.SSHSIG:
		sig = must(sshsig.Sign(k, sigcheck.Namespace, r.Digest.SHA512))
	case format.VSA:
		s := &vsa.Summary{Signer: "hsm", Time: worldTime, Artifact: r.Artifact, SHA256: r.Digest.SHA256, SHA512: r.Digest.SHA512, Target: r.Target,
			Channel: r.Channel, PolicyURI: "urn:quorate:policy:7", PolicyDigest: r.Policy.Digest, Agreed: len(v.Groups[0].Members), Operators: 3}
		for _, e := range r.Evidence {
			s.Inputs = append(s.Inputs, statement.ID(e.Raw))
		}
		sig = must(vsa.Sign(k, s))
	}
	fingerprint := must((&sigcheck.Key{Public: k.Public()}).Fingerprint(o.Format))
	return quorum.SignedOutput{Output: o, Fingerprint: fingerprint, Signature: sig, SignedAt: worldTime}
}

// publish makes the answer part of the record and serves its bytes.
func (w *world) publish(wc *worldCase, r *quorum.Request, a *quorum.Answer) {
	w.seq++
	wc.signed[r.Artifact] = quorum.Signature{SHA256: r.Digest.SHA256, SHA512: r.Digest.SHA512, Seq: w.seq, Complete: true}
	key := a.Signatures[0].Key
	wc.requests[r.Artifact] = append(wc.requests[r.Artifact], api.Request{ID: r.ID, Key: key, Attempts: 1, Asked: worldTime, Answered: worldTime})
	for _, s := range a.Signatures {
		path := fmt.Sprintf("/v1/signatures/%s/%s.%s", r.ID, s.Key, s.Format)
		w.blobs[path] = s.Signature
		wc.sigs[r.Artifact] = append(wc.sigs[r.Artifact], api.Signature{Output: s.Output, Fingerprint: s.Fingerprint, SignedAt: s.SignedAt, Request: r.ID, Path: path})
	}
	w.serveEvidence(wc, r, a)
}

func (w *world) serveEvidence(wc *worldCase, r *quorum.Request, a *quorum.Answer) {
	path, key := "/v1/evidence/"+caseID(wc.Case)+"/"+r.Artifact, a.Signatures[0].Key
	bundle := must(json.Marshal(quorum.Bundle{Version: quorum.Version, Policy: w.text, Request: r, Answer: a}))
	if w.blobs[path+"?key="+key] = bundle; wc.evidence[r.Artifact] == "" {
		w.blobs[path] = bundle
	}
	wc.evidence[r.Artifact] = path
}

// counting is the latest statement of each operator, in the order of the record.
func (wc *worldCase) counting() (out []*statement.Statement) {
	for i, o := range wc.obs {
		if !slices.ContainsFunc(wc.obs[i+1:], func(later quorum.Observation) bool { return later.Operator == o.Operator }) {
			out = append(out, wc.stmts[i])
		}
	}
	return out
}

func (w *world) refuse(c statement.Case, name string, code quorum.RefusalCode, retryable bool) {
	wc := w.of(c)
	r := must(quorum.NewRequest(w.policy, c, w.verdict(wc, name), w.policy.Channel(c.Channel).Sign, wc.counting()))
	req := api.Request{ID: r.ID, Key: "core-2026", Attempts: 3, Asked: worldTime, Answered: worldTime,
		Refusal: &quorum.Refusal{Code: code, Message: "said \x1b[31mso", Retryable: retryable}}
	if retryable {
		req.Next = worldTime.Add(time.Minute)
	}
	wc.requests[name] = []api.Request{req}
	w.announce(wc)
}

func (w *world) artifacts(wc *worldCase) (out []api.Artifact) {
	for _, v := range w.decide(wc) {
		out = append(out, api.Artifact{Verdict: v, Channel: wc.Channel, Target: wc.Target, Stage: wc.Stage, TargetID: caseID(wc.Case),
			Requests: wc.requests[v.Artifact], Signatures: wc.sigs[v.Artifact], Evidence: wc.evidence[v.Artifact]})
	}
	return out
}

// target gives the state of the first artifact that is not well, as a stand-in
// for the most pressing one.
func (w *world) target(wc *worldCase) api.Target {
	t := api.Target{ID: caseID(wc.Case), Channel: wc.Channel, Target: wc.Target, Stage: wc.Stage, State: quorum.Waiting,
		Counts: map[quorum.State]int{}, Updated: worldTime}
	for i, v := range w.decide(wc) {
		t.Counts[v.State]++
		if i == 0 || t.State == quorum.Signed {
			t.State = v.State
		}
	}
	return t
}

func (w *world) sortedCases() []*worldCase {
	var all []*worldCase
	for _, wc := range w.cases {
		all = append(all, wc)
	}
	slices.SortFunc(all, func(a, b *worldCase) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Stage, b.Stage))
	})
	return all
}

// forge changes evidence in one way.
func forge(kind string, data []byte) []byte {
	b := must(quorum.ParseBundle(data))
	switch kind {
	case "statement-left-out":
		b.Request.Evidence = b.Request.Evidence[1:]
	case "statement-changed":
		raw := b.Request.Evidence[0].Raw
		b.Request.Evidence[0].Raw = bytes.Replace(raw, []byte(`"payload":"`), []byte(`"payload":"ey`), 1)
	case "operator-twice":
		b.Request.Evidence = append(b.Request.Evidence, b.Request.Evidence[0])
	case "id":
		b.Request.ID[0]++
	case "target":
		b.Request.Target = "pkg:generic/evil@1.0"
		b.Request.ID = b.Request.ComputeID()
	case "policy":
		b.Policy = append(b.Policy, "# \n"...)
	case "signature":
		b.Answer.Signatures[0].Signature[len(b.Answer.Signatures[0].Signature)-1]++
	case "set":
		b.Answer.Evidence[0]++
	case "hostile":
		b.Request.Artifact = "\x1b[2Jx"
	case "truncated":
		return data[:len(data)/2]
	default:
		panic("no such forgery: " + kind)
	}
	return must(json.Marshal(b))
}
