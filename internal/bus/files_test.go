package bus_test

import (
	"strings"
	"testing"

	"quorate/internal/bus"
	"quorate/quorum/statement"
)

func TestFileSubjects(t *testing.T) {
	d := statement.ID([]byte("x"))
	for _, c := range []bus.Chunk{{"alice", d, 1, 0}, {"alice", d, 2048, 2047}} {
		if got := must(bus.ParseFileSubject(must(bus.FileSubject(c))(t)))(t); got != c {
			t.Errorf("%+v became %+v", c, got)
		}
	}
	for _, c := range []bus.Chunk{{"a.b", d, 1, 0}, {"*", d, 1, 0}, {"alice", d, 0, 0}, {"alice", d, 1, 1}, {"alice", d, 1, -1}, {"alice", d, 2049, 0}} {
		if s, err := bus.FileSubject(c); err == nil {
			t.Errorf("%+v has the subject %s", c, s)
		}
	}
	hex := d.String()
	for _, s := range []string{
		"", "quorate.files", "quorate.files.alice", "quorate.files.alice." + hex, "quorate.files.alice." + hex + ".1",
		"quorate.files.alice." + hex + ".1.0.0", "quorate.files.alice." + hex + ".1.1", "quorate.files.alice." + hex + ".01.0",
		"quorate.files.alice." + hex + ".+1.0", "quorate.files.alice." + hex + ".1.-0", "quorate.files.alice." + strings.ToUpper(hex) + ".1.0",
		"quorate.files.*." + hex + ".1.0", "quorate.jobs.alice." + hex + ".1.0", "quorate.files.alice.x.1.0", "quorate.files.alice." + hex + ".99999999999999999999.0",
	} {
		if c, err := bus.ParseFileSubject(s); err == nil {
			t.Errorf("%s is %+v", s, c)
		}
	}
}

func TestNoFileSubjects(t *testing.T) {
	d := statement.ID([]byte("x"))
	s := must(bus.NoFileSubject("alice", d))(t)
	if builder, got, err := bus.ParseNoFileSubject(s); builder != "alice" || got != d || err != nil {
		t.Errorf("%s is %q, %s, %v", s, builder, got, err)
	}
	if _, err := bus.ParseFileSubject(s); err == nil {
		t.Error("it is taken for a piece of a file")
	}
	for _, bad := range []string{"", "quorate.files", s + ".x", strings.ToUpper(s), strings.Replace(s, "alice", "*", 1), strings.Replace(s, "none", "1", 1), "quorate.files.alice.x.none"} {
		if builder, _, err := bus.ParseNoFileSubject(bad); err == nil {
			t.Errorf("%s is of %q", bad, builder)
		}
	}
}

// A builder uploads under its own name, and nobody else does at all.
func TestFileRights(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	check(t, bus.EnsureFiles(testContext(t), coord.JS(), 1))
	check(t, bus.EnsureFiles(testContext(t), coord.JS(), 1))
	chunk := bus.Chunk{SHA256: statement.ID([]byte("x")), Count: 1}
	check(t, b.as("alice").PublishChunk(testContext(t), chunk, []byte("x")))
	chunk.Builder = "alice"
	subject := must(bus.FileSubject(chunk))(t)
	for _, name := range []string{"bob", "hsm", "repo-add", "watch", "coord"} {
		wantDenied(t, publish(t, b.as(name), subject, "x"), subject)
	}
	for _, api := range []string{"$JS.API.STREAM.DELETE.QUORATE_FILES", "$JS.API.STREAM.PURGE.QUORATE_FILES", "$JS.API.STREAM.MSG.GET.QUORATE_FILES"} {
		_, err := b.as("bob").Request(testContext(t), api, []byte("{}"))
		wantDenied(t, err, api)
	}
	info := must(coord.JS().Stream(testContext(t), bus.StreamFiles))(t).CachedInfo()
	if info.State.Msgs != 1 || info.Config.MaxBytes <= 0 || info.Config.MaxAge <= 0 {
		t.Errorf("%d messages, at most %d bytes for %s", info.State.Msgs, info.Config.MaxBytes, info.Config.MaxAge)
	}
}

func FuzzParseFileSubject(f *testing.F) {
	f.Add("quorate.files.alice." + statement.ID(nil).String() + ".2.1")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := bus.ParseFileSubject(s)
		if err != nil {
			return
		}
		if again, err := bus.FileSubject(c); err != nil || again != s {
			t.Fatalf("%q became %q: %v", s, again, err)
		}
	})
}
