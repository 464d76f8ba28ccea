package web

import (
	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/internal/render"
)

// Bounds of what a page shows of one difference; quorate diff has all.
const (
	membersShown = 50
	membersOpen  = 5 // that are seen at once
	buildersSeen = 8 // of a group
)

// Differences is why files of a target differ.
type Differences struct {
	Artifacts []Difference
	More      int  // files that are left out
	Inside    bool // there is something to say of the files
	Factors   bool // and of the builds
}

// Difference is why one file differs.
type Difference struct {
	Name    string
	Anchor  int // place of the file on the page
	Groups  []DifferingGroup
	Pairs   []DifferingPair
	Factors []difference.Factor
	More    string // how many factors are left out
	Built   string // when the groups were built
	Files   bool   // some of the files are kept here
}

// DifferingGroup is the builders that gave one digest, cut to what is shown.
type DifferingGroup struct {
	difference.Group
	Index int
	More  int // members that are left out
}

// DifferingPair is what differs inside of the files of two groups.
type DifferingPair struct {
	*difference.Pair
	First []difference.Member // of the list
	Rest  []difference.Member
	Left  int // differing members that are not shown
}

// NewDifferences lays out what is known; nil when nothing differs. Artifacts are
// those of the page.
func NewDifferences(d *api.Differences, artifacts []api.Artifact) *Differences {
	if len(d.Artifacts) == 0 {
		return nil
	}
	anchors := map[string]int{}
	for i := range artifacts {
		anchors[artifacts[i].Verdict.Artifact] = i
	}
	out := &Differences{More: d.More}
	for i := range d.Artifacts {
		a := newDifference(&d.Artifacts[i], anchors[d.Artifacts[i].Artifact])
		for _, g := range a.Groups {
			a.Files = a.Files || g.File != ""
		}
		out.Inside = out.Inside || a.Files || len(a.Pairs) > 0
		out.Factors = out.Factors || len(a.Factors) > 0
		out.Artifacts = append(out.Artifacts, a)
	}
	return out
}

func newDifference(a *difference.Artifact, anchor int) Difference {
	d := Difference{Name: a.Artifact, Anchor: anchor}
	for i, g := range a.Groups {
		more := max(0, len(g.Members)-buildersSeen)
		g.Members = g.Members[:len(g.Members)-more]
		d.Groups = append(d.Groups, DifferingGroup{g, i, more})
	}
	for _, p := range render.Inside(a) {
		first, shown := min(len(p.List), membersOpen), min(len(p.List), membersShown)
		d.Pairs = append(d.Pairs, DifferingPair{p, p.List[:first], p.List[first:shown], p.More + len(p.List) - shown})
	}
	if d.Factors, d.More = render.Factors(a); len(d.Factors) > 0 {
		d.Built = render.Built(a.Groups)
	}
	return d
}
