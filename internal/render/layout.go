package render

import (
	"strconv"
	"strings"
)

// layout is where the parts of a grid stand. Columns are separated by two
// spaces, or by one where numbers stand for builders of one operator.
type layout struct {
	name, state int // width of the first and the last column
	heads       [2][]string
	widths      []int
	gaps        []int // before each column
	first       int   // index of the first column, for a part of a grid
	numbers     bool
}

const headName, headState = "artifact", "state"

func (g *Grid) base() layout {
	l := layout{name: len(headName), state: len(headState)}
	for _, r := range g.rows {
		l.name, l.state = max(l.name, Width(r.name)), max(l.state, Width(r.state))
	}
	for i := range g.columns {
		w := 1
		for _, r := range g.rows {
			w = max(w, Width(r.cells[i]))
		}
		l.widths = append(l.widths, w)
	}
	return l
}

// named has operators and builders above the columns.
func (g *Grid) named() layout {
	l := g.base()
	for i, c := range g.columns {
		operator := ""
		if i == 0 || g.columns[i-1].operator != c.operator {
			operator = Text(c.operator)
		}
		l.heads[0], l.heads[1] = append(l.heads[0], operator), append(l.heads[1], c.label())
		l.widths[i] = max(l.widths[i], Width(operator), Width(c.label()))
		l.gaps = append(l.gaps, 2)
	}
	return l
}

// numbered has numbers above the columns.
func (g *Grid) numbered() layout {
	l := g.base()
	l.numbers = true
	for i, c := range g.columns {
		n := strconv.Itoa(i + 1)
		l.heads[1] = append(l.heads[1], n)
		l.widths[i] = max(l.widths[i], len(n))
		gap := 2
		if i > 0 && g.columns[i-1].operator == c.operator {
			gap = 1
		}
		l.gaps = append(l.gaps, gap)
	}
	return l
}

func (l *layout) columns() (n int) {
	for i := range l.widths {
		n += l.gaps[i] + l.widths[i]
	}
	return n
}

func (l *layout) total() int { return l.name + l.columns() + 2 + l.state }

// minName is how far the names of artifacts are cut before the columns are
// spread over several blocks.
const minName = 24

// split cuts names of artifacts and, if that is not enough, deals the columns
// out to several blocks.
func (l layout) split(width int) []layout {
	if l.total() > width {
		l.name = max(min(l.name, minName), l.name-(l.total()-width))
	}
	if l.total() <= width || len(l.widths) < 2 {
		return []layout{l}
	}
	n := 1
	for n < len(l.widths)-1 {
		if head := l.cut(0, n+1); head.total() > width {
			break
		}
		n++
	}
	rest := l.cut(n, len(l.widths))
	return append([]layout{l.cut(0, n)}, rest.split(width)...)
}

func (l layout) cut(from, to int) layout {
	l.widths, l.gaps, l.heads[1] = l.widths[from:to], l.gaps[from:to], l.heads[1][from:to]
	if l.heads[0] != nil {
		l.heads[0] = l.heads[0][from:to]
	}
	l.first += from
	return l
}

func (l *layout) write(b *strings.Builder, g *Grid, p painter) {
	if l.first > 0 {
		b.WriteByte('\n')
	}
	if l.heads[0] != nil {
		l.line(b, "", l.heads[0], "", painter{})
	}
	l.line(b, headName, l.heads[1], headState, painter{})
	for _, r := range g.rows {
		l.line(b, fit(r.name, l.name), r.cells[l.first:l.first+len(l.widths)], r.state, p)
	}
}

func (l *layout) line(b *strings.Builder, name string, cells []string, state string, p painter) {
	line := pad(name, l.name)
	for i, c := range cells {
		line += strings.Repeat(" ", l.gaps[i]) + p.cell(c) + strings.Repeat(" ", l.widths[i]-Width(c))
	}
	b.WriteString(strings.TrimRight(line+"  "+p.state(state), " ") + "\n")
}

// painter colours cells. Its zero value does not.
type painter struct{ on bool }

const green, yellow, red, plainColor = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"

func (p painter) paint(color, s string) string {
	if !p.on || s == "" {
		return s
	}
	return color + s + plainColor
}

func (p painter) cell(s string) string {
	switch {
	case s == "A":
		return p.paint(green, s)
	case s == markSilent, s == markMissing, s == markOther, s == "", s == "(A)":
		return s
	case s == markNoVote:
		return p.paint(yellow, s)
	}
	return p.paint(red, s)
}

func (p painter) state(s string) string {
	switch s {
	case "signed", "agreed":
		return p.paint(green, s)
	case "conflicting", "unreachable", "disputed":
		return p.paint(red, s)
	case "held":
		return p.paint(yellow, s)
	}
	return s
}
