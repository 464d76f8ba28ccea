package coordinator_test

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"

	"quorate/internal/acttest"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// fullWorld has a case of everything that can be asked for: besides what is to be
// seen on pages an artifact that differs and says what is in it, an uploaded file, a
// statement that an importer brought, acts of every kind and one that was refused.
func fullWorld(t *testing.T) *staffed {
	s := newStaffed(t)
	s.keepFiles(hour)
	s.enroll("gather", bus.RoleImporter)
	s.start()
	s.show()
	s.publishInside("alice", "one", "14.2.1")
	s.publishInside("bob", "one", "14.2.1")
	s.publishInside("carol", "two", "14.1.0")
	s.bring("gather", found(t, envelope("alice", "hello", "hello, world"), nil))
	s.sync()
	s.upload("carol", digest("two"), []byte("two"))
	s.uploads("kept", 1)
	s.fails("dave", "because")
	s.upload("dave", digest("because"), []byte("because"))
	s.uploads("kept", 2)

	hold := s.do(act.Hold, onHello, nil)
	s.do(act.Release, onHello, hold)
	s.do(act.Hold, onFile, nil)
	s.do(act.Note, onChannel, nil)
	s.send(s.anna.Sign(t, act.Act{Kind: act.Rebuild, Subject: onHello, Builder: "bob"}))
	for _, name := range []string{"disputed", "agreed"} { // both are signed
		s.do(act.Withdraw, act.Subject{Channel: "core", Target: alpm + name + arch}, nil)
	}
	s.do(act.Hold, act.Subject{Channel: "core", Target: alpm + "conflicting" + arch}, nil)
	s.send(acttest.NewKey(t).Sign(t, act.Act{Kind: act.Note, Subject: onHello}))
	return s
}

// fullWorldPaths asks for all of it, and for what there is not.
func fullWorldPaths(w *staffed) (there, not []string) {
	disputed, zero := caseID("core", alpm+"disputed"+arch), strings.Repeat("0", 64)
	detail := w.detail(disputed)
	signed, vote := detail.Artifacts[0], detail.Statements[0]
	brought := w.detail(caseID("core", "pkg:generic/hello")).Statements[0]
	there = []string{
		w.logOf("dave").Path,
		"/", "/targets", "/targets/" + disputed, "/targets/" + disputed + "/grid.svg", "/builders", "/builders/alice", "/alarms", "/assets/style.css",
		"/v1/channels", "/v1/channels/core/feed.atom", "/v1/targets", "/v1/targets?limit=2", signed.Evidence, signed.Signatures[0].Path,
		"/v1/artifacts/" + digest("x").String(), "/v1/artifacts/" + digest512("x").String(), vote.Path, brought.Path, brought.Path + "?part=body",
		"/v1/files/" + digest("two").String(), "/v1/rejected", "/v1/alarms", "/v1/alarms?limit=1", "/v1/acts", "/v1/acts?limit=2", "/v1/acts?channel=none",
		"/v1/subject?channel=core", "/v1/subject?channel=core&target=" + helloTarget, "/v1/subject?channel=core&target=" + helloTarget + "&artifact=hello",
		"/v1/receipts/" + vote.ID.String(), "/v1/openapi.yaml", "/healthz", "/readyz", "/metrics",
	}
	for _, t := range w.targets("") {
		there = append(there, "/v1/targets/"+t.ID, "/v1/targets/"+t.ID+"/differences")
	}
	for _, r := range get[api.Rejected](w.world, "/v1/rejected").Rejected {
		there = append(there, "/v1/receipts/"+r.SHA256.String())
	}
	return there, []string{
		"/targets?state=nonsense", "/targets/" + zero[:32], "/targets/x/grid.svg", "/builders/nobody", "/alarms?before=x", "/assets/nothing.css",
		"/v1/channels/none/feed.atom", "/v1/targets?after=x", "/v1/targets?state=x", "/v1/targets/" + zero[:32], "/v1/targets/zz",
		"/v1/targets/" + disputed + "/artifacts/none/evidence", "/v1/targets/" + disputed + "/artifacts/none/signatures/a.openpgp",
		"/v1/targets/" + helloID + "/differences?artifact=none", "/v1/targets/x/differences", "/v1/artifacts/" + zero, "/v1/artifacts/" + zero + zero, "/v1/artifacts/x",
		"/v1/statements/" + zero, "/v1/statements/x", brought.Path + "?part=key", brought.Path + "?part=x", "/v1/files/" + zero, "/v1/files/x", "/v1/statements/" + zero + "/log", "/v1/statements/x/log", vote.Path + "/log",
		"/v1/rejected?limit=0", "/v1/acts?before=x", "/v1/alarms?before=x", "/v1/subject", "/v1/subject?channel=core&artifact=hello", "/v1/receipts/" + zero, "/v1/receipts/x", "/v1/events?sha256=1",
	}
}

// wantEventsOf reads all events again and holds them against the document.
func (w *world) wantEventsOf(t *testing.T, schema *openapi3.Schema) {
	t.Helper()
	live := w.events(t, "", "")
	live.next() // the greeting has the id of the newest event
	epoch, _, _ := strings.Cut(live.id, "-")
	again := w.events(t, "", epoch+"-0")
	again.next()
	types := map[string]bool{}
	for again.id != live.id {
		kind, data := again.next()
		var v any
		check(t, json.Unmarshal([]byte(data), &v))
		if err := schema.VisitJSON(v, openapi3.MultiErrors()); err != nil {
			t.Errorf("event %s: %v", data, err)
		}
		types[kind] = true
	}
	if !types["verdict"] || !types[api.EventAct] || !types[api.EventAlarm] || len(types) != 3 {
		t.Errorf("events of types %v", types)
	}
}

// splitWorld has builders that agree on an artifact's SHA-256 and not on what is
// signed besides.
func splitWorld(t *testing.T) *world {
	w := newWorldWith(t, withOutputs(t, `{format = "openpgp-cleartext", key = "core-key"}, {format = "openpgp", key = "core-key"}`))
	w.start()
	for i, text := range []string{"text", "text", "other text", ""} {
		name := builders[i]
		said := *build{builder: name}.statement(t)
		a := &said.Artifacts[0]
		if text != "" {
			a.Signables = []statement.Signable{{Name: statement.TextState, Value: must(json.Marshal(artifact(t, "text", text).State512))(t)}}
		}
		if name == "carol" {
			other := artifact(t, "hello", "hello, World")
			a.SHA512, a.State512 = other.SHA512, other.State512
		}
		signed := must(statement.Sign(&said, key(name)))(t)
		w.publishRaw(name, must(bus.StatementSubject("core", name))(t), signed.Raw())
	}
	w.sync()
	var other512, other, missing bool
	for _, m := range w.hello().Groups[0].Members {
		other512 = other512 || m.OtherSHA512 != nil
		if m.Signables != nil {
			other, missing = other || len(m.Signables.Other) > 0, missing || len(m.Signables.Missing) > 0
		}
	}
	if !other512 || !other || !missing {
		t.Errorf("%+v", w.hello().Groups)
	}
	return w
}
