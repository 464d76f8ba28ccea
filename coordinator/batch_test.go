package coordinator_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator"
	"quorate/docs"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// digestsOf are n digests of files that nobody has.
func digestsOf(t testing.TB, n int) statement.DigestSet {
	list := make([]statement.SHA256, n)
	for i := range list {
		list[i] = statement.ID(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	return must(statement.NewDigestSet(list))(t)
}

// publishBatch votes on hello and on the digests of what is in it.
func (w *world) publishBatch(set statement.DigestSet, names ...string) {
	w.t.Helper()
	for _, name := range names {
		a := artifact(w.t, "hello", "hello, world")
		a.Signables = []statement.Signable{set.Signable()}
		s := must(statement.Sign(&statement.Statement{Case: statement.Case{Channel: "core", Target: "pkg:generic/hello@1"}, Builder: name,
			Started: time.Now(), Finished: time.Now(), Artifacts: []statement.Artifact{a}}, key(name)))(w.t)
		w.publishRaw(name, must(bus.StatementSubject("core", name))(w.t), s.Raw())
	}
	w.sync()
}

// batchSigner makes batches with a key that is no token's.
type batchSigner struct {
	*signer
	reader jetstream.Consumer
	key    *sigformat.Key
	check  *sigcheck.Key
	at     time.Time // of the parts that answer the latest question
}

// batchWorld signs the channel core in a batch format only.
func batchWorld(t testing.TB, f format.Name) (*world, *ecdsa.PrivateKey) {
	w := newWorldWith(t, strings.ReplaceAll(policyText(t, 1, 3, "", nil), `format = "openpgp"`, fmt.Sprintf("format = %q", f)))
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	w.bareKey(&private.PublicKey)
	return w, private
}

func (w *world) batchSigner(k *ecdsa.PrivateKey) *batchSigner {
	w.t.Helper()
	s := &batchSigner{signer: w.signer(), key: must(sigformat.NewKey(&k.PublicKey, softECDSA(k)))(w.t), check: &sigcheck.Key{Public: &k.PublicKey}}
	s.reader = must(s.conn.BatchConsumer(limit(w.t), "core-key"))(w.t)
	return s
}

func (s *batchSigner) next() *quorum.Request {
	s.w.t.Helper()
	s.signer.none() // a batch never stands in the way of what is small
	m := must(s.reader.Next(jetstream.FetchMaxWait(testLimit)))(s.w.t)
	r, ref := quorum.ParseRequest(m.Data())
	if ref != nil {
		s.w.t.Fatal(ref)
	}
	check(s.w.t, m.DoubleAck(limit(s.w.t)))
	s.at = time.Now()
	return r
}

// values are signatures over the digests of a part.
func (s *batchSigner) values(f format.Name, set statement.DigestSet, first, end int) (list [][]byte) {
	s.w.t.Helper()
	id := must(imasig.KeyID(s.key.Public(), nil))(s.w.t)
	for _, d := range set.Range(first, end) {
		if f == format.SSHFiles {
			list = append(list, must(sshsig.SignBlob(s.key, sigcheck.Namespace, d))(s.w.t))
			continue
		}
		list = append(list, must(imasig.Sign(s.key, id, d))(s.w.t))
	}
	return list
}

// part answers with one part of what was asked.
func (s *batchSigner) part(r *quorum.Request, index int, change func(*quorum.Answer)) {
	s.w.t.Helper()
	set := must(r.Batch())(s.w.t)
	p, end := quorum.NewPart(set.Len(), index)
	a := &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Stage: r.Stage, Artifact: r.Artifact,
		Digest: r.Digest, Policy: r.Policy, Evidence: quorum.EvidenceDigest(r.Evidence), Part: &p}
	for _, e := range r.Evidence {
		a.Statements = append(a.Statements, statement.ID(e.Raw))
	}
	a.Signatures = []quorum.SignedOutput{{Output: r.Outputs[0], Fingerprint: "not believed", SignedAt: s.at, Values: s.values(r.Outputs[0].Format, set, p.First, end)}}
	if change != nil {
		change(a)
	}
	s.publish(a)
	s.w.sync()
}

func (w *world) wantParts(have, count int) api.Artifact {
	w.t.Helper()
	a := w.hello()
	if a.State != quorum.Agreed || len(a.Requests) != 1 || a.Requests[0].Parts == nil || *a.Requests[0].Parts != (api.Parts{Have: have, Count: count}) || len(a.Signatures) != 0 {
		w.t.Fatalf("%s, requests %+v, signatures %+v; want %d of %d parts", a.State, a.Requests, a.Signatures, have, count)
	}
	return a
}

// wantShown holds the page against what it should say, and the interface against what is
// documented.
func (w *world) wantShown(want *regexp.Regexp) {
	w.t.Helper()
	if _, page := w.fetch("/targets/" + helloID); !want.Match(page) {
		w.t.Errorf("the page does not say %q:\n%s", want, page)
	}
	router := must(gorillamux.NewRouter(must(openapi3.NewLoader().LoadFromData(docs.OpenAPI))(w.t)))(w.t)
	w.wantAnswerOf(router, "/v1/targets/"+helloID)
}

// wantFile downloads the file of the batch and checks each signature in it.
func (s *batchSigner) wantFile(a api.Artifact, set statement.DigestSet) {
	s.w.t.Helper()
	if len(a.Signatures) != 1 || a.Signatures[0].Count != set.Len() || a.Signatures[0].Fingerprint == "not believed" || a.Signatures[0].SignedAt.IsZero() {
		s.w.t.Fatalf("signatures %+v, want one of %d", a.Signatures, set.Len())
	}
	res := must(http.Get(s.w.c.URL() + a.Signatures[0].Path))(s.w.t)
	res.Body.Close()
	row := must(format.Lookup(a.Signatures[0].Format))(s.w.t)
	if res.Header.Get("Content-Type") != row.MediaType || !strings.Contains(res.Header.Get("Content-Disposition"), "hello"+row.Suffix) {
		s.w.t.Errorf("headers %v", res.Header)
	}
	_, body := s.w.fetch(a.Signatures[0].Path)
	b := must(sigcheck.ParseBatch(body))(s.w.t)
	if !bytes.Equal(b.Set.Signable().Value, set.Signable().Value) {
		s.w.t.Error("the file is about other digests than were agreed on")
	}
	_, err := s.check.VerifyValues(a.Signatures[0].Format, set, 0, b.Values)
	check(s.w.t, err)
}

// TestBatchInParts has the parts come in another order than theirs, again, wrong, and
// with restarts in between; and a refusal in the middle.
func TestBatchInParts(t *testing.T) {
	for _, f := range []format.Name{format.IMA, format.SSHFiles} {
		t.Run(string(f), func(t *testing.T) { testBatchInParts(t, f) })
	}
}

func testBatchInParts(t *testing.T, f format.Name) {
	w, private := batchWorld(t, f)
	set := digestsOf(t, 2*quorum.PartSize+7)
	w.start()
	s := w.batchSigner(private)
	w.publishBatch(set, "alice", "bob", "carol")
	r := s.next()
	s.part(r, 2, nil)
	w.wantParts(1, 3)
	s.part(r, 2, nil) // made anew: other values
	w.wantParts(1, 3)
	s.part(r, 0, func(a *quorum.Answer) { a.Signatures[0].Values[255] = a.Signatures[0].Values[0] })
	w.newest("signature-invalid")
	w.wantParts(1, 3)
	w.wantAlarm("invalid-signature")
	w.stop()
	w.start()
	s = w.batchSigner(private)
	s.at = time.Now()
	w.publishBatch(set, "dave") // evidence that the first part did not have
	s.part(r, 0, func(a *quorum.Answer) {
		a.Part, a.Signatures, a.Refusal = nil, nil, &quorum.Refusal{Code: quorum.RefuseToken, Message: "gone", Retryable: true}
	})
	if a := w.wantParts(1, 3); a.Requests[0].Refusal == nil || a.Requests[0].Next.IsZero() {
		t.Errorf("a refusal in the middle is not seen: %+v", a.Requests[0])
	}
	w.wantShown(regexp.MustCompile(`1 of 3 parts are there`))
	if n := w.redrive("tooling", "pkg:generic/hello@1"); n != 1 {
		t.Errorf("%d asked again", n)
	}
	w.sync()
	again := s.next()
	if again.ID != r.ID || len(again.Evidence) != 4 {
		t.Fatalf("asked again with %d statements", len(again.Evidence))
	}
	s.part(again, 0, nil)
	w.wantParts(2, 3)
	s.part(r, 1, nil)
	a := w.wantState(quorum.Signed)
	s.wantFile(a, set)
	w.wantShown(regexp.MustCompile(string(f) + ` of 519 files inside by`))
	if b := get[quorum.Bundle](w, a.Evidence); b.Request.ID != r.ID || len(b.Answer.Signatures[0].Values) != 7 {
		t.Error("the evidence is not about the batch, or has another part than the one that came first")
	}
	s.part(again, 1, nil) // too late: the first one of each number stays
	_, before := w.fetch(a.Signatures[0].Path)
	w.stop()
	want := dump(t, w.state())
	must(coordinator.Rebuild(limit(t), w.options()))(t)
	wantSame(t, dump(t, w.state()), want)
	w.start()
	w.sync()
	if _, after := w.fetch(w.wantState(quorum.Signed).Signatures[0].Path); !bytes.Equal(before, after) {
		t.Error("the file is another one after the rebuild")
	}
}

// TestWrongParts: each is in the record, none is believed.
func TestWrongParts(t *testing.T) {
	w, private := batchWorld(t, format.IMA)
	set := digestsOf(t, quorum.PartSize+2)
	w.start()
	s := w.batchSigner(private)
	w.publishBatch(set, "alice", "bob", "carol")
	r := s.next()
	one := func(a *quorum.Answer) *quorum.SignedOutput { return &a.Signatures[0] }
	for _, tt := range []struct {
		name   string
		index  int
		change func(*quorum.Answer)
		code   statement.Code
	}{
		{"parts of a smaller batch", 1, func(a *quorum.Answer) { one(a).Values = one(a).Values[:1] }, "bad-answer"},
		{"another number of parts", 0, func(a *quorum.Answer) { a.Part.Count = 3 }, "bad-answer"},
		{"no part", 1, func(a *quorum.Answer) { a.Part, one(a).Values, one(a).Signature = nil, nil, []byte{1} }, "bad-answer"},
		{"no time", 1, func(a *quorum.Answer) { one(a).SignedAt = time.Time{} }, "bad-answer"},
		{"a time ahead", 1, func(a *quorum.Answer) { one(a).SignedAt = time.Now().Add(time.Hour) }, "bad-answer"},
		{"another part's values", 1, func(a *quorum.Answer) { slices.Reverse(one(a).Values) }, "signature-invalid"},
		{"garbage", 1, func(a *quorum.Answer) { one(a).Values[1] = []byte("x") }, "signature-invalid"},
		{"a key that is not known", 1, func(a *quorum.Answer) { one(a).Key = "stranger" }, "unknown-key"},
		{"another format", 1, func(a *quorum.Answer) { one(a).Format = format.SSHFiles }, "not-approved"},
		{"another policy", 1, func(a *quorum.Answer) { a.Policy.Digest[0] ^= 1 }, "policy-unknown"},
		{"too few statements", 1, func(a *quorum.Answer) { a.Statements = a.Statements[:2] }, "not-approved"},
		{"statements that are not recorded", 1, func(a *quorum.Answer) { a.Statements[0][0] ^= 1 }, "unknown-artifact"},
		{"another request", 1, func(a *quorum.Answer) { a.ID[0] ^= 1 }, "not-approved"},
	} {
		s.part(r, tt.index, tt.change)
		t.Log(tt.name)
		w.newest(tt.code)
		if a := w.wantState(quorum.Agreed); a.Requests[0].Parts != nil {
			t.Errorf("%s: %+v", tt.name, a.Requests[0].Parts)
		}
	}
	s.part(r, 0, nil)
	s.part(r, 1, nil)
	s.wantFile(w.wantState(quorum.Signed), set)
}

// TestPartBindsTheDigest: a file of which some digests are signed is a signed file.
func TestPartBindsTheDigest(t *testing.T) {
	w, private := batchWorld(t, format.IMA)
	set := digestsOf(t, quorum.PartSize+2)
	w.start()
	s := w.batchSigner(private)
	w.publishBatch(set, "alice", "bob", "carol")
	s.part(s.next(), 1, nil)
	w.publish(build{builder: "dave", files: map[string]string{"hello": "other"}})
	w.sync()
	if a := w.hello(); a.State != quorum.Disputed || len(a.Late) != 1 {
		t.Errorf("%s with %d late, want the dissent to be late", a.State, len(a.Late))
	}
}

// TestBatchAndOpenPGP: what a channel signs besides goes by a request of its own.
func TestBatchAndOpenPGP(t *testing.T) {
	w := newWorldWith(t, withOutputs(t, `{format = "openpgp", key = "core-key"}, {format = "ima", key = "files-key"}`))
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	w.bareKey(&private.PublicKey)
	check(t, os.Rename(filepath.Join(w.state(), "core-key.pem"), filepath.Join(w.state(), "files-key.pem")))
	public := must(bus.WriteSeedFile(filepath.Join(w.dir, "files.nk")))(t)
	must(coordinator.Enroll(w.state(), bus.User{Name: "files", Role: bus.RoleSigner, NKey: public, Keys: []string{"files-key"}}))(t)
	w.start()
	small := w.signer()
	s := &batchSigner{signer: &signer{w: w, conn: w.as("files"), policy: small.policy}, key: must(sigformat.NewKey(&private.PublicKey, softECDSA(private)))(t),
		check: &sigcheck.Key{Public: &private.PublicKey}}
	s.reader = must(s.conn.BatchConsumer(limit(t), "files-key"))(t)
	s.signer.reader = must(s.conn.SignerConsumer(limit(t), "files-key"))(t)
	set := digestsOf(t, 3)
	w.publishBatch(set, "alice", "bob", "carol")
	r := s.next()
	if !slices.Equal(r.Outputs, []policy.Output{{Format: format.IMA, Key: "files-key"}}) {
		t.Errorf("asked for %v", r.Outputs)
	}
	s.part(r, 0, nil)
	if a := w.wantState(quorum.Agreed); a.Reason != quorum.ReasonPartlySigned || len(a.Signatures) != 1 {
		t.Errorf("%s, signatures %+v", a.Reason, a.Signatures)
	}
	small.answer(small.next(), nil)
	w.sync()
	if a := w.wantState(quorum.Signed); len(a.Signatures) != 2 || a.Signatures[0].Format != format.OpenPGP || a.Signatures[1].Count != 3 {
		t.Errorf("signatures %+v", a.Signatures)
	}
}

// TestLargestBatch has as many digests as there may be, and more evidence than fits
// beside them: the room of the request is counted with the set.
func TestLargestBatch(t *testing.T) {
	w, private := batchWorld(t, format.IMA)
	set := digestsOf(t, statement.MaxDigests)
	w.start()
	s := w.batchSigner(private)
	w.publishBatch(set, "alice", "bob", "carol")
	r := s.next()
	for _, i := range slices.Backward(numbersTo(quorum.MaxParts)) {
		s.part(r, i, nil)
	}
	s.wantFile(w.wantState(quorum.Signed), set)
}

func numbersTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

// TestTooManyDigests: no statement can name more than are signed at once.
func TestTooManyDigests(t *testing.T) {
	w, _ := batchWorld(t, format.IMA)
	w.start()
	few, many := make([]byte, 32), make([]byte, 32*(statement.MaxDigests+1))
	for i := range statement.MaxDigests + 1 {
		binary.BigEndian.PutUint32(many[32*i:], uint32(i))
	}
	a := artifact(t, "hello", "hello, world")
	a.Signables = []statement.Signable{must(statement.NewDigestSet([]statement.SHA256{statement.SHA256(few)}))(t).Signable()}
	st := must(statement.Sign(&statement.Statement{Case: statement.Case{Channel: "core", Target: "pkg:generic/hello@1"}, Builder: "alice",
		Started: time.Now(), Finished: time.Now(), Artifacts: []statement.Artifact{a}}, key("alice")))(t)
	w.publishRaw("alice", must(bus.StatementSubject("core", "alice"))(t), forge(t, st.Raw(), base64.StdEncoding.EncodeToString(few), base64.StdEncoding.EncodeToString(many)))
	w.sync()
	w.newest("bad-signable")
	if list := get[rejectedList](w, "/v1/rejected").Rejected; !strings.Contains(list[0].Message, "10001 different ones, want 1 to 10000") {
		t.Errorf("message %q", list[0].Message)
	}
}

// forge replaces something in the payload and has alice sign that.
func forge(t testing.TB, envelope []byte, before, after string) []byte {
	var e map[string]any
	check(t, json.Unmarshal(envelope, &e))
	payload := must(base64.StdEncoding.DecodeString(e["payload"].(string)))(t)
	if payload = bytes.Replace(payload, []byte(before), []byte(after), 1); !bytes.Contains(payload, []byte(after)) {
		t.Fatal("the payload does not have it")
	}
	e["payload"] = base64.StdEncoding.EncodeToString(payload)
	e["signatures"].([]any)[0].(map[string]any)["sig"] = base64.StdEncoding.EncodeToString(ed25519.Sign(key("alice"), statement.PAE(statement.PayloadType, payload)))
	return must(json.Marshal(e))(t)
}

// TestRequestHasRoomForTheSet: the set stands in a request beside the evidence, which
// has it once more in each statement.
func TestRequestHasRoomForTheSet(t *testing.T) {
	w, _ := batchWorld(t, format.IMA)
	p := must(policy.Load(must(os.ReadFile(w.path("policy.toml")))(t), time.Now()))(t)
	a := artifact(t, "hello", "hello, world")
	a.Signables = []statement.Signable{digestsOf(t, statement.MaxDigests).Signable()}
	var stmts []*statement.Statement
	var obs []quorum.Observation
	for i, name := range builders[:3] {
		s := must(statement.Sign(&statement.Statement{Case: statement.Case{Channel: "core", Target: "pkg:generic/hello@1"}, Builder: name,
			Started: time.Now(), Finished: time.Now(), Artifacts: []statement.Artifact{a}}, key(name)))(t)
		o := must(quorum.Admit(p, s, time.Now()))(t)
		o.Seq = uint64(i) + 1
		stmts, obs = append(stmts, s), append(obs, o)
	}
	ch := p.Channel("core")
	v := quorum.Decide(ch, obs, nil, time.Now())[0]
	r := must(quorum.NewRequest(p, stmts[0].Case, &v, ch.Sign, stmts))(t)
	size := len(must(json.Marshal(r))(t))
	limit := size + coordinator.RequestRoom // what is asked for fits, and nothing smaller is refused by more than the room
	if coordinator.Trim(ch, &v, stmts, limit-coordinator.SignablesSize(&v, ch.Sign, stmts)) == nil {
		t.Error("a request that fits is not made")
	}
	if coordinator.Trim(ch, &v, stmts, size-1-coordinator.SignablesSize(&v, ch.Sign, stmts)) != nil {
		t.Error("a request would be larger than the limit")
	}
	if n := coordinator.SignablesSize(&v, []policy.Output{{Format: format.OpenPGP, Key: "core-key"}}, stmts); n != 0 {
		t.Errorf("%d bytes for a request without it", n)
	}
}
