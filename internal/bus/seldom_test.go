package bus

import (
	"testing"
	"time"
)

func TestSeldom(t *testing.T) {
	var s seldom
	start := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Second, false}, {59 * time.Second, false}, {time.Minute, true}, {61 * time.Second, false}, {2 * time.Minute, true}} {
		if got := s.pass(start.Add(step.after), time.Minute); got != step.want {
			t.Errorf("after %s: %v, want %v", step.after, got, step.want)
		}
	}
}
