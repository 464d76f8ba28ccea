package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
)

var now = corekit.Epoch

// good is a policy with everything that a policy can say.
func good() string {
	return corekit.Head + corekit.Operators("berlin", "osaka", "reading", "hetzner") +
		"  [[operator.builder.rotated]]\n  key = \"" + corekit.Text(corekit.P256("old")) + "\"\n" +
		"  not_before = 2025-01-01T00:00:00Z\n  not_after = 2026-01-01T00:00:00Z\n  revoked = 2026-02-01T00:00:00+01:00\n" +
		corekit.Group("distro", "2", "berlin", "osaka", "reading") +
		corekit.Group("release", `"all"`, "distro", "hetzner") +
		corekit.Channel("release", `settle = "10m"`, `dissent = "report"`)
}

func mustLoad(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Load([]byte(text), now)
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return p
}

func replace(t testing.TB, text, old, with string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times in the text", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, with, 1)
}

// tree is the naive model of a rule: an operator's bit, or members of which need
// must pass.
type tree struct {
	name    string
	bit     uint
	need    int
	members []*tree
}

func (n *tree) passes(set uint) bool {
	if n.members == nil {
		return set>>n.bit&1 == 1
	}
	count := 0
	for _, m := range n.members {
		if m.passes(set) {
			count++
		}
	}
	return count >= n.need
}

// text writes the tree as groups of a policy.
func (n *tree) text(b *strings.Builder) {
	if n.members == nil {
		return
	}
	names := make([]string, len(n.members))
	for i, m := range n.members {
		m.text(b)
		names[i] = m.name
	}
	b.WriteString(corekit.Group(n.name, fmt.Sprint(n.need), names...))
}

// load makes the policy whose channel core has the tree as its quorum.
func (n *tree) load(t testing.TB, operators int) *policy.Channel {
	t.Helper()
	names := make([]string, operators)
	for i := range names {
		names[i] = fmt.Sprintf("o%d", i)
	}
	var b strings.Builder
	b.WriteString(corekit.Head + corekit.Operators(names...))
	n.text(&b)
	b.WriteString(corekit.Channel(n.name, "allow_split = true"))
	return mustLoad(t, b.String()).Channel("core")
}

// bools writes the set for the rule, whose roster need not be in the order of bits.
func bools(c *policy.Channel, set uint) []bool {
	out := make([]bool, len(c.Roster))
	for i, name := range c.Roster {
		var bit uint
		fmt.Sscanf(name, "o%d", &bit)
		out[i] = set>>bit&1 == 1
	}
	return out
}
