package coordinator_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// payloadOf takes the statement out of its envelope.
func payloadOf(t testing.TB, raw []byte) string {
	t.Helper()
	var env struct {
		Payload []byte `json:"payload"`
	}
	check(t, json.Unmarshal(raw, &env))
	return string(env.Payload)
}

// sealed signs any text as a statement of the builder, as nothing of ours would.
func sealed(t testing.TB, builder, payloadType, payload string) []byte {
	t.Helper()
	sig := ed25519.Sign(key(builder), statement.PAE(payloadType, []byte(payload)))
	return must(json.Marshal(map[string]any{"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString([]byte(payload)),
		"signatures": []any{map[string]string{"sig": base64.StdEncoding.EncodeToString(sig)}}}))(t)
}

// TestBadStatements publishes each kind of bad statement as alice on her own
// subject. Each must be kept in the list of rejected messages with its code, and
// the good statement behind it must count.
func TestBadStatements(t *testing.T) {
	good := build{builder: "alice"}.statement(t).Raw()
	payload := payloadOf(t, good)
	replace := func(old, with string) []byte {
		changed := strings.Replace(payload, old, with, 1)
		if changed == payload {
			t.Fatalf("%q is not in %s", old, payload)
		}
		return sealed(t, "alice", statement.PayloadType, changed)
	}
	hexOf := func(content string) string { return digest(content).String() }
	tests := []struct {
		name string
		data []byte
		code statement.Code
	}{
		{"truncated", good[:len(good)/2], statement.CodeBadJSON},
		{"not JSON", []byte("hello"), statement.CodeBadJSON},
		{"trailing bytes", append(bytes.Clone(good), "{}"...), statement.CodeBadJSON},
		{"more than 1 MiB", bytes.Repeat([]byte(" "), statement.MaxEnvelope+1), statement.CodeTooLarge},
		{"wrong payload type", sealed(t, "alice", "text/plain", payload), statement.CodePayloadType},
		{"unknown predicate", replace(statement.PredicateProvenance, "https://example.org/p/v9"), statement.CodePredicateType},
		{"duplicate subject", replace(`"subject":[`, `"subject":[`+subjectOf(payload)+","), statement.CodeDuplicateSubject},
		{"duplicate JSON key", replace(`{"_type"`, `{"_type":"x","_type"`), statement.CodeBadJSON},
		{"bad digest length", replace(hexOf("hello, world"), hexOf("hello, world")[:62]), statement.CodeBadDigest},
		{"state of another file", replace(hexOf("hello, world"), hexOf("another file")), statement.CodeStateMismatch},
		{"another key", build{builder: "alice", signer: "bob"}.statement(t).Raw(), statement.CodeBadSignature},
		{"unknown builder", build{builder: "mallory"}.statement(t).Raw(), quorum.CodeUnknownBuilder},
		{"builder of another channel", build{builder: "erin"}.statement(t).Raw(), quorum.CodeBuilderChannel},
		{"unknown channel", build{builder: "alice", channel: "nowhere"}.statement(t).Raw(), quorum.CodeUnknownChannel},
		{"target of no channel", build{builder: "erin", channel: "other", target: "pkg:deb/x@1"}.statement(t).Raw(), quorum.CodeTargetChannel},
		{"key not yet valid", build{builder: "carol", at: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)}.statement(t).Raw(), quorum.CodeKeyNotYetValid},
		{"key revoked", build{builder: "dave"}.statement(t).Raw(), quorum.CodeKeyRevoked},
		{"finished tomorrow", build{builder: "alice", at: time.Now().Add(24 * time.Hour)}.statement(t).Raw(), quorum.CodeTimeInFuture},
	}
	w := newWorldWith(t, policyText(t, 1, 3, "", map[string]time.Time{"dave": time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)}))
	w.start()
	// Each under the subject that fits what it says, so that the statement
	// itself is judged.
	conn := w.as("coordinator")
	for _, tt := range tests {
		subject := "quorate.statements.core.alice"
		if s, err := statement.Parse(tt.data); err == nil {
			subject = must(bus.StatementSubject(s.Channel, s.Builder))(t)
		}
		must(conn.JS().Publish(limit(t), subject, tt.data))(t)
	}
	w.agree("alice")
	list := get[rejectedList](w, "/v1/rejected?limit=500")
	if len(list.Rejected) != len(tests) {
		t.Errorf("%d rejected, want %d", len(list.Rejected), len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { w.wantRejected(t, list, tt.data, tt.code) })
	}
	if a := w.wantState(quorum.Waiting); len(a.Groups) != 1 || len(a.Groups[0].Members) != 1 {
		t.Errorf("groups %+v", a.Groups)
	}
}

// subjectOf cuts the first subject out of a payload.
func subjectOf(payload string) string {
	from := strings.Index(payload, `"subject":[`) + len(`"subject":[`)
	return payload[from : from+strings.Index(payload[from:], "}]")+1]
}

// wantRejected fails unless the bytes are listed with the code, and kept.
func (w *world) wantRejected(t *testing.T, list rejectedList, data []byte, code statement.Code) {
	t.Helper()
	id := statement.ID(data)
	for _, r := range list.Rejected {
		if r.SHA256 != id {
			continue
		}
		if r.Code != code {
			t.Errorf("code %s (%s), want %s", r.Code, r.Message, code)
		}
		if r.Code == quorum.CodeSubjectMismatch {
			return // its identity stays free
		}
		if _, kept := w.fetch("/v1/statements/" + id.String()); !bytes.Equal(kept, data) {
			t.Error("the bytes are not kept as they came")
		}
		return
	}
	t.Error("not in the list")
}

func TestTwoMiBAreRefusedByTheBus(t *testing.T) {
	w := newWorld(t)
	w.start()
	data := make([]byte, 2<<20)
	_, err := w.as("alice").Publish(limit(t), "quorate.statements.core.alice", bus.MsgID(data), data)
	if !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got error %v, want ErrTooLarge", err)
	}
}

func TestAnotherBuildersSubject(t *testing.T) {
	w := newWorld(t)
	w.start()
	st := build{builder: "alice"}.statement(t)
	var denied *bus.DeniedError
	if _, err := w.as("alice").Publish(limit(t), "quorate.statements.core.bob", "x", st.Raw()); !errors.As(err, &denied) {
		t.Errorf("the bus lets alice publish as bob: %v", err)
	}
	// Where the bus does not keep them apart, the coordinator does. That bob
	// was faster must not make alice's own message a repetition.
	w.publishRaw("bob", "quorate.statements.core.bob", st.Raw())
	w.sync()
	if status, _ := w.fetch("/v1/targets/" + helloID); status != 404 {
		t.Errorf("status %d: the statement counts", status)
	}
	list := get[rejectedList](w, "/v1/rejected")
	w.wantRejected(t, list, st.Raw(), quorum.CodeSubjectMismatch)
	conn := w.as("alice")
	must(conn.Publish(limit(t), "quorate.statements.core.alice", "mine", st.Raw()))(t)
	w.sync()
	w.wantState(quorum.Waiting)
}

func TestEquivocationIsKept(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.publish(build{builder: "alice", files: map[string]string{"hello": "first"}})
	w.publish(build{builder: "alice", files: map[string]string{"hello": "second"}})
	w.sync()
	a := w.hello()
	if len(a.Changed) != 1 || a.Changed[0].From != digest("first") || a.Changed[0].To != digest("second") {
		t.Errorf("changed %+v", a.Changed)
	}
	if len(a.Groups) != 1 || a.Groups[0].SHA256 != digest("second") {
		t.Errorf("groups %+v", a.Groups)
	}
	// Also by the digest that no longer counts it is found.
	found := get[struct {
		SHA256    statement.SHA256 `json:"sha256"`
		Artifacts []any            `json:"artifacts"`
	}](w, "/v1/artifacts/"+digest("first").String())
	if len(found.Artifacts) != 1 {
		t.Errorf("%d artifacts", len(found.Artifacts))
	}
}

func TestReceiptNamesWhatWasRejected(t *testing.T) {
	w := newWorld(t)
	c := w.start()
	st := build{builder: "alice", signer: "bob"}.statement(t)
	w.publishRaw("alice", "quorate.statements.core.alice", st.Raw())
	check(t, coordinator.AwaitRecorded(limit(t), c, 1))
	reply := must(w.as("alice").Request(limit(t), "quorate.have.alice", []byte(`{"version":1,"statements":["`+st.ID().String()+`","`+digest("x").String()+`"]}`)))(t)
	if !strings.Contains(string(reply), `"code":"bad-signature"`) || strings.Contains(string(reply), digest("x").String()) {
		t.Errorf("answer %s", reply)
	}
}
