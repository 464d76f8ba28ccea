package coordinator

import (
	"fmt"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
)

// Bounds of what is kept in memory of the latest events.
const (
	tailEvents = 1024
	tailBytes  = 4 << 20
)

// tail is the latest events, read once for all who listen: two thousand readers
// that each asked the database would keep it busy with one change. It is filled
// by whoever comes first after a change.
type tail struct {
	db *store.DB

	epoch string // of the database; part of event ids

	mu    sync.Mutex
	stale bool        // there may be more in the database; owned by mu
	last  int64       // newest event looked at; owned by mu
	list  []tailEvent // without gaps up to last; owned by mu, what it points to never changes
	size  int         // bytes in list; owned by mu
}

// tailEvent is an event as readers get it, but for the epoch.
type tailEvent struct {
	id   int64
	body api.Event
	data []byte
}

// newTail begins behind the newest event: older ones are in the database.
func newTail(db *store.DB) (*tail, error) {
	cur, err := db.Cursor()
	if err != nil {
		return nil, err
	}
	_, last, err := db.EventRange()
	return &tail{db: db, epoch: cur.Epoch, last: last}, err
}

// changed says that there are new events. It comes before those who wait are woken.
func (t *tail) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = true
}

// since returns the events after a place, or false when they are no longer here.
func (t *tail) since(at int64) ([]tailEvent, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fresh(); err != nil {
		return nil, false, err
	}
	if at >= t.last {
		return nil, at == t.last, nil
	}
	if len(t.list) == 0 || at < t.list[0].id-1 {
		return nil, false, nil
	}
	i, _ := slices.BinarySearchFunc(t.list, at+1, func(e tailEvent, id int64) int { return int(e.id - id) })
	return t.list[i:len(t.list):len(t.list)], true, nil
}

// newest returns the place behind the newest event.
func (t *tail) newest() (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.fresh()
	return t.last, err
}

// fresh is fill where it is needed. mu is held.
func (t *tail) fresh() error {
	if !t.stale {
		return nil
	}
	return elsewhere(t.fill)
}

// elsewhere runs f on a stack of its own, which is given back: SQLite needs a deep
// one, and the goroutine of each of thousands of readers would keep its own so large.
func elsewhere(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// fill reads what is new. mu is held by who waits for it.
func (t *tail) fill() error {
	for t.stale {
		list, err := readEvents(t.db, t.last)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.id != t.last+1 {
				t.list, t.size = nil, 0 // those between are gone from the database, too
			}
			t.list, t.last, t.size = append(t.list, e), e.id, t.size+len(e.data)
		}
		t.trim()
		t.stale = len(list) == eventsAtOnce
	}
	return nil
}

// readEvents reads some of the events after a place.
func readEvents(db *store.DB, after int64) ([]tailEvent, error) {
	stored, err := db.Events(after, eventsAtOnce)
	list := make([]tailEvent, len(stored))
	for i, e := range stored {
		list[i].id, list[i].data = e.ID, e.Body
		if err := json.Unmarshal(e.Body, &list[i].body); err != nil {
			return nil, fmt.Errorf("stored event %d: %w", e.ID, err)
		}
	}
	return list, err
}

// trim forgets the oldest. Readers keep the list that they were given.
func (t *tail) trim() {
	drop := 0
	for size := t.size; drop < len(t.list) && (len(t.list)-drop > tailEvents || size > tailBytes); drop++ {
		size -= len(t.list[drop].data)
		t.size = size
	}
	if drop > 0 {
		t.list = slices.Clone(t.list[drop:])
	}
}
