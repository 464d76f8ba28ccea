package quorum_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// What an operator's other machine gave is shown, whether it is the same or not, and
// of each machine the latest.
func TestWhatAnOtherMachineGaveIsBeside(t *testing.T) {
	p := load(t, twoOfThree())
	by := func(r *record, operator, builder string, b byte) *quorum.Observation {
		o := r.add(operator, "", file("f", b))
		o.Builder = builder
		return o
	}
	var r record
	by(&r, "berlin", "one", 1)
	osaka := *by(&r, "osaka", "osaka", 1)
	same := *by(&r, "berlin", "two", 1)
	v := r.judge(t, p, nil, noon.Add(time.Hour))
	if len(v.Beside) != 1 || v.Beside[0].Member != (quorum.Member{Operator: "berlin", Builder: "two", Statement: same.ID, Received: same.Received}) || v.Beside[0].SHA256 != digest(1) {
		t.Errorf("two machines that agree: %+v", v.Beside)
	}
	if text := strings.Join(quorum.Explain(&v).Facts, "\n"); strings.Contains(text, "another of its builders") {
		t.Errorf("told without need: %s", text)
	}

	by(&r, "berlin", "two", 2) // which is the vote now
	v = r.judge(t, p, nil, noon.Add(time.Hour))
	if len(v.Beside) != 1 || v.Beside[0].Builder != "one" || v.Beside[0].SHA256 != digest(1) || len(v.Groups) != 2 {
		t.Errorf("two machines that differ: %+v", v.Beside)
	}
	if text := strings.Join(quorum.Explain(&v).Facts, "\n"); !strings.Contains(text, "Builder one of berlin gave 010101010101; that is not the vote of berlin, which is by another of its builders.") {
		t.Errorf("not told: %s", text)
	}
	wantState(t, v, quorum.Conflicting, quorum.ReasonDiffer)

	// After a signature the machine's dissent is beside, too, and told once.
	sig := map[string]quorum.Signature{"f": {SHA256: digest(1), Seq: uint64(len(r) - 1), Complete: true}}
	v = r.judge(t, p, sig, noon.Add(time.Hour))
	if len(v.Late) != 1 || len(v.Beside) != 1 || v.Beside[0].Builder != "two" || v.Beside[0].SHA256 != digest(2) {
		t.Errorf("after the signature: %+v, late %+v", v.Beside, v.Late)
	}
	if text := strings.Join(quorum.Explain(&v).Facts, "\n"); strings.Contains(text, "another of its builders") {
		t.Errorf("told twice: %s", text)
	}

	r.add("berlin", statement.Withdrawn)
	if v = r.judge(t, p, nil, noon.Add(time.Hour)); len(v.Beside) != 0 || v.Groups[0].Members[0].Statement != osaka.ID {
		t.Errorf("what was taken back is beside: %+v", v.Beside)
	}
}

// Which of an operator's machines speaks decides nothing.
func TestMachinesOfAnOperatorDecideNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		if rapid.Bool().Draw(rt, "signed") {
			w.drawSignature(rt)
		}
		v := w.judgeF(t)
		for i := range w.rec {
			w.rec[i].Builder = w.rec[i].Operator + rapid.SampledFrom([]string{"", "-2", "-3"}).Draw(rt, "builder")
		}
		got := w.judgeF(t)
		if v == nil || got == nil {
			if v != got {
				rt.Fatalf("%+v, want %+v", got, v)
			}
			return
		}
		if got.State != v.State || got.Reason != v.Reason || got.SHA256 != v.SHA256 || len(got.Groups) != len(v.Groups) || len(got.Late) != len(v.Late) {
			rt.Errorf("%+v, want %+v", got, v)
		}
		for _, b := range got.Beside {
			for _, g := range got.Groups {
				for _, m := range g.Members {
					if m.Builder == b.Builder {
						rt.Errorf("%s has the vote and is beside it", m.Builder)
					}
				}
			}
		}
	})
}
