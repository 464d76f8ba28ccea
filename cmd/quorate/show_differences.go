package main

import (
	"context"
	"fmt"
	"slices"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/difference"
	"quorate/internal/render"
)

// askDifferences asks why the artifacts differ that do. The verdict is worth
// showing without it, so a fault is only told.
func (s *shown) askDifferences(ctx context.Context, cl *client.Client) {
	ask := func(id, artifact string) {
		d, err := cl.Differences(ctx, id, artifact)
		switch {
		case client.IsNotFound(err): // a coordinator of an older version
		case err != nil:
			say("why the builds differ is not known: %v", err)
		default:
			s.differences = append(s.differences, d)
		}
	}
	for _, t := range s.targets {
		if slices.ContainsFunc(t.Artifacts, func(a api.Artifact) bool { return len(difference.Groups(&a.Verdict)) > 1 }) {
			ask(t.ID, "")
		}
	}
	for i := range s.artifacts {
		if a := &s.artifacts[i]; len(difference.Groups(&a.Verdict)) > 1 {
			ask(a.TargetID, a.Artifact)
		}
	}
}

// differencesOf finds what is known of one artifact, or nil.
func (s *shown) differencesOf(a *api.Artifact) *difference.Artifact {
	for _, d := range s.differences {
		if d.ID != a.TargetID {
			continue
		}
		for i := range d.Artifacts {
			if d.Artifacts[i].Artifact == a.Artifact {
				return &d.Artifacts[i]
			}
		}
	}
	return nil
}

// why prints what differs inside of the files and what goes with it.
func (p *printer) why(d *difference.Artifact) {
	if d == nil {
		return
	}
	for _, pair := range render.Inside(d) {
		p.wrap(fmt.Sprintf("  inside %s and %s: ", render.Text(pair.A), render.Text(pair.B)), render.Text(pair.Text))
	}
	factors, more := render.Factors(d)
	for _, f := range factors {
		p.wrap(fmt.Sprintf("  %s ", render.Text(f.Kind)), render.Text(f.Text))
	}
	if more != "" {
		p.line("  %s", more)
	}
	if times := render.Built(d.Groups); len(d.Factors) > 0 && times != "" {
		p.wrap("  built ", times)
	}
}
