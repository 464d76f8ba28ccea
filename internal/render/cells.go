package render

import "strings"

// Column is one builder of a grid. Builder is empty where only the operator is
// known.
type Column struct{ Operator, Builder string }

// Cell is what one builder has to do with one artifact.
type Cell struct {
	Group   int    // place of its digest among the verdict's groups, which come largest first; -1: no vote
	Mark    string // for the eye: a letter, or the sign of an answer without a vote; empty: nothing
	Meaning string // of the mark, unless it is a bare letter
	Beside  bool   // and that is not the vote, which is by another builder of the operator; Mark has brackets
	Late    bool   // and it differs from what was signed
}

// Columns lists the builders, those of one operator side by side.
func (g *Grid) Columns() []Column {
	list := make([]Column, len(g.columns))
	for i, c := range g.columns {
		list[i] = Column{c.operator, c.builder}
	}
	return list
}

// TooLarge says that the grid has no cells: there are too many builders or files.
func (g *Grid) TooLarge() bool { return g.list }

// Cells lists the cells of the i-th artifact in the order of the columns.
func (g *Grid) Cells(i int) []Cell {
	list := make([]Cell, len(g.rows[i].cells))
	for j, text := range g.rows[i].cells {
		list[j] = toCell(text)
	}
	return list
}

func toCell(text string) Cell {
	c := Cell{Group: -1, Mark: text}
	if n := len(text); n > 0 && text[n-1:] == markLate {
		c.Late, c.Mark = true, text[:n-1]
	}
	for _, m := range marks {
		if m.mark == c.Mark {
			c.Meaning = m.meaning
			return c
		}
	}
	if c.Mark == "" {
		return c
	}
	if c.Beside = strings.HasPrefix(c.Mark, "("); c.Beside {
		c.Meaning = meaningBeside
	}
	for _, r := range strings.Trim(c.Mark, "()") { // as quorum.Letter counts
		c.Group = (c.Group+1)*26 + int(r-'A')
	}
	return c
}
