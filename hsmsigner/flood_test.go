package hsmsigner_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

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

// TestHeldIsNoAttempt: what a signer had taken and not begun when it ended is signed,
// however often that happens.
func TestHeldIsNoAttempt(t *testing.T) {
	s := newSite(t)
	s.publish(encode(t, s.ask("ed25519").request(t)))
	conn := must(bus.Connect(bus.Options{URL: s.config.NATS, Name: s.config.Name, SeedFile: s.config.SeedFile, Logger: quiet()}))(t)
	consumer := must(conn.SignerConsumer(t.Context(), "ed25519"))(t)
	for range 10 {
		batch := must(consumer.Fetch(1, jetstream.FetchMaxWait(testLimit)))(t)
		for msg := range batch.Messages() {
			check(t, msg.Nak()) // as a process that ended leaves it
		}
	}
	check(t, conn.NATS().Flush())
	conn.Close()
	s.serve()
	if _, a := s.nextAnswer(); a.Refusal != nil {
		t.Errorf("refused: %+v", a.Refusal)
	}
	s.wantNoneLeft()
}

// TestGivesUpWhatEndsTheProcess: a request that ends the process comes first at each
// start. After it came and five more attempts it is refused without being read, and
// the next one gets its turn.
func TestGivesUpWhatEndsTheProcess(t *testing.T) {
	s := newSite(t)
	s.impatient("ed25519", 300*time.Millisecond)
	data := encode(t, s.ask("ed25519").request(t))
	s.publish(data)
	for range 6 {
		s.child("checked")
	}
	s.serve()
	if _, a := s.nextAnswer(); a.Refusal == nil || !a.Refusal.Retryable || a.Refusal.Code != quorum.RefuseBadRequest || !strings.Contains(a.Refusal.Message, "began 5 times") {
		t.Errorf("got %+v", a.Refusal)
	}
	s.wantNoneLeft()
	if n := len(s.refusals()); n != 1 {
		t.Errorf("%d refusals are recorded", n)
	}
	s.publish(append(data, ' ')) // asked again, when the fault is mended
	if _, a := s.nextAnswer(); a.Refusal != nil {
		t.Errorf("refused: %+v", a.Refusal)
	}
}

// TestDamagedAttempts: a file that cannot be read keeps nobody from signing.
func TestDamagedAttempts(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{"x", strings.Repeat("a", 64) + " -1\n", strings.Repeat("a", 64) + "\n"} {
		writeFile(t, s.config.Ledger+".attempts", []byte(text), 0o600)
		r := s.ask("ed25519")
		r.artifact = "file-" + strconv.Itoa(len(text))
		s.publish(encode(t, r.request(t)))
		stop := s.serve()
		if _, a := s.nextAnswer(); a.Refusal != nil {
			t.Errorf("%q: refused: %+v", text, a.Refusal)
		}
		stop()
	}
}
