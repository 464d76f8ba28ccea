package builderagent_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// loseRecord is a bus that was restored without its store.
func (k *kit) loseRecord() {
	k.t.Helper()
	k.stopBus()
	check(k.t, os.RemoveAll(filepath.Join(k.dir, "store")))
	k.startBus()
	k.serve()
}

func (k *kit) resend(since time.Time) builderagent.Resent {
	k.t.Helper()
	return must(builderagent.Resend(testContext(k.t), must(builderagent.Open(k.state()))(k.t), since, quiet()))(k.t)
}

func TestResend(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	const a, b, c = "pkg:generic/a@1", "pkg:generic/b@1", "pkg:generic/c@1"
	ids := []statement.SHA256{k.say(a, "first"), k.say(b, "first"), k.say(a, "second"), k.say(b, "second"), k.say(c, "kept"), k.say(b, "third")}
	check(t, k.deliver(testContext(t), ids...))
	before := map[statement.SHA256][]byte{}
	sp := must(builderagent.Open(k.state()))(t).Spool
	for _, id := range ids {
		before[id] = must(sp.Read(id))(t)
	}
	if r := k.resend(time.Time{}); r.Known != len(ids) || len(r.Lacking)+len(r.Outdated) > 0 {
		t.Errorf("nothing is lacking, and it found %+v", r)
	}
	if r := k.resend(time.Now().Add(time.Hour)); r.Known != 0 {
		t.Errorf("in the future: %+v", r)
	}

	k.loseRecord()
	// Of a, the newer came again before anybody asked for a resend.
	conn := must(must(builderagent.Open(k.state()))(t).Connect(false, testLimit, quiet()))(t)
	defer conn.Close()
	must(conn.Publish(testContext(t), must(bus.StatementSubject("core", "alice"))(t), "", before[ids[2]]))(t)
	later := k.say(b, "fourth") // waits behind what is sent again
	r := k.resend(time.Time{})
	if r.Known != 1 || !slices.Equal(r.Outdated, ids[:1]) || len(r.Lacking) != 4 {
		t.Fatalf("found %+v", r)
	}
	check(t, k.deliver(testContext(t), append(r.Lacking, later)...))
	var of []statement.SHA256
	for _, raw := range k.record() {
		st := must(statement.Parse(raw))(t)
		if st.Target == b {
			of = append(of, st.ID())
		}
		if want, ok := before[st.ID()]; ok && !bytes.Equal(raw, want) {
			t.Errorf("%s was changed", st.ID())
		}
	}
	if want := []statement.SHA256{ids[1], ids[3], ids[5], later}; !slices.Equal(of, want) {
		t.Errorf("of one target came %v, want %v", of, want)
	}
	for _, id := range ids {
		if state, _ := k.where(id); state != spool.Sent {
			t.Errorf("%s is %s", id, state)
		}
	}
}

func TestResendWithoutACoordinatorChangesNothing(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	id := k.say(target, "once")
	check(t, k.deliver(testContext(t), id))
	k.stopBus()
	ctx, cancel := context.WithTimeout(testContext(t), time.Millisecond)
	defer cancel()
	_, err := builderagent.Resend(ctx, must(builderagent.Open(k.state()))(t), time.Time{}, quiet())
	if !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if state, _ := k.where(id); state != spool.Sent {
		t.Errorf("it is %s", state)
	}
}

// A crash in the middle, which leaves some in the spool, is mended by repeating it.
func TestResendAfterACrash(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.idle()
	ids := []statement.SHA256{k.say(target, "1"), k.say(target, "2"), k.say(target, "3")}
	check(t, k.deliver(testContext(t), ids...))
	k.loseRecord()
	s := must(builderagent.Open(k.state()))(t)
	list, _, err := s.Spool.Confirmed(time.Time{})
	check(t, err)
	sent := filepath.Join(s.Spool.Dir(), "sent", ids[1].String()+".json")
	saved := must(os.ReadFile(sent))(t)
	check(t, s.Spool.Return(list[1:]))
	check(t, os.WriteFile(sent, saved, 0o600)) // in both places
	k.resend(time.Time{})
	if pending := must(s.Spool.PendingIDs())(t); !slices.Equal(pending, ids) {
		t.Errorf("pending %v, want %v", pending, ids)
	}
	check(t, k.deliver(testContext(t), ids...))
	if n := len(k.record()); n != len(ids) {
		t.Errorf("%d messages", n)
	}
}
