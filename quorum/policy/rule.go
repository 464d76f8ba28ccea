package policy

import (
	"math"
	"slices"
	"sort"
)

// Rule is one node of a quorum: an operator, or a group that passes when at
// least Need of its members do.
type Rule struct {
	Name    string
	Need    int     // 0 for an operator
	Members []*Rule // nil for an operator

	index int // an operator's place in the channel's roster
}

// IsOperator reports whether the node is a leaf.
func (r *Rule) IsOperator() bool { return r.Members == nil }

// Passes reports whether the rule is met when exactly the operators with a true
// entry say yes. The set is indexed like the channel's roster.
func (r *Rule) Passes(set []bool) bool {
	if r.IsOperator() {
		return set[r.index]
	}
	return r.Count(set) >= r.Need
}

// Count returns how many members of a group pass.
func (r *Rule) Count(set []bool) int {
	n := 0
	for _, m := range r.Members {
		if m.Passes(set) {
			n++
		}
	}
	return n
}

// Missing returns the least number of operators out of can that must join the
// set for the rule to be met, or -1 when even all of them would not do.
func (r *Rule) Missing(set, can []bool) int {
	if r.IsOperator() {
		switch {
		case set[r.index]:
			return 0
		case can[r.index]:
			return 1
		}
		return -1
	}
	costs := make([]int, 0, len(r.Members))
	for _, m := range r.Members {
		if c := m.Missing(set, can); c >= 0 {
			costs = append(costs, c)
		}
	}
	if len(costs) < r.Need {
		return -1
	}
	sort.Ints(costs)
	sum := 0
	for _, c := range costs[:r.Need] {
		sum += c
	}
	return sum
}

// Joining returns who is in one of the smallest sets that [Rule.Missing] counts,
// indexed like the roster, and whether any choice of that many of them is such a
// set: with nested groups it need not be. Nobody is when none is missing, or when
// all would not do.
func (r *Rule) Joining(set, can []bool) (who []bool, anyOf bool) {
	who = make([]bool, len(can))
	missing := r.Missing(set, can)
	if missing > 0 {
		anyOf = r.join(set, can, who)
	}
	n := 0
	for _, in := range who {
		if in {
			n++
		}
	}
	return who, anyOf || missing == 1 || n == missing
}

// join adds the node's own to who, for a node that misses somebody and can get
// there. It reports whether they are interchangeable.
func (r *Rule) join(set, can, who []bool) bool {
	if r.IsOperator() {
		who[r.index] = true
		return true
	}
	costs := make([]int, len(r.Members))
	var possible []int
	for i, m := range r.Members {
		if costs[i] = m.Missing(set, can); costs[i] >= 0 {
			possible = append(possible, costs[i])
		}
	}
	slices.Sort(possible)
	dearest, joined, operators, alike := possible[r.Need-1], 0, 0, false
	for i, m := range r.Members {
		if 0 < costs[i] && costs[i] <= dearest {
			alike = m.join(set, can, who)
			joined++
			if m.IsOperator() {
				operators++
			}
		}
	}
	return operators == joined || joined == 1 && alike
}

// CanSplit reports whether two sets of operators without a common member could
// both meet the rule. That is when two different digests could both pass, since
// an operator has one vote.
//
// An operator goes to one side. A member that can split serves both. With s
// members that can split and n that cannot, both sides reach k when the n can be
// dealt so that each side gets the k-s that are missing.
func (r *Rule) CanSplit() bool {
	if r.IsOperator() {
		return false
	}
	split := 0
	for _, m := range r.Members {
		if m.CanSplit() {
			split++
		}
	}
	return 2*max(0, r.Need-split) <= len(r.Members)-split
}

// MinPass is the least number of operators that meets the rule.
func (r *Rule) MinPass() int {
	if r.IsOperator() {
		return 1
	}
	return sumSmallest(r.Members, (*Rule).MinPass, r.Need)
}

// MinBlock is the least number of operators whose silence makes the rule
// impossible. Any MinBlock-1 operators may be lost.
func (r *Rule) MinBlock() int {
	if r.IsOperator() {
		return 1
	}
	return sumSmallest(r.Members, (*Rule).MinBlock, len(r.Members)-r.Need+1)
}

func sumSmallest(members []*Rule, size func(*Rule) int, n int) int {
	sizes := make([]int, len(members))
	for i, m := range members {
		sizes[i] = size(m)
	}
	sort.Ints(sizes)
	sum := 0
	for _, s := range sizes[:n] {
		sum += s
	}
	return sum
}

// SmallestSets lists sets of MinPass operators that meet the rule, at most limit
// of them, and how many there are in all (math.MaxInt when more than can be counted).
func (r *Rule) SmallestSets(limit int) (sets [][]string, total int) {
	counts := r.passCounts(r.MinPass())
	return r.sets(r.MinPass(), limit), counts[r.MinPass()]
}

// passCounts returns, for each size up to n, how many minimal ways of exactly
// that size meet the rule with exactly Need members passing.
func (r *Rule) passCounts(n int) []int {
	counts := make([]int, n+1)
	if r.IsOperator() {
		if n >= 1 {
			counts[1] = 1
		}
		return counts
	}
	// ways[j][s]: ways to have j members pass with s operators in all.
	ways := make([][]int, r.Need+1)
	for j := range ways {
		ways[j] = make([]int, n+1)
	}
	ways[0][0] = 1
	for _, m := range r.Members {
		mc := m.passCounts(n)
		var sizes []int // that m passes with: an operator has one
		for t := 1; t <= n; t++ {
			if mc[t] > 0 {
				sizes = append(sizes, t)
			}
		}
		for j := r.Need; j > 0; j-- {
			for s := n; s > 0; s-- {
				for _, t := range sizes {
					if t <= s {
						ways[j][s] = addSat(ways[j][s], mulSat(mc[t], ways[j-1][s-t]))
					}
				}
			}
		}
	}
	return ways[r.Need]
}

// sets lists, up to limit, the sets of exactly size operators in which exactly
// Need members pass.
func (r *Rule) sets(size, limit int) [][]string {
	if r.IsOperator() {
		if size == 1 {
			return [][]string{{r.Name}}
		}
		return nil
	}
	return choose(r.Members, r.Need, size, limit)
}

func choose(members []*Rule, need, size, limit int) (out [][]string) {
	if need == 0 {
		if size == 0 {
			return [][]string{nil}
		}
		return nil
	}
	// Without the last test branches that cannot succeed would be searched whole.
	if len(members) < need || limit <= 0 || sumSmallest(members, (*Rule).MinPass, need) > size {
		return nil
	}
	first := members[0]
	for s := first.MinPass(); s <= size; s++ {
		rest := choose(members[1:], need-1, size-s, limit-len(out))
		if len(rest) == 0 {
			continue
		}
		for _, a := range first.sets(s, limit-len(out)) {
			for _, b := range rest {
				if len(out) == limit {
					return out
				}
				out = append(out, slices.Concat(a, b))
			}
		}
	}
	return append(out, choose(members[1:], need, size, limit-len(out))...)
}

func addSat(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func mulSat(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}
