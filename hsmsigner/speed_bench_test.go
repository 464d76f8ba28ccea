//go:build linux

package hsmsigner_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/pgpsig"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

var (
	benchRounds = flag.Int("rounds", 5, "pairs of measurements per key type in BenchmarkSigner")
	benchKeys   = flag.String("keys", "", "labels of the only keys in BenchmarkSigner, with commas between; empty means all")
	benchBatch  = flag.Int("batch", 1000, "signatures of a batch in BenchmarkSignerBatch")
	benchRound  = flag.Duration("round", time.Second, "time of one measurement in BenchmarkSigner")
)

// BenchmarkSigner compares the whole way of a request, from its bytes to the answer in
// the ledger, and then also in the bus's stream, with the token alone, in turns and with
// as many workers. The
// request's token is in a process of its own, as a signer's is. The
// second ratio is that of processor time, which the soft token needs like
// everything else here, and which other programs disturb less.
func BenchmarkSigner(b *testing.B) {
	rsa4096 := hsmsigner.KeyConfig{Label: "rsa4096", Certificate: filepath.Join(b.TempDir(), "rsa4096.asc")}
	cert := must(hsmsigner.CreateKey(b.Context(), soft.token, hsmsigner.NewKey{Label: "rsa4096", Type: token.RSA4096, UserID: archive, Created: keyTime}))(b)
	writeFile(b, rsa4096.Certificate, pgpsig.ArmorCertificate(cert.Bytes()), 0o600)
	benchmarkKeys(b, nil, append([]hsmsigner.KeyConfig{rsa4096}, keyConfigs()...))
}

// BenchmarkSignerBatch does the same with batches, and shows what a batch of one costs
// beside a large one.
func BenchmarkSignerBatch(b *testing.B) {
	var text strings.Builder
	var keys []hsmsigner.KeyConfig
	for _, kt := range append([]token.KeyType{token.RSA4096}, keyTypes...) {
		f, label := format.IMA, "batch-"+string(kt)
		if format.Possible(f, kindOf(kt)) != nil {
			f = format.SSHFiles
		}
		if !isMeasured(label) {
			continue
		}
		must(soft.token.CreateKey(label, kt))(b)
		keys = append(keys, hsmsigner.KeyConfig{Label: label})
		text.WriteString(channelText(label, policy.Output{Format: f, Key: label}))
	}
	benchmarkKeys(b, loadPolicy(b, policyText(b, 8)+text.String()), keys)
}

func isMeasured(label string) bool {
	return *benchKeys == "" || slices.Contains(strings.Split(*benchKeys, ","), label)
}

func benchmarkKeys(b *testing.B, p *policy.Policy, keys []hsmsigner.KeyConfig) {
	hsmsigner.TuneMemory() // as the program does
	proxy := must(hsmsigner.StartToken(b.Context(), tokenConfig(), nil, quiet()))(b)
	defer proxy.Close()
	processor := func() time.Duration { return processorTime(b, os.Getpid()) + processorTime(b, proxy.Process().PID) }
	publish := publisher(b)
	for b.Loop() {
		for _, key := range keys {
			if !isMeasured(key.Label) {
				continue
			}
			o := hsmsigner.SpeedOptions{Raw: soft.token, Token: proxy, Workers: soft.token.Stats().Workers, Key: key, Policy: p, Batch: *benchBatch,
				Rounds: *benchRounds, Round: *benchRound, Processor: processor}
			measure := func(name string) {
				o.Dir = b.TempDir()
				s := must(hsmsigner.MeasureSpeed(b.Context(), o))(b)
				b.ReportMetric(s.Ratio, key.Label+name+"/limit")
				b.ReportMetric(s.Processor, key.Label+name+"/limit-processor")
				fmt.Fprintln(os.Stderr, describe(s))
			}
			if p == nil { // a batch's parts are stored and published as they come
				measure("-ledgered")
				fmt.Fprint(os.Stderr, "and published: ")
			}
			o.Publish = publish
			measure("")
		}
	}
}

func describe(s *hsmsigner.Speed) string {
	var steps strings.Builder
	for _, c := range s.Steps {
		fmt.Fprintf(&steps, ", %s %.2f ms (%.0f%%)", c.Name, c.Time, 100*c.Share)
	}
	if s.Batch > 0 {
		return fmt.Sprintf("%s: limit %.0f/s, batches of %d signed %.0f/s, ratio %.2f, of processor time %.2f (%.2f of %.2f ms); a batch p50 %.1f ms; of one, alone p50 %.1f ms, p99 %.1f ms; beside a batch p50 %.1f ms, p99 %.1f ms, %.1f times%s",
			s.Key, s.Limit, s.Batch, s.Rate, s.Ratio, s.Processor, s.LimitCost, s.Cost, s.P50, s.AloneP50, s.AloneP99, s.BesideP50, s.BesideP99, s.BesideP99/s.AloneP99, &steps)
	}
	return fmt.Sprintf("%s: limit %.0f/s, answered %.0f/s, ratio %.2f, of processor time %.2f (%.2f of %.2f ms); under load p50 %.1f ms, p99 %.1f ms; alone p50 %.1f ms, p99 %.1f ms; beside a huge request p50 %.1f ms, p99 %.1f ms%s",
		s.Key, s.Limit, s.Rate, s.Ratio, s.Processor, s.LimitCost, s.Cost, s.P50, s.P99, s.AloneP50, s.AloneP99, s.BesideP50, s.BesideP99, &steps)
}

// publisher puts answers into the record of a bus that syncs each to its disk.
func publisher(b *testing.B) func(ctx context.Context, r hsmsigner.Reply) error {
	dir := b.TempDir()
	seed := filepath.Join(dir, "coord.seed")
	nkey := must(bus.WriteSeedFile(seed))(b)
	server := must(embedded.Start(embedded.Options{StoreDir: filepath.Join(dir, "bus"), Logger: quiet(),
		Users: []bus.User{{Name: "coord", Role: bus.RoleCoordinator, NKey: nkey}}}))(b)
	b.Cleanup(server.Shutdown)
	conn := must(bus.Connect(bus.Options{URL: server.URL(), Name: "coord", SeedFile: seed, Logger: quiet()}))(b)
	b.Cleanup(conn.Close)
	check(b, bus.EnsureStreams(b.Context(), conn.JS(), 1))
	subject := must(bus.SignatureSubject("selftest"))(b)
	return func(ctx context.Context, r hsmsigner.Reply) error {
		_, err := conn.Publish(ctx, subject, bus.MsgID(r.Answer), r.Answer)
		return err
	}
}

// processorTime of a process, whose clock is numbered as clock_getcpuclockid(3) does it.
func processorTime(b *testing.B, pid int) time.Duration {
	const perProcessScheduled = 2
	var t unix.Timespec
	check(b, unix.ClockGettime(int32(^pid<<3|perProcessScheduled), &t))
	return time.Duration(t.Nano())
}
