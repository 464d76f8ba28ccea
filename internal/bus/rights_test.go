package bus_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
)

// Every subject on which some role can do harm, tried by every role. What a
// role is not listed for, the server must deny.
func TestEveryRoleOnEverySubject(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	subjects := map[string][]string{
		"quorate.statements.core.alice":    {"coord", "alice"},
		"quorate.statements.core.bob":      {"coord", "bob"},
		"quorate.signatures.core":          {"coord", "hsm"},
		"quorate.control.core":             {"coord", "repo-add"},
		"quorate.foreign.core.gather":      {"coord", "gather"},
		"quorate.foreign.core.alice":       {"coord"},
		"quorate.jobs.core":                {"coord", "repo-add"},
		"quorate.requests.core-2026":       {"coord"},
		"quorate.requests.core-2026+batch": {"coord"},
		"quorate.alarms.core":              {"coord"},
		"quorate.alarms.core.hsm":          {"hsm"},
		"quorate.alarms.core.hsm-2":        nil,
	}
	for _, u := range b.users {
		c := b.as(u.Name)
		for subject, allowed := range subjects {
			err := publish(t, c, subject, u.Name+" on "+subject)
			if slices.Contains(allowed, u.Name) {
				if err != nil {
					t.Errorf("%s on %s: %v", u.Name, subject, err)
				}
				continue
			}
			wantDenied(t, err, subject)
		}
	}
}

// The JetStream API is where a right too many would let a user see, change or
// remove what others sent.
func TestAPIRights(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	everybody := []string{"coord", "alice", "bob", "hsm", "repo-add", "watch", "gather"}
	for _, c := range []struct {
		api     string
		allowed []string
	}{
		{"$JS.API.STREAM.NAMES", nil},
		{"$JS.API.STREAM.LIST", nil},
		{"$JS.API.STREAM.INFO.QUORATE_RECORD", []string{"coord"}},
		{"$JS.API.STREAM.MSG.GET.QUORATE_RECORD", []string{"coord"}},
		{"$JS.API.STREAM.CREATE.QUORATE_RECORD", []string{"coord"}},
		{"$JS.API.STREAM.CREATE.OTHER", nil},
		{"$JS.API.STREAM.UPDATE.QUORATE_RECORD", nil},
		{"$JS.API.STREAM.DELETE.QUORATE_RECORD", nil},
		{"$JS.API.STREAM.PURGE.QUORATE_RECORD", nil},
		{"$JS.API.STREAM.MSG.DELETE.QUORATE_RECORD", nil},
		{"$JS.API.STREAM.PURGE.QUORATE_REQUESTS", nil},
		{"quorate.api.STREAM.INFO.QUORATE_RECORD", nil},
		{"quorate.api.STREAM.DELETE.QUORATE_RECORD", nil},
		{"quorate.api.CONSUMER.CREATE.QUORATE_JOBS.agent-alice", nil},
		{"$JS.API.CONSUMER.CREATE.QUORATE_JOBS.agent-alice", []string{"coord"}},
		{"$JS.API.CONSUMER.CREATE.QUORATE_RECORD.x", []string{"coord"}},
		{"$JS.API.CONSUMER.DELETE.QUORATE_JOBS.nobody", []string{"coord"}},
		{"$JS.API.CONSUMER.INFO.QUORATE_JOBS.agent-alice", []string{"coord"}},
		{"quorate.api.CONSUMER.INFO.QUORATE_JOBS.agent-alice", []string{"alice"}},
		{"$JS.API.CONSUMER.INFO.QUORATE_JOBS.agent-bob", []string{"coord"}},
		{"quorate.api.CONSUMER.INFO.QUORATE_JOBS.agent-bob", []string{"bob"}},
		{"$JS.API.CONSUMER.INFO.QUORATE_REQUESTS.signer-core-2026", []string{"coord"}},
		{"quorate.api.CONSUMER.INFO.QUORATE_REQUESTS.signer-core-2026", []string{"hsm"}},
		{"quorate.api.CONSUMER.INFO.QUORATE_REQUESTS.batch-core-2026", []string{"hsm"}},
	} {
		for _, name := range everybody {
			conn := b.as(name)
			_, err := conn.Request(testContext(t), c.api, []byte("{}"))
			if slices.Contains(c.allowed, name) {
				if err != nil {
					t.Errorf("%s on %s: %v", name, c.api, err)
				}
			} else {
				wantDenied(t, err, c.api)
			}
			conn.Close()
		}
	}
}

// A server sends its answers wherever the request says, in its own name. A
// builder that has it answer to the JetStream API, or to a subject that is not
// the builder's, must get nowhere: with permissions alone, the first of these
// requests deletes the stream.
func TestAnswersDoNotReachWhereTheAskerMayNot(t *testing.T) {
	b := newBroker(t)
	coord, alice := b.coordinator(), b.as("alice")
	next := "quorate.api.CONSUMER.MSG.NEXT.QUORATE_JOBS.agent-alice"
	for _, reply := range []string{
		"$JS.API.STREAM.DELETE.QUORATE_JOBS", "$JS.API.STREAM.DELETE.QUORATE_RECORD", "$JS.API.STREAM.PURGE.QUORATE_REQUESTS",
		"quorate.api.STREAM.DELETE.QUORATE_JOBS", "quorate.api.STREAM.DELETE.QUORATE_RECORD",
		"quorate.control.core", "quorate.statements.core.bob", "quorate.requests.core-2026",
		"$JS.API.CONSUMER.DELETE.QUORATE_JOBS.agent-bob",
	} {
		for subject, body := range map[string]string{
			next: `{"batch":1,"no_wait":true}`,
			"quorate.api.CONSUMER.INFO.QUORATE_JOBS.agent-alice": "",
			"$JS.ACK.QUORATE_JOBS.agent-alice.1.1.1.1.1":         "",
			"quorate.statements.core.alice":                      "from alice",
			"quorate.have.alice":                                 "from alice",
		} {
			check(t, alice.NATS().PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte(body)}))
		}
	}
	check(t, alice.NATS().FlushTimeout(testLimit))
	// The server treats a connection's messages in order: once this one is
	// acknowledged, the answers to the others have been sent.
	check(t, publish(t, alice, "quorate.statements.core.alice", "last"))
	must(alice.AgentConsumer(testContext(t)))(t)
	must(b.as("bob").AgentConsumer(testContext(t)))(t)

	check(t, bus.EnsureStreams(testContext(t), coord.JS(), 1))
	record := must(coord.JS().Stream(testContext(t), bus.StreamRecord))(t)
	for seq := uint64(1); seq <= record.CachedInfo().State.LastSeq; seq++ {
		m := must(record.GetMsg(testContext(t), seq))(t)
		if m.Subject != "quorate.statements.core.alice" {
			t.Errorf("message %d on %s: %q", seq, m.Subject, m.Data)
		}
	}
	requests := must(coord.JS().Stream(testContext(t), bus.StreamRequests))(t)
	if n := requests.CachedInfo().State.LastSeq; n != 0 {
		t.Errorf("%d messages in the requests", n)
	}
}

func TestBuilderReadsOnlyItsOwnJobs(t *testing.T) {
	b := newBroker(t)
	coord, alice := b.coordinator(), b.as("alice")
	check(t, publish(t, coord, "quorate.jobs.core", "build zlib"))
	check(t, publish(t, coord, "quorate.jobs.other", "not for alice"))
	check(t, publish(t, coord, "quorate.jobs.extra", "build curl"))

	consumer := must(alice.AgentConsumer(testContext(t)))(t)
	messages := must(consumer.Messages())(t)
	defer messages.Stop()
	for _, want := range []string{"build zlib", "build curl"} {
		m := must(messages.Next(jetstream.NextContext(testContext(t))))(t)
		if string(m.Data()) != want {
			t.Errorf("job %q, want %q", m.Data(), want)
		}
		check(t, m.InProgress())
		check(t, m.DoubleAck(testContext(t)))
	}

	_, err := alice.Request(testContext(t), "quorate.api.CONSUMER.MSG.NEXT.QUORATE_JOBS.agent-bob", []byte("1"))
	wantDenied(t, err, "quorate.api.CONSUMER.MSG.NEXT.QUORATE_JOBS.agent-bob")
	_, err = alice.Request(testContext(t), "$JS.ACK.QUORATE_JOBS.agent-bob.1.1.1.1.1", nil)
	wantDenied(t, err, "$JS.ACK.QUORATE_JOBS.agent-bob.1.1.1.1.1")
}

func TestAgentConsumerThatDoesNotExist(t *testing.T) {
	b := newBroker(t)
	check(t, bus.EnsureStreams(testContext(t), b.as("coord").JS(), 1))
	_, err := b.as("alice").AgentConsumer(testContext(t))
	wantIs(t, err, jetstream.ErrConsumerNotFound)
	if !strings.Contains(err.Error(), "hint") {
		t.Errorf("no hint in %q", err)
	}
}

// Two signers hold one key: each request goes to one of them.
func TestSignersShareRequests(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	check(t, publish(t, coord, "quorate.requests.core-2026", "first"))
	check(t, publish(t, coord, "quorate.requests.core-2026", "second"))

	got := map[string]int{}
	for range 2 {
		signer := b.as("hsm")
		consumer := must(signer.SignerConsumer(testContext(t), "core-2026"))(t)
		batch := must(consumer.Fetch(1, jetstream.FetchContext(testContext(t))))(t)
		for m := range batch.Messages() {
			got[string(m.Data())]++
			check(t, m.DoubleAck(testContext(t)))
		}
	}
	if got["first"] != 1 || got["second"] != 1 {
		t.Errorf("got %v, want each request once", got)
	}
	_, err := b.as("hsm").SignerConsumer(testContext(t), "other-key")
	wantDenied(t, err, "quorate.api.CONSUMER.INFO.QUORATE_REQUESTS.signer-other-key")
}

// Batches have a consumer of their own: however many wait, a small request is not
// behind them, and only a few are out at a time.
func TestBatchesDoNotStandBeforeRequests(t *testing.T) {
	b := newBroker(t)
	coord, signer := b.coordinator(), b.as("hsm")
	const out, all = 8, 10
	for i := range all {
		check(t, publish(t, coord, must(bus.BatchSubject("core-2026"))(t), fmt.Sprint("batch ", i)))
	}
	check(t, publish(t, coord, must(bus.RequestSubject("core-2026"))(t), "small"))

	small := must(signer.SignerConsumer(testContext(t), "core-2026"))(t)
	if m := <-must(small.Fetch(1, jetstream.FetchContext(testContext(t))))(t).Messages(); m == nil || string(m.Data()) != "small" {
		t.Errorf("%v among the requests", m)
	}
	batches := must(signer.BatchConsumer(testContext(t), "core-2026"))(t)
	// Another signer gets none beyond what is out.
	other := must(b.as("hsm").BatchConsumer(testContext(t), "core-2026"))(t)
	taken := 0
	for m := range must(batches.FetchNoWait(all))(t).Messages() {
		if want := fmt.Sprint("batch ", taken); string(m.Data()) != want {
			t.Errorf("got %q, want %s", m.Data(), want)
		}
		if taken++; taken == out {
			for range must(other.FetchNoWait(1))(t).Messages() {
				t.Error("one more is out")
			}
			check(t, m.DoubleAck(testContext(t)))
		}
	}
	if taken != out {
		t.Errorf("%d batches are out, want %d", taken, out)
	}
	for m := range must(other.Fetch(1, jetstream.FetchContext(testContext(t))))(t).Messages() {
		if string(m.Data()) != "batch 8" {
			t.Errorf("after one was done came %q", m.Data())
		}
	}
	_, err := b.as("hsm").BatchConsumer(testContext(t), "other-key")
	wantDenied(t, err, "quorate.api.CONSUMER.INFO.QUORATE_REQUESTS.batch-other-key")
	if _, err := signer.BatchConsumer(testContext(t), "*"); !errors.Is(err, bus.ErrInvalidName) {
		t.Error(err)
	}
}

// A stream from before batches keeps them as it is.
func TestAnOlderStreamKeepsBatches(t *testing.T) {
	for _, c := range bus.StreamConfigs(1) {
		if c.Name == bus.StreamRequests && !slices.Equal(c.Subjects, []string{"quorate.requests.*"}) {
			t.Errorf("its subjects are %q: a coordinator could not start with an older stream", c.Subjects)
		}
	}
}

// Nobody listens to what is not theirs: not even to the answers others get.
func TestSubscriptions(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	for _, c := range []struct{ user, subject string }{
		{"alice", "quorate.statements.>"},
		{"alice", "_INBOX_bob.>"},
		{"alice", "_INBOX.>"},
		{"alice", ">"},
		{"alice", "quorate.have.alice"},
		{"hsm", "quorate.requests.core-2026"},
		{"repo-add", "quorate.jobs.core"},
		{"watch", "quorate.requests.*"},
		{"coord", "quorate.statements.>"},
		{"coord", "_INBOX_alice.>"},
	} {
		nc := b.as(c.user).NATS()
		must(nc.SubscribeSync(c.subject))(t)
		check(t, nc.FlushTimeout(testLimit))
		if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s subscribes to %s: got %v", c.user, c.subject, err)
		}
	}
}

func TestReaderHearsWhatIsPublished(t *testing.T) {
	b := newBroker(t)
	b.coordinator()
	watch := b.as("watch").NATS()
	alarms := must(watch.SubscribeSync("quorate.alarms.*"))(t)
	statements := must(watch.SubscribeSync("quorate.statements.>"))(t)
	check(t, watch.FlushTimeout(testLimit))
	check(t, publish(t, b.as("coord"), "quorate.alarms.core", "second digest"))
	check(t, publish(t, b.as("alice"), "quorate.statements.core.alice", "built"))
	for _, sub := range []*nats.Subscription{alarms, statements} {
		must(sub.NextMsgWithContext(testContext(t)))(t)
	}
}

// The server must refuse to forget the record even where permissions allow it
// to be asked: here the caller may do anything.
func TestRecordCannotBeDeletedOrPurged(t *testing.T) {
	b := newBroker(t)
	check(t, publish(t, b.coordinator(), "quorate.statements.core.alice", "keep me"))
	admin := unrestricted(t, b)
	js := must(jetstream.New(admin))(t)
	s := must(js.Stream(testContext(t), bus.StreamRecord))(t)
	if err := s.DeleteMsg(testContext(t), 1); err == nil {
		t.Error("a message of the record was deleted")
	}
	if err := s.Purge(testContext(t)); err == nil {
		t.Error("the record was purged")
	}
	config := s.CachedInfo().Config
	config.DenyDelete, config.DenyPurge = false, false
	if _, err := js.UpdateStream(testContext(t), config); err == nil {
		t.Error("the record was made deletable")
	}
	m := must(s.GetMsg(testContext(t), 1))(t)
	if string(m.Data) != "keep me" {
		t.Errorf("message 1 is %q", m.Data)
	}
}
