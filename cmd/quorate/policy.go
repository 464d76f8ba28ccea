package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/quorum/act"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

type policyCmd struct {
	Check policyCheckCmd `cmd:"" help:"Say in words what a policy file means, and what may surprise."`
	Init  policyInitCmd  `cmd:"" help:"Write a first policy from the keys and statements of others."`
}

type policyCheckCmd struct {
	At   string `placeholder:"TIME" help:"Check as of this time (2027-01-31 or RFC 3339); now without it."`
	JSON bool   `name:"json" help:"One JSON object."`
	File string `arg:"" help:"Policy file."`
}

// Help is shown by --help.
func (policyCheckCmd) Help() string {
	return "Exit codes: 0 the policy loads (there may be warnings); 2 it does not, and every problem is named."
}

func (c *policyCheckCmd) Run() error {
	at, err := parseAt(c.At)
	if err != nil {
		return err
	}
	data, err := readInput(c.File, policy.MaxSize)
	if err != nil {
		return err
	}
	p, err := policy.Load(data, at)
	if err != nil {
		return usageError("correct the file, and run quorate policy check again", "%s does not load:\n%w", render.Text(c.File), err)
	}
	r := describe(p, at)
	if c.JSON {
		return printJSON(os.Stdout, r)
	}
	_, err = fmt.Print(r.text())
	return err
}

func parseAt(text string) (time.Time, error) {
	if text == "" {
		return time.Now().UTC(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usageError("such as 2027-01-31 or 2027-01-31T12:00:00Z", "--at %q is not a time", text)
}

// policyReport is what a policy means. With --json it is printed as it is.
type policyReport struct {
	Version   uint64           `json:"version"`
	Digest    statement.SHA256 `json:"digest"`
	Expires   time.Time        `json:"expires"`
	Operators int              `json:"operators"`
	Builders  int              `json:"builders"`
	Channels  []channelReport  `json:"channels"`
	Warnings  []string         `json:"warnings"`
}

type channelReport struct {
	Name     string          `json:"name"`
	Targets  []string        `json:"targets"`
	Sign     []policy.Output `json:"sign"`
	Settle   string          `json:"settle"`
	Dissent  policy.Dissent  `json:"dissent"`
	Roster   []string        `json:"roster"`
	Smallest int             `json:"smallest"` // operators in the smallest set that passes
	Sets     int             `json:"sets"`     // how many sets of that size pass; 0: not counted
	Examples [][]string      `json:"examples"`
	// LostOperators is how many operators may be lost, whichever they are, and
	// LostBuilders how many builders.
	LostOperators int  `json:"lostOperators"`
	LostBuilders  int  `json:"lostBuilders"`
	CanSplit      bool `json:"canSplit"` // two different digests could both pass
	// Maintainers is what each of them may do, by name.
	Maintainers map[string][]act.Kind `json:"maintainers,omitempty"`

	rule *policy.Rule
}

// maxExamples is how many of the smallest sets are named; maxRoster is up to how
// many operators they are counted, which takes the cube of their number.
const (
	maxExamples = 3
	maxRoster   = 128
)

func describe(p *policy.Policy, at time.Time) *policyReport {
	r := &policyReport{Version: p.Version, Digest: p.Digest, Expires: p.Expires, Operators: len(p.Operators), Warnings: warnings(p, at)}
	builders := map[string]int{}
	for _, o := range p.Operators {
		builders[o.Name] = len(o.Builders)
		r.Builders += len(o.Builders)
	}
	for _, ch := range p.Channels {
		c := channelReport{Name: ch.Name, Targets: ch.Targets, Sign: ch.Sign, Settle: ch.Settle.String(), Dissent: ch.Dissent,
			Roster: ch.Roster, Smallest: ch.Rule.MinPass(), LostOperators: ch.Rule.MinBlock() - 1, CanSplit: ch.Rule.CanSplit(), rule: ch.Rule,
			LostBuilders: blockers(ch.Rule, builders) - 1, Maintainers: ch.Rights()}
		if len(ch.Roster) <= maxRoster {
			c.Examples, c.Sets = ch.Rule.SmallestSets(maxExamples)
		}
		r.Channels = append(r.Channels, c)
	}
	return r
}

func (r *policyReport) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("policy version %d, sha256 %s", r.Version, r.Digest)
	line("expires %s; %s with %s", stamp(r.Expires), plural(r.Operators, "operator"), plural(r.Builders, "builder"))
	for i := range r.Channels {
		line("")
		r.Channels[i].text(line)
	}
	if len(r.Warnings) > 0 {
		line("")
	}
	for _, w := range r.Warnings {
		line("warning: %s", w)
	}
	return b.String()
}

func (c *channelReport) text(line func(string, ...any)) {
	line("channel %s", c.Name)
	for _, t := range c.Targets {
		line("  for targets   %s", render.Text(t))
	}
	for _, o := range c.Sign {
		line("  signs         %s with key %s", o.Format, o.Key)
	}
	line("  quorum        %s", head(c.rule))
	tree(c.rule, "                ", line)
	line("  smallest      %s", c.smallest())
	for _, e := range c.Examples {
		line("                  %s", strings.Join(e, ", "))
	}
	line("  may be lost   %s", c.lost())
	line("  two digests   %s", map[bool]string{
		false: "can never pass both",
		true:  "could both pass: whichever passes first may be signed; two that pass at once are conflicting (allow_split)"}[c.CanSplit])
	line("  settle        %s", c.settle())
	line("  dissent       %s", map[policy.Dissent]string{
		policy.DissentHold:   "hold: nothing is signed while any operator of the quorum differs",
		policy.DissentReport: "report: it is signed all the same, and shown who differs"}[c.Dissent])
	c.maintainers(line)
}

// maintainers says who may act.
func (c *channelReport) maintainers(line func(string, ...any)) {
	label := "maintainers"
	for _, name := range slices.Sorted(maps.Keys(c.Maintainers)) {
		words := make([]string, len(c.Maintainers[name]))
		for i, k := range c.Maintainers[name] {
			words[i] = string(k)
		}
		line("  %-13s %s may %s", label, name, strings.Join(words, ", "))
		label = ""
	}
}

// head says one node of the rule.
func head(r *policy.Rule) string {
	switch n := len(r.Members); {
	case r.IsOperator():
		return "operator " + r.Name
	case r.Need == n && n > 1:
		return fmt.Sprintf("%s: all %d of", r.Name, n)
	default:
		return fmt.Sprintf("%s: %d of %d of", r.Name, r.Need, n)
	}
}

func tree(r *policy.Rule, indent string, line func(string, ...any)) {
	for _, m := range r.Members {
		if m.IsOperator() {
			line("%s- %s", indent, m.Name)
			continue
		}
		line("%s- %s", indent, head(m))
		tree(m, indent+"  ", line)
	}
}

func (c *channelReport) smallest() string {
	switch {
	case c.Sets == 0:
		return fmt.Sprintf("%s of %d", plural(c.Smallest, "operator"), len(c.Roster))
	case c.Sets == 1:
		return fmt.Sprintf("%s of %d, in one way:", plural(c.Smallest, "operator"), len(c.Roster))
	case c.Sets > 1e6:
		return fmt.Sprintf("%s of %d, in more than a million ways, such as", plural(c.Smallest, "operator"), len(c.Roster))
	case c.Sets > len(c.Examples):
		return fmt.Sprintf("%s of %d, in %d ways, such as", plural(c.Smallest, "operator"), len(c.Roster), c.Sets)
	}
	return fmt.Sprintf("%s of %d, in %d ways:", plural(c.Smallest, "operator"), len(c.Roster), c.Sets)
}

func (c *channelReport) lost() string {
	if c.LostOperators == 0 {
		return "no operator: there is one without whom nothing is signed" + c.lostBuilders()
	}
	return "any " + plural(c.LostOperators, "operator") + c.lostBuilders()
}

func (c *channelReport) lostBuilders() string {
	if c.LostBuilders == c.LostOperators {
		return ""
	}
	return "; any " + plural(c.LostBuilders, "builder")
}

func (c *channelReport) settle() string {
	if c.Settle == "0s" {
		return "none: it is signed as soon as the quorum is met"
	}
	short := strings.TrimSuffix(c.Settle, "m0s")
	if short != c.Settle {
		short += "m"
	}
	return short + " after the quorum is met, for somebody to differ"
}
