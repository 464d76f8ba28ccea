package quorum_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
)

// BenchmarkDecide judges a large build: 200 artifacts by 24 builders, two of
// which differ.
func BenchmarkDecide(b *testing.B) {
	ch, obs := largeCase(b, 200, 24)
	at := corekit.Epoch.Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if got := quorum.Decide(ch, obs, nil, at); len(got) != 200 || got[0].State != quorum.Agreed {
			b.Fatalf("%d verdicts, the first %s", len(got), got[0].State)
		}
	}
}

// BenchmarkDecideOpen is the same with nobody agreeing on anything.
func BenchmarkDecideOpen(b *testing.B) {
	ch, obs := largeCase(b, 200, 24)
	for i := range obs {
		for j := range obs[i].Files {
			obs[i].Files[j].SHA256[0] = byte(i)
		}
	}
	at := corekit.Epoch.Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if got := quorum.Decide(ch, obs, nil, at); got[0].State != quorum.Unreachable {
			b.Fatalf("the first is %s", got[0].State)
		}
	}
}

func largeCase(t testing.TB, artifacts, builders int) (*policy.Channel, []quorum.Observation) {
	t.Helper()
	names := make([]string, builders)
	for i := range names {
		names[i] = fmt.Sprintf("operator-%d", i)
	}
	third := builders / 3
	text := corekit.Head + corekit.Operators(names...) +
		corekit.Group("a", fmt.Sprint(third-1), names[:third]...) +
		corekit.Group("b", fmt.Sprint(third-1), names[third:2*third]...) +
		corekit.Group("c", fmt.Sprint(third-1), names[2*third:]...) +
		corekit.Group("all", "2", "a", "b", "c") +
		corekit.Channel("all", `dissent = "report"`, `settle = "10m"`)
	obs := make([]quorum.Observation, builders)
	for i := range obs {
		obs[i] = quorum.Observation{ID: digest(byte(i + 1)), Payload: digest(byte(i + 101)), Operator: names[i], Builder: names[i],
			Seq: uint64(i + 1), Received: corekit.Epoch.Add(time.Duration(i) * time.Second), Files: make([]quorum.File, artifacts)}
		for j := range obs[i].Files {
			f := &obs[i].Files[j]
			*f = file(fmt.Sprintf("%s-%d.deb", strings.Repeat("x", j%20), j), byte(j+1))
			if i%12 == 11 {
				*f = file(f.Name, byte(j+2))
			}
		}
	}
	return load(t, text).Channel("core"), obs
}
