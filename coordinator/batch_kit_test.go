package coordinator_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/docs"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum"
	"quorate/quorum/format"
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
		w.publishRaw(name, must(bus.StatementSubject("core", name))(w.t), batchVote(w.t, "hello, world", set, name).Raw())
	}
	w.sync()
}

// batchVote is a vote on hello with the digests of what is in it.
func batchVote(t testing.TB, content string, set statement.DigestSet, name string) *statement.Statement {
	t.Helper()
	a := artifact(t, "hello", content)
	a.Signables = []statement.Signable{set.Signable()}
	return must(statement.Sign(&statement.Statement{Case: statement.Case{Channel: "core", Target: "pkg:generic/hello@1"}, Builder: name,
		Started: time.Now(), Finished: time.Now(), Artifacts: []statement.Artifact{a}}, key(name)))(t)
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
