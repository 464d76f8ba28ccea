package policy_test

import (
	"testing"

	"quorate/quorum/policy"
)

func TestOverlapIsThatOfAllShortTargets(t *testing.T) {
	var patterns, targets []string
	var grow func(s, letters string, n int, list *[]string)
	grow = func(s, letters string, n int, list *[]string) {
		*list = append(*list, s)
		for i := 0; i < len(letters) && n > 0; i++ {
			grow(s+letters[i:i+1], letters, n-1, list)
		}
	}
	grow("", "ab*", 4, &patterns)
	grow("", "ab", 6, &targets) // two patterns of four bytes that meet do so in eight at most, and in six with these letters
	matches := func(pattern, target string) bool {
		return (&policy.Channel{Targets: []string{pattern}}).Matches(target)
	}
	sets := map[string]map[string]bool{}
	for _, p := range patterns {
		sets[p] = map[string]bool{}
		for _, s := range targets {
			if matches(p, s) {
				sets[p][s] = true
			}
		}
	}
	for _, a := range patterns {
		for _, b := range patterns {
			want := false
			for s := range sets[a] {
				want = want || sets[b][s]
			}
			_, _, got := (&policy.Channel{Targets: []string{a}}).Overlap(&policy.Channel{Targets: []string{b}})
			if got != want {
				t.Fatalf("%q and %q: %t, want %t", a, b, got, want)
			}
		}
	}
}
