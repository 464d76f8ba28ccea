package wire_test

import (
	"strings"
	"testing"

	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

func upload() *wire.Upload {
	return &wire.Upload{Version: quorum.Version, Kind: wire.KindUpload, ID: "upload-1", Channel: "core", Target: "pkg:generic/hello@1",
		Artifact: "hello.tar", SHA256: statement.ID([]byte("x")), Builders: []string{"alice"}}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := wire.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A job for a file is no job for a build, and the other way round: an agent of an
// older version refuses it and builds nothing.
func TestUploadIsNoBuild(t *testing.T) {
	data := encode(t, upload())
	if got, err := wire.ParseUpload(data); err != nil || got.Artifact != "hello.tar" || !wire.IsUpload(data) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := wire.ParseJob(data); err == nil {
		t.Error("a request for a file is taken for one for a build")
	}
	job := encode(t, &wire.Job{Version: quorum.Version, ID: "j", Channel: "core", Target: "pkg:generic/hello@1"})
	if _, err := wire.ParseUpload(job); err == nil || wire.IsUpload(job) {
		t.Error("a request for a build is taken for one for a file")
	}
}

func TestBadUploadsAreRefused(t *testing.T) {
	for want, change := range map[string]func(*wire.Upload){
		"version":  func(u *wire.Upload) { u.Version = 9 },
		"kind":     func(u *wire.Upload) { u.Kind = "download" },
		"id":       func(u *wire.Upload) { u.ID = "../x" },
		"channel":  func(u *wire.Upload) { u.Channel = "*" },
		"target":   func(u *wire.Upload) { u.Target = "x" },
		"artifact": func(u *wire.Upload) { u.Artifact = "../../etc/shadow" },
		"builders": func(u *wire.Upload) { u.Builders = nil },
	} {
		u := upload()
		change(u)
		if _, err := wire.ParseUpload(encode(t, u)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, text := range []string{``, `{`, `{"kind":"upload","more":1}`, `{"kind":"upload"} `, strings.Repeat(" ", wire.MaxJob+1)} {
		if _, err := wire.ParseUpload([]byte(text)); err == nil {
			t.Errorf("%.30q is a job", text)
		}
	}
}

func logJob() *wire.Upload {
	u := upload()
	u.Kind, u.Artifact, u.Statement, u.Max = wire.KindLog, "", statement.ID([]byte("s")), 1<<20
	return u
}

func TestLogJobs(t *testing.T) {
	if u, err := wire.ParseUpload(encode(t, logJob())); err != nil || !wire.IsUpload(encode(t, u)) {
		t.Error(err)
	}
	for name, change := range map[string]func(*wire.Upload){
		"an artifact":       func(u *wire.Upload) { u.Artifact = "a" },
		"no statement":      func(u *wire.Upload) { u.Statement = statement.SHA256{} },
		"a negative max":    func(u *wire.Upload) { u.Max = -1 },
		"a file's with max": func(u *wire.Upload) { u.Kind, u.Artifact = wire.KindUpload, "a" },
	} {
		u := logJob()
		change(u)
		if _, err := wire.ParseUpload(encode(t, u)); err == nil {
			t.Errorf("a job with %s is taken", name)
		}
	}
	for _, text := range []string{"", "{}", `{"version":1,"reason":"x"}`, `{"version":2,"reason":"gone"}`, `{"version":1,"reason":"gone","bytes":-1}`, `{"version":1,"reason":"gone","more":1}`} {
		if _, err := wire.ParseNoLog([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func FuzzParseNoLog(f *testing.F) {
	f.Add([]byte(`{"version":1,"reason":"too-large","bytes":5}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := wire.ParseNoLog(data); err == nil && (n.Bytes < 0 || len(n.Reason) > 20) {
			t.Errorf("%+v", n)
		}
	})
}

func FuzzParseUpload(f *testing.F) {
	f.Add(encode(f, upload()))
	f.Add(encode(f, logJob()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if u, err := wire.ParseUpload(data); err == nil && strings.ContainsAny(u.Artifact, "/\x00") {
			t.Fatalf("%q", u.Artifact)
		}
	})
}
