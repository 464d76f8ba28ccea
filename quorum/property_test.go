package quorum_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"quorate/quorum"
)

// judgeF decides on f, or returns nil when nobody ever spoke of it.
func (w *world) judgeF(t testing.TB) *quorum.Verdict {
	for _, v := range quorum.Decide(load(t, w.text).Channel("core"), w.rec, w.signed, w.at) {
		if v.Artifact == "f" {
			return &v
		}
	}
	return nil
}

func TestStateIsThatOfTheOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		v := w.judgeF(t)
		if v == nil {
			rt.Skip("nobody spoke of f")
		}
		if want := w.state(); v.State != want {
			rt.Errorf("%s (%s), the oracle says %s", v.State, v.Reason, want)
		}
		checkVerdict(rt, w, v)
	})
}

func TestSignedStateIsThatOfTheOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		w.drawSignature(rt)
		v := w.judgeF(t)
		if want := w.signedState(); v.State != want {
			rt.Errorf("%s (%s), the oracle says %s", v.State, v.Reason, want)
		}
	})
}

// checkVerdict holds for every verdict: everybody has one place, and what is
// agreed is carried by the rule in both digests.
func checkVerdict(t *rapid.T, w *world, v *quorum.Verdict) {
	place := map[string]int{}
	for _, g := range v.Groups {
		for _, m := range g.Members {
			place[m.Operator]++
		}
	}
	for _, n := range v.NoVotes {
		place[n.Operator]++
	}
	for _, n := range slices.Concat(v.Silent, v.Missing) {
		place[n]++
	}
	for _, name := range w.names {
		if place[name] != 1 {
			t.Errorf("operator %s has %d places", name, place[name])
		}
	}
	if len(place) != len(w.names) {
		t.Errorf("somebody from outside has a place: %v", place)
	}
	if v.State == quorum.Agreed {
		c := w.count()
		var x variant
		if w.sha512 {
			x.s = &v.SHA512
		}
		if w.texts {
			x.t = &v.Signables[0].SHA256
		}
		if !w.passes(c.set(v.SHA256, x)) {
			t.Error("agreed without the quorum")
		}
	}
	if passing := countPassing(v); passing > 1 && v.State != quorum.Conflicting {
		t.Errorf("%d digests pass and the state is %s", passing, v.State)
	}
}

func countPassing(v *quorum.Verdict) (n int) {
	for _, g := range v.Groups {
		if g.Passes {
			n++
		}
	}
	return n
}

// Whoever is faster has no advantage: only the order of one operator's own
// statements says anything.
func TestOrderOfDifferentOperatorsChangesNoVerdict(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		w.settle = 0
		w.text = load2(w)
		before := w.judgeF(t)
		if before == nil {
			rt.Skip("nobody spoke of f")
		}
		w.shuffle(rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)))
		after := w.judgeF(t)
		if a, b := timeless(before), timeless(after); !bytes.Equal(a, b) {
			rt.Errorf("verdict\n%s\nand in another order\n%s", a, b)
		}
	})
}

// load2 writes the policy without the settle time, which is about order.
func load2(w *world) string {
	return string(bytes.Replace([]byte(w.text), []byte("settle ="), []byte("# settle ="), 1))
}

// shuffle interleaves the operators' statements anew.
func (w *world) shuffle(r *rand.Rand) {
	queues := map[string]record{}
	order := make([]string, len(w.rec))
	for i, o := range w.rec {
		queues[o.Operator] = append(queues[o.Operator], o)
		order[i] = o.Operator
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	w.rec = nil
	for i, op := range order {
		o := queues[op][0]
		queues[op] = queues[op][1:]
		o.Seq, o.Received = uint64(i+1), noon.Add(time.Duration(i)*time.Minute)
		w.rec = append(w.rec, o)
	}
}

// timeless writes a verdict without the times of arrival and in no order of them.
func timeless(v *quorum.Verdict) []byte {
	c := *v
	c.Since, c.Until = time.Time{}, time.Time{}
	c.Groups = slices.Clone(c.Groups)
	for i := range c.Groups {
		c.Groups[i].Members = slices.Clone(c.Groups[i].Members)
		for j := range c.Groups[i].Members {
			c.Groups[i].Members[j].Received = time.Time{}
		}
	}
	c.Changed = slices.SortedStableFunc(slices.Values(c.Changed), func(a, b quorum.Change) int { return bytes.Compare([]byte(a.Operator), []byte(b.Operator)) })
	c.Revoked = slices.SortedStableFunc(slices.Values(c.Revoked), func(a, b quorum.Member) int { return bytes.Compare([]byte(a.Operator), []byte(b.Operator)) })
	for i := range c.Revoked {
		c.Revoked[i].Received = time.Time{}
	}
	out, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return out
}

func TestOneMoreVoteForTheWinnerNeverUnagrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		v := w.judgeF(t)
		if v == nil || v.State != quorum.Agreed {
			rt.Skip("not agreed")
		}
		for _, op := range append(slices.Clone(v.Missing), v.Silent...) {
			w.rec.add(op, "", quorum.File{Name: "f", SHA256: v.SHA256, SHA512: v.SHA512, Signables: v.Signables})
			if after := w.judgeF(t); after.State != quorum.Agreed || after.SHA256 != v.SHA256 || after.SHA512 != v.SHA512 {
				rt.Errorf("with %s too it is %s (%s)", op, after.State, after.Reason)
			}
		}
	})
}

func TestDuplicatesChangeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		if rapid.Bool().Draw(rt, "signed") {
			w.drawSignature(rt)
		}
		before := w.judgeF(t)
		for range rapid.IntRange(0, 5).Draw(rt, "copies") {
			if len(w.rec) == 0 {
				break
			}
			o := w.rec[rapid.IntRange(0, len(w.rec)-1).Draw(rt, "which")]
			o.Seq, o.Received = uint64(len(w.rec)+1), o.Received.Add(time.Hour)
			if rapid.Bool().Draw(rt, "another envelope") {
				o.ID[9]++
			}
			w.rec = append(w.rec, o)
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(w.judgeF(t))
		if !bytes.Equal(a, b) {
			rt.Errorf("verdict\n%s\nand with copies\n%s", a, b)
		}
	})
}

// TestInvariant3OneOperatorOneVote: however many keys, machines and statements
// an operator has, what is agreed is carried by a set of operators.
func TestInvariant3OneOperatorOneVote(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		for i := range w.rec { // every statement comes from another machine
			w.rec[i].Builder = w.rec[i].Operator + string(rune('a'+i))
		}
		v := w.judgeF(t)
		if v == nil {
			rt.Skip("nobody spoke of f")
		}
		var voters uint
		for _, o := range w.rec {
			for _, f := range o.Files {
				if i := slices.Index(w.names, o.Operator); i >= 0 && f.SHA256 == v.SHA256 && f.Name == "f" {
					voters |= 1 << i
				}
			}
		}
		if v.State == quorum.Agreed && !w.passes(voters) {
			rt.Errorf("agreed by the operators %b, which do not meet the quorum", voters)
		}
	})
	for name, text := range map[string]string{"one machine": "berlin=1 berlin=1 berlin=1", "an outsider": "berlin=1 outsider=1"} {
		r := script(text)
		for i := range r {
			r[i].Builder += string(rune('a' + i))
		}
		v := r.judge(t, load(t, twoOfThree()), nil, noon.Add(time.Hour))
		if v.State != quorum.Waiting || len(v.Groups[0].Members) != 1 {
			t.Errorf("%s: %s with %d votes", name, v.State, len(v.Groups[0].Members))
		}
	}
}

func TestOneOperatorWithTwoMachinesThatDiffer(t *testing.T) {
	r := script("berlin=1 osaka=1 berlin=2")
	r[2].Builder = "berlin-2"
	v := r.judge(t, load(t, twoOfThree()), nil, noon.Add(time.Hour))
	wantState(t, v, quorum.Conflicting, quorum.ReasonDiffer)
	if len(v.Changed) != 1 || v.Changed[0].Builder != "berlin-2" || v.Changed[0].From != digest(1) {
		t.Errorf("changed %+v", v.Changed)
	}
}

// TestInvariant6SameInputSameVerdict: equal input gives equal bytes, whatever
// was decided before, and the input is left as it was.
func TestInvariant6SameInputSameVerdict(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		if rapid.Bool().Draw(rt, "signed") {
			w.drawSignature(rt)
			w.signed["g"], w.signed["h"] = quorum.Signature{}, quorum.Signature{SHA256: digest(3)}
		}
		input, _ := json.Marshal(w.rec)
		verdicts := func() []byte {
			out, err := json.Marshal(quorum.Decide(load(t, w.text).Channel("core"), w.rec, w.signed, w.at))
			if err != nil {
				rt.Fatal(err)
			}
			return out
		}
		first := verdicts()
		for range 5 {
			if again := verdicts(); !bytes.Equal(first, again) {
				rt.Fatalf("first\n%s\nthen\n%s", first, again)
			}
		}
		if after, _ := json.Marshal(w.rec); !bytes.Equal(input, after) {
			rt.Error("Decide changed its input")
		}
	})
}

// The zone in which the clock is read is not the reading.
func TestVerdictDoesNotDependOnTheTimeZone(t *testing.T) {
	p := load(t, twoOfThree(settle))
	r := script("berlin=1 osaka=1")
	at := noon.Add(11 * time.Minute)
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("east", 14*3600), time.FixedZone("west", -12*3600)} {
		wantState(t, r.judge(t, p, nil, at.In(zone)), quorum.Agreed, quorum.ReasonMet)
		wantState(t, r.judge(t, p, nil, at.Add(-1).In(zone)), quorum.Held, quorum.ReasonSettling)
	}
}
