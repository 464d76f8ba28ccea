package hsmsigner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"quorate/hsmsigner"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
)

// TestServe sends a request over the bus, with the rights that a signer has.
func TestServe(t *testing.T) {
	s := newSite(t)
	a := s.ask("rsa3072")
	data := encode(t, a.request(t))
	s.publish(data)
	s.serve()
	first, answer := s.nextAnswer()
	newJudge(t, certFile("rsa3072")).accept(a.content, answer.Signatures[0].Signature)

	// Asked again, in other bytes so that the bus lets it pass: the answer is the
	// same, so that the record does not even grow; the next one is another's.
	s.publish(append(data, ' '))
	other := s.ask("ed25519")
	s.publish(encode(t, other.request(t)))
	second, answer := s.nextAnswer()
	if bytes.Equal(first, second) || answer.Channel != "ed25519" {
		t.Errorf("got %s", second)
	}
	s.wantSigns(2)
}

// TestServeRefuses sends everything bad over the bus and then something good. The
// signer answers what can be answered, and goes on.
func TestServeRefuses(t *testing.T) {
	s := newSite(t)
	acknowledged := make(chan string, 1000)
	hsmsigner.SetStage(s.signer, func(stage string) {
		if stage == "acknowledged" {
			acknowledged <- stage
		}
	})
	want, sent := map[quorum.RefusalCode]int{}, 0
	for _, bad := range badRequests(s.world) {
		if bad.name == "oversized" {
			subject := must(bus.RequestSubject("ed25519"))(t)
			if _, err := s.coord.Publish(t.Context(), subject, "x", bad.data); !errors.Is(err, bus.ErrTooLarge) {
				t.Errorf("the bus takes a request of %d bytes: %v", len(bad.data), err)
			}
			continue
		}
		if !bad.at.IsZero() || len(bad.data) == 0 {
			continue // of another time, or nothing to send
		}
		s.publish(bad.data)
		sent++
		if !bad.mute {
			want[bad.code]++
		}
	}
	stop := s.serve()
	got, answers := map[quorum.RefusalCode]int{}, 0
	for _, n := range want {
		answers += n
	}
	for range answers {
		_, a := s.nextAnswer()
		if a.Refusal == nil {
			t.Fatalf("signed: %+v", a)
		}
		got[a.Refusal.Code]++
	}
	for code, n := range want {
		if got[code] != n {
			t.Errorf("%d answers say %s, want %d", got[code], code, n)
		}
	}
	// Only now: some of the bad ones have the id of a good one, and would get its
	// answer if they were read after it.
	s.publish(encode(t, s.ask("ed25519").request(t)))
	if _, a := s.nextAnswer(); a.Refusal != nil {
		t.Errorf("refused: %v", a.Refusal)
	}
	for range sent + 1 {
		<-acknowledged
	}
	stop()
	s.wantNoneLeft()
	if r := s.refusals(); len(r) != sent {
		t.Errorf("%d refusals are recorded, want %d", len(r), sent)
	}
	s.wantSigns(1)
}

// TestServeExpired: a policy that expires while the signer runs.
func TestServeExpired(t *testing.T) {
	s := newSite(t)
	s.now = s.policy.Expires
	s.serve()
	s.publish(encode(t, s.ask("ed25519").request(t)))
	_, a := s.nextAnswer()
	if a.Refusal == nil || a.Refusal.Code != quorum.RefusePolicyExpired || !a.Refusal.Retryable {
		t.Errorf("got %+v", a.Refusal)
	}
}

// TestServeAlarm raises the alarm on the bus when a second digest has its quorum.
func TestServeAlarm(t *testing.T) {
	s := newSite(t)
	s.serve()
	first := s.ask("ed25519")
	s.publish(encode(t, first.request(t)))
	s.nextAnswer()
	second := first
	second.content = []byte("hello, other world\n")
	s.publish(encode(t, second.request(t)))
	if alarm := s.nextAlarm(); alarm.Code != hsmsigner.AlarmSecondDigest || alarm.Channel != "ed25519" || alarm.From != "hsm" || alarm.Artifact != "hello" {
		t.Errorf("alarm: %+v", alarm)
	}
	if _, a := s.nextAnswer(); a.Refusal == nil || a.Refusal.Code != quorum.RefuseOtherDigest {
		t.Errorf("got %+v", a.Refusal)
	}
}

// TestServeAlarmIsNotSuppressed: the message id of an alarm can be guessed, and used
// up by another signer that may write to the stream.
func TestServeAlarmIsNotSuppressed(t *testing.T) {
	s := newSite(t)
	s.serve()
	first := s.ask("ed25519")
	s.publish(encode(t, first.request(t)))
	s.nextAnswer()
	second := first
	second.content = []byte("hello, other world\n")
	r := second.request(t)
	id := bus.MsgID([]byte(hsmsigner.AlarmSecondDigest + " " + r.ID.String()))
	junk := must(wire.Encode(wire.Alarm{Version: quorum.Version, Code: "junk", Channel: "ed25519"}))(t)
	must(s.other().Publish(t.Context(), must(bus.SignerAlarmSubject("ed25519", "other"))(t), id, junk))(t)
	s.publish(encode(t, r))
	for _, want := range []string{"junk", hsmsigner.AlarmSecondDigest} {
		if alarm := s.nextAlarm(); alarm.Code != want {
			t.Errorf("alarm %s, want %s", alarm.Code, want)
		}
	}
}

// TestServeRefusesAgain: whoever asks again hears the refusal again, although it
// has the same bytes.
func TestServeRefusesAgain(t *testing.T) {
	s := newSite(t)
	s.serve()
	a := s.ask("ed25519")
	a.voters = a.voters[:1]
	data := encode(t, a.request(t))
	s.publish(data)
	first, _ := s.nextAnswer()
	s.publish(append(data, ' '))
	second, _ := s.nextAnswer()
	sameBytes(t, second, first)
}

// TestServeGivesBack stops a signer in the middle of many requests, some of which
// it has begun and some only taken. The next one answers all of them at once: had
// they not been given back, the bus would keep them for longer than the test waits.
func TestServeGivesBack(t *testing.T) {
	s := newSite(t)
	reached, proceed := make(chan struct{}, 100), make(chan struct{})
	hsmsigner.SetStage(s.signer, func(stage string) {
		if stage == "committed" {
			reached <- struct{}{}
			<-proceed
		}
	})
	const n = 20
	for i := range n {
		a := s.ask("ed25519")
		a.artifact = fmt.Sprint("hello-", i)
		s.publish(encode(t, a.request(t)))
	}
	stop := s.serve()
	<-reached
	s.cancel()
	close(proceed)
	stop()
	if r := s.records(); len(r) != 0 {
		t.Fatalf("signed: %+v", r)
	}
	hsmsigner.SetStage(s.signer, func(string) {})
	s.serve()
	seen := map[string]bool{}
	for range n {
		_, a := s.nextAnswer()
		if a.Refusal != nil {
			t.Errorf("got %+v", a.Refusal)
		}
		seen[a.Artifact] = true
	}
	if len(seen) != n {
		t.Errorf("%d artifacts are signed, want %d", len(seen), n)
	}
}

// TestServeBrokenRequest: a request that breaks the signer takes nothing else
// with it, and comes again.
func TestServeBrokenRequest(t *testing.T) {
	s := newSite(t)
	broken := make(chan struct{}, 1)
	broken <- struct{}{}
	hsmsigner.SetStage(s.signer, func(stage string) {
		if stage != "checked" {
			return
		}
		select {
		case <-broken:
			panic("for a test")
		default:
		}
	})
	s.serve()
	a := s.ask("ed25519")
	s.publish(encode(t, a.request(t)))
	b := s.ask("p256")
	s.publish(encode(t, b.request(t)))
	for range 2 {
		if _, answer := s.nextAnswer(); answer.Refusal != nil {
			t.Errorf("got %+v", answer.Refusal)
		}
	}
}

// wantNoneLeft waits until the bus took note of every acknowledgement.
func (s *site) wantNoneLeft() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testLimit)
	defer cancel()
	stream := must(s.coord.JS().Stream(ctx, bus.StreamRequests))(s.t)
	for must(stream.Info(ctx))(s.t).State.Msgs > 0 {
	}
}
