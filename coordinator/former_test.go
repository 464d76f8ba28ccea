package coordinator_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
)

// formerBus makes the embedded server's record stream as it was before importers,
// by an administrator's hand.
func (w *world) formerBus(change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	opts := &server.Options{DontListen: true, NoSigs: true, NoLog: true}
	check(w.t, opts.ProcessConfigString("jetstream: enabled\nno_auth_user: admin\naccounts { "+bus.CoreAccount+" { jetstream: enabled, users: [ { user: admin, password: admin } ] } }"))
	opts.StoreDir = filepath.Join(w.state(), "bus")
	s := must(server.NewServer(opts))(w.t)
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(testLimit) {
		w.t.Fatal("server does not get ready")
	}
	nc := must(nats.Connect("", nats.InProcessServer(s)))(w.t)
	defer nc.Close()
	js := must(jetstream.New(nc))(w.t)
	stream := must(js.Stream(limit(w.t), bus.StreamRecord))(w.t)
	config := stream.CachedInfo().Config
	change(&config)
	must(js.UpdateStream(limit(w.t), config))(w.t)
}

// A state directory from before importers is one of now after a start, with its
// record.
func TestStreamsOfAFormerVersion(t *testing.T) {
	w, log := newWorld(t), new(logBuffer)
	w.log = slog.New(slog.NewTextHandler(log, nil))
	w.start()
	w.agree("alice", "bob", "carol")
	w.sync()
	before := w.hello()
	w.stop()
	w.formerBus(func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:3] })

	w.start()
	w.sync()
	if got := log.lines("gets its new subjects", bus.StreamRecord); len(got) != 1 {
		t.Errorf("%d lines of it", len(got))
	}
	if now := w.hello(); now.State != before.State || now.SHA256 != before.SHA256 {
		t.Errorf("the record changed:\n%+v\n%+v", before, now)
	}
	config := must(w.as("coordinator").JS().Stream(limit(t), bus.StreamRecord))(t).CachedInfo().Config
	if len(config.Subjects) != len(bus.StreamConfigs(1)[0].Subjects) || !config.DenyDelete {
		t.Errorf("the stream is %+v", config)
	}
	w.stop()
	w.start()
	if got := log.lines("gets its new subjects"); len(got) != 1 {
		t.Errorf("%d lines of it after another start", len(got))
	}
}
