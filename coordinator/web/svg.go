package web

import (
	"bytes"
	"fmt"
	"html/template"
	"unicode/utf8"

	"quorate/internal/render"
	"quorate/quorum"
)

// Sizes in the picture.
const (
	svgName  = 300
	svgCell  = 84
	svgRow   = 30
	svgState = 130
	svgTop   = 96
)

// maxSVG bounds the cells of a picture; who has more shows a page.
const maxSVG = 20_000

// maxLabel is how many characters of a name fit.
const (
	maxLabel  = 34
	maxHeader = 12
)

type svgText struct {
	X, Y  int
	Text  string
	Class string // "g0" ... for a cell
	Frame bool
	Late  bool
	Title string
	Line  string // under an operator
	Width int
}

type svgPicture struct {
	Width, Height int
	Title         string
	Heads, Cells  []svgText
	Names, States []svgText
	Rows          []int
	Patterns      []svgPattern
	Foot          string
}

type svgPattern struct{ ID, Fill, Path string }

// patterns are those of the style sheet.
var patterns = []svgPattern{
	{"g0", "#cfe6fb", ""},
	{"g1", "#ffd9c2", "M-2 2 4-4M0 10 10 0M8 14 14 8"},
	{"g2", "#e3d6f7", "M5 5h.01"},
	{"g3", "#d0efcf", "M0 5H10"},
	{"g4", "#fbe7a1", "M0 10 10 0M0 0 10 10"},
	{"g5", "#f6cfe2", "M5 0V10"},
}

var svgTemplate = template.Must(template.New("grid.svg").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" role="img" font-family="system-ui, Segoe UI, DejaVu Sans, sans-serif" font-size="13" fill="#1b1f24">
<title>{{.Title}}</title>
<defs>{{range .Patterns}}<pattern id="{{.ID}}" width="10" height="10" patternUnits="userSpaceOnUse"><rect width="10" height="10" fill="{{.Fill}}"/>{{with .Path}}<path d="{{.}}" fill="none" stroke="#000" stroke-opacity=".3" stroke-width="1.6" stroke-linecap="round"/>{{end}}</pattern>{{end}}</defs>
<rect width="{{.Width}}" height="{{.Height}}" fill="#fff"/>
<text x="12" y="26" font-size="15" font-weight="700" unicode-bidi="isolate">{{.Title}}</text>
{{range .Heads}}<text x="{{.X}}" y="{{.Y}}" text-anchor="middle" unicode-bidi="isolate"{{if .Frame}} font-weight="700"{{end}}>{{.Text}}</text>{{if .Frame}}<path d="{{.Line}}" stroke="#57606a" stroke-width="2" fill="none"/>{{end}}
{{end}}{{range .Names}}<text x="{{.X}}" y="{{.Y}}" unicode-bidi="isolate">{{.Text}}</text>
{{end}}{{range .Cells}}<g><title>{{.Title}}</title><rect x="{{.X}}" y="{{.Y}}" width="{{.Width}}" height="24" rx="4" {{if .Class}}fill="url(#{{.Class}})"{{else}}fill="none" stroke="#8a929b" stroke-dasharray="2 3"{{end}}{{if .Late}} stroke="#a40e26" stroke-width="2.5" stroke-dasharray="5 3"{{else if .Frame}} stroke="#1b1f24" stroke-width="2.2"{{end}}/><text x="{{.X}}" y="{{.Y}}" dx="39" dy="17" text-anchor="middle" font-weight="700">{{.Text}}</text></g>
{{end}}{{range .States}}<text x="{{.X}}" y="{{.Y}}" font-weight="600">{{.Text}}</text>
{{end}}<text x="12" y="{{.Height}}" dy="-12" font-size="11" fill="#57606a">{{.Foot}}</text>
</svg>
`))

// Picture draws a grid as a picture that stands alone, on white. It is nil when
// the grid is too large.
func Picture(title string, g Grid) ([]byte, error) {
	if g.TooLarge || len(g.Rows)*len(g.Builders) > maxSVG {
		return nil, nil
	}
	p := svgPicture{Width: max(svgName+svgCell*len(g.Builders)+svgState, 820), Height: svgTop + svgRow*len(g.Rows) + 40, Title: cut(title, 90), Patterns: patterns,
		Foot: "Same letter in a row: same bytes. Solid frame: agreed on. Dashed red: differs from what was signed. ✗ no vote. · not this file. – no answer."}
	x := svgName
	for _, o := range g.Operators {
		w := o.Span * svgCell
		p.Heads = append(p.Heads, svgText{X: x + w/2, Y: 56, Text: cut(o.Operator, o.Span*maxHeader), Frame: true, Line: fmt.Sprintf("M%d 62H%d", x+4, x+w-4)})
		x += w
	}
	for i, b := range g.Builders {
		p.Heads = append(p.Heads, svgText{X: svgName + i*svgCell + svgCell/2, Y: 80, Text: cut(b.Builder, maxHeader)})
	}
	for i := range g.Rows {
		p.row(&g, i)
	}
	var b bytes.Buffer
	if err := svgTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return b.Bytes(), nil
}

func (p *svgPicture) row(g *Grid, i int) {
	row, y := &g.Rows[i], svgTop+i*svgRow
	p.Names = append(p.Names, svgText{X: 12, Y: y + 17, Text: cut(row.Verdict.Artifact, maxLabel)})
	for j, c := range row.Cells {
		t := svgText{X: svgName + j*svgCell + 3, Y: y, Width: svgCell - 6, Text: c.Mark, Title: c.Meaning, Frame: c.Agreed, Late: c.Late}
		if c.Beside {
			t.Title = c.Digest + ", " + c.Meaning
		} else if c.Group >= 0 {
			t.Class, t.Title = group(c.Group), c.Digest
		} else if glyph := markGlyph(c.Mark); glyph != "" {
			t.Text = glyph
		}
		p.Cells = append(p.Cells, t)
	}
	s := row.Verdict.State
	p.States = append(p.States, svgText{X: svgName + svgCell*len(g.Builders) + 10, Y: y + 17, Text: sign(s) + " " + string(s)})
}

// cut makes a name harmless and short.
func cut(s string, n int) string {
	s = render.Text(s)
	if s == `""` {
		return ""
	}
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// PictureTitle is what stands over the picture of a target.
func PictureTitle(channel, target, stage string, state quorum.State) string {
	if stage != "" {
		target += " (" + stage + ")"
	}
	return channel + " · " + target + " · " + string(state)
}
