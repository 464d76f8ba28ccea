package bus_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quorate/internal/bus"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "0": true, "core": true, "extra-testing": true, "A_b-9": true, strings.Repeat("x", 64): true,
		"": false, "-a": false, "_a": false, "a.b": false, "*": false, ">": false, "a b": false, "a\n": false,
		"é": false, "a/b": false, strings.Repeat("x", 65): false,
	} {
		if bus.ValidName(name) != want {
			t.Errorf("ValidName(%q) is %v", name, !want)
		}
	}
}

func TestSubjects(t *testing.T) {
	for want, got := range map[string]func() (string, error){
		"quorate.statements.core.alice": func() (string, error) { return bus.StatementSubject("core", "alice") },
		"quorate.foreign.core.gather":   func() (string, error) { return bus.ForeignSubject("core", "gather") },
		"quorate.signatures.core":       func() (string, error) { return bus.SignatureSubject("core") },
		"quorate.control.core":          func() (string, error) { return bus.ControlSubject("core") },
		"quorate.jobs.core":             func() (string, error) { return bus.JobSubject("core") },
		"quorate.requests.key":          func() (string, error) { return bus.RequestSubject("key") },
		"quorate.requests.key+batch":    func() (string, error) { return bus.BatchSubject("key") },
		"quorate.alarms.core":           func() (string, error) { return bus.AlarmSubject("core") },
		"quorate.alarms.core.hsm":       func() (string, error) { return bus.SignerAlarmSubject("core", "hsm") },
		"quorate.have.alice":            func() (string, error) { return bus.HaveSubject("alice") },
	} {
		if s := must(got())(t); s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
}

func TestParseRecordSubjectRefuses(t *testing.T) {
	for _, s := range []string{
		"", "quorate", "quorate.statements", "quorate.statements.core", "quorate.statements.core.alice.x",
		"quorate.statements..alice", "quorate.statements.*.alice", "quorate.signatures.core.x", "quorate.control",
		"quorate.jobs.core", "quorate.requests.k", "other.statements.core.alice", "quorate.signatures.>",
	} {
		_, _, _, err := bus.ParseRecordSubject(s)
		wantIs(t, err, bus.ErrNotRecord)
	}
}

// Whatever the names are: a builder either refuses them, or parsing gives them
// back. So no name can lead to another subject than it says.
func TestSubjectRoundTrip(t *testing.T) {
	name := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{0,63}`), rapid.StringMatching(`[a.*>_ -]{0,5}`), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		channel, builder := name.Draw(t, "channel"), name.Draw(t, "builder")
		s, err := bus.StatementSubject(channel, builder)
		if ok := bus.ValidName(channel) && bus.ValidName(builder); ok != (err == nil) {
			t.Fatalf("valid %v, error %v", ok, err)
		}
		if err != nil {
			return
		}
		kind, c, b, err := bus.ParseRecordSubject(s)
		if err != nil || kind != bus.KindStatement || c != channel || b != builder {
			t.Fatalf("%s gives %s %s %s %v", s, kind, c, b, err)
		}
	})
}

func TestMsgID(t *testing.T) {
	if got := bus.MsgID([]byte("abc")); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s", got)
	}
}
