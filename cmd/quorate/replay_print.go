package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/quorum"
)

// replayed is what happened to one artifact. It is part of the interface.
type replayed struct {
	Type string `json:"type"`
	group
	Artifact string         `json:"artifact"`
	State    quorum.State   `json:"state"` // the last one
	First    time.Time      `json:"first"` // the first statement that names it
	Agreed   time.Time      `json:"agreed,omitzero"`
	Waited   int64          `json:"waitedSeconds,omitzero"` // from First to Agreed
	Steps    []replayStep   `json:"steps"`
	Verdict  quorum.Verdict `json:"verdict"`
}

func (c *replayCase) artifacts() []replayed {
	out := make([]replayed, 0, len(c.latest))
	for _, v := range c.latest {
		h := c.history[v.Artifact]
		r := replayed{Type: "artifact", group: c.group, Artifact: v.Artifact, State: v.State, First: h.first, Steps: h.steps, Verdict: v}
		if i := slices.IndexFunc(h.steps, func(s replayStep) bool { return s.State == quorum.Agreed }); i >= 0 {
			r.Agreed = h.steps[i].At
			r.Waited = int64(r.Agreed.Sub(h.first) / time.Second)
		}
		out = append(out, r)
	}
	return out
}

func (c *replayCmd) printChange(out *bufio.Writer, e *replayChange) error {
	if c.JSON {
		return printJSON(out, e)
	}
	what := fmt.Sprintf("%s, %d unlike the largest group", plural(e.Files, "file"), e.Differs)
	if e.Type == "replaced" {
		what += fmt.Sprintf("; the later list changes %d and leaves out %d", e.Changed, e.Dropped)
	}
	if !e.Counted {
		what += "; it did not count"
	}
	_, err := fmt.Fprintf(out, "%-11s  %s  %s  %s\n", e.Type, stamp(e.At), render.Text(e.Path), what)
	return err
}

func (c *replayCmd) printArtifact(out *bufio.Writer, a *replayed) error {
	if c.JSON {
		return printJSON(out, a)
	}
	waited := "never agreed"
	if !a.Agreed.IsZero() {
		waited = "agreed after " + (time.Duration(a.Waited) * time.Second).String()
	}
	steps := make([]string, len(a.Steps))
	for i, s := range a.Steps {
		steps[i] = string(s.State) + " " + stamp(s.At)
	}
	line := fmt.Sprintf("%-11s  %-25s  %s  %s  %s", a.State, waited, a.title(), render.Text(a.Artifact), strings.Join(steps, ", "))
	for _, part := range append(tail(&a.Verdict), lateOnes(&a.Verdict)...) {
		line += "  " + part
	}
	_, err := out.WriteString(line + "\n")
	return err
}

// lateOnes names who differed after the artifact was agreed.
func lateOnes(v *quorum.Verdict) []string {
	var out []string
	for _, l := range v.Late {
		what := "withdrew"
		if !l.Withdrawn {
			what = v.Short(l.SHA256)
		}
		out = append(out, what+"="+l.Operator)
	}
	if len(out) == 0 {
		return nil
	}
	return []string{"after agreement: " + strings.Join(out, " ")}
}
