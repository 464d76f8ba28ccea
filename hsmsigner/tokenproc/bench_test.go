//go:build linux

package tokenproc_test

import (
	"crypto"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
)

var (
	benchRounds = flag.Int("rounds", 9, "pairs of measurements per key type in BenchmarkSign")
	benchRound  = flag.Duration("round", 500*time.Millisecond, "time of one measurement in BenchmarkSign")
)

// callers sign at the same time: more than there are workers, as in the signer.
const callers = 8

// BenchmarkSign compares signing through a child process with signing in this
// one, on the same keys, in turns. It prints ratios, never rates: those belong
// to the machine. A soft token shares the processors with everything else, so
// the second ratio is that of processor time for each signature, which other
// programs disturb less; a token of its own hardware sees only the first.
//
// Package token verifies each signature where the module is; what came through
// the child is verified once more here, and that is most of the difference.
func BenchmarkSign(b *testing.B) {
	f := newFixture(b)
	p := f.start(b)
	direct, err := token.Open(b.Context(), f.options.Token)
	check(b, err)
	defer direct.Close()
	for b.Loop() {
		for _, kt := range keyTypes {
			compare(b, kt, p, direct)
		}
	}
}

func compare(b *testing.B, kt token.KeyType, p *tokenproc.Proxy, direct *token.Token) {
	var rates, costs []float64
	pid := p.Process().PID
	for range *benchRounds {
		// In turns, and then the other way round: the machine may get slower.
		one, two := rate(b, direct, kt, pid), rate(b, p, kt, pid)
		three, four := rate(b, p, kt, pid), rate(b, direct, kt, pid)
		rates = append(rates, (two.rate+three.rate)/(one.rate+four.rate))
		costs = append(costs, (one.cost+four.cost)/(two.cost+three.cost))
	}
	slices.Sort(rates)
	slices.Sort(costs)
	mid := *benchRounds / 2
	b.ReportMetric(rates[mid], string(kt)+"/direct")
	fmt.Fprintf(os.Stderr, "%s: through the child %.2f of direct (%.2f to %.2f); in processor time %.2f (%.2f to %.2f)\n",
		kt, rates[mid], rates[0], rates[len(rates)-1], costs[mid], costs[0], costs[len(costs)-1])
}

// measured is signatures a second, and processor seconds for one of them, in
// this process and in the child.
type measured struct{ rate, cost float64 }

func rate(b *testing.B, s signer, kt token.KeyType, child int) measured {
	var n atomic.Int64
	var wg sync.WaitGroup
	used, started := cpu(b, os.Getpid())+cpu(b, child), time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(started) < *benchRound {
				if _, err := s.Sign(b.Context(), string(kt), crypto.SHA256, digest(1)); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(started)
	used = cpu(b, os.Getpid()) + cpu(b, child) - used
	return measured{float64(n.Load()) / took.Seconds(), used.Seconds() / float64(n.Load())}
}

// cpu is the processor time that a process has used so far. The clock of another
// process is numbered as clock_getcpuclockid(3) does it.
func cpu(b *testing.B, pid int) time.Duration {
	const perProcessScheduled = 2
	var t unix.Timespec
	check(b, unix.ClockGettime(int32(^pid<<3|perProcessScheduled), &t))
	return time.Duration(t.Nano())
}
