package coordinator_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

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
	if n := w.redrive("tooling", "pkg:generic/hello@1"); n != 1 {
		t.Errorf("%d asked again, although parts are missing", n)
	}
	w.sync()
	if again := s.next(); again.ID != r.ID {
		t.Error("the question is another one")
	}
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

// TestPartBindsTheDigest: a file of which some digests are signed is a signed file. What
// differs is late, and a batch of another file of the name is not taken, whatever agreed
// on it.
func TestPartBindsTheDigest(t *testing.T) {
	w, private := batchWorld(t, format.IMA)
	set := digestsOf(t, quorum.PartSize+2)
	w.start()
	s := w.batchSigner(private)
	w.publishBatch(set, "alice", "bob", "carol")
	first := s.next()
	s.part(first, 1, nil)
	stmts, obs := []*statement.Statement{}, []quorum.Observation{}
	for i, name := range builders[:3] {
		st := batchVote(t, "other", set, name)
		w.publishRaw(name, must(bus.StatementSubject("core", name))(t), st.Raw())
		o := must(quorum.Admit(s.policy, st, time.Now()))(t)
		o.Seq = uint64(i) + 1
		stmts, obs = append(stmts, st), append(obs, o)
	}
	w.sync()
	if a := w.hello(); a.State != quorum.Disputed || len(a.Late) != 3 {
		t.Errorf("%s with %d late, want the dissent to be late", a.State, len(a.Late))
	}
	ch := s.policy.Channel("core")
	v := quorum.Decide(ch, obs, nil, time.Now())[0]
	s.part(must(quorum.NewRequest(s.policy, stmts[0].Case, &v, ch.Sign, stmts))(t), 1, nil)
	w.newest("already-signed-other-digest")
	w.wantAlarm("second-digest")
	s.part(first, 0, nil)
	if a := w.hello(); len(a.Signatures) != 1 {
		t.Errorf("%s with %d signatures, want that of the first digest", a.State, len(a.Signatures))
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
	st := batchVote(t, "hello, world", must(statement.NewDigestSet([]statement.SHA256{statement.SHA256(few)}))(t), "alice")
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
	set := digestsOf(t, statement.MaxDigests)
	var stmts []*statement.Statement
	var obs []quorum.Observation
	for i, name := range builders[:3] {
		s := batchVote(t, "hello, world", set, name)
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
