package builderagent_test

import (
	"bytes"
	"strings"
	"testing"

	builderagent "quorate/builder-agent"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// ask publishes a request for a file, as a coordinator does.
func (k *kit) ask(id string, d statement.SHA256, change func(*wire.Upload)) {
	k.t.Helper()
	u := &wire.Upload{Version: quorum.Version, Kind: wire.KindUpload, ID: id, Channel: "core", Target: target,
		Artifact: "a", SHA256: d, Builders: []string{"bob", "alice"}}
	if change != nil {
		change(u)
	}
	data := must(wire.Encode(u))(k.t)
	must(k.conn.Publish(testContext(k.t), must(bus.JobSubject("core"))(k.t), id, data))(k.t)
}

// uploaded is what the files stream has, piece by piece.
func (k *kit) uploaded() (chunks []bus.Chunk, data []byte) {
	k.t.Helper()
	s := must(k.conn.JS().Stream(testContext(k.t), bus.StreamFiles))(k.t)
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m := must(s.GetMsg(testContext(k.t), seq))(k.t)
		chunks, data = append(chunks, must(bus.ParseFileSubject(m.Subject))(k.t)), append(data, m.Data...)
	}
	return chunks, data
}

func TestKeptOutputIsUploaded(t *testing.T) {
	k, st := build(t, `mkdir out; head -c 2500000 /dev/zero > out/a; : > out/empty`, "", nil)
	check(t, bus.EnsureFiles(testContext(t), k.conn.JS(), 1))
	k.ask("up-1", st.Artifacts[0].SHA256, nil)
	k.settledJobs()
	chunks, data := k.uploaded()
	if len(chunks) != 3 || chunks[2] != (bus.Chunk{Builder: "alice", SHA256: st.Artifacts[0].SHA256, Count: 3, Index: 2}) || !bytes.Equal(data, make([]byte, 2500000)) {
		t.Errorf("%d bytes in %+v", len(data), chunks)
	}
	k.ask("up-2", st.Artifacts[1].SHA256, func(u *wire.Upload) { u.Artifact = "empty" })
	k.settledJobs()
	if chunks, _ = k.uploaded(); len(chunks) != 4 || chunks[3].Count != 1 {
		t.Errorf("an empty file is %+v", chunks[3:])
	}
	if k.count("builds/job-1/out", "*") != 2 {
		t.Error("the outputs are gone")
	}
}

// Nothing leaves the machine but what it built, for whom it was built.
func TestOtherFilesAreNotUploaded(t *testing.T) {
	k, st := build(t, `mkdir out; echo secret > out/a`, "", nil)
	check(t, bus.EnsureFiles(testContext(t), k.conn.JS(), 1))
	d := st.Artifacts[0].SHA256
	k.ask("other-digest", statement.ID([]byte("x")), nil)
	k.ask("other-name", d, func(u *wire.Upload) { u.Artifact = "b" })
	k.ask("other-target", d, func(u *wire.Upload) { u.Target = "pkg:generic/other@1" })
	k.ask("other-stage", d, func(u *wire.Upload) { u.Stage = "x" })
	k.ask("other-builder", d, func(u *wire.Upload) { u.Builders = []string{"bob"} })
	k.ask("leads-away", d, func(u *wire.Upload) { u.Artifact = "../../../agent.toml" })
	k.ask("other-channel", d, func(u *wire.Upload) { u.Channel = "other" })
	k.settledJobs()
	if chunks, _ := k.uploaded(); len(chunks) != 0 {
		t.Errorf("uploaded: %+v", chunks)
	}
	if n := len(k.record()); n != 1 {
		t.Errorf("%d statements: a request for a file was taken for a build", n)
	}
}

// A log leaves the machine where its keeper lets it, whole and only for the build
// that is meant; else its builder says why not.
func TestLogsAreGivenWhereTheirKeeperWants(t *testing.T) {
	for _, c := range []struct {
		name, config string
		change       func(*wire.Upload)
		want         string // the reason; empty: the log
	}{
		{"given", "upload_logs = true\n", nil, ""},
		{"by default", "", nil, wire.NoLogKept},
		{"another statement", "upload_logs = true\n", func(u *wire.Upload) { u.Statement = statement.ID(nil) }, wire.NoLogGone},
		{"another digest", "upload_logs = true\n", func(u *wire.Upload) { u.SHA256 = statement.ID(nil) }, wire.NoLogGone},
		{"too large", "upload_logs = true\n", func(u *wire.Upload) { u.Max = 7 }, wire.NoLogLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, st := build(t, "echo because; echo secret >&2; exit 3", c.config, nil)
			check(t, bus.EnsureFiles(testContext(t), k.conn.JS(), 1))
			if st.IsVote() {
				t.Fatal("the build did not fail")
			}
			d := must(statement.ParseSHA256(st.Byproducts[0].Digest["sha256"]))(t)
			k.ask("log-1", d, func(u *wire.Upload) {
				u.Kind, u.Artifact, u.Statement, u.Max = wire.KindLog, "", st.ID(), 1<<20
				if c.change != nil {
					c.change(u)
					d = u.SHA256
				}
			})
			k.settledJobs()
			s := must(k.conn.JS().Stream(testContext(t), bus.StreamFiles))(t)
			if n := s.CachedInfo().State.LastSeq; n != 1 {
				t.Fatalf("%d messages", n)
			}
			m := must(s.GetMsg(testContext(t), 1))(t)
			if c.want == "" {
				if chunk := must(bus.ParseFileSubject(m.Subject))(t); chunk.SHA256 != d || statement.ID(m.Data) != d || !strings.Contains(string(m.Data), "secret") {
					t.Errorf("%+v: %s", chunk, m.Data)
				}
				return
			}
			builder, got, err := bus.ParseNoFileSubject(m.Subject)
			if none := must(wire.ParseNoLog(m.Data))(t); err != nil || builder != "alice" || got != d || none.Reason != c.want {
				t.Errorf("%s, %v: %s", m.Subject, err, m.Data)
			}
		})
	}
}

func TestUploadsCanBeForbidden(t *testing.T) {
	k, st := build(t, `mkdir out; echo secret > out/a`, "uploads = 'none'\n", nil)
	check(t, bus.EnsureFiles(testContext(t), k.conn.JS(), 1))
	k.ask("up", st.Artifacts[0].SHA256, nil)
	k.settledJobs()
	if chunks, _ := k.uploaded(); len(chunks) != 0 {
		t.Errorf("uploaded: %+v", chunks)
	}
	k.configure("", "uploads = 'some'\n")
	if _, err := builderagent.Open(k.state()); err == nil || !strings.Contains(err.Error(), "uploads") {
		t.Error(err)
	}
}
