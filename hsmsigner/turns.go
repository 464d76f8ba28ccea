package hsmsigner

import (
	"context"
	"crypto"
	"sync"

	"quorate/quorum"
)

// turns gives the token to one operation after the other: to the channels in turn,
// and within a channel to its requests in turn. So a request of ten thousand
// signatures delays another one by a single signature, and not by itself.
type turns struct {
	mu      sync.Mutex
	free    int          // owned by mu; operations that may begin
	waiting lanes[*turn] // owned by mu; by channel and request
	queued  int          // owned by mu; how many of them somebody waits for
}

// newTurns lets twice as many operations begin as the token has workers: the next
// one must be there when a worker is done, and the token keeps its limit by itself.
func newTurns(workers int) *turns { return &turns{free: 2 * workers} }

// turn is an operation that waits.
type turn struct {
	begin chan struct{} // closed when it may
	gone  bool          // owned by turns.mu; nobody waits for it any more
}

// take waits for a turn of the request. Whoever got one gives it back.
func (t *turns) take(ctx context.Context, channel, request string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &turn{begin: make(chan struct{})}
	t.mu.Lock()
	t.waiting.push(w, channel, request)
	t.queued++
	t.next()
	t.mu.Unlock()
	select {
	case <-w.begin:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.begin: // at the same time
		t.free++
		t.next()
	default:
		w.gone = true
		t.queued--
	}
	return ctx.Err()
}

func (t *turns) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	t.next()
}

// next begins what may begin. The caller holds mu.
func (t *turns) next() {
	for t.free > 0 {
		w, ok := t.waiting.pop(anyLane)
		if !ok {
			return
		}
		if !w.gone {
			t.free--
			t.queued--
			close(w.begin)
		}
	}
}

// inTurn is the token as one request may use it.
type inTurn struct {
	Token
	turns            *turns
	channel, request string
}

func (t *turns) of(tok Token, r *quorum.Request) Token {
	return &inTurn{tok, t, r.Channel, r.ID.String()}
}

// Sign waits for its turn.
func (t *inTurn) Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	if err := t.turns.take(ctx, t.channel, t.request); err != nil {
		return nil, err
	}
	defer t.turns.giveBack()
	return t.Token.Sign(ctx, label, hash, digest)
}

// SignUnverified waits for its turn.
func (t *inTurn) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	if err := t.turns.take(ctx, t.channel, t.request); err != nil {
		return nil, err
	}
	defer t.turns.giveBack()
	return t.Token.SignUnverified(ctx, label, hash, digest)
}

// depth is how many operations wait for their turn.
func (t *turns) depth() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queued
}
