package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

const (
	// again is the pause before the bus brings a request again whose answer
	// could not be published.
	again = 5 * time.Second

	// flushLimit is how long the end of a process waits for the bus.
	flushLimit = 2 * time.Second
)

// Server takes requests from the bus and publishes what the signer answers.
type Server struct {
	signer  *Signer
	conn    *bus.Conn
	log     *slog.Logger
	queue   *queue
	batches *queue // of requests for batches, on whichever subject they came
	work    sync.WaitGroup

	again, pullWait, keepAlive time.Duration // the constants; tests are in more of a hurry

	attempts *attempts

	mu     sync.Mutex
	held   map[*delivery]bool // owned by mu; taken, and not yet acknowledged or given back
	raised map[string]bool    // owned by mu; alarms that are in their stream
}

// slotsFor is how many requests are worked on at a time: enough that the token need not
// wait while some are verified, and that what waits for the disk shares one commit.
func slotsFor(workers int) int { return 4*workers + 24 }

// NewServer serves s on conn. The file remembers the requests that were worked on
// when a process ended.
func NewServer(s *Signer, conn *bus.Conn, file string) *Server {
	tried, err := openAttempts(file)
	if err != nil {
		s.log.Warn("it is not known which requests ended the process before", "error", err)
	}
	return &Server{signer: s, conn: conn, log: s.log, queue: newQueue(slotsFor(s.workers)), batches: newQueue(batchSlots),
		again: again, pullWait: pullWait, keepAlive: keepAlive, attempts: tried, held: map[*delivery]bool{}}
}

// Run serves until ctx is done. It asks for requests for every key that the
// signer holds, those its policy does not name too: they get a refusal that says
// so, where silence would leave everybody guessing.
//
// When it returns nothing is under way any more. Requests that were cut off
// have been given back to the bus.
func (v *Server) Run(ctx context.Context) error {
	working, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	go v.keepHeld(working)
	var pulls sync.WaitGroup
	for _, from := range v.sources() {
		pulls.Go(func() { v.pull(ctx, from) })
	}
	pulls.Wait()
	v.work.Wait()
	v.returnHeld()
	return nil
}

// returnHeld gives back what was not answered, and waits for the bus. It comes
// last: as long as a pull is open, what is given back would come here again.
func (v *Server) returnHeld() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for d := range v.held {
		_ = d.Nak() // if that is lost, it comes after a minute
	}
	_ = v.conn.NATS().FlushTimeout(flushLimit)
}

// handle answers one request of the queue. It is acknowledged only when the answer, or
// each part of it, is in the record: a crash before that brings it again. What ctx
// cuts off stays held, and is given back at the end.
func (v *Server) handle(ctx context.Context, d *delivery, q *queue) {
	defer func() {
		// A request that breaks us must not take the others down with it. It
		// comes again, a little later.
		if p := recover(); p != nil {
			v.log.Error("request broke the signer", "panic", p, "stack", string(debug.Stack()))
			v.later(d)
		}
	}()
	reply, err := v.answer(ctx, d, q)
	if errors.Is(err, ErrBatch) {
		v.batches.put(d)
		v.begin(ctx, v.batches)
		return
	}
	if err == nil {
		err = v.publish(ctx, d, reply)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		v.log.Error("answer not published", "request", reply.ID, "error", err)
		v.later(d)
		return
	}
	v.signer.testOnlyStage("published")
	if err := d.Ack(); err != nil {
		v.log.Warn("request not acknowledged", "request", reply.ID, "error", err)
	}
	v.letGo(d)
	v.signer.testOnlyStage("acknowledged")
}

// later has the bus bring a request again after a pause.
func (v *Server) later(d *delivery) {
	_ = d.NakWithDelay(v.again) // if that is lost, it comes after a minute
	v.letGo(d)
}

// answer asks the signer, unless the request has kept it from coming to an end too
// often. A panic leaves the attempt standing, like the end of the process.
func (v *Server) answer(ctx context.Context, msg jetstream.Msg, q *queue) (Reply, error) {
	ask := v.signer.Answer
	if q == v.batches {
		ask = func(ctx context.Context, data []byte) (Reply, error) {
			return v.signer.AnswerParts(ctx, data, v.publishPart)
		}
	}
	meta, err := msg.Metadata()
	if err != nil || meta.NumDelivered == 1 {
		return ask(ctx, msg.Data())
	}
	before, err := v.attempts.begin(msg.Data())
	if err != nil {
		v.log.Error("a request that came again is not written down", "sequence", meta.Sequence.Stream, "error", err)
	}
	var reply Reply
	if before < maxAttempts {
		reply, err = ask(ctx, msg.Data())
	} else {
		v.log.Error("request given up", "sequence", meta.Sequence.Stream, "deliveries", meta.NumDelivered, "attempts", before)
		reply, err = v.signer.GiveUp(ctx, msg.Data(), before)
	}
	if err := v.attempts.end(msg.Data()); err != nil {
		v.log.Error("a request that came again is not crossed out", "sequence", meta.Sequence.Stream, "error", err)
	}
	return reply, err
}

// publish puts alarms and the answer where they belong. Alarms go first: a crash
// between them repeats the alarm rather than losing it.
func (v *Server) publish(ctx context.Context, msg jetstream.Msg, reply Reply) error {
	for _, a := range reply.Alarms {
		if err := v.raise(ctx, a, reply.ID); err != nil {
			return err
		}
	}
	if reply.Channel == "" || reply.Answer == nil {
		return nil
	}
	subject, err := bus.SignatureSubject(reply.Channel)
	if err != nil {
		return err
	}
	_, err = v.conn.Publish(ctx, subject, answerID(msg, reply), reply.Answer)
	return err
}

// publishPart is a [ReleaseFunc]. Its id is that of the bytes: a part that comes again
// is known as the same one.
func (v *Server) publishPart(ctx context.Context, channel string, part []byte) error {
	subject, err := bus.SignatureSubject(channel)
	if err != nil {
		return err
	}
	_, err = v.conn.Publish(ctx, subject, bus.MsgID(part), part)
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
	subject, err := bus.SignerAlarmSubject(a.Channel, v.conn.Name())
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
