package policy_test

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
)

// drawTree makes a small tree over at most eight operators.
func drawTree(t *rapid.T) (root *tree, operators int) {
	groups := 0
	var draw func(depth int) *tree
	draw = func(depth int) *tree {
		if operators >= 7 || depth > 3 || depth > 0 && rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
			operators++
			return &tree{name: fmt.Sprintf("o%d", operators-1), bit: uint(operators - 1)}
		}
		groups++
		n := &tree{name: fmt.Sprintf("g%d", groups)}
		want := rapid.IntRange(1, 4).Draw(t, "members")
		for len(n.members) == 0 || len(n.members) < want && operators < 7 {
			n.members = append(n.members, draw(depth+1))
		}
		n.need = rapid.IntRange(1, len(n.members)).Draw(t, "need")
		return n
	}
	return draw(0), operators
}

// passing lists the sets that meet the tree.
func passing(n *tree, operators int) (sets []uint) {
	for set := range uint(1) << operators {
		if n.passes(set) {
			sets = append(sets, set)
		}
	}
	return sets
}

func disjointPair(sets []uint) bool {
	for _, a := range sets {
		for _, b := range sets {
			if a&b == 0 {
				return true
			}
		}
	}
	return false
}

// TestRuleMathsIsThatOfAllSubsets compares every number about a rule with what
// looking at all sets of operators gives.
func TestRuleMathsIsThatOfAllSubsets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, operators := drawTree(rt)
		c := n.load(t, operators)
		sets := passing(n, operators)
		all := uint(1)<<operators - 1
		minPass, minBlock := math.MaxInt, math.MaxInt
		for set := range all + 1 {
			if c.Rule.Passes(bools(c, set)) != n.passes(set) {
				rt.Fatalf("Passes(%b) is %t", set, !n.passes(set))
			}
			if n.passes(set) {
				minPass = min(minPass, bits.OnesCount(set))
			}
			if !n.passes(all &^ set) {
				minBlock = min(minBlock, bits.OnesCount(set))
			}
		}
		if got := c.Rule.CanSplit(); got != disjointPair(sets) {
			rt.Errorf("CanSplit is %t", got)
		}
		if got := c.Rule.MinPass(); got != minPass {
			rt.Errorf("MinPass is %d, want %d", got, minPass)
		}
		if got := c.Rule.MinBlock(); got != minBlock {
			rt.Errorf("MinBlock is %d, want %d", got, minBlock)
		}
		checkSmallest(rt, c, sets, minPass)
	})
}

// checkSmallest compares SmallestSets, whole and cut off.
func checkSmallest(t *rapid.T, c *policy.Channel, sets []uint, size int) {
	want := map[string]bool{}
	for _, set := range sets {
		if bits.OnesCount(set) == size {
			want[setName(c, set)] = true
		}
	}
	got, total := c.Rule.SmallestSets(1 << 20)
	if total != len(want) || len(got) != len(want) {
		t.Errorf("SmallestSets lists %d and counts %d, want %d", len(got), total, len(want))
	}
	for _, g := range got {
		slices.Sort(g)
		if name := strings.Join(g, " "); !want[name] {
			t.Errorf("SmallestSets lists %q, which is none or stands twice", name)
		} else {
			delete(want, name)
		}
	}
	limit := rapid.IntRange(0, 3).Draw(t, "limit")
	if cut, again := c.Rule.SmallestSets(limit); len(cut) != min(limit, total) || again != total {
		t.Errorf("SmallestSets(%d) lists %d and counts %d of %d", limit, len(cut), again, total)
	}
}

func setName(c *policy.Channel, set uint) string {
	var names []string
	for i, in := range bools(c, set) {
		if in {
			names = append(names, c.Roster[i])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestMissingIsThatOfAllSubsets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, operators := drawTree(rt)
		c := n.load(t, operators)
		all := uint(1)<<operators - 1
		set := rapid.UintRange(0, all).Draw(rt, "set")
		can := rapid.UintRange(0, all).Draw(rt, "can")
		want := -1
		for add := range all + 1 {
			if add&^can == 0 && add&set == 0 && n.passes(set|add) && (want < 0 || bits.OnesCount(add) < want) {
				want = bits.OnesCount(add)
			}
		}
		if got := c.Rule.Missing(bools(c, set), bools(c, can)); got != want {
			rt.Errorf("Missing(%b, %b) is %d, want %d", set, can, got, want)
		}
	})
}

func TestJoiningIsThoseOfTheSmallestSubsets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, operators := drawTree(rt)
		c := n.load(t, operators)
		all := uint(1)<<operators - 1
		set := rapid.UintRange(0, all).Draw(rt, "set")
		can := rapid.UintRange(0, all).Draw(rt, "can")
		least := c.Rule.Missing(bools(c, set), bools(c, can))
		var want uint
		for add := range all + 1 {
			if add&^can == 0 && add&set == 0 && bits.OnesCount(add) == least && n.passes(set|add) {
				want |= add
			}
		}
		who, anyOf := c.Rule.Joining(bools(c, set), bools(c, can))
		if got := bools(c, want); !slices.Equal(who, got) {
			rt.Fatalf("Joining(%b, %b) is %v, want %v", set, can, who, got)
		}
		for add := range all + 1 {
			if anyOf && add&^want == 0 && bits.OnesCount(add) == least && !n.passes(set|add) {
				rt.Fatalf("any of %b are said to do for %b, %b do not", want, set, add)
			}
		}
	})
}

// More votes never hurt, and passing twice needs two sets.
func TestPassesIsMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, operators := drawTree(rt)
		c := n.load(t, operators)
		all := uint(1)<<operators - 1
		set, more := rapid.UintRange(0, all).Draw(rt, "set"), rapid.UintRange(0, all).Draw(rt, "more")
		if c.Rule.Passes(bools(c, set)) && !c.Rule.Passes(bools(c, set|more)) {
			rt.Errorf("%b passes, %b does not", set, set|more)
		}
		if !c.Rule.Passes(bools(c, all)) || c.Rule.Passes(bools(c, 0)) {
			rt.Error("all must pass, nobody must not")
		}
	})
}

func TestRulesPeopleWrite(t *testing.T) {
	leaf := func(from, n int) (out []*tree) {
		for i := range n {
			out = append(out, &tree{name: fmt.Sprintf("o%d", from+i), bit: uint(from + i)})
		}
		return out
	}
	cases := []struct {
		name                     string
		rule                     *tree
		operators                int
		split                    bool
		minPass, minBlock, total int
	}{
		{"2 of 3", &tree{name: "g", need: 2, members: leaf(0, 3)}, 3, false, 2, 2, 3},
		{"2 of 4", &tree{name: "g", need: 2, members: leaf(0, 4)}, 4, true, 2, 3, 6},
		{"5 of 9", &tree{name: "g", need: 5, members: leaf(0, 9)}, 9, false, 5, 5, 126},
		{"any of 1", &tree{name: "g", need: 1, members: leaf(0, 1)}, 1, false, 1, 1, 1},
		{"2 of 3 and one more", &tree{name: "g", need: 2, members: []*tree{
			{name: "d", need: 2, members: leaf(0, 3)}, leaf(3, 1)[0]}}, 4, false, 3, 1, 3},
		{"all of three halves that each could split", &tree{name: "g", need: 3, members: []*tree{
			{name: "a", need: 1, members: leaf(0, 2)}, {name: "b", need: 1, members: leaf(2, 2)}, {name: "c", need: 1, members: leaf(4, 2)}}}, 6, true, 3, 2, 8},
		{"one member that cannot split saves it", &tree{name: "g", need: 2, members: []*tree{
			{name: "a", need: 1, members: leaf(0, 2)}, leaf(2, 1)[0]}}, 3, false, 2, 1, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := c.rule.load(t, c.operators).Rule
			if _, total := r.SmallestSets(1); r.CanSplit() != c.split || r.MinPass() != c.minPass || r.MinBlock() != c.minBlock || total != c.total {
				t.Errorf("split %t, pass %d, block %d, sets %d", r.CanSplit(), r.MinPass(), r.MinBlock(), total)
			}
		})
	}
}

// The counts are beyond any integer, by adding and by multiplying, and listing
// some ends all the same.
func TestCountsBeyondIntegersAreCutOff(t *testing.T) {
	operators := 0
	half := func(name string, n int) *tree {
		g := &tree{name: name, need: n / 2}
		for range n {
			g.members = append(g.members, &tree{name: fmt.Sprintf("o%d", operators), bit: uint(operators)})
			operators++
		}
		return g
	}
	wide := half("wide", 120)
	if sets, total := wide.load(t, operators).Rule.SmallestSets(3); total != math.MaxInt || len(sets) != 3 || len(sets[0]) != 60 {
		t.Errorf("60 of 120: counts %d, lists %d", total, len(sets))
	}
	operators = 0
	// The product of these two counts would come out positive again.
	deep := &tree{name: "deep", need: 2, members: []*tree{half("a", 36), half("b", 36)}}
	if sets, total := deep.load(t, operators).Rule.SmallestSets(3); total != math.MaxInt || len(sets) != 3 || len(sets[0]) != 36 {
		t.Errorf("twice 18 of 36: counts %d, lists %d", total, len(sets))
	}
}

// TestALargeGroupIsCounted: in seconds, not in hours, where each member is of one size.
func TestALargeGroupIsCounted(t *testing.T) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("op%d", i)
	}
	p := mustLoad(t, corekit.Head+corekit.Operators(names...)+corekit.Group("distro", "501", names...)+corekit.Channel("distro"))
	sets, total := p.Channel("core").Rule.SmallestSets(3)
	if len(sets) != 3 || len(sets[0]) != 501 || total != math.MaxInt {
		t.Errorf("%d sets of %d, %d in all", len(sets), len(sets[0]), total)
	}
}
