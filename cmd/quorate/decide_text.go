package main

import (
	"bufio"
	"fmt"
	"strings"

	"quorate/internal/render"
	"quorate/quorum"
)

// decideText writes one line for each artifact.
type decideText struct{ out *bufio.Writer }

func (*decideText) reject(rejection) error { return nil } // said on standard error
func (*decideText) end(*outcome) error     { return nil }

func (t *decideText) group(g group, _ []record, d *decided) error {
	for i := range d.verdicts {
		if _, err := t.out.WriteString(decideLine(g, &d.verdicts[i], d)); err != nil {
			return err
		}
	}
	return nil
}

// decideLine writes verdict, votes, groups, what it is about, and who differs or
// is silent.
func decideLine(g group, v *quorum.Verdict, d *decided) string {
	line := fmt.Sprintf("%-11s  %-22s  %-10s  %s  %s", v.State, fmt.Sprintf("%d, needs %d of %d", largestGroup(v), d.need, d.roster), groupSizes(v), g.title(), render.Text(v.Artifact))
	for _, part := range append(tail(v), uncounted(d.heard[v.Artifact])...) {
		line += "  " + part
	}
	return line + "\n"
}

// tail names everybody that is not in the first group.
func tail(v *quorum.Verdict) (parts []string) {
	add := func(name, what string) {
		if what != "" {
			parts = append(parts, name+what)
		}
	}
	if v.Diverge {
		parts = append(parts, "all different")
	}
	add("differs: ", differing(v))
	add("silent: ", strings.Join(v.Silent, ","))
	var none, changed []string
	for _, n := range v.NoVotes {
		none = append(none, n.Operator+"="+string(n.Status))
	}
	for _, c := range v.Changed {
		changed = append(changed, c.Operator)
	}
	add("no vote: ", strings.Join(none, ","))
	add("changed: ", strings.Join(changed, ","))
	add("revoked: ", strings.Join(memberNames(v.Revoked), ","))
	return parts
}

// uncounted names the statements that differ and do not count.
func uncounted(list []hearsay) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, h := range list {
		out[i] = fmt.Sprintf("%s=%s (%s)", h.SHA256.String()[:12], render.Text(h.Name), h.Code)
	}
	return []string{"not counted, and differs: " + strings.Join(out, " ")}
}

// groupSizes writes the digest groups as A12 B1.
func groupSizes(v *quorum.Verdict) string {
	var out []string
	for i := range v.Groups {
		out = append(out, fmt.Sprintf("%s%d", quorum.Letter(i), len(v.Groups[i].Members)))
	}
	return orDash(strings.Join(out, " "))
}

func largestGroup(v *quorum.Verdict) (n int) {
	for i := range v.Groups {
		n = max(n, len(v.Groups[i].Members))
	}
	return n
}

// decideJSON writes one object for each artifact, and for each file that counts
// for nobody.
type decideJSON struct{ out *bufio.Writer }

func (j *decideJSON) reject(r rejection) error { return printJSON(j.out, r) }
func (*decideJSON) end(*outcome) error         { return nil }

// decidedArtifact is part of the interface.
type decidedArtifact struct {
	Type string `json:"type"`
	group
	Statements int `json:"statements"` // that count for the target
	Need       int `json:"need"`       // the least number of operators that passes
	Of         int `json:"of"`         // operators that the quorum counts
	quorum.Verdict
	Uncounted []hearsay `json:"uncounted,omitempty"` // differs, and does not count
}

func (j *decideJSON) group(g group, _ []record, d *decided) error {
	for _, v := range d.verdicts {
		if err := printJSON(j.out, decidedArtifact{"artifact", g, d.statements, d.need, d.roster, v, d.heard[v.Artifact]}); err != nil {
			return err
		}
	}
	return nil
}
