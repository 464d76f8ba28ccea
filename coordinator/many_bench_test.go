package coordinator_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/quorum"
)

// BenchmarkManyFiles has three builders agree on all files of one target, each with
// one statement, and measures the time from the last of them to the last signature in
// the database. The signer is the tests' own: it checks each request as the true
// one does, and signs with a key in memory.
func BenchmarkManyFiles(b *testing.B) {
	for _, n := range []int{100, 300, 1300} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b)
				w.start()
				files := map[string]string{}
				for i := range n {
					files[fmt.Sprintf("f%04d", i)] = fmt.Sprint("content ", i)
				}
				s := w.signer()
				s.memory = quorum.NewMemory(16 << 20)
				for _, name := range builders[:2] {
					w.publish(build{builder: name, files: files})
				}
				w.sync()
				last := build{builder: builders[2], files: files}.statement(b)
				conn := w.as(builders[2])
				b.StartTimer()
				used := cpuTime(b)
				must(conn.Publish(limit(b), must(bus.StatementSubject("core", builders[2]))(b), "last", last.Raw()))(b)
				s.answerAll(n)
				w.sync()
				b.StopTimer()
				b.ReportMetric((cpuTime(b)-used).Seconds()*1000/float64(n), "cpu-ms/file")
				w.wantSigned(n)
				w.stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N*n), "ms/file")
		})
	}
}

// answerAll answers so many requests.
func (s *signer) answerAll(n int) {
	s.w.t.Helper()
	messages := must(s.reader.Messages(jetstream.PullMaxMessages(16)))(s.w.t)
	defer messages.Stop()
	for range n {
		m := must(messages.Next())(s.w.t)
		r, ref := quorum.ParseRequest(m.Data())
		if ref != nil {
			s.w.t.Fatal(ref)
		}
		if a := s.answer(r, nil); a.Refusal != nil {
			s.w.t.Fatal(a.Refusal)
		}
		check(s.w.t, m.Ack())
	}
}

// wantSigned fails unless so many files of the one target are signed.
func (w *world) wantSigned(n int) {
	w.t.Helper()
	resp := must(http.Get(w.c.URL() + "/v1/targets"))(w.t)
	defer resp.Body.Close()
	var list api.Targets
	check(w.t, json.UnmarshalRead(resp.Body, &list))
	if len(list.Targets) != 1 || list.Targets[0].Counts[quorum.Signed] != n {
		w.t.Fatalf("%d files are to be signed; targets: %+v", n, list.Targets)
	}
}
