package web

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Target is a target's page.
type Target struct {
	Page
	Target    api.Target
	Grid      Grid
	Artifacts []Artifact
	Rule      *Node // nil: the policy no longer has the channel
	Channel   *policy.Channel
	PolicyRef quorum.PolicyRef
	Expires   time.Time
	Logs      map[statement.SHA256]string // paths of the logs that are here, by statement
	Timeline  []Arrival
	Picture   string // path of the grid as a picture
	Shown     Window // of artifacts, where they are many
	Commands  []Command

	Notes       *Notes       // nil: nobody acted, and there was no alarm
	Differences *Differences // nil: no file on the page differs
}

// Command is a line to copy.
type Command struct{ What, Line string }

// NewCommands lists what a person can do about a target.
func NewCommands(t *api.Target, artifacts []api.Artifact, statements []api.StatementInfo) []Command {
	of := []string{"--channel", t.Channel}
	if t.Stage != "" {
		of = append(of, "--stage", t.Stage)
	}
	line := func(words ...string) string { return command(append(words, of...)...) }
	list := []Command{{"Who built what, in the terminal", line("quorate", "show", t.Target)}}
	if slices.ContainsFunc(artifacts, func(a api.Artifact) bool { return len(difference.Groups(&a.Verdict)) > 1 }) {
		list = append(list, Command{"Compare the files that differ", line("quorate", "diff", t.Target)})
	}
	if builders := withLogs(statements); len(builders) == 1 {
		list = append(list, Command{"Print the log of a build", line("quorate", "log", "--builder", builders[0], t.Target)})
	} else if len(builders) > 1 {
		list = append(list, Command{"Compare the logs of two builds", line("quorate", "log", "--builder", builders[0]+","+builders[1], t.Target)})
	}
	refused := slices.ContainsFunc(artifacts, func(a api.Artifact) bool {
		return slices.ContainsFunc(a.Requests, func(r api.Request) bool { return r.Refusal != nil })
	})
	if refused {
		list = append(list, Command{"Ask the signer again, after its reason is mended", line("quorate", "redrive", "--nkey", "FILE", "--target", t.Target)})
	}
	if t.State != quorum.Signed {
		list = append(list, Command{"Take your own vote back, on your build machine", line("quorate", "attest", "--state", "DIR", "--withdraw", "--target", t.Target)})
	}
	for i := range artifacts {
		if len(artifacts[i].Signatures) > 0 {
			by := "--public-key"
			if format.IsOpenPGP(artifacts[i].Signatures[0].Format) {
				by = "--cert"
			}
			list = append(list, Command{"Wait for the signature and verify it, beside the file", line("quorate", "wait", by, "FILE", artifacts[i].Verdict.Artifact)})
			break
		}
	}
	return list
}

// withLogs lists the builders whose logs are here.
func withLogs(statements []api.StatementInfo) (builders []string) {
	for i := range statements {
		if s := &statements[i]; s.Log != nil && s.Log.Path != "" && !slices.Contains(builders, s.Builder) {
			builders = append(builders, s.Builder)
		}
	}
	return builders
}

// Window is a part of a list.
type Window struct {
	From, To, Of int    // From counts from 1
	Earlier      string // path of the part before; empty: this is the first
	Later        string
}

// Artifact is one file with its verdict in words.
type Artifact struct {
	api.Artifact
	Words    quorum.Explanation
	Rows     []GroupRow
	Evidence []EvidenceFile
}

// EvidenceFile is what there is for one of the keys that signed: each was asked by
// itself.
type EvidenceFile struct{ Key, Path string }

func evidenceFiles(a *api.Artifact) (list []EvidenceFile) {
	for i := range a.Signatures {
		f := EvidenceFile{a.Signatures[i].Key, a.Evidence + "?key=" + url.QueryEscape(a.Signatures[i].Key)}
		if !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// GroupRow is one digest and who gave it.
type GroupRow struct {
	Index int
	quorum.Group
}

// Grid is who built what: files downwards, builders across.
type Grid struct {
	Operators []Heading
	Builders  []render.Column
	Rows      []GridRow
	TooLarge  bool
	Legend    []render.Cell // marks that are no letters and stand in the grid
	HasLate   bool
	HasAgreed bool
}

// Heading is an operator over its builders.
type Heading struct {
	Operator string
	Span     int
}

// GridRow is one file.
type GridRow struct {
	Verdict *quorum.Verdict
	Anchor  int
	Cells   []GridCell
}

// GridCell is what one builder gave for one file.
type GridCell struct {
	render.Cell
	Digest string // short, of a vote
	Agreed bool   // it is the digest that was agreed on
}

// NewGrid lays out verdicts.
func NewGrid(artifacts []api.Artifact) Grid {
	verdicts := make([]quorum.Verdict, len(artifacts))
	for i := range artifacts {
		verdicts[i] = artifacts[i].Verdict
	}
	g := render.NewGrid(verdicts)
	out := Grid{Builders: g.Columns(), TooLarge: g.TooLarge()}
	for _, c := range out.Builders {
		if n := len(out.Operators); n > 0 && out.Operators[n-1].Operator == c.Operator {
			out.Operators[n-1].Span++
			continue
		}
		out.Operators = append(out.Operators, Heading{c.Operator, 1})
	}
	if out.TooLarge {
		return out
	}
	for i := range verdicts {
		out.Rows = append(out.Rows, out.row(&verdicts[i], i, g.Cells(i)))
	}
	return out
}

func (g *Grid) row(v *quorum.Verdict, i int, cells []render.Cell) GridRow {
	row := GridRow{Verdict: v, Anchor: i}
	for _, c := range cells {
		cell := GridCell{Cell: c}
		if c.Group >= 0 && c.Group < len(v.Groups) {
			d := v.Groups[c.Group].SHA256
			cell.Digest, cell.Agreed = v.Short(d), d == v.SHA256 && !c.Beside
			g.HasAgreed = g.HasAgreed || cell.Agreed
		}
		if c.Meaning != "" && !slices.ContainsFunc(g.Legend, func(have render.Cell) bool { return have.Meaning == c.Meaning }) {
			g.Legend = append(g.Legend, c)
		}
		g.HasLate = g.HasLate || c.Late
		row.Cells = append(row.Cells, cell)
	}
	return row
}

// NewArtifacts puts verdicts into words.
func NewArtifacts(list []api.Artifact) []Artifact {
	out := make([]Artifact, len(list))
	for i, a := range list {
		out[i] = Artifact{Artifact: a, Words: quorum.Explain(&a.Verdict), Evidence: evidenceFiles(&list[i])}
		for j := range a.Groups {
			out[i].Rows = append(out[i].Rows, GroupRow{j, a.Groups[j]})
		}
	}
	return out
}

// Node is a part of the rule with what has been heard.
type Node struct {
	Name     string
	Operator bool
	Need     int
	Of       int
	Answered int    // members, of a group, that answered
	Answer   string // of an operator: "voted", "no vote" or "no answer"
	Members  []*Node
}

// NewRule draws the rule of a channel with who has answered on a target.
func NewRule(rule *policy.Rule, statements []api.StatementInfo) *Node {
	answers := map[string]string{}
	for _, s := range statements {
		if s.Status == "" {
			answers[s.Operator] = "voted"
		} else if answers[s.Operator] != "voted" || s.Status == statement.Withdrawn {
			answers[s.Operator] = "no vote"
		}
	}
	return newNode(rule, answers)
}

func newNode(r *policy.Rule, answers map[string]string) *Node {
	n := &Node{Name: r.Name, Operator: r.IsOperator(), Need: r.Need, Of: len(r.Members)}
	if n.Operator {
		n.Answer = cmp.Or(answers[r.Name], "no answer")
		return n
	}
	for _, m := range r.Members {
		child := newNode(m, answers)
		if child.Answer == "voted" || !child.Operator && child.Answered >= child.Need {
			n.Answered++
		}
		n.Members = append(n.Members, child)
	}
	return n
}

// Arrival is one line of the timeline.
type Arrival struct {
	api.StatementInfo
	Superseded bool // a later statement took its place
	Late       bool // it came after a signature and differs from it

	Signature *api.Signature // the line is about this signature, not about a statement
	Artifact  string         // that was signed
	Act       *api.Act       // or about this act
	At        time.Time
}

// Logs finds the paths of the logs that are here, by the statements that name them.
func Logs(statements []api.StatementInfo) map[statement.SHA256]string {
	paths := map[statement.SHA256]string{}
	for i := range statements {
		if l := statements[i].Log; l != nil && l.Path != "" {
			paths[statements[i].ID] = l.Path
		}
	}
	return paths
}

// Took is how long the build lasted.
func (a Arrival) Took() time.Duration { return a.Finished.Sub(a.Started) }

// NewTimeline puts statements, signatures and acts into the order in which they came.
// Artifacts are all those of the target: a statement that none of their verdicts
// counts any more was superseded.
func NewTimeline(statements []api.StatementInfo, artifacts []api.Artifact, acts []api.Act) []Arrival {
	counts, late := map[statement.SHA256]bool{}, map[statement.SHA256]bool{}
	var list []Arrival
	for i := range artifacts {
		a := &artifacts[i]
		for _, g := range a.Groups {
			for _, m := range g.Members {
				counts[m.Statement] = true
			}
		}
		for _, n := range a.NoVotes {
			counts[n.Statement] = true
		}
		for _, l := range a.Verdict.Late {
			counts[l.Statement], late[l.Statement] = true, true
		}
		for j := range a.Signatures {
			s := &a.Signatures[j]
			list = append(list, Arrival{Signature: s, Artifact: a.Verdict.Artifact, At: s.SignedAt})
		}
	}
	for _, s := range statements {
		list = append(list, Arrival{StatementInfo: s, At: s.Received, Late: late[s.ID],
			Superseded: len(artifacts) > 0 && !counts[s.ID] && laterOf(statements, s)})
	}
	for i := range acts {
		list = append(list, Arrival{Act: &acts[i], At: acts[i].Received})
	}
	slices.SortStableFunc(list, func(a, b Arrival) int { return a.after().Compare(b.after()) })
	return list
}

// after is when it had happened for certain: signatures are dated in whole seconds,
// and would else stand before the votes that led to them.
func (a *Arrival) after() time.Time {
	if a.Signature != nil && a.At.Nanosecond() == 0 {
		return a.At.Add(time.Second - 1)
	}
	return a.At
}

// laterOf reports whether the same operator said something after s.
func laterOf(all []api.StatementInfo, s api.StatementInfo) bool {
	return slices.ContainsFunc(all, func(o api.StatementInfo) bool { return o.Operator == s.Operator && o.Seq > s.Seq })
}
