package hsmsigner_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// stepToken does operations one by one, as a test lets it.
type stepToken struct {
	hsmsigner.Token
	began chan string   // the label of each operation that begins
	step  chan struct{} // lets one end
}

func (s *stepToken) Sign(_ context.Context, label string, _ crypto.Hash, _ []byte) ([]byte, error) {
	s.began <- label
	<-s.step
	return nil, nil
}

func (s *stepToken) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	return s.Sign(ctx, label, hash, digest)
}

func requestOf(channel string, n byte) *quorum.Request {
	return &quorum.Request{ID: statement.SHA256{n}, Channel: channel}
}

// waitFor waits until so many operations wait for their turn.
func waitFor(turns *hsmsigner.Turns, n int) {
	for turns.Waiting() != n {
		runtime.Gosched()
	}
}

// TestHugeRequestTakesTurns: while ten thousand operations of one request wait, every
// other request gets the token after one of them, be it of the same channel or of
// another one.
func TestHugeRequestTakesTurns(t *testing.T) {
	const n, workers = 10_000, 2
	const begun = 2 * workers
	tok := &stepToken{began: make(chan string, n), step: make(chan struct{})}
	turns := hsmsigner.NewTurns(workers)
	var all sync.WaitGroup
	sign := func(r *quorum.Request, label string) {
		all.Go(func() {
			if _, err := turns.Of(tok, r).SignUnverified(t.Context(), label, crypto.SHA256, nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range n {
		sign(requestOf("core", 1), "huge")
	}
	waiting := n - begun
	waitFor(turns, waiting)
	for range begun {
		<-tok.began
	}
	for i, channel := range []string{"core", "extra", "core", "extra", "core"} {
		sign(requestOf(channel, byte(i+2)), "small")
		waitFor(turns, waiting+1)
		passed := -1
		for label := ""; label != "small"; passed++ {
			tok.step <- struct{}{}
			label = <-tok.began
		}
		if waiting -= passed; passed > 1 {
			t.Errorf("%d operations of the huge request passed the small one of channel %s", passed, channel)
		}
	}
	close(tok.step)
	all.Wait()
	if turns.Free() != begun {
		t.Errorf("%d operations may begin, want %d", turns.Free(), begun)
	}
}

// TestTurnsAreBounded: however many ask, the token has no more operations at a time
// than two for each worker, and whoever stops waiting leaves no turn behind.
func TestTurnsAreBounded(t *testing.T) {
	const workers = 3
	var busy, most atomic.Int64
	tok := &watchedToken{sign: func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
		most.Store(max(most.Load(), busy.Add(1))) // a lost update hides one excess of many
		runtime.Gosched()
		busy.Add(-1)
		return nil, nil
	}}
	turns := hsmsigner.NewTurns(workers)
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%3 == 0 {
				go cancel()
			}
			defer cancel()
			_, err := turns.Of(tok, requestOf(fmt.Sprint(i%5), byte(i%7))).Sign(ctx, "k", crypto.SHA256, nil)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := most.Load(); n > 2*workers {
		t.Errorf("%d operations at a time, want %d", n, 2*workers)
	}
	if turns.Free() != 2*workers || turns.Waiting() != 0 {
		t.Errorf("%d may begin and %d wait at the end", turns.Free(), turns.Waiting())
	}
}

func TestPeekChannel(t *testing.T) {
	w := newWorld(t)
	for in, want := range map[string]string{
		string(encode(t, w.ask("ed25519").request(t))):  "ed25519",
		` { "x": {"channel":"no"}, "channel" : "core" `: "core",
		`{"channel":7}`:      "",
		`["channel","core"]`: "",
		`{"x":"` + strings.Repeat("y", 600) + `","channel":"core"}`: "",
		"": "",
	} {
		if got := hsmsigner.PeekChannel([]byte(in)); got != want {
			t.Errorf("channel %q of %.80s", got, in)
		}
	}
}

// twoChannels adds a channel that is signed with the Ed25519 key as well.
func twoChannels(text string) string {
	return text + "[[channel]]\nname = \"small\"\ntargets = [\"pkg:generic/*\"]\nquorum = \"distro\"\ndissent = \"report\"\n" +
		"sign = [{ format = \"openpgp\", key = \"ed25519\" }]\n"
}

// flood publishes n requests of the channel, all for the key "ed25519".
func (s *site) flood(channel string, n int) {
	s.t.Helper()
	for i := range n {
		a := s.ask("ed25519")
		a.channel, a.artifact = channel, fmt.Sprint("file-", i)
		s.publish(encode(s.t, a.request(s.t)))
	}
}

// hold stops the first n requests behind their commitment, until it is told to
// proceed; reached has one for each.
func (s *site) hold(n int) (reached <-chan struct{}, proceed func()) {
	at, gate := make(chan struct{}, n), make(chan struct{})
	var held atomic.Int64
	hsmsigner.SetStage(s.signer, func(stage string) {
		if stage == "committed" && held.Add(1) <= int64(n) {
			at <- struct{}{}
			<-gate
		}
	})
	return at, sync.OnceFunc(func() { close(gate) })
}

// taken is how many requests for the key "ed25519" the signer has taken and not
// answered, as the bus knows it.
func (s *site) taken() int {
	s.t.Helper()
	consumer := must(s.coord.JS().Consumer(s.t.Context(), bus.StreamRequests, bus.SignerConsumerName("ed25519")))(s.t)
	return must(consumer.Info(s.t.Context()))(s.t).NumAckPending
}

// slots of a server around a signer of two workers.
func slots() int { return hsmsigner.SlotsFor(2) }

func newFairSite(t *testing.T) *site {
	s := newSite(t)
	s.policy = loadPolicy(t, policyText(t, 8, twoChannels))
	check(t, s.signer.Replace(s.policy, s.options().Keys))
	return s
}

func (s *site) awaitTaken(n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testLimit)
	defer cancel()
	for taken := s.taken(); taken < n; taken = s.taken() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("%d requests are taken, want %d", taken, n)
		}
	}
}

// TestServeChannelsInTurn: many requests of one channel lie before one of another
// channel, for the same key. It is one of the first to be answered.
func TestServeChannelsInTurn(t *testing.T) {
	const n = 50 // few enough that the signer asks for more while it holds them
	s := newFairSite(t)
	s.flood("ed25519", n)
	_, proceed := s.hold(n)
	s.serve()
	s.awaitTaken(n)
	s.flood("small", 1)
	s.awaitTaken(n + 1)
	proceed()
	for i := range n + 1 {
		_, a := s.nextAnswer()
		if a.Refusal != nil {
			t.Fatalf("got %+v", a.Refusal)
		}
		// Those that have a slot may pass it, and a few more while it is signed.
		if a.Channel == "small" && i > slots()+slots()/4 {
			t.Errorf("it is answer %d", i)
		}
	}
}

// TestServeNoChannelTakesAll: requests of one channel that get no further leave room
// for another channel's.
func TestServeNoChannelTakesAll(t *testing.T) {
	s := newFairSite(t)
	s.flood("ed25519", 40)
	reached, proceed := s.hold(slots() - 1)
	defer proceed()
	s.serve()
	for range slots() - 1 {
		<-reached
	}
	s.flood("small", 3)
	for range 3 {
		if _, a := s.nextAnswer(); a.Channel != "small" || a.Refusal != nil {
			t.Errorf("got an answer of channel %s, %v", a.Channel, a.Refusal)
		}
	}
}

// TestServeTakesLittle: of many requests a signer takes no more than it may hold, and
// comes to all of them.
func TestServeTakesLittle(t *testing.T) {
	const n = 4 * hsmsigner.MaxAhead
	s := newFairSite(t)
	s.flood("ed25519", n)
	_, proceed := s.hold(n)
	s.serve()
	s.awaitTaken(hsmsigner.MaxAhead)
	for range 100 {
		if taken := s.taken(); taken > hsmsigner.MaxAhead {
			t.Fatalf("%d are taken, at most %d", taken, hsmsigner.MaxAhead)
		}
	}
	proceed()
	for range n {
		if _, a := s.nextAnswer(); a.Refusal != nil {
			t.Fatalf("got %+v", a.Refusal)
		}
	}
}
