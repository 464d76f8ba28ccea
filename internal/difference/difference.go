// Package difference says why builders gave different bytes for one file, from
// what they said in their statements: which members of it differ, and what about
// their machines goes with the difference.
//
// Guarantees: pure functions; equal input gives equal output; what comes out is
// bounded whatever builders wrote. Not guaranteed: that it is true. A builder may
// lie about all of it, and what goes with a difference need not be its cause.
package difference

import (
	"slices"
	"time"

	"quorate/internal/manifest"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Limits of what is compared and shown.
const (
	MaxGroups     = 8   // of one artifact; the largest are compared
	MaxStatements = 64  // that are read for one answer
	maxMembers    = 500 // listed for one pair
	maxFactors    = 100
	maxValues     = 8   // of one factor
	maxText       = 200 // bytes of a value
)

// Group is the builders that gave one digest.
type Group struct {
	Letter  string           `json:"letter"` // A, B, ...: the order of the verdict, dissent after the signature last
	SHA256  statement.SHA256 `json:"sha256"`
	Late    bool             `json:"late,omitzero"` // came after the signature
	Members []quorum.Member  `json:"members"`
	First   time.Time        `json:"first,omitzero"` // when the earliest of its builds began
	Last    time.Time        `json:"last,omitzero"`  // when the latest of them ended
	File    string           `json:"file,omitzero"`  // path of the file itself, where a builder has uploaded it
}

// Artifact is why one file differs.
type Artifact struct {
	Artifact string   `json:"artifact"`
	Groups   []Group  `json:"groups"`
	Pairs    []Pair   `json:"pairs"`         // group A with each of the others
	Factors  []Factor `json:"factors"`       // what goes with the difference, the likeliest first
	More     int      `json:"more,omitzero"` // factors that are left out
}

// Groups lists the groups of a verdict; fewer than two mean that nothing differs.
func Groups(v *quorum.Verdict) []Group {
	var groups []Group
	for i := range v.Groups {
		groups = append(groups, Group{SHA256: v.Groups[i].SHA256, Members: v.Groups[i].Members})
	}
	for _, l := range v.Late {
		if l.Withdrawn {
			continue
		}
		i := slices.IndexFunc(groups, func(g Group) bool { return g.SHA256 == l.SHA256 })
		switch {
		case i < 0:
			groups = append(groups, Group{SHA256: l.SHA256, Late: true, Members: []quorum.Member{l.Member}})
		case groups[i].Late:
			groups[i].Members = append(groups[i].Members, l.Member)
		}
	}
	groups = groups[:min(len(groups), MaxGroups)]
	for i := range groups {
		groups[i].Letter = quorum.Letter(i)
	}
	return groups
}

// Wanted lists the statements to be read for the groups, up to [MaxStatements]:
// one of each group, then the second of each, and so on.
func Wanted(groups []Group) (ids []statement.SHA256) {
	for n, more := 0, true; more && len(ids) < MaxStatements; n++ {
		more = false
		for _, g := range groups {
			if n < len(g.Members) && len(ids) < MaxStatements {
				ids, more = append(ids, g.Members[n].Statement), true
			}
		}
	}
	return ids
}

// Explain compares the groups of an artifact. read returns a statement by its id,
// or nil for one that cannot be had.
func Explain(artifact string, groups []Group, read func(statement.SHA256) *statement.Statement) Artifact {
	out := Artifact{Artifact: artifact, Groups: groups}
	var builds []build
	for _, id := range Wanted(groups) {
		s := read(id)
		if s == nil {
			continue
		}
		i := slices.IndexFunc(groups, func(g Group) bool {
			return slices.ContainsFunc(g.Members, func(m quorum.Member) bool { return m.Statement == id })
		})
		builds = append(builds, build{i, s})
		groups[i].span(s)
	}
	out.Pairs = pairs(artifact, groups, builds)
	out.Factors, out.More = factors(groups, builds)
	return out
}

// build is a statement and the place of its group.
type build struct {
	group int
	s     *statement.Statement
}

func (g *Group) span(s *statement.Statement) {
	if !s.Started.IsZero() && (g.First.IsZero() || s.Started.Before(g.First)) {
		g.First = s.Started
	}
	if s.Finished.After(g.Last) {
		g.Last = s.Finished
	}
}

// inside returns what the builds of a group say is in the artifact: the first
// list, or else the first problem. Equal bytes have equal lists; several says that
// the builds contradict each other, which only a lie or a fault explains.
func inside(artifact string, group int, builds []build) (m *manifest.Manifest, several bool) {
	for _, b := range builds {
		if b.group != group {
			continue
		}
		i := slices.IndexFunc(b.s.Artifacts, func(a statement.Artifact) bool { return a.Name == artifact })
		if i < 0 || len(b.s.Artifacts[i].Manifest) == 0 {
			continue
		}
		got, err := manifest.Parse(b.s.Artifacts[i].Manifest)
		if err != nil {
			got = manifest.Failed("", "the list cannot be read: "+err.Error())
		}
		switch {
		case m == nil || m.Problem != "" && got.Problem == "":
			m = got
		case got.Problem == "" && m.Problem == "" && got.SHA256 != m.SHA256:
			several = true
		}
	}
	return m, several
}

// clip shortens a value for a line.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return manifest.Text(s[:maxText-3]) + "..."
}
