package hsmsigner

import (
	"os"
	"runtime/debug"
)

const (
	// collectAt is how much garbage there may be for what is in use, in percent. A
	// request leaves some hundred kilobytes behind and next to nothing is kept, so
	// that Go's 100 means a collection every few dozen requests.
	collectAt = 400

	// memoryLimit is where the collector works harder instead, in bytes. Requests
	// that were taken ahead are at most 48 MiB for each key.
	memoryLimit = 512 << 20

	// rememberedBytes bounds the statements that are not parsed and verified again, in
	// bytes as they were received: the evidence of a few targets of the largest size.
	rememberedBytes = 16 << 20
)

// TuneMemory sets how often the collector of this process runs. What GOGC and
// GOMEMLIMIT in the environment say counts more.
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
