package wire_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"quorate/internal/wire"
)

const goodAlarm = `{"version":1,"code":"second-digest","channel":"core","target":"pkg:generic/hello@1","stage":"","artifact":"hello","message":"two","from":"coordinator","at":"2026-01-02T03:04:05Z"}`

// The name comes from the bus, whatever the message says.
func TestSignerAlarmHasTheNameOfItsSubject(t *testing.T) {
	a, err := wire.ParseSignerAlarm([]byte(goodAlarm), "core", "hsm")
	if err != nil || a.From != "hsm" || a.Code != "second-digest" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := wire.ParseSignerAlarm([]byte(goodAlarm), "other", "hsm"); err == nil || !strings.Contains(err.Error(), "channel") {
		t.Errorf("on the subject of another channel: %v", err)
	}
}

func FuzzParseSignerAlarm(f *testing.F) {
	f.Add([]byte(goodAlarm))
	f.Add([]byte(strings.Replace(goodAlarm, "two", strings.Repeat("\u00e9", 3000), 1)))
	f.Add([]byte(strings.Replace(goodAlarm, `"hello"`, `"../x"`, 1)))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := wire.ParseSignerAlarm(data, "core", "hsm")
		if err != nil {
			return
		}
		if a.From != "hsm" || a.Channel != "core" || a.Target == "" || a.Message == "" || len(a.Message) > 4100 || !utf8.ValidString(a.Message) || strings.Contains(a.Artifact, "/") {
			t.Errorf("%+v", a)
		}
		again, err := wire.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := wire.ParseAlarm(again); err != nil || *b != *a {
			t.Errorf("%+v is read again as %+v, %v", a, b, err)
		}
	})
}
