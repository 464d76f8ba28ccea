package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// known is a target as a test remembers it.
type known struct {
	store.Case
	store.Summary
}

func (k *known) matches(f *store.TargetFilter) bool {
	b := k.Builders
	return (f.Channel == "" || f.Channel == k.Channel) &&
		(f.State == "" || f.State == k.State || k.Counts[f.State] > 0) &&
		(f.Text == "" || strings.Contains(k.Target, f.Text) || slices.Contains(k.Artifacts, f.Text)) &&
		(f.Builder == "" || b[f.Builder].Statements > 0) &&
		(f.Differs == "" || b[f.Differs].Differed > 0) &&
		(f.Changed == "" || b[f.Changed].Changed > 0) &&
		(f.From.IsZero() || !k.Since.Before(f.From)) && (f.To.IsZero() || !k.Since.After(f.To))
}

var (
	names   = []string{"alice", "bob", "carol"}
	letters = []string{"a", "b", "ab", "aba", "bab", "%", "é", `"`, "日本", "abab"}
)

// decide stores a target as deciding it does.
func decide(t *rapid.T, db *store.DB, seq uint64, target string) *known {
	k := &known{Case: store.Case{Case: statement.Case{Channel: rapid.SampledFrom([]string{"core", "extra"}).Draw(t, "channel"), Target: target}}}
	k.ID = store.NewCaseID(k.Case.Case)
	state := rapid.SampledFrom(quorum.States)
	k.State, k.Counts = state.Draw(t, "state"), map[quorum.State]int{state.Draw(t, "other"): 2}
	k.First, k.Since = seq, time.Unix(int64(seq)*10, 0).UTC()
	k.Artifacts = []string{rapid.SampledFrom(letters).Draw(t, "artifact") + ".zst"}
	k.Builders = map[string]store.BuilderCounts{}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "builders") {
		k.Builders[name] = store.BuilderCounts{Statements: 1, Votes: 1, Differed: rapid.IntRange(0, 1).Draw(t, "differs"), Changed: rapid.IntRange(0, 1).Draw(t, "changed")}
	}
	err := db.Update(func(tx *store.Tx) error {
		for _, name := range k.Artifacts {
			if err := tx.PutVerdict(k.ID, &quorum.Verdict{Artifact: name, State: k.State}, "{}"); err != nil {
				return err
			}
		}
		return tx.Decided(k.Case, k.Summary)
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func drawFilter(t *rapid.T) store.TargetFilter {
	maybe := func(label string, values ...string) string {
		return rapid.SampledFrom(append(values, "", "")).Draw(t, label)
	}
	f := store.TargetFilter{Channel: maybe("channel", "core", "nowhere"), State: quorum.State(maybe("state", "signed", "waiting")),
		Text: maybe("text", append(letters, "ab.zst", "pkg:", "aba@")...), Builder: maybe("builder", names...), Differs: maybe("differs", names...),
		Changed: maybe("changed", names...), Oldest: rapid.Bool().Draw(t, "oldest"), Limit: rapid.IntRange(1, 5).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "from") {
		f.From = time.Unix(rapid.Int64Range(1, 400).Draw(t, "from"), 0)
	}
	if rapid.Bool().Draw(t, "to") {
		f.To = time.Unix(rapid.Int64Range(1, 400).Draw(t, "to"), 0)
	}
	return f
}

// Whatever is asked for, the pages together are what looking at every target
// gives: nothing twice, nothing left out, in order.
func TestPagesAreWhatLookingAtAllGives(t *testing.T) {
	defer store.SetSearchBudget(40)() // so that pages end in the middle of looking
	db := newDB(t)
	var all []*known
	seq, round := uint64(0), 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			seq += uint64(rapid.IntRange(0, 2).Draw(t, "step")) // also two targets of one message
			seq = max(seq, 1)
			all = append(all, decide(t, db, seq, fmt.Sprintf("pkg:%s@%d-%d", rapid.SampledFrom(letters).Draw(t, "name"), round, len(all))))
		}
		f := drawFilter(t)
		var want, got []string
		for _, k := range all {
			if k.matches(&f) {
				want = append(want, k.Target)
			}
		}
		if !f.Oldest {
			slices.Reverse(want)
		}
		for {
			page, err := db.Targets(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, target := range page.Targets {
				got = append(got, target.Case.Target)
			}
			if f.After = page.Next; f.After == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v gives %q, want %q", f, got, want)
		}
	})
}

// Counters are what adding everything up gives, also after targets change and go.
func TestCountersFollowWhatIsDecided(t *testing.T) {
	db := newDB(t)
	rapid.Check(t, func(t *rapid.T) {
		all := map[string]*known{}
		for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
			target := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "target")
			k := decide(t, db, uint64(i+1), target)
			all[k.Channel+k.Target] = k
			if rapid.Bool().Draw(t, "forget") {
				delete(all, k.Channel+k.Target)
				if err := db.Update(func(tx *store.Tx) error { return tx.Forget(k.ID) }); err != nil {
					t.Fatal(err)
				}
			}
		}
		counts, err := db.StateCounts()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for _, k := range all {
			for state, n := range k.Counts {
				want[k.Channel+" "+string(state)] += n
			}
		}
		for channel, states := range counts {
			for state, n := range states {
				if n != want[channel+" "+string(state)] {
					t.Fatalf("%s %s: %d, want %d", channel, state, n, want[channel+" "+string(state)])
				}
			}
		}
		for _, name := range names {
			got, err := db.BuilderTotals(name)
			sum := 0
			for _, k := range all {
				sum += k.Builders[name].Votes
			}
			if err != nil || got.Votes != sum {
				t.Fatalf("%s: %d votes, want %d; %v", name, got.Votes, sum, err)
			}
		}
		for _, k := range all {
			if err := db.Update(func(tx *store.Tx) error { return tx.Forget(k.ID) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}
