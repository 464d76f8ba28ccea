package coordinator_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// envelope is a provenance as another tool makes it, signed by a builder's key.
func envelope(signer, name, content string) []byte {
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":"%x"}}],`+
		`"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{}},`+
		`"runDetails":{"builder":{"id":"https://example.org/builder"},"metadata":{"finishedOn":"2026-05-01T12:00:00Z"}}}}`, name, sha256.Sum256([]byte(content)))
	sig := ed25519.Sign(key(signer), statement.PAE(statement.PayloadType, payload))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}`, b64(payload), statement.PayloadType, b64(sig))
}

// found wraps evidence as an importer does.
func found(t testing.TB, body []byte, change func(*wire.Foreign)) []byte {
	t.Helper()
	f := &wire.Foreign{Version: 1, Channel: "core", Origin: "somewhere", Fetched: time.Now().UTC(),
		Evidence: evidence.Bundle{Kind: evidence.DSSE, Body: body}.Encode()}
	if change != nil {
		change(f)
	}
	return must(wire.Encode(f))(t)
}

func (w *world) bring(importer string, message []byte) {
	w.t.Helper()
	w.publishRaw(importer, must(bus.ForeignSubject("core", importer))(w.t), message)
}

func (w *world) rejectedCodes() (codes []statement.Code) {
	w.t.Helper()
	w.sync()
	for _, j := range get[api.Rejected](w, "/v1/rejected?limit=500").Rejected {
		codes = append(codes, j.Code)
	}
	return codes
}

// artifact reads the one artifact of a target.
func (w *world) artifact(target string) api.Artifact {
	w.t.Helper()
	d := get[api.TargetDetail](w, "/v1/targets/"+caseID("core", target))
	if len(d.Artifacts) != 1 {
		w.t.Fatalf("%d artifacts", len(d.Artifacts))
	}
	return d.Artifacts[0]
}

func foreignWorld(t *testing.T) *world {
	w := newWorld(t)
	w.enroll("gather", bus.RoleImporter)
	w.enroll("second", bus.RoleImporter)
	return w
}

// What importers bring and what agents say are votes of one sort.
func TestForeignAndOwnVotesAgree(t *testing.T) {
	w := foreignWorld(t)
	w.start()
	s := w.signer()
	for _, name := range []string{"alice", "bob"} {
		w.bring("gather", found(t, envelope(name, "hello", "hello, world"), nil))
	}
	// The target of an envelope is the file by itself.
	w.publish(build{builder: "carol", target: "pkg:generic/hello"})
	w.sync()
	a := w.artifact("pkg:generic/hello")
	// The channel signs what is made from SHA-512, and only carol gave one.
	if a.State != "conflicting" || a.Reason != "sha512-differs" || len(a.Groups) != 1 || len(a.Groups[0].Members) != 3 {
		t.Fatalf("verdict %+v", a.Verdict)
	}
	s.none()
	if e := quorum.Explain(&a.Verdict); !strings.Contains(e.Verdict, "too few of them give one") {
		t.Errorf("explained as %q", e)
	}
	w.publish(build{builder: "bob", target: "pkg:generic/hello"})
	w.publish(build{builder: "alice", target: "pkg:generic/hello"})
	w.sync()
	if a := w.artifact("pkg:generic/hello"); a.State != "agreed" {
		t.Fatalf("with agents' votes: %+v", a.Verdict)
	}
	if a := w.artifact("pkg:generic/hello"); len(a.Changed) > 0 {
		t.Errorf("to say more is taken for a change: %+v", a.Changed)
	}
	// What has no SHA-512 takes none away when it comes later.
	w.bring("gather", found(t, envelope("carol", "hello", "hello, world"), nil))
	w.sync()
	if a := w.artifact("pkg:generic/hello"); a.State != "agreed" || len(a.Changed) > 0 {
		t.Fatalf("after carol's envelope: %+v", a.Verdict)
	}
	s.answer(s.next(), nil)
	w.sync()
	if a := w.artifact("pkg:generic/hello"); a.State != "signed" {
		t.Fatalf("answered: %+v", a.Verdict)
	}
}

func TestForeignMessagesThatAreRefused(t *testing.T) {
	w := foreignWorld(t)
	w.start()
	good := envelope("alice", "hello", "hello, world")
	b := evidence.Bundle{Kind: evidence.DSSE, Body: good}
	for _, c := range []struct {
		want    statement.Code
		message []byte
	}{
		{"bad-envelope", []byte("{}")},
		{"bad-envelope", []byte("not JSON")},
		{"bad-envelope", bytes.Replace(found(t, good, nil), []byte(`"version"`), []byte(`"Version"`), 1)},
		{"bad-envelope", found(t, good, func(f *wire.Foreign) { f.Keys = make([][]byte, 9) })},
		{"bad-envelope", found(t, good, func(f *wire.Foreign) { f.Evidence = nil })},
		{"wrong-subject", found(t, good, func(f *wire.Foreign) { f.Channel = "other" })},
		{"wrong-kind", found(t, good, func(f *wire.Foreign) { f.Evidence = good })},
		{"wrong-kind", found(t, good, func(f *wire.Foreign) { b := b; b.Kind = "other"; f.Evidence = b.Encode() })},
		{"bad-field", found(t, good, func(f *wire.Foreign) { f.Evidence = append(f.Evidence, ' '); f.Evidence[22] = 'x' })},
		{"no-key", found(t, envelope("mallory", "hello", "x"), nil)},
		{"builder-not-in-channel", found(t, envelope("erin", "hello", "x"), nil)},
		{"too-large", found(t, manyFiles(5000), nil)},
	} {
		w.bring("gather", c.message)
		if codes := w.rejectedCodes(); len(codes) == 0 || codes[0] != c.want {
			t.Errorf("want %s, have %q\n%.200q", c.want, codes, c.message)
		}
	}
	// An agent's own statement is no foreign one, and the other way round.
	own := build{builder: "alice"}.statement(t)
	w.bring("gather", found(t, own.Raw(), nil))
	n := len(w.rejectedCodes())
	w.publishRaw("alice", must(bus.StatementSubject("core", "alice"))(t), b.Encode())
	if len(w.rejectedCodes()) != n+1 {
		t.Error("evidence on an agent's subject is not refused")
	}
	// What is published there takes nothing from the evidence with that identity.
	w.bring("gather", found(t, good, nil))
	w.sync()
	a := w.artifact("pkg:generic/hello")
	if len(a.Groups) != 1 || a.Groups[0].Members[0].Statement != b.ID() {
		t.Errorf("verdict %+v", a.Verdict)
	}
}

func manyFiles(n int) []byte {
	var files []string
	for i := range n {
		files = append(files, fmt.Sprintf(`{"name":"f%d","digest":{"sha256":"%x"}}`, i, sha256.Sum256(nil)))
	}
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":"https://slsa.dev/provenance/v1",`+
		`"predicate":{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.org/b"}}}}`, strings.Join(files, ","))
	sig := ed25519.Sign(key("alice"), statement.PAE(statement.PayloadType, payload))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}`, b64(payload), statement.PayloadType, b64(sig))
}

// Copies by several importers, in other wrappings, count once, and two databases
// of one record are alike.
func TestForeignCopiesAreOne(t *testing.T) {
	w := foreignWorld(t)
	w.start()
	one := envelope("alice", "hello", "hello, world")
	spaced := bytes.Replace(one, []byte(`{"payload"`), []byte(`{ "payload"`), 1)
	w.bring("gather", found(t, one, nil))
	w.bring("second", found(t, one, nil))
	w.bring("second", found(t, spaced, nil)) // the same words: another message, no other vote
	w.bring("second", found(t, envelope("alice", "hello", "changed"), nil))
	w.bring("gather", found(t, bytes.Replace(one, []byte(`{"payload"`), []byte(`{  "payload"`), 1), nil)) // nor does it bring the old one back
	w.sync()
	a := w.artifact("pkg:generic/hello")
	if len(a.Groups) != 1 || a.Groups[0].SHA256 != digest("changed") || len(a.Changed) != 1 {
		t.Errorf("verdict %+v", a.Verdict)
	}
	dump := func() string {
		db := must(store.Open(w.path("state/coordinator.db")))(t)
		defer db.Close()
		var b bytes.Buffer
		check(t, db.Dump(&b))
		return b.String()
	}
	w.stop()
	before := dump()
	must(coordinator.Rebuild(limit(t), w.options()))(t)
	if after := dump(); after != before {
		t.Errorf("rebuilt:\n%s\nbefore:\n%s", after, before)
	}
}
