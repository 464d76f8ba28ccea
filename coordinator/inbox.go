package coordinator

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// inbox is the bounded space between the bus and the intake. A full one holds the
// bus back, so memory does not grow with the backlog.
type inbox struct {
	maxCount, maxBytes int

	mu    sync.Mutex
	list  []jetstream.Msg // owned by mu
	bytes int             // of list; owned by mu

	filled, emptied chan struct{} // capacity 1
}

func newInbox(maxCount, maxBytes int) *inbox {
	return &inbox{maxCount: maxCount, maxBytes: maxBytes, filled: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// put waits for room. It drops the message when ctx ends: whoever reads starts
// again from the database then.
func (q *inbox) put(ctx context.Context, m jetstream.Msg) {
	for !q.tryPut(m) {
		select {
		case <-q.emptied:
		case <-ctx.Done():
			return
		}
	}
	signal(q.filled)
}

func (q *inbox) tryPut(m jetstream.Msg) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) >= q.maxCount || len(q.list) > 0 && q.bytes+len(m.Data()) > q.maxBytes {
		return false
	}
	q.list, q.bytes = append(q.list, m), q.bytes+len(m.Data())
	return true
}

// take waits for messages and returns all that are there.
func (q *inbox) take(ctx context.Context) ([]jetstream.Msg, error) {
	for {
		if list := q.takeAll(); len(list) > 0 {
			signal(q.emptied)
			return list, nil
		}
		select {
		case <-q.filled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *inbox) takeAll() []jetstream.Msg {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list, q.bytes = nil, 0
	return list
}
