package render

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"quorate/quorum"
)

// Grid shows who built what: a row for each artifact, a column for each builder.
type Grid struct {
	columns []column
	rows    []row
	list    bool // too large for cells: rows have none
}

// Bounds of a grid. No policy has so many operators; a server that invents them
// would have whoever looks fill memory and screen.
const (
	maxColumns = 256
	maxCells   = 1_000_000
	maxRows    = 10_000 // of the list that is shown instead
)

// column is one builder; the builders of one operator stand together.
type column struct {
	operator, builder string
}

type row struct {
	name, state string
	cells       []string
}

// Marks of cells that are no letter.
const (
	markSilent  = "." // built the target, did not list this file
	markNoVote  = "x"
	markMissing = "-"
	markLate    = "!"
	markRevoked = "r"
	markOther   = "/" // the operator's vote is by another of its builders
	markApart   = "#" // likewise, and the bytes are in nobody's vote
)

const (
	meaningOther  = "the operator's vote is by another of its builders"
	meaningBeside = "not the operator's vote, which is by another of its builders" // of a letter in brackets
)

var marks = []struct{ mark, meaning string }{
	{markSilent, "built the target, but not this file"},
	{markNoVote, "no vote: the build failed, or the vote was taken back"},
	{markMissing, "no answer"},
	{markLate, "differs from what was signed"},
	{markRevoked, "does not count: the key is revoked"},
	{markOther, meaningOther},
	{markApart, "bytes of no vote; " + meaningOther},
}

// NewGrid makes the grid of verdicts on the artifacts of one target.
func NewGrid(verdicts []quorum.Verdict) *Grid {
	g := &Grid{}
	for i := range verdicts {
		g.addColumns(&verdicts[i])
	}
	slices.SortFunc(g.columns, func(a, b column) int {
		return cmp.Or(cmp.Compare(a.operator, b.operator), cmp.Compare(a.builder, b.builder))
	})
	g.columns = slices.Compact(g.columns)
	g.dropNameless()
	g.list = len(g.columns) > maxColumns || len(g.columns)*len(verdicts) > maxCells
	for i := range verdicts {
		if g.list {
			g.rows = append(g.rows, row{name: Text(verdicts[i].Artifact), state: Text(string(verdicts[i].State))})
			continue
		}
		r := row{name: Text(verdicts[i].Artifact), state: Text(string(verdicts[i].State))}
		for _, c := range g.columns {
			r.cells = append(r.cells, cell(&verdicts[i], c))
		}
		g.rows = append(g.rows, r)
	}
	return g
}

func (g *Grid) addColumns(v *quorum.Verdict) {
	add := func(operator, builder string) { g.columns = append(g.columns, column{operator, builder}) }
	for i := range v.Groups {
		for _, m := range v.Groups[i].Members {
			add(m.Operator, m.Builder)
		}
	}
	for _, n := range v.NoVotes {
		add(n.Operator, n.Builder)
	}
	for _, l := range v.Late {
		add(l.Operator, l.Builder)
	}
	for _, b := range v.Beside {
		add(b.Operator, b.Builder)
	}
	for _, m := range v.Revoked {
		add(m.Operator, m.Builder)
	}
	for _, name := range slices.Concat(v.Silent, v.Missing) {
		add(name, "")
	}
}

// dropNameless takes out the column that stands for an operator whose builder
// is not known, where one is known. Columns are sorted: it would come first.
func (g *Grid) dropNameless() {
	all := g.columns
	g.columns = nil
	for i, c := range all {
		if c.builder == "" && i+1 < len(all) && all[i+1].operator == c.operator {
			continue
		}
		g.columns = append(g.columns, c)
	}
}

func cell(v *quorum.Verdict, c column) string {
	mark := ownMark(v, c)
	for _, l := range v.Late {
		if l.Operator == c.operator && l.Builder == c.builder {
			if slices.Contains([]string{markOther, markApart, markMissing, markSilent}, mark) {
				mark = ""
			}
			return mark + markLate
		}
	}
	return mark
}

func ownMark(v *quorum.Verdict, c column) string {
	for i := range v.Groups {
		for _, m := range v.Groups[i].Members {
			switch {
			case m.Operator != c.operator:
			case m.Builder == c.builder:
				return quorum.Letter(i)
			default:
				return besideMark(v, c)
			}
		}
	}
	for _, m := range v.Revoked {
		if m.Operator == c.operator && m.Builder == c.builder {
			return markRevoked
		}
	}
	for _, n := range v.NoVotes {
		if n.Operator == c.operator {
			return ifSame(n.Builder == c.builder, markNoVote)
		}
	}
	switch {
	case slices.Contains(v.Silent, c.operator):
		return markSilent
	case slices.Contains(v.Missing, c.operator):
		return markMissing
	}
	return ""
}

// besideMark is of a builder whose operator's vote is by another one: the letter of
// what it gave, in brackets.
func besideMark(v *quorum.Verdict, c column) string {
	for _, b := range v.Beside {
		if b.Operator != c.operator || b.Builder != c.builder {
			continue
		}
		for i := range v.Groups {
			if v.Groups[i].SHA256 == b.SHA256 {
				return "(" + quorum.Letter(i) + ")"
			}
		}
		return markApart
	}
	return markOther
}

func ifSame(same bool, mark string) string {
	if same {
		return mark
	}
	return markOther
}

// Text lays the grid out for a terminal of that many columns: with the names of
// builders above it when they fit, else with numbers and a key beneath.
// What is too large for that becomes a list of files and states.
func (g *Grid) Text(width int, color bool) string {
	if g.list {
		return g.listText()
	}
	p := painter{color}
	l := g.named()
	if l.total() > width {
		l = g.numbered()
	}
	var b strings.Builder
	for _, part := range l.split(width) {
		part.write(&b, g, p)
	}
	if l.numbers {
		g.writeKey(&b)
	}
	g.writeLegend(&b)
	return b.String()
}

func (g *Grid) listText() string {
	rows := [][]string{{headName, headState}}
	for _, r := range g.rows[:min(len(g.rows), maxRows)] {
		rows = append(rows, []string{r.name, r.state})
	}
	text := Table(rows)
	if n := len(g.rows) - maxRows; n > 0 {
		text += "and " + strconv.Itoa(n) + " more\n"
	}
	return text + "\n" + strconv.Itoa(len(g.rows)) + " files by " + strconv.Itoa(len(g.columns)) + " builders are too many for a grid.\n"
}

func (g *Grid) writeKey(b *strings.Builder) {
	rows := [][]string{{"", "operator", "builder"}}
	for i, c := range g.columns {
		rows = append(rows, []string{strconv.Itoa(i + 1), Text(c.operator), c.label()})
	}
	b.WriteString("\n" + Table(rows))
}

func (g *Grid) writeLegend(b *strings.Builder) {
	used, beside := map[string]bool{}, false
	for _, r := range g.rows {
		for _, c := range r.cells {
			beside = beside || strings.HasPrefix(c, "(")
			for _, m := range marks {
				used[m.mark] = used[m.mark] || strings.HasSuffix(c, m.mark)
			}
		}
	}
	b.WriteString("\nA, B, ...  the same letter is the same bytes; A is the largest group of its row\n")
	if beside {
		b.WriteString(pad("(A)", 11) + meaningBeside + "\n")
	}
	for _, m := range marks {
		if used[m.mark] {
			b.WriteString(pad(m.mark, 11) + m.meaning + "\n")
		}
	}
}

func (c column) label() string {
	if c.builder == "" {
		return "?"
	}
	return Text(c.builder)
}
