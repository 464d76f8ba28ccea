package hsmsigner

import (
	"context"
	"sync"

	"quorate/quorum/statement"
)

// flights lets one request of each id be worked on at a time. It saves work and
// decides nothing: the ledger keeps one answer for each id whatever happens here.
type flights struct {
	mu      sync.Mutex
	running map[statement.SHA256]chan struct{} // owned by mu; closed when that flight ends
}

// enter waits until no other flight has the id, or ctx is done.
func (f *flights) enter(ctx context.Context, id statement.SHA256) error {
	for {
		f.mu.Lock()
		other, busy := f.running[id]
		if !busy {
			f.running[id] = make(chan struct{})
		}
		f.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.running)
}

func (f *flights) leave(id statement.SHA256) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.running[id])
	delete(f.running, id)
}
