package ends_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"quorate/internal/ends"
)

func TestWarn(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]string{
		ends.Soon + time.Second: "",
		ends.Soon:               `level=WARN msg="ends soon" what=key name=core-2026 end=2026-12-21T12:00:00Z days=30 hint="nothing is signed with the key`,
		36 * time.Hour:          "days=1 ",
		time.Second:             "days=0 ",
		0:                       `level=ERROR msg="has ended" what=key name=core-2026 end=2026-11-21T12:00:00Z`,
	} {
		var b bytes.Buffer
		ends.Warn(slog.New(slog.NewTextHandler(&b, nil)), []ends.End{{What: ends.Key, Name: "core-2026", At: now.Add(after)}}, now)
		if got := b.String(); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s before: %q, want %q", after, got, want)
		}
	}
}

// counter counts lines that are written while it is read.
type counter struct{ lines atomic.Int32 }

func (c *counter) Write(p []byte) (int, error) {
	c.lines.Add(1)
	return len(p), nil
}

// Each day, and of what is true on that day.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, gone := &counter{}, &atomic.Bool{}
		all := []ends.End{{What: ends.Policy, At: time.Now().Add(ends.Soon + 36*time.Hour)}}
		read := func() []ends.End {
			if gone.Load() {
				return nil
			}
			return all
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			ends.Watch(ctx, slog.New(slog.NewTextHandler(c, nil)), read, time.Now)
		}()
		said := func() int { synctest.Wait(); return int(c.lines.Load()) }
		for day, want := range []int{0, 0, 1, 2, 3} {
			if got := said(); got != want {
				t.Errorf("day %d: warned %d times, want %d", day, got, want)
			}
			time.Sleep(ends.Again)
		}
		before := said()
		gone.Store(true)
		time.Sleep(10 * ends.Again)
		if got := said(); got != before {
			t.Errorf("warned of what is not there any more: %d times, before %d", got, before)
		}
		stop()
		<-ended
	})
}
