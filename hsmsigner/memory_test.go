package hsmsigner_test

import (
	"math"
	"runtime/debug"
	"testing"

	"quorate/hsmsigner"
)

// TestTuneMemory: who set something in the environment keeps it.
func TestTuneMemory(t *testing.T) {
	t.Cleanup(func() {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
	for _, c := range []struct {
		gogc, limit string
		percent     int
		bytes       int64
	}{{"", "", 400, 512 << 20}, {"100", "", 100, 512 << 20}, {"", "1GiB", 400, 1 << 30}} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.limit)
		debug.SetGCPercent(100)       // as the runtime takes them
		debug.SetMemoryLimit(1 << 30) // from the environment
		hsmsigner.TuneMemory()
		if percent, bytes := debug.SetGCPercent(100), debug.SetMemoryLimit(-1); percent != c.percent || bytes != c.bytes {
			t.Errorf("%+v: %d, %d", c, percent, bytes)
		}
	}
}
