package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progress is one line on a terminal, written over and over, beginning when a
// second has passed and removed at the end.
type progress struct {
	w     io.Writer
	total int64
	done  atomic.Int64
	end   chan struct{}
	over  sync.WaitGroup
}

func newProgress(w io.Writer, total int64) *progress {
	p := &progress{w: w, total: max(total, 1), end: make(chan struct{})}
	p.over.Go(p.show)
	return p
}

func (p *progress) add(n int) { p.done.Add(int64(n)) }

func (p *progress) stop() {
	close(p.end)
	p.over.Wait()
}

func (p *progress) show() {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-tick.C:
			shown = true
			fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(time.Since(began)))
		case <-p.end:
			if shown {
				fmt.Fprint(p.w, "\r\x1b[K")
			}
			return
		}
	}
}

func (p *progress) line(took time.Duration) string {
	const mib = 1 << 20
	done := p.done.Load()
	return fmt.Sprintf("hashing: %d of %d MiB (%d%%), %.0f MiB/s",
		done/mib, p.total/mib, 100*done/p.total, float64(done)/mib/took.Seconds())
}
