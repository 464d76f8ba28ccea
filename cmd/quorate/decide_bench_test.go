package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// quiet sends what is for people nowhere, as terminals are slow.
func quiet(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	b.Cleanup(func() { os.Stderr = stderr; null.Close() })
}

// signed is a list with its signature.
type signed struct{ list, signature []byte }

func signedLists(b *testing.B, dir string) (all []signed) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.SHA256SUMS"))
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range paths {
		list, err := os.ReadFile(p)
		if err != nil {
			b.Fatal(err)
		}
		sig, err := os.ReadFile(p + ".asc")
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, signed{list, sig})
	}
	return all
}

func goCryptoRing(b *testing.B, dir string) (ring pgp.EntityList) {
	files, err := filepath.Glob(filepath.Join(dir, "builder-keys", "*.gpg"))
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		el, err := pgp.ReadArmoredKeyRing(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		ring = append(ring, el...)
	}
	return ring
}

// verifyAlone is the yardstick: go-crypto verifies the same signatures on all
// processors and does nothing else.
func verifyAlone(ring pgp.EntityList, all []signed) {
	config := &packet.Config{Time: func() time.Time { return born }, RejectCurves: map[packet.Curve]bool{}}
	next := make(chan signed, len(all))
	for _, s := range all {
		next <- s
	}
	close(next)
	var wg sync.WaitGroup
	for range workers() {
		wg.Go(func() {
			for s := range next {
				// The answer is not asked for: it refuses what the test of verdicts counts.
				_, _, _ = pgp.VerifyArmoredDetachedSignature(ring, bytes.NewReader(s.list), bytes.NewReader(s.signature), config)
			}
		})
	}
	wg.Wait()
}

// rounds is how often the two are measured in turn, as one round takes less than
// a quarter of a second.
const rounds = 12

// BenchmarkDecideTree compares quorate decide over the whole of guix.sigs with
// verifying its signatures alone, turn by turn in one run: once with the key
// files read inside of the measure, as decide has to, once with them read before.
// Each turn has keys of its own, as go-crypto remembers what it verified of them.
func BenchmarkDecideTree(b *testing.B) {
	quiet(b)
	dir := realData(b, "guix.sigs")
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: bitcoinPolicy(b, dir), Name: "bitcoin", At: judgedAt}, Count: "good", Paths: []string{dir}}
	all := signedLists(b, dir)
	var decide, withKeys, alone time.Duration
	add := func(to *time.Duration, do func()) {
		begun := time.Now()
		do()
		*to += time.Since(begun)
	}
	for b.Loop() {
		for range rounds {
			add(&withKeys, func() { verifyAlone(goCryptoRing(b, dir), all) })
			add(&decide, func() {
				if err := c.run(io.Discard); codeOf(err) != exitDisagree {
					b.Fatal(err)
				}
			})
			ring := goCryptoRing(b, dir)
			add(&alone, func() { verifyAlone(ring, all) })
		}
	}
	b.ReportMetric(withKeys.Seconds()/decide.Seconds(), "of-verifying")
	b.ReportMetric(alone.Seconds()/decide.Seconds(), "of-verifying-with-keys-read-before")
	b.ReportMetric(float64(rounds*b.N*len(all))/decide.Seconds(), "signatures/s")
}

// BenchmarkDecideMany decides on a tree of generated provenances, 100,000 or as
// QUORATE_BENCH_STATEMENTS says, and on a tenth of it. The memory in use at its
// highest should be that of the tenth.
func BenchmarkDecideMany(b *testing.B) {
	quiet(b)
	n, err := strconv.Atoi(os.Getenv("QUORATE_BENCH_STATEMENTS"))
	if err != nil {
		n = 100_000
	}
	small, large := filepath.Join(b.TempDir(), "small"), filepath.Join(b.TempDir(), "large")
	for dir, n := range map[string]int{small: n / 10, large: n} {
		if err := writeDSSE(dir, n, 4); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		_, base := decidePeak(b, small, n/10)
		took, peak := decidePeak(b, large, n)
		b.ReportMetric(float64(n)/took.Seconds(), "statements/s")
		b.ReportMetric(peak/(1<<20), "peak-MiB")
		b.ReportMetric(base/(1<<20), "peak-of-a-tenth-MiB")
	}
}

// peakWatch looks at the heap with each line that is written, and as the
// statements are taken.
type peakWatch struct {
	peak  uint64
	lines int
}

func (w *peakWatch) Write(p []byte) (int, error) {
	w.lines += bytes.Count(p, []byte("\n"))
	w.look()
	return len(p), nil
}

func (w *peakWatch) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.peak = max(w.peak, m.HeapInuse)
}

func decidePeak(b *testing.B, dir string, n int) (took time.Duration, peak float64) {
	runtime.GC()
	w := &peakWatch{}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var o peakWatch
		for {
			select {
			case <-done:
				w.peak = max(w.peak, o.peak)
				return
			case <-tick.C:
				o.look()
			}
		}
	}()
	c := decideCmd{evidenceFlags: evidenceFlags{Policy: dir + ".toml", At: judgedAt}, Count: "good", Paths: []string{dir}}
	begun := time.Now()
	err := c.run(w)
	took = time.Since(begun)
	close(done)
	<-watched
	if err != nil || w.lines != n/4 {
		b.Fatalf("%d lines: %v", w.lines, err)
	}
	return took, float64(w.peak)
}

// TestSpillKeepsTheOrder: what does not fit into memory comes out as if it did.
func TestSpillKeepsTheOrder(t *testing.T) {
	dir := realData(t, "guix.sigs")
	j := &juror{}
	var want []string
	for _, limit := range []int{1 << 30, 50} {
		box := newSpill(limit)
		c := &decideCmd{TSV: true, Count: "all"}
		taken := newTaker(c, j, box, newTable(nil))
		if err := j.walk(dir, taken.take); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := box.groups(func(g group, list []record) error {
			for _, r := range list {
				line := g.Target + " " + g.Stage + " " + r.obs.Builder + " " + r.obs.ID.String()
				for _, f := range r.obs.Files {
					line += " " + f.Name + f.SHA256.String()
				}
				got = append(got, line)
			}
			return nil
		})
		if err := box.close(); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if err != nil || len(got) != 274 || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("with a limit of %d: %v, %d statements", limit, err, len(got))
		}
	}
}
