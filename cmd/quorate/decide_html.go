package main

import (
	"bufio"
	"html/template"
	"strings"

	"quorate/internal/render"
	"quorate/quorum"
)

// decidePage writes a page that needs nothing else and does nothing: no script,
// no picture, no address that a reader's browser would ask.
type decidePage struct {
	out      *bufio.Writer
	rejected []rejection
	more     int
}

var pageParts = template.Must(template.New("page").Funcs(template.FuncMap{
	"join": strings.Join, "letter": quorum.Letter, "text": render.Text, "members": memberNames, "differing": differing,
}).Parse(`{{define "head"}}<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">
<title>Quorate: decisions</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:90em;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:0 0 2em}th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}
th{background:#f2f2f2}code{font-size:.9em;word-break:break-all}details{max-width:60em}
.agreed{background:#e3f4e1}.waiting,.withdrawn{background:#fff6d8}.held{background:#e6ecfb}.conflicting,.unreachable,.disputed{background:#fbe0de}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th{background:#2a2a2a}th,td{border-color:#444}
.agreed{background:#1d3a1b}.waiting,.withdrawn{background:#453a12}.held{background:#1e2a4d}.conflicting,.unreachable,.disputed{background:#4d1f1c}}
</style></head><body>
<h1>Decisions</h1>
<p>As of {{.At}}. Policy version {{.Version}}, SHA-256 <code>{{.Policy}}</code>.</p>
{{end}}{{define "group"}}<h2>{{text .G.Target}}{{if .G.Stage}}, stage {{text .G.Stage}}{{end}}</h2>
<p>Channel {{text .G.Channel}}: {{.Statements}} {{if eq .Statements 1}}statement counts{{else}}statements count{{end}}; at least {{.D.Need}} of {{.D.Of}} operators must give the same bytes.</p>
{{range .Notes}}<p>Note: {{.}}.</p>
{{end}}<table><thead><tr><th scope="col">Artifact</th><th scope="col">Verdict</th><th scope="col">Digests and who gave them</th><th scope="col">Silent on this file</th></tr></thead><tbody>
{{range .Verdicts}}<tr><th scope="row">{{text .V.Artifact}}</th><td class="{{.V.State}}">{{.V.State}}{{if .V.Diverge}}, all different{{end}}</td><td>{{range $i, $g := .V.Groups}}<details><summary>{{letter $i}}: {{len $g.Members}}{{if $i}}: {{join (members $g.Members) ", "}}{{end}}</summary><code>{{$g.SHA256}}</code> {{join (members $g.Members) ", "}}</details>{{end}}{{range .V.Changed}}{{.Operator}} changed its vote from <code>{{.From}}</code> to <code>{{.To}}</code>. {{end}}{{range .V.NoVotes}}{{.Operator}} gave no vote: {{.Status}}. {{end}}{{range .V.Revoked}}{{.Operator}} does not count: its key is revoked. {{end}}{{range .H}}<p>{{.}}</p>{{end}}</td><td>{{join .V.Silent ", "}}</td></tr>
{{end}}</tbody></table>
{{end}}{{define "end"}}<h2>Outcome</h2><p>{{.Outcome}}</p>
{{if .Rejected}}<h2>What counts for nobody</h2><table><thead><tr><th scope="col">File</th><th scope="col">Code</th><th scope="col">Reason</th></tr></thead><tbody>
{{range .Rejected}}<tr><td>{{text .Path}}</td><td>{{.Code}}</td><td>{{.Message}}</td></tr>
{{end}}</tbody></table>{{if .More}}<p>And {{.More}} more.</p>{{end}}
{{end}}</body></html>
{{end}}`))

func newDecidePage(out *bufio.Writer, j *juror) (*decidePage, error) {
	err := pageParts.ExecuteTemplate(out, "head", map[string]any{"At": stamp(j.at), "Version": j.policy.Version, "Policy": j.policy.Digest.String()})
	return &decidePage{out: out}, err
}

func (p *decidePage) reject(r rejection) error {
	if len(p.rejected) == maxSaid {
		p.more++
		return nil
	}
	r.Message = render.Message(r.Message)
	p.rejected = append(p.rejected, r)
	return nil
}

func (p *decidePage) group(g group, _ []record, d *decided) error {
	type row struct {
		V *quorum.Verdict
		H []string
	}
	rows := make([]row, len(d.verdicts))
	for i := range rows {
		rows[i].V, rows[i].H = &d.verdicts[i], uncounted(d.heard[d.verdicts[i].Artifact])
	}
	return pageParts.ExecuteTemplate(p.out, "group", map[string]any{"G": g, "Statements": d.statements, "Verdicts": rows, "Notes": d.notes,
		"D": struct{ Need, Of int }{d.need, d.roster}})
}

func (p *decidePage) end(o *outcome) error {
	return pageParts.ExecuteTemplate(p.out, "end", map[string]any{"Outcome": o.String(), "Rejected": p.rejected, "More": p.more})
}
