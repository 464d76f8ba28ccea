package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quorate/quorum/statement"
)

// loader turns the file into a policy and collects what is wrong with it.
type loader struct {
	f        file
	p        *Policy
	problems []error

	names  map[string]string // folded name of operator, group, builder -> what it is
	keys   map[string]string // key text -> builder
	groups map[string]*fileGroup
	ops    map[string]bool
	parent map[string]string // member -> group it is in
}

func (l *loader) bad(format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf(format, args...))
}

func (l *loader) run() {
	l.names, l.keys, l.parent = map[string]string{}, map[string]string{}, map[string]string{}
	l.groups, l.ops = map[string]*fileGroup{}, map[string]bool{}
	if l.f.Version == 0 {
		l.bad("version is missing or 0")
	}
	if l.f.Expires.IsZero() {
		l.bad("expires is missing")
	}
	if max(len(l.f.Operators), len(l.f.Groups), len(l.f.Channels), len(l.f.Maintainers)) > maxEntries {
		l.bad("more than %d operators, groups, channels or maintainers", maxEntries)
		return
	}
	for _, o := range l.f.Operators {
		l.operator(o)
	}
	for i := range l.f.Groups {
		l.group(&l.f.Groups[i])
	}
	if len(l.problems) > 0 {
		return // what follows would only repeat them
	}
	l.checkMembers()
	l.checkCycles()
	for _, m := range l.f.Maintainers {
		l.maintainer(m)
	}
	if len(l.problems) > 0 {
		return
	}
	if len(l.f.Channels) == 0 {
		l.bad("there is no channel")
	}
	for _, c := range l.f.Channels {
		l.channel(c)
	}
	l.sharedKeys()
}

// checkText refuses what the decoder lets through and what would mean two
// things: keys that are written in another case (it takes "Need" for "need", and
// then the later of the two wins), and times without an offset, which each
// machine would read in its own time zone.
func (l *loader) checkText(data []byte) {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		l.bad("%w", explain(err))
		return
	}
	l.checkValue("", tree)
}

func (l *loader) checkValue(path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if key != strings.ToLower(key) {
				l.bad("unknown key %s: keys are lower-case", at)
			}
			l.checkValue(at, v[key])
		}
	case []any:
		for i, element := range v {
			l.checkValue(fmt.Sprintf("%s[%d]", path, i), element)
		}
	case toml.LocalDate, toml.LocalDateTime, toml.LocalTime:
		l.bad("%s: %v has no time zone; write a time such as 2027-06-01T00:00:00Z", path, v)
	}
}

// claim takes a name. Names that differ in case only are one name: people would
// read them as one.
func (l *loader) claim(kind, name string) bool {
	if !statement.ValidName(name) {
		l.bad("%s %q: a name is 1 to 64 of A-Z a-z 0-9 _ - and begins with a letter or digit", kind, name)
		return false
	}
	// Operators and groups share one space, because members name either.
	space := kind
	if kind == "group" || kind == "operator" {
		space = "member"
	}
	key := space + " " + strings.ToLower(name)
	if was, taken := l.names[key]; taken {
		l.bad("%s %q: the name is taken by %s", kind, name, was)
		return false
	}
	l.names[key] = kind + " " + fmt.Sprintf("%q", name)
	return true
}

func (l *loader) operator(o fileOperator) {
	if !l.claim("operator", o.Name) {
		return
	}
	op := &Operator{Name: o.Name}
	l.ops[o.Name] = true
	l.p.Operators = append(l.p.Operators, op)
	if len(o.Builders) == 0 {
		l.bad("operator %q has no builder", o.Name)
	}
	for _, b := range o.Builders {
		if !l.claim("builder", b.Name) {
			continue
		}
		builder := &Builder{Name: b.Name, Operator: o.Name, Platform: b.Platform}
		for _, k := range append([]fileKey{b.fileKey}, b.Rotated...) {
			l.key(builder, k)
		}
		l.foreign(builder, b)
		op.Builders = append(op.Builders, builder)
		l.p.builders[b.Name] = builder
	}
}

func (l *loader) key(b *Builder, k fileKey) {
	key, err := parseKey(k)
	if err != nil {
		l.bad("builder %q: key: %w", b.Name, err)
		return
	}
	if other, twice := l.keys[key.String()]; twice {
		// One key under two names would be two votes of one person.
		l.bad("builder %q: its key is also the key of builder %q", b.Name, other)
		return
	}
	l.keys[key.String()] = b.Name
	if !k.NotAfter.IsZero() && !k.NotBefore.Before(k.NotAfter) {
		l.bad("builder %q: not_after is not later than not_before", b.Name)
	}
	b.Keys = append(b.Keys, key)
}

func (l *loader) group(g *fileGroup) {
	if !l.claim("group", g.Name) {
		return
	}
	l.groups[g.Name] = g
	if len(g.Members) == 0 {
		l.bad("group %q has no members", g.Name)
		return
	}
	n, err := toCount(g.Need, len(g.Members))
	if err != nil {
		l.bad("group %q: %w", g.Name, err)
		return
	}
	if n > len(g.Members) {
		l.bad("group %q needs %d of %d members", g.Name, n, len(g.Members))
	}
	g.Need = n
}

// checkMembers makes the groups a forest: every member is known and has one place.
func (l *loader) checkMembers() {
	for i := range l.f.Groups {
		g := &l.f.Groups[i]
		for _, m := range g.Members {
			if !l.ops[m] && l.groups[m] == nil {
				l.bad("group %q: member %q is neither an operator nor a group", g.Name, m)
				continue
			}
			if other, twice := l.parent[m]; twice {
				l.bad("group %q: member %q is already a member of group %q", g.Name, m, other)
				continue
			}
			l.parent[m] = g.Name
		}
	}
}

// checkCycles walks from each group to the top. A member has one parent at most,
// so a walk that is longer than there are groups goes round.
func (l *loader) checkCycles() {
	for i := range l.f.Groups {
		at := l.f.Groups[i].Name
		for steps := 0; at != ""; steps++ {
			if steps > len(l.f.Groups) {
				l.bad("group %q contains itself", l.f.Groups[i].Name)
				break
			}
			at = l.parent[at]
		}
	}
}

func (l *loader) channel(f fileChannel) {
	if !l.claim("channel", f.Name) {
		return
	}
	c := &Channel{Name: f.Name, Targets: f.Targets, Dissent: f.Dissent, Sign: f.Sign}
	if len(f.Targets) == 0 {
		l.bad("channel %q has no targets", f.Name)
	}
	for _, t := range f.Targets {
		if t != "*" && !strings.HasPrefix(t, "pkg:") {
			l.bad("channel %q: target pattern %q does not begin with pkg:", f.Name, t)
		} else if t != "*" && !statement.ValidTarget(strings.ReplaceAll(t, "*", "a/a")) {
			l.bad("channel %q: target pattern %q can match no package URL", f.Name, t)
		}
	}
	if c.Dissent == "" {
		c.Dissent = DissentHold
	}
	if c.Dissent != DissentHold && c.Dissent != DissentReport {
		l.bad("channel %q: dissent %q is neither \"hold\" nor \"report\"", f.Name, f.Dissent)
	}
	l.settle(c, f.Settle)
	l.outputs(c)
	l.quorum(c, f)
	l.rights(c, f.Maintainers)
	l.p.Channels = append(l.p.Channels, c)
	l.p.channels[c.Name] = c
}

func (l *loader) settle(c *Channel, text string) {
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		l.bad("channel %q: settle %q is not a duration such as \"10m\"", c.Name, text)
	}
	c.Settle = d
}

func (l *loader) quorum(c *Channel, f fileChannel) {
	if !l.ops[f.Quorum] && l.groups[f.Quorum] == nil {
		l.bad("channel %q: quorum %q is neither a group nor an operator", f.Name, f.Quorum)
		return
	}
	c.Rule = l.rule(c, f.Quorum)
	if c.Rule.CanSplit() && !f.AllowSplit {
		l.bad("channel %q: two different digests could both pass quorum %q (two sets of operators without a common member); "+
			"raise need, or write allow_split = true", f.Name, f.Quorum)
	}
}

func (l *loader) rule(c *Channel, name string) *Rule {
	g := l.groups[name]
	if g == nil {
		c.Roster = append(c.Roster, name)
		return &Rule{Name: name, index: len(c.Roster) - 1}
	}
	r := &Rule{Name: name, Need: g.Need.(int)}
	for _, m := range g.Members {
		r.Members = append(r.Members, l.rule(c, m))
	}
	return r
}
