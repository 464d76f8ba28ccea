package wire_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"quorate/internal/wire"
)

func foreign() *wire.Foreign {
	return &wire.Foreign{Version: 1, Channel: "core", Origin: "tree/list", Fetched: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		Evidence: []byte("evidence"), Keys: [][]byte{[]byte("key")}}
}

func TestForeignRoundTrip(t *testing.T) {
	data, err := wire.Encode(foreign())
	if err != nil {
		t.Fatal(err)
	}
	f, err := wire.ParseForeign(data)
	if err != nil || f.Channel != "core" || !bytes.Equal(f.Evidence, []byte("evidence")) || len(f.Keys) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	other := foreign()
	other.Origin, other.Fetched, other.Keys = "elsewhere", time.Now(), nil
	if other.ID() != f.ID() {
		t.Error("the identity depends on who carried it")
	}
}

func TestForeignRefused(t *testing.T) {
	for want, change := range map[string]func(*wire.Foreign){
		"version":           func(f *wire.Foreign) { f.Version = 2 },
		"channel":           func(f *wire.Foreign) { f.Channel = "a.b" },
		"evidence is empty": func(f *wire.Foreign) { f.Evidence = nil },
		"origin":            func(f *wire.Foreign) { f.Origin = strings.Repeat("x", 2049) },
		"9 keys":            func(f *wire.Foreign) { f.Keys = make([][]byte, 9) },
		"at most 768000":    func(f *wire.Foreign) { f.Keys = [][]byte{make([]byte, wire.MaxForeignData)} },
	} {
		f := foreign()
		change(f)
		data, err := wire.Encode(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ParseForeign(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, text := range []string{"", "[]", `{"version":1,"more":1}`, string(make([]byte, wire.MaxForeign+1))} {
		if _, err := wire.ParseForeign([]byte(text)); err == nil {
			t.Errorf("%.40q is read", text)
		}
	}
	// The largest that may be sent fits into a message of the record.
	f := foreign()
	f.Keys = make([][]byte, wire.MaxForeignKeys)
	f.Origin = strings.Repeat("\x00", 2048)
	f.Evidence = make([]byte, wire.MaxForeignData)
	if data, err := wire.Encode(f); err != nil || len(data) > wire.MaxForeign {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func FuzzParseForeign(f *testing.F) {
	data, err := wire.Encode(foreign())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := wire.ParseForeign(data)
		if err == nil && (len(got.Evidence) == 0 || len(got.Evidence) > wire.MaxForeignData || len(got.Keys) > wire.MaxForeignKeys) {
			t.Errorf("beyond the limits: %+v", got)
		}
	})
}
