package hsmsigner

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

const (
	// keepAlive is how often the bus hears that a request is still worked on. It
	// gives a request to somebody else after a minute of silence.
	keepAlive = 20 * time.Second

	// rebind is the pause before a consumer that was lost is looked for again.
	rebind = 5 * time.Second

	// again is the pause before the bus brings a request again whose answer
	// could not be published.
	again = 5 * time.Second

	// maxDeliveries is how often a request is worked on that never got an answer. One
	// that ends the process would otherwise come first at every start, for ever.
	maxDeliveries = 5

	// flushLimit is how long the end of a process waits for the bus.
	flushLimit = 2 * time.Second

	// pullWait is how long one pull stays open at the bus, and so how long the end
	// of a signer takes at most: what the bus sends to a pull that nobody waits for
	// any more comes again only after a minute.
	pullWait = 3 * time.Second
)

// Server takes requests from the bus and publishes what the signer answers.
type Server struct {
	signer *Signer
	conn   *bus.Conn
	log    *slog.Logger
	slots  chan struct{} // one for each request that is worked on
	work   sync.WaitGroup

	again, pullWait time.Duration // the constants; tests are in more of a hurry

	mu     sync.Mutex
	cutOff []jetstream.Msg // owned by mu; what ctx ended before it was answered
	raised map[string]bool // owned by mu; alarms that are in their stream

	unpublished map[uint64]bool // owned by mu; requests whose answer the bus did not take
}

// NewServer serves s on conn. At most workers requests wait for the token at a
// time, and as many as there are processors are being verified besides, so that
// the token need not wait for them.
func NewServer(s *Signer, conn *bus.Conn, workers int) *Server {
	return &Server{signer: s, conn: conn, log: s.log, again: again, pullWait: pullWait,
		slots: make(chan struct{}, max(workers, 1)+runtime.GOMAXPROCS(0)), unpublished: map[uint64]bool{}}
}

// Run serves until ctx is done. It asks for requests for every key that the
// signer holds, those its policy does not name too: they get a refusal that says
// so, where silence would leave everybody guessing.
//
// When it returns nothing is under way any more. Requests that were cut off
// have been given back to the bus.
func (v *Server) Run(ctx context.Context) error {
	var pulls sync.WaitGroup
	for label := range v.signer.keys {
		pulls.Go(func() { v.pull(ctx, label) })
	}
	pulls.Wait()
	v.work.Wait()
	v.returnCutOff()
	return nil
}

// returnCutOff gives back what was not answered, and waits for the bus. It comes
// last: as long as a pull is open, what is given back would come here again.
func (v *Server) returnCutOff() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, msg := range v.cutOff {
		_ = msg.Nak() // if that is lost, it comes after a minute
	}
	_ = v.conn.NATS().FlushTimeout(flushLimit)
}

// keep notes a message that ctx cut off.
func (v *Server) keep(msg jetstream.Msg) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cutOff = append(v.cutOff, msg)
}

// pull keeps a consumer open. Losing it is normal: servers restart, and the
// coordinator that makes it may start later than the signer.
func (v *Server) pull(ctx context.Context, label string) {
	for ctx.Err() == nil {
		err := v.pullUntilLost(ctx, label)
		if ctx.Err() != nil {
			return
		}
		v.log.Warn("no requests can be read", "key", label, "error", err)
		select {
		case <-time.After(rebind):
		case <-ctx.Done():
		}
	}
}

func (v *Server) pullUntilLost(ctx context.Context, label string) error {
	if err := v.conn.Ready(ctx); err != nil {
		return err
	}
	consumer, err := v.conn.SignerConsumer(ctx, label)
	if err != nil {
		return err
	}
	v.log.Info("reading requests", "key", label)
	for ctx.Err() == nil {
		n, err := v.pullOnce(ctx, consumer)
		if err == nil && n == 0 {
			// Silence may mean that the consumer is gone: nobody says so.
			consumer, err = v.conn.SignerConsumer(ctx, label)
		}
		if err != nil {
			return fmt.Errorf("read requests: %w", err)
		}
	}
	return nil
}

// pullOnce reads no more than can be worked on soon: what waits here is given to
// nobody else. It returns when the pull is over at the bus as well.
func (v *Server) pullOnce(ctx context.Context, consumer jetstream.Consumer) (n int, err error) {
	batch, err := consumer.Fetch(cap(v.slots), jetstream.FetchMaxWait(v.pullWait))
	if err != nil {
		return 0, err
	}
	for msg := range batch.Messages() {
		n++
		if !v.dispatch(ctx, msg) {
			v.keep(msg)
		}
	}
	return n, batch.Error()
}

// dispatch waits for a free slot and has the message handled. It reports whether
// it did: when ctx is done, it does not.
func (v *Server) dispatch(ctx context.Context, msg jetstream.Msg) bool {
	select {
	case v.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil {
		<-v.slots
		return false
	}
	v.work.Go(func() {
		defer func() { <-v.slots }()
		v.handle(ctx, msg)
	})
	return true
}

// handle answers one message. It is acknowledged only when the answer is in the
// record: a crash before that brings it again.
func (v *Server) handle(ctx context.Context, msg jetstream.Msg) {
	defer func() {
		// A request that breaks us must not take the others down with it. It
		// comes again, a little later.
		if p := recover(); p != nil {
			v.log.Error("request broke the signer", "panic", p, "stack", string(debug.Stack()))
			_ = msg.NakWithDelay(v.again)
		}
	}()
	stop := v.keepAlive(msg)
	defer stop()
	reply, err := v.answer(ctx, msg)
	if err != nil {
		v.keep(msg)
		return
	}
	switch err := v.publish(ctx, msg, reply); {
	case err != nil && ctx.Err() != nil:
		v.keep(msg)
		return
	case err != nil:
		v.log.Error("answer not published", "request", reply.ID, "error", err)
		v.noteUnpublished(msg, true)
		_ = msg.NakWithDelay(v.again) // if that is lost, it comes after a minute
		return
	}
	v.noteUnpublished(msg, false)
	v.signer.testOnlyStage("published")
	if err := msg.Ack(); err != nil {
		v.log.Warn("request not acknowledged", "request", reply.ID, "error", err)
	}
	v.signer.testOnlyStage("acknowledged")
}

// answer asks the signer, unless the request came too often. That the bus does not
// take an answer is not the request's fault and does not count.
func (v *Server) answer(ctx context.Context, msg jetstream.Msg) (Reply, error) {
	meta, err := msg.Metadata()
	if err != nil || meta.NumDelivered <= maxDeliveries || v.isUnpublished(meta.Sequence.Stream) {
		return v.signer.Answer(ctx, msg.Data())
	}
	v.log.Error("request given up", "sequence", meta.Sequence.Stream, "deliveries", meta.NumDelivered)
	return v.signer.GiveUp(ctx, msg.Data(), meta.NumDelivered)
}

func (v *Server) isUnpublished(seq uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.unpublished[seq]
}

func (v *Server) noteUnpublished(msg jetstream.Msg, is bool) {
	meta, err := msg.Metadata()
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if delete(v.unpublished, meta.Sequence.Stream); is {
		v.unpublished[meta.Sequence.Stream] = true
	}
}

// publish puts alarms and the answer where they belong. Alarms go first: a crash
// between them repeats the alarm rather than losing it.
func (v *Server) publish(ctx context.Context, msg jetstream.Msg, reply Reply) error {
	for _, a := range reply.Alarms {
		if err := v.raise(ctx, a, reply.ID); err != nil {
			return err
		}
	}
	if reply.Channel == "" {
		return nil
	}
	subject, err := bus.SignatureSubject(reply.Channel)
	if err != nil {
		return err
	}
	_, err = v.conn.Publish(ctx, subject, answerID(msg, reply), reply.Answer)
	return err
}

// answerID is the id by which the bus knows a repeated answer. A refusal of a
// request that was asked again must be heard again although it has the same
// bytes, so it has the place of its request in it; a redelivery has not a new one.
func answerID(msg jetstream.Msg, reply Reply) string {
	id := bus.MsgID(reply.Answer)
	if reply.Refusal == nil {
		return id
	}
	if meta, err := msg.Metadata(); err == nil {
		return fmt.Sprintf("%s-%d", id, meta.Sequence.Stream)
	}
	return id
}

// raise publishes an alarm, once for each request that gives rise to it: a refused
// request is asked again for ever. After a crash it may be published once more.
func (v *Server) raise(ctx context.Context, a wire.Alarm, request statement.SHA256) error {
	data, err := wire.Encode(a)
	if err != nil {
		return err
	}
	subject, err := bus.AlarmSubject(a.Channel)
	if err != nil {
		return err
	}
	id := bus.MsgID([]byte(a.Code + " " + request.String()))
	if v.wasRaised(id) {
		return nil
	}
	if err := v.conn.PublishForCertain(ctx, subject, id, data); err != nil {
		return err
	}
	v.noteRaised(id)
	return nil
}

// maxRaised bounds what is remembered of alarms; beyond it some are repeated.
const maxRaised = 4096

func (v *Server) wasRaised(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.raised[id]
}

func (v *Server) noteRaised(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.raised == nil || len(v.raised) >= maxRaised {
		v.raised = map[string]bool{}
	}
	v.raised[id] = true
}

// keepAlive tells the bus that the request is being worked on, until stop.
func (v *Server) keepAlive(msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	v.work.Go(func() {
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = msg.InProgress() // the worst that follows is a second delivery
			case <-ctx.Done():
				return
			}
		}
	})
	return cancel
}
