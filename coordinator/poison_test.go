package coordinator_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/coordinator"
	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum/evidence"
)

// Whoever makes a provenance names its key as they like, and an importer carries it
// as it is. No such name may end a coordinator: the record keeps the message, so it
// would end at each start.
func TestNoMessageOfTheRecordEndsACoordinator(t *testing.T) {
	w := foreignWorld(t)
	w.start()
	for _, name := range []string{strings.Repeat("k", 127) + "é", strings.Repeat("k", 126) + "\u20ac", strings.Repeat("k", 128) + "é", "\x00\u202e\ufffd\uffff", ""} {
		body := bytes.Replace(envelope("alice", "hello", "hello, world "+name), []byte(`"signatures":[{`), fmt.Appendf(nil, `"signatures":[{"keyid":%s,`, must(jsontext.AppendQuote(nil, name))(t)), 1)
		w.bring("gather", found(t, body, nil))
	}
	for _, text := range []string{"a\x00b", "\u202e\u2066\x1b[2J", strings.Repeat("é", 2000)} {
		w.publish(build{builder: "bob", target: "pkg:generic/hello", status: "failed", reason: text})
	}
	w.sync()
	d := get[api.TargetDetail](w, "/v1/targets/"+caseID("core", "pkg:generic/hello"))
	if len(d.Statements) != 8 {
		t.Errorf("%d statements, want 8; rejected: %q", len(d.Statements), w.rejectedCodes())
	}
	for _, s := range d.Statements {
		if f := s.Foreign; f != nil && (len(f.Verdicts) != 1 || f.Verdicts[0].Status != string(evidence.Good)) {
			t.Errorf("judged %+v", f)
		}
	}
	if status, body := w.fetch("/targets/" + caseID("core", "pkg:generic/hello")); status != 200 {
		t.Errorf("page: status %d, %s", status, body)
	}
}

// TestMessageThatBreaksItsReaderIsRefused: a fault in what reads messages costs the
// message that finds it, and not the coordinator.
func TestMessageThatBreaksItsReaderIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.start()
	st := build{builder: "alice"}.statement(t)
	code, err := coordinator.ExamineWithoutPolicy(c, store.Message{Seq: 1, Subject: "quorate.statements.core.alice", SHA256: st.ID(), Raw: st.Raw()})
	if err != nil || code != coordinator.CodeUnreadable {
		t.Errorf("code %q, %v", code, err)
	}
}
