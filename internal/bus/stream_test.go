package bus_test

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
)

// unrestricted stops the broker and serves its store without any permissions:
// what an administrator, or an attacker with the machine, could do.
func unrestricted(t *testing.T, b *broker) *nats.Conn {
	t.Helper()
	b.Shutdown()
	return openServer(t, filepath.Join(b.dir, "store"))
}

const everythingAllowed = `
jetstream: enabled
no_auth_user: admin
accounts { QUORATE { jetstream: enabled, users: [ { user: admin, password: admin } ] } }`

func openServer(t *testing.T, store string) *nats.Conn {
	t.Helper()
	opts := &server.Options{DontListen: true, NoSigs: true, NoLog: true}
	check(t, opts.ProcessConfigString(everythingAllowed))
	opts.StoreDir = store
	s := must(server.NewServer(opts))(t)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(testLimit) {
		t.Fatal("server does not get ready")
	}
	nc := must(nats.Connect("", nats.InProcessServer(s)))(t)
	t.Cleanup(nc.Close)
	return nc
}

func TestEnsureStreamsTwice(t *testing.T) {
	b := newBroker(t)
	c := b.coordinator()
	check(t, bus.EnsureStreams(testContext(t), c.JS(), 1))
	for _, want := range bus.StreamConfigs(1) {
		s := must(c.JS().Stream(testContext(t), want.Name))(t)
		if s.CachedInfo().Config.Storage != jetstream.FileStorage {
			t.Errorf("%s is not on disk", want.Name)
		}
	}
}

func TestEnsureStreamsAtOnce(t *testing.T) {
	b := newBroker(t)
	c := b.as("coord")
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = bus.EnsureStreams(testContext(t), c.JS(), 1) })
	}
	wg.Wait()
	for _, err := range errs {
		check(t, err)
	}
}

func TestEnsureStreamsFindsWeakenedStream(t *testing.T) {
	for _, c := range []struct {
		property string
		stream   int
		weaken   func(*jetstream.StreamConfig)
	}{
		{"storage", 0, func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }},
		{"retention", 2, func(s *jetstream.StreamConfig) { s.Retention = jetstream.LimitsPolicy }},
		{"retention", 0, func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy }},
		{"deny delete", 0, func(s *jetstream.StreamConfig) { s.DenyDelete = false }},
		{"deny purge", 0, func(s *jetstream.StreamConfig) { s.DenyPurge = false }},
		{"subjects", 0, func(s *jetstream.StreamConfig) { s.Subjects = s.Subjects[:2] }},
		{"max age", 0, func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }},
		{"max messages", 0, func(s *jetstream.StreamConfig) { s.MaxMsgs = 10 }},
		{"max bytes", 0, func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 30 }},
		{"max messages per subject", 0, func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 }},
		{"discard policy", 0, func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }},
		{"max message size", 2, func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1024 }},
		{"duplicates window", 0, func(s *jetstream.StreamConfig) { s.Duplicates = time.Second }},
		{"no ack", 0, func(s *jetstream.StreamConfig) { s.NoAck = true }},
		{"allow message ttl", 0, func(s *jetstream.StreamConfig) { s.AllowMsgTTL = true }},
		{"allow rollup", 3, func(s *jetstream.StreamConfig) { s.AllowRollup = true }},
		{"subject transform", 1, func(s *jetstream.StreamConfig) {
			s.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "quorate.jobs.*", Destination: "jobs.{{wildcard(1)}}"}
		}},
	} {
		t.Run(c.property, func(t *testing.T) {
			// A server each: to delete a stream and make it again at once may fail.
			js := must(jetstream.New(openServer(t, t.TempDir())))(t)
			config := bus.StreamConfigs(1)[c.stream]
			c.weaken(&config)
			must(js.CreateStream(testContext(t), config))(t)
			err := bus.EnsureStreams(testContext(t), js, 1)
			wantIs(t, err, bus.ErrStreamDiffers)
			if text := err.Error(); !strings.Contains(text, config.Name) || !strings.Contains(text, ": "+c.property+" is ") {
				t.Errorf("error names neither stream nor property: %v", err)
			}
			after := must(js.Stream(testContext(t), config.Name))(t).CachedInfo().Config
			if got, want := after.Storage, config.Storage; got != want {
				t.Errorf("the stream was changed: storage %v, was %v", got, want)
			}
		})
	}
}

func TestStreamsSurviveRestart(t *testing.T) {
	b := newBroker(t)
	c := b.coordinator()
	check(t, publish(t, b.as("alice"), "quorate.statements.core.alice", "built"))
	check(t, publish(t, c, "quorate.jobs.core", "build"))
	b.Shutdown()
	b.start(0)

	coord := b.as("coord")
	s := must(coord.JS().Stream(testContext(t), bus.StreamRecord))(t)
	m := must(s.GetMsg(testContext(t), 1))(t)
	if m.Subject != "quorate.statements.core.alice" || string(m.Data) != "built" {
		t.Errorf("message 1 is %q on %s", m.Data, m.Subject)
	}
	check(t, bus.EnsureStreams(testContext(t), coord.JS(), 1))
	consumer := must(b.as("alice").AgentConsumer(testContext(t)))(t)
	batch := must(consumer.Fetch(1, jetstream.FetchContext(testContext(t))))(t)
	for job := range batch.Messages() {
		if string(job.Data()) != "build" {
			t.Errorf("job %q", job.Data())
		}
	}
}

// A coordinator reads the record as the architecture says: an ordered consumer
// that starts at its own cursor.
func TestCoordinatorReadsRecordInOrder(t *testing.T) {
	b := newBroker(t)
	c := b.coordinator()
	texts := []string{"one", "two", "three"}
	for _, text := range texts {
		check(t, publish(t, b.as("alice"), "quorate.statements.core.alice", text))
	}
	consumer := must(c.JS().OrderedConsumer(testContext(t), bus.StreamRecord, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 2,
	}))(t)
	messages := must(consumer.Messages())(t)
	defer messages.Stop()
	for i, want := range texts[1:] {
		m := must(messages.Next(jetstream.NextContext(testContext(t))))(t)
		meta := must(m.Metadata())(t)
		if string(m.Data()) != want || meta.Sequence.Stream != uint64(i+2) {
			t.Errorf("message %d is %q, want %q", meta.Sequence.Stream, m.Data(), want)
		}
	}
}

func TestAgentConsumerNeedsChannels(t *testing.T) {
	b := newBroker(t)
	js := b.coordinator().JS()
	if err := bus.EnsureAgentConsumer(testContext(t), js, "alice", nil); err == nil {
		t.Error("a consumer without channels would read every job")
	}
	wantIs(t, bus.EnsureAgentConsumer(testContext(t), js, "alice", []string{"*"}), bus.ErrInvalidName)
	wantIs(t, bus.EnsureAgentConsumer(testContext(t), js, "a.b", []string{"core"}), bus.ErrInvalidName)
	wantIs(t, bus.EnsureSignerConsumer(testContext(t), js, ">"), bus.ErrInvalidName)
}

func TestAgentConsumerFollowsChannels(t *testing.T) {
	b := newBroker(t)
	js := b.coordinator().JS()
	check(t, bus.EnsureAgentConsumer(testContext(t), js, "alice", []string{"extra", "core", "core"}))
	check(t, bus.EnsureAgentConsumer(testContext(t), js, "alice", []string{"testing"}))
	consumer := must(js.Consumer(testContext(t), bus.StreamJobs, bus.AgentConsumerName("alice")))(t)
	got := consumer.CachedInfo().Config.FilterSubjects
	if len(got) != 1 || got[0] != "quorate.jobs.testing" {
		t.Errorf("filters %v", got)
	}
	check(t, bus.RemoveAgentConsumer(testContext(t), js, "alice"))
	check(t, bus.RemoveAgentConsumer(testContext(t), js, "alice"))
}
