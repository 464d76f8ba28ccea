package hsmsigner_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/hsmsigner"
	"quorate/internal/bus"
	"quorate/quorum"
)

// TestMillionsOfStatementsCostNoMemory: a thief of the coordinator's seed fills
// requests with empty statements.
func TestMillionsOfStatementsCostNoMemory(t *testing.T) {
	w := newWorld(t)
	data := []byte(`{"version":1,"evidence":[` + strings.TrimSuffix(strings.Repeat("{},", (quorum.MaxRequest-500)/3), ",") + `],"x":1}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	reply := w.answer(data)
	runtime.ReadMemStats(&after)
	if reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseTooLarge {
		t.Errorf("got %v", reply.Refusal)
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 2*quorum.MaxRequest {
		t.Errorf("%d bytes were allocated", spent)
	}
}

// TestLargeRequestsAreParsedOneAtATime, and small ones meanwhile.
func TestLargeRequestsAreParsedOneAtATime(t *testing.T) {
	w := newWorld(t)
	good := encode(t, w.ask("ed25519").request(t))
	large := append(good, strings.Repeat(" ", 1<<20)...)
	release := hsmsigner.HoldParsing(w.signer)
	w.signed(good)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.signer.Answer(ctx, large); !errors.Is(err, context.Canceled) {
		t.Errorf("a second large request is parsed: %v", err)
	}
	release()
	w.signed(large)
}

// TestGivesUpWhatNeverGetsAnAnswer: a request that ends the process comes first at
// each start. The sixth time it is refused without being read, and the next one
// gets its turn.
func TestGivesUpWhatNeverGetsAnAnswer(t *testing.T) {
	for _, deliveries := range []int{4, 5} {
		s := newSite(t)
		s.publish(encode(t, s.ask("ed25519").request(t)))
		conn := must(bus.Connect(bus.Options{URL: s.config.NATS, Name: s.config.Name, SeedFile: s.config.SeedFile, Logger: quiet()}))(t)
		consumer := must(conn.SignerConsumer(t.Context(), "ed25519"))(t)
		for range deliveries {
			batch := must(consumer.Fetch(1, jetstream.FetchMaxWait(testLimit)))(t)
			for msg := range batch.Messages() {
				check(t, msg.Nak()) // as a process that ended leaves it
			}
		}
		check(t, conn.NATS().Flush())
		conn.Close()
		stop := s.serve()
		_, a := s.nextAnswer()
		if gaveUp := a.Refusal != nil; gaveUp != (deliveries == 5) {
			t.Errorf("after %d deliveries: %v", deliveries, a.Refusal)
		} else if gaveUp && (!a.Refusal.Retryable || !strings.Contains(a.Refusal.Message, "delivered 6 times")) {
			t.Errorf("got %+v", a.Refusal)
		}
		s.wantNoneLeft() // before the stop: what that cuts off is given back
		stop()
		if n := len(s.refusals()); n != deliveries-4 {
			t.Errorf("%d refusals are recorded", n)
		}
	}
}
