package difference

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"quorate/internal/manifest"
)

// Pair is what differs inside of the files of two groups.
type Pair struct {
	A string `json:"a"` // letters of the groups
	B string `json:"b"`

	Text string `json:"text"` // all of this in a sentence

	Members int `json:"members"` // in either file
	Changed int `json:"changed"` // in both, and not alike
	Added   int `json:"added"`   // in B only
	Removed int `json:"removed"` // in A only

	Reordered bool     `json:"reordered,omitzero"` // what is in both stands in another order
	Partial   bool     `json:"partial,omitzero"`   // a list is cut: there may be more
	List      []Member `json:"list,omitempty"`
	More      int      `json:"more,omitzero"` // differing members that are not in List

	// Doubt says that builds of one group list different members in equal bytes.
	Doubt bool `json:"doubt,omitzero"`
	// Problem says why nothing can be compared.
	Problem string `json:"problem,omitzero"`
}

// Member is one member that differs.
type Member struct {
	Name string           `json:"name"`
	What []string         `json:"what"`       // see the constants
	A    *manifest.Member `json:"a,omitzero"` // nil: not there
	B    *manifest.Member `json:"b,omitzero"`
}

// What can differ in a member.
const (
	WhatAdded   = "added"
	WhatRemoved = "removed"
	WhatContent = "content"
	WhatSize    = "size"
	WhatType    = "type"
	WhatMode    = "mode"
	WhatOwner   = "owner"
	WhatMTime   = "mtime"
	WhatLink    = "link"
)

func pairs(artifact string, groups []Group, builds []build) []Pair {
	if len(groups) < 2 {
		return nil
	}
	list := make([]Pair, 0, len(groups)-1)
	a, doubtA := inside(artifact, 0, builds)
	for i := 1; i < len(groups); i++ {
		b, doubtB := inside(artifact, i, builds)
		p := compare(a, b)
		p.A, p.B, p.Doubt = groups[0].Letter, groups[i].Letter, doubtA || doubtB
		p.Text = p.sentence()
		list = append(list, p)
	}
	return list
}

// compare compares two lists; nil is one that no builder gave.
func compare(a, b *manifest.Manifest) (p Pair) {
	switch {
	case a == nil && b == nil:
		p.Problem = "no builder of either group says what is inside"
	case a == nil, b == nil:
		p.Problem = "only one of the groups says what is inside"
	case a.Problem != "":
		p.Problem = a.Problem
	case b.Problem != "":
		p.Problem = b.Problem
	case a.Format != b.Format:
		p.Problem = fmt.Sprintf("one file is %s, the other %s", a.Format, b.Format)
	}
	if p.Problem != "" {
		return p
	}
	p.Members = max(a.Members, b.Members)
	p.Partial = (a.Truncated || b.Truncated) && a.SHA256 != b.SHA256
	p.walk(a, b)
	return p
}

// key tells members of one name apart, which a tar may have.
type key struct {
	name string
	n    int
}

func index(list []manifest.Member) (keys []key, at map[key]int) {
	keys, at = make([]key, len(list)), make(map[key]int, len(list))
	seen := make(map[string]int, len(list))
	for i, m := range list {
		keys[i] = key{m.Name, seen[m.Name]}
		seen[m.Name]++
		at[keys[i]] = i
	}
	return keys, at
}

func (p *Pair) walk(a, b *manifest.Manifest) {
	keysA, inA := index(a.List)
	keysB, inB := index(b.List)
	openA, openB := opened(a.List), opened(b.List)
	last := -1
	for i, k := range keysA {
		j, both := inB[k]
		switch {
		case !both && b.Truncated: // it may stand in what was cut
		case !both && onlyIn(k.name, openA, openB):
		case !both:
			p.Removed++
			p.add(Member{k.name, []string{WhatRemoved}, &a.List[i], nil})
		default:
			p.Reordered = p.Reordered || j < last
			last = max(last, j)
			if what := unlike(&a.List[i], &b.List[j]); len(what) > 0 {
				p.Changed++
				p.add(Member{k.name, what, &a.List[i], &b.List[j]})
			}
		}
	}
	for j, k := range keysB {
		if _, both := inA[k]; !both && !a.Truncated && !onlyIn(k.name, openB, openA) {
			p.Added++
			p.add(Member{k.name, []string{WhatAdded}, nil, &b.List[j]})
		}
	}
	p.dropContainers()
	// What is in the content comes first: a time follows from nearly everything.
	slices.SortStableFunc(p.List, func(x, y Member) int { return weight(x) - weight(y) })
	if len(p.List) > maxMembers {
		p.More, p.List = len(p.List)-maxMembers, p.List[:maxMembers]
	}
}

// opened tells of the members that are archives whether the list has their members.
func opened(list []manifest.Member) map[string]bool {
	open := map[string]bool{}
	for i := range list {
		if m := &list[i]; m.Type == "" {
			open[m.Name] = false
		}
	}
	for i := range list {
		for at := range containers(list[i].Name) {
			if _, file := open[at]; file {
				open[at] = true
			}
		}
	}
	return open
}

// containers gives the names that a member's name may be inside of.
func containers(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == '/' && i > 0 && !yield(name[:i]) {
				return
			}
		}
	}
}

// onlyIn reports whether a member lies in an archive that both files have, and that
// only one builder's agent looked into: nothing is missing then.
func onlyIn(name string, here, there map[string]bool) bool {
	for at := range containers(name) {
		if open, file := there[at]; here[at] && file && !open {
			return true
		}
	}
	return false
}

// dropContainers leaves out archives that differ by what is listed of their members.
func (p *Pair) dropContainers() {
	inside := map[string]bool{}
	for i := range p.List {
		for at := range containers(p.List[i].Name) {
			inside[at] = true
		}
	}
	p.List = slices.DeleteFunc(p.List, func(m Member) bool {
		drop := inside[m.Name] && len(m.What) == 1 && m.What[0] == WhatContent
		if drop {
			p.Changed--
		}
		return drop
	})
}

func (p *Pair) add(m Member) { p.List = append(p.List, m) }

func weight(m Member) int {
	switch m.What[0] {
	case WhatContent, WhatType, WhatLink, WhatSize:
		return 0
	case WhatAdded, WhatRemoved:
		return 1
	}
	return 2
}

func unlike(a, b *manifest.Member) (what []string) {
	note := func(differs bool, word string) {
		if differs {
			what = append(what, word)
		}
	}
	note(a.Type != b.Type, WhatType)
	note(a.SHA256 != b.SHA256, WhatContent)
	note(a.SHA256 == b.SHA256 && a.Size != b.Size, WhatSize)
	note(a.Link != b.Link, WhatLink)
	note(a.Mode != b.Mode, WhatMode)
	note(a.Owner != b.Owner, WhatOwner)
	note(a.MTime != b.MTime, WhatMTime)
	return what
}

// named is how many members a sentence names.
const named = 5

// sentence says what differs. Names come from builders: whoever shows it makes
// them harmless.
func (p *Pair) sentence() string {
	parts := append([]string{p.Count()}, p.Besides()...)
	if n := p.differing(); n > 0 {
		parts[0] += ": " + p.names(n)
	}
	return strings.Join(parts, "; ")
}

func (p *Pair) differing() int { return p.Changed + p.Added + p.Removed }

// Count says how many members differ, without their names.
func (p *Pair) Count() string {
	n := p.differing()
	switch {
	case p.Problem != "":
		return "cannot be compared: " + p.Problem
	case n == 0 && p.Partial:
		return fmt.Sprintf("what is listed of %s is alike", count(p.Members, "member"))
	case n == 0 && !p.Reordered:
		return fmt.Sprintf("all %s are alike: what differs is how they are packed (compression, padding, or headers that are not listed)", count(p.Members, "member"))
	case n == 0:
		return fmt.Sprintf("all %s are alike, in another order", count(p.Members, "member"))
	case n == 1:
		return fmt.Sprintf("1 of %s differs", count(p.Members, "member"))
	}
	return fmt.Sprintf("%d of %s differ", n, count(p.Members, "member"))
}

// Besides says what else there is to know of the comparison.
func (p *Pair) Besides() (list []string) {
	if p.Problem != "" {
		return nil
	}
	switch n := p.differing(); {
	case n == 0 && p.Partial:
		list = append(list, "the rest is not listed")
	case n > 0 && p.Reordered:
		list = append(list, "the order differs too")
	}
	if p.differing() > 0 && p.Partial {
		list = append(list, "not all members are listed")
	}
	if p.Doubt {
		list = append(list, "builds with equal bytes list different members, so one of them is wrong")
	}
	return list
}

func (p *Pair) names(n int) string {
	var parts []string
	for _, m := range p.List[:min(len(p.List), named)] {
		parts = append(parts, clip(m.Name)+" ("+m.How()+")")
	}
	if n > len(parts) {
		parts = append(parts, fmt.Sprintf("and %d more", n-len(parts)))
	}
	return strings.Join(parts, ", ")
}

// How says what differs in the member.
func (m *Member) How() string {
	if len(m.What) == 1 && weight(*m) == 2 {
		return m.What[0] + " only"
	}
	return strings.Join(m.What, ", ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
