package coordinator_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sourcegraph/conc/iter"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

var intakeN = flag.Int("intake", 20_000, "statements that BenchmarkIntake takes in")

// sampleSize is how many statements verification alone is measured on.
const sampleSize = 20_000

// BenchmarkIntake compares taking statements in, from the stream into SQLite,
// with verifying the same statements alone on all processors in the same run. It
// prints ratios, never rates: those belong to the machine.
func BenchmarkIntake(b *testing.B) {
	for b.Loop() {
		benchIntake(b, *intakeN)
	}
}

func benchIntake(b *testing.B, n int) {
	w := newWorld(b)
	p := must(policy.Load(must(os.ReadFile(w.path("policy.toml")))(b), time.Now()))(b)
	sample := w.fill(n)

	parse, verify, verifyCPU := measureVerification(b, p, sample)
	sample = nil

	before := rss(b)
	started, cpu := time.Now(), cpuTime(b)
	c := w.start()
	var memory []string
	for i := 1; i <= 4; i++ {
		check(b, coordinator.AwaitRecorded(limit(b), c, uint64(n*i/4)))
		memory = append(memory, rss(b))
	}
	took, used := time.Since(started), cpuTime(b)-cpu
	check(b, coordinator.AwaitDecided(limit(b), c))
	decided := time.Since(started)

	rate := float64(n) / took.Seconds()
	b.ReportMetric(rate/parse, "intake/admit")
	b.ReportMetric(rate/verify, "intake/verify")
	b.ReportMetric(float64(n)/decided.Seconds()/parse, "decided/admit")
	fmt.Fprintf(os.Stderr, "intake of %d: %.2f of parsing and verifying alone, %.2f of bare signature checks; %.2f with all verdicts; "+
		"resident memory before %s, at each quarter %s\n",
		n, rate/parse, rate/verify, float64(n)/decided.Seconds()/parse, before, strings.Join(memory, " "))
	fmt.Fprintf(os.Stderr, "in processor time, which other programs on the machine disturb less: %.2f and %.2f\n",
		verifyCPU[0]/(used.Seconds()/float64(n)), verifyCPU[1]/(used.Seconds()/float64(n)))
	if testing.Verbose() {
		fmt.Fprintf(os.Stderr, "on this machine: intake %.0f/s, parse and verify %.0f/s, signature checks %.0f/s\n", rate, parse, verify)
	}
	check(b, c.Close())
}

// measureVerification returns statements a second: parsed and admitted, and with
// the signature checked only; and the processor seconds of one of each.
func measureVerification(b *testing.B, p *policy.Policy, sample [][]byte) (parse, verify float64, cpu [2]float64) {
	stmts := make([]*statement.Statement, len(sample))
	parse, cpu[0] = measure(b, len(sample), func() {
		iter.ForEachIdx(sample, func(i int, raw *[]byte) {
			stmts[i] = must(statement.Parse(*raw))(b)
			must(quorum.Admit(p, stmts[i], time.Now()))(b)
		})
	})
	verify, cpu[1] = measure(b, len(sample), func() {
		iter.ForEach(stmts, func(s **statement.Statement) {
			check(b, (*s).Verify(p.Builder((*s).Builder).Keys[0].Public))
		})
	})
	return parse, verify, cpu
}

func measure(b *testing.B, n int, f func()) (rate, cpu float64) {
	started, used := time.Now(), cpuTime(b)
	f()
	return float64(n) / time.Since(started).Seconds(), (cpuTime(b) - used).Seconds() / float64(n)
}

// cpuTime is the processor time that this process has used.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill puts n statements into the stream of the state directory, by a server
// that does not wait for the disk after each. It returns the first ones.
func (w *world) fill(n int) (sample [][]byte) {
	users := must(bus.LoadUsers(filepath.Join(w.state(), "users.toml")))(w.t)
	opts := &server.Options{}
	check(w.t, opts.ProcessConfigString(bus.ServerConfig(users, bus.ConfigOptions{StoreDir: filepath.Join(w.state(), "bus"), Listen: "127.0.0.1:-1", ServerName: "quorate"})))
	opts.SyncAlways, opts.NoSigs, opts.NoLog = false, true, true
	check(w.t, os.MkdirAll(filepath.Join(w.state(), "bus"), 0o700))
	ns := must(server.NewServer(opts))(w.t)
	ns.Start()
	if !ns.ReadyForConnections(testLimit) {
		w.t.Fatal("server does not start")
	}
	conn := must(bus.Connect(bus.Options{URL: ns.ClientURL(), Name: "coordinator", SeedFile: filepath.Join(w.state(), "coordinator.nk"), Logger: quiet()}))(w.t)
	check(w.t, bus.EnsureStreams(limit(w.t), conn.JS(), 1))
	for at := 0; at < n; at += sampleSize {
		part := w.statements(at, min(sampleSize, n-at))
		w.publishAll(conn, part)
		if sample == nil {
			for _, s := range part {
				sample = append(sample, s.Raw())
			}
		}
	}
	conn.Close()
	ns.Shutdown()
	ns.WaitForShutdown()
	return sample
}

// statements makes statements of three builders about one target after another.
func (w *world) statements(from, n int) []*statement.Statement {
	list := make([]*statement.Statement, n)
	iter.ForEachIdx(list, func(i int, s **statement.Statement) {
		k := from + i
		*s = build{builder: builders[k%3], target: fmt.Sprintf("pkg:generic/p%d@1", k/3),
			files: map[string]string{"out.tar.zst": fmt.Sprint("content ", k/3)}}.statement(w.t)
	})
	return list
}

func (w *world) publishAll(conn *bus.Conn, list []*statement.Statement) {
	js := must(jetstream.New(conn.NATS(), jetstream.WithPublishAsyncMaxPending(4000)))(w.t)
	for _, s := range list {
		subject := must(bus.StatementSubject(s.Channel, s.Builder))(w.t)
		must(js.PublishAsync(subject, s.Raw()))(w.t)
	}
	<-js.PublishAsyncComplete()
}

// rss is the resident memory of this process, for people.
func rss(t testing.TB) string {
	data := must(os.ReadFile("/proc/self/status"))(t)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.Join(strings.Fields(rest), "")
		}
	}
	return "unknown"
}
