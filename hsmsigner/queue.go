package hsmsigner

import (
	"bytes"
	"context"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
)

// delivery is a request that was taken from the bus and not yet let go of.
type delivery struct {
	jetstream.Msg
	channel string     // whose turn it takes, as it claims
	from    *lookAhead // to be told when it is over
}

// queue holds requests until one of the slots is free for them. The channels have
// them in turn, and no channel has all of them: another one's request finds a
// free slot, however many are waiting.
type queue struct {
	mu      sync.Mutex
	slots   int              // most that are worked on
	busy    int              // owned by mu
	used    map[string]int   // owned by mu; slots of each channel
	waiting lanes[*delivery] // owned by mu; by channel
}

func newQueue(slots int) *queue { return &queue{slots: max(slots, 2), used: map[string]int{}} }

func (q *queue) put(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting.push(d, d.channel)
}

// begin takes a slot for the next request, if there is one.
func (q *queue) begin() (*delivery, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy == q.slots {
		return nil, false
	}
	d, ok := q.waiting.pop(func(channel string) bool { return q.used[channel] < q.slots-1 })
	if ok {
		q.busy++
		q.used[d.channel]++
	}
	return d, ok
}

func (q *queue) end(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy--
	if q.used[d.channel]--; q.used[d.channel] == 0 {
		delete(q.used, d.channel)
	}
}

// What a signer takes from the bus ahead of its turn, for each key. It must be
// enough to find the requests of a channel behind those of another one, and little,
// because nobody else gets what waits here and all of it is in memory.
const (
	maxAhead      = 64
	maxAheadBytes = 32 << 20

	// minAhead is what one pull is worth: it costs more than one request does.
	minAhead = 8

	// Of batches it takes two of the largest, or a few small ones. They are worked on at
	// a time, each at several parts, beside everything else.
	maxBatches      = 8
	maxBatchesBytes = 2 * roomForOne
	batchSlots      = 3 // one channel's have two of them

	// roomForOne has what the bus counts as size, too, with the subjects in it.
	roomForOne = bus.MaxPayload + minAhead<<10
)

// lookAhead counts what one pull has taken and what is not answered yet.
type lookAhead struct {
	most, mostBytes, least int // least is what one pull is worth

	mu           sync.Mutex
	count, bytes int           // owned by mu
	less         chan struct{} // has one when something was let go of
}

func newLookAhead() *lookAhead {
	return &lookAhead{most: maxAhead, mostBytes: maxAheadBytes, least: minAhead, less: make(chan struct{}, 1)}
}

func newBatchesAhead() *lookAhead {
	return &lookAhead{most: maxBatches, mostBytes: maxBatchesBytes, least: 1, less: make(chan struct{}, 1)}
}

// room waits until there is room for a few requests, one of them of any size, and
// returns how many and how large they may be together; zero when ctx is done.
func (a *lookAhead) room(ctx context.Context) (count, bytes int) {
	for {
		a.mu.Lock()
		count, bytes = a.most-a.count, a.mostBytes-a.bytes
		a.mu.Unlock()
		if count >= a.least && bytes >= roomForOne {
			return count, bytes
		}
		select {
		case <-a.less:
		case <-ctx.Done():
			return 0, 0
		}
	}
}

func (a *lookAhead) take(data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	a.bytes += len(data)
}

func (a *lookAhead) letGo(data []byte) {
	a.mu.Lock()
	a.count--
	a.bytes -= len(data)
	a.mu.Unlock()
	select {
	case a.less <- struct{}{}:
	default:
	}
}

// maxPeek is how far into a request its channel is looked for: behind version and
// id, if the request is written as the protocol shows it.
const maxPeek = 512

// peekChannel reads the channel of a request. It decides nothing but whose turn is
// taken; what cannot be read shares one turn.
func peekChannel(data []byte) string {
	dec := jsontext.NewDecoder(bytes.NewReader(data[:min(len(data), maxPeek)]))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return ""
	}
	for {
		name, err := dec.ReadToken()
		if err != nil || name.Kind() != '"' {
			return ""
		}
		if name.String() != "channel" {
			if dec.SkipValue() != nil {
				return ""
			}
			continue
		}
		if v, err := dec.ReadToken(); err == nil && v.Kind() == '"' {
			return v.String()
		}
		return ""
	}
}
