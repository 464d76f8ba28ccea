package difference_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/difference"
	"quorate/internal/manifest"
	"quorate/quorum"
	"quorate/quorum/statement"
)

const artifact = "hello.tar"

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// world is the builds of one artifact. Statements are made by hand: how they are
// signed is of no concern here.
type world struct {
	verdict    quorum.Verdict
	statements map[statement.SHA256]*statement.Statement
}

func (w *world) build(name string, digest byte, change func(*statement.Statement)) {
	if w.statements == nil {
		w.statements = map[statement.SHA256]*statement.Statement{}
	}
	s := &statement.Statement{Builder: name, Started: noon, Finished: noon.Add(time.Hour), Version: "1",
		Artifacts: []statement.Artifact{{Name: artifact, SHA256: statement.SHA256{digest}}}}
	if change != nil {
		change(s)
	}
	id := statement.ID([]byte(name))
	w.statements[id] = s
	m := quorum.Member{Operator: name, Builder: name, Statement: id}
	for i := range w.verdict.Groups {
		if g := &w.verdict.Groups[i]; g.SHA256 == (statement.SHA256{digest}) {
			g.Members = append(g.Members, m)
			return
		}
	}
	w.verdict.Groups = append(w.verdict.Groups, quorum.Group{SHA256: statement.SHA256{digest}, Members: []quorum.Member{m}})
}

func (w *world) explain() difference.Artifact {
	return difference.Explain(artifact, difference.Groups(&w.verdict), func(id statement.SHA256) *statement.Statement { return w.statements[id] })
}

func gcc(version string) func(*statement.Statement) {
	return func(s *statement.Statement) {
		s.Dependencies = []statement.Dependency{
			{Name: "adduser", Annotations: map[string]string{"version": version}},
			{Name: "gcc", Annotations: map[string]string{"version": version}},
			{Name: "same", Annotations: map[string]string{"version": "1"}}}
		s.Environment = map[string]string{"path": "/build/" + s.Builder, "kernel": "Linux 6.12", "tz": "UTC"}
	}
}

// Three agree and have gcc 14.2.1, one differs and has 14.1.0: that is said first,
// above what each builder has for itself; what all have alike is not said.
func TestWhatSeparatesTheGroupsComesFirst(t *testing.T) {
	var w world
	for _, name := range []string{"a", "b", "c"} {
		w.build(name, 1, gcc("14.2.1"))
	}
	w.build("d", 2, gcc("14.1.0"))
	got := w.explain()
	first := got.Factors[0]
	if first.Name != "gcc" || first.Score != 1 || first.Text != "gcc: all 3 of A have 14.2.1; the one of B has 14.1.0" {
		t.Errorf("%+v", first)
	}
	want := []difference.Value{{Value: "14.2.1", Builds: map[string]int{"A": 3}}, {Value: "14.1.0", Builds: map[string]int{"B": 1}}}
	if diff := cmp.Diff(want, first.Values); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, f := range got.Factors {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"gcc", "adduser", "path"}) {
		t.Errorf("factors %q", names)
	}
	if path := got.Factors[2]; path.Score >= 0.6 || path.Text != "path: each build has its own" || len(path.Values) != 4 {
		t.Errorf("a path of its own for each builder: %+v", path)
	}
	if !got.Groups[0].First.Equal(noon) || !got.Groups[1].Last.Equal(noon.Add(time.Hour)) {
		t.Errorf("times %+v", got.Groups)
	}
}

// What goes across the groups does not separate them, however often it changes.
func TestWhatGoesAcrossScoresLow(t *testing.T) {
	var w world
	for i, name := range []string{"a", "b", "c", "d"} {
		w.build(name, byte(i/2), func(s *statement.Statement) { s.Environment = map[string]string{"cpu": fmt.Sprint(i % 2)} })
	}
	if f := w.explain().Factors; len(f) != 1 || f[0].Score != 0 {
		t.Errorf("%+v", f)
	}
}

// A builder that says nothing of its packages does not lack them; one that lists
// others does.
func TestAbsent(t *testing.T) {
	var w world
	w.build("a", 1, gcc("14"))
	w.build("b", 2, func(s *statement.Statement) {
		s.Dependencies = []statement.Dependency{{Name: "same", Annotations: map[string]string{"version": "1"}}}
	})
	w.build("c", 3, nil)
	for _, f := range w.explain().Factors {
		if f.Name == "gcc" && f.Text != "gcc: the one of A has 14; the one of B has (absent)" {
			t.Errorf("%+v", f)
		}
	}
}

// An archive that differs is told by what is inside of it, and not twice; where only
// one agent looked into it, nothing is missing in the other.
func TestArchivesInside(t *testing.T) {
	p := pair(t, list("tar", member("in.tar", 1, ""), member("same.tar", 7, ""), member("in.tar/a", 1, ""), member("in.tar/b", 2, "")),
		list("tar", member("in.tar", 2, ""), member("same.tar", 7, ""), member("in.tar/a", 3, ""), member("in.tar/b", 2, "")))
	if p.Text != "1 of 4 members differs: in.tar/a (content)" || len(p.List) != 1 {
		t.Errorf("%+v", p)
	}
	p = pair(t, list("tar", member("in.tar", 1, ""), member("in.tar/a", 1, "")), list("tar", member("in.tar", 2, "")))
	if p.Text != "1 of 2 members differs: in.tar (content)" {
		t.Errorf("looked into by one agent only: %+v", p)
	}
	p = pair(t, list("tar", member("in.tar", 1, ""), member("in.tar/a", 1, ""), member("in.tar/b", 1, "")), list("tar", member("in.tar", 2, ""), member("in.tar/a", 1, "")))
	if p.Text != "1 of 3 members differs: in.tar/b (removed)" {
		t.Errorf("a member is gone: %+v", p)
	}
	p = pair(t, list("tar", member("in.tar", 1, "2026-01-01T00:00:00Z"), member("in.tar/a", 1, "")), list("tar", member("in.tar", 2, "2026-01-02T00:00:00Z"), member("in.tar/a", 2, "")))
	if p.Changed != 2 {
		t.Errorf("the archive has another time as well: %+v", p)
	}
}

// A .buildinfo lists what the build needs and names no architecture, an agent lists
// all packages by their full name: what only one kind lists is no difference.
func TestOtherToolsTakePart(t *testing.T) {
	packages := func(list ...string) (out []statement.Dependency) {
		for _, p := range list {
			name, version, _ := strings.Cut(p, "=")
			out = append(out, statement.Dependency{Name: name, Annotations: map[string]string{"version": version}})
		}
		return out
	}
	var w world
	for _, name := range []string{"a", "b"} {
		w.build(name, 1, func(s *statement.Statement) {
			s.Dependencies = packages("libc6:amd64=2.36", "libssl3:amd64=3.0", "libc6:i386=2.36", "vim=9", "make=4.3")
		})
	}
	for i, name := range []string{"c", "d"} {
		w.build(name, 2, func(s *statement.Statement) {
			*s = *statement.Foreign("buildinfo", s.Case, nil, nil, s.Artifacts)
			s.Finished = noon.AddDate(0, 0, 1)
			s.Dependencies = packages("libc6=2.37", "libssl3=3.0")
			if i == 0 {
				s.Dependencies = append(s.Dependencies, packages("make=4.3")...)
			}
		})
	}
	got := w.explain()
	texts := map[string]string{}
	for _, f := range got.Factors {
		texts[f.Name] = f.Text
	}
	want := map[string]string{"libc6": "libc6: both of A have 2.36; both of B have 2.37",
		"make":             "make: both of A have 4.3; of B 1 has 4.3, 1 has (absent)",
		"day of the build": "day of the build: both of A have 2026-01-02; both of B have 2026-01-03"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
	if g := got.Groups[1]; !g.First.IsZero() || !g.Last.Equal(noon.AddDate(0, 0, 1)) {
		t.Errorf("group B began %s, ended %s: nobody said when it began", g.First, g.Last)
	}
}

func list(format string, members ...manifest.Member) func(*statement.Statement) {
	return func(s *statement.Statement) {
		b := manifest.NewBuilder(manifest.MaxBytes)
		for _, m := range members {
			if err := b.Add(m); err != nil {
				panic(err)
			}
		}
		data, err := b.Manifest(format).Encode()
		if err != nil {
			panic(err)
		}
		s.Artifacts[0].Manifest = data
	}
}

func member(name string, content byte, mtime string) manifest.Member {
	return manifest.Member{Name: name, Size: 1, SHA256: statement.SHA256{content}, Mode: "644", Owner: "0:0", MTime: mtime}
}

func pair(t *testing.T, a, b func(*statement.Statement)) difference.Pair {
	t.Helper()
	var w world
	w.build("a", 1, a)
	w.build("b", 2, b)
	got := w.explain()
	if len(got.Pairs) != 1 || got.Pairs[0].A != "A" || got.Pairs[0].B != "B" {
		t.Fatalf("%+v", got.Pairs)
	}
	return got.Pairs[0]
}

func TestMembersThatDiffer(t *testing.T) {
	x, y, z := member("usr/bin/x", 1, "1"), member("usr/share/doc/y", 2, "1"), member("z", 3, "1")
	later := member("usr/share/doc/y", 2, "2")
	other := member("usr/bin/x", 9, "1")
	mode, owner := z, z
	mode.Mode, owner.Owner = "755", "7:7"
	link := manifest.Member{Name: "l", Type: manifest.Symlink, Link: "a"}
	link2 := manifest.Member{Name: "l", Type: manifest.Symlink, Link: "b"}
	for name, c := range map[string]struct {
		a, b []manifest.Member
		want string
	}{
		"content and time": {[]manifest.Member{y, x, z}, []manifest.Member{later, other, z}, "2 of 3 members differ: usr/bin/x (content), usr/share/doc/y (mtime only)"},
		"mode":             {[]manifest.Member{z}, []manifest.Member{mode}, "1 of 1 member differs: z (mode only)"},
		"owner":            {[]manifest.Member{z}, []manifest.Member{owner}, "1 of 1 member differs: z (owner only)"},
		"link":             {[]manifest.Member{link}, []manifest.Member{link2}, "1 of 1 member differs: l (link)"},
		"added":            {[]manifest.Member{x}, []manifest.Member{x, z}, "1 of 2 members differs: z (added)"},
		"removed":          {[]manifest.Member{x, z}, []manifest.Member{x}, "1 of 2 members differs: z (removed)"},
		"order":            {[]manifest.Member{x, y, z}, []manifest.Member{y, x, z}, "all 3 members are alike, in another order"},
		"packing":          {[]manifest.Member{x, y}, []manifest.Member{x, y}, "all 2 members are alike: what differs is how they are packed (compression, padding, or headers that are not listed)"},
		"same name twice":  {[]manifest.Member{x, x}, []manifest.Member{x, other}, "1 of 2 members differs: usr/bin/x (content)"},
	} {
		if got := pair(t, list("tar", c.a...), list("tar", c.b...)); got.Text != c.want {
			t.Errorf("%s:\n%s\n%s", name, got.Text, c.want)
		}
	}
}

// A list that is cut gives no member for removed only because it was cut.
func TestCutListsAreNotTakenForWhole(t *testing.T) {
	cut := func(limit int) func(*statement.Statement) {
		return func(s *statement.Statement) {
			b := manifest.NewBuilder(limit)
			for i := range 1000 {
				if err := b.Add(member(fmt.Sprintf("f%04d", i), byte(i), "1")); err != nil {
					panic(err)
				}
			}
			if limit < manifest.MaxBytes && b.Add(member("last", 1, "1")) != nil {
				panic("add")
			}
			s.Artifacts[0].Manifest, _ = b.Manifest("tar").Encode()
		}
	}
	got := pair(t, cut(manifest.MaxBytes), cut(20_000))
	if got.Added+got.Removed+got.Changed != 0 || !got.Partial || !strings.Contains(got.Text, "the rest is not listed") {
		t.Errorf("%+v", got)
	}
}

func TestListsThatCannotBeCompared(t *testing.T) {
	bomb := func(s *statement.Statement) {
		s.Artifacts[0].Manifest, _ = manifest.Failed("zip", "members overlap").Encode()
	}
	bad := func(s *statement.Statement) { s.Artifacts[0].Manifest = []byte(`{"version":7}`) }
	tar := list("tar", member("a", 1, "1"))
	for want, c := range map[string][2]func(*statement.Statement){
		"no builder of either group": {nil, nil}, "only one of the groups": {tar, nil}, "members overlap": {tar, bomb},
		"version 7": {bad, tar}, "one file is tar, the other zip": {tar, list("zip", member("a", 1, "1"))},
	} {
		if got := pair(t, c[0], c[1]); !strings.Contains(got.Text, want) || len(got.List) > 0 {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

// Equal bytes have equal lists: a builder that says otherwise is seen.
func TestContradictionInAGroup(t *testing.T) {
	var w world
	w.build("a", 1, list("tar", member("a", 1, "1")))
	w.build("liar", 1, list("tar", member("b", 1, "1")))
	w.build("c", 2, list("tar", member("a", 2, "1")))
	if p := w.explain().Pairs[0]; !p.Doubt || !strings.Contains(p.Text, "one of them is wrong") {
		t.Errorf("%+v", p)
	}
}

// Dissent after the signature is a group like the others.
func TestLateDissentIsCompared(t *testing.T) {
	var w world
	w.build("a", 1, list("tar", member("x", 1, "1")))
	w.build("late", 2, list("tar", member("x", 2, "1")))
	w.verdict.Late = []quorum.Late{{Member: w.verdict.Groups[1].Members[0], SHA256: w.verdict.Groups[1].SHA256}, {Withdrawn: true}}
	w.verdict.Groups = w.verdict.Groups[:1]
	got := w.explain()
	if len(got.Groups) != 2 || !got.Groups[1].Late || got.Pairs[0].Changed != 1 {
		t.Errorf("%+v", got)
	}
}

// Whatever builders write, the answer stays small and is the same each time.
func TestAnswerIsBoundedAndAlwaysTheSame(t *testing.T) {
	var w world
	for i := range 120 {
		w.build(fmt.Sprint("b", i), byte(i%100), func(s *statement.Statement) {
			s.Environment = map[string]string{"path": strings.Repeat("x", 1000) + fmt.Sprint(i)}
			for j := range 150 {
				s.Dependencies = append(s.Dependencies, statement.Dependency{Name: fmt.Sprint("p", j), Annotations: map[string]string{"version": fmt.Sprint(i * j)}})
			}
			var members []manifest.Member
			for j := range 550 {
				members = append(members, member(fmt.Sprint("m", j), byte(i), "1"))
			}
			list("tar", members...)(s)
		})
	}
	got := w.explain()
	if len(got.Groups) > difference.MaxGroups || len(got.Factors) > 100 || got.More == 0 || len(got.Pairs[0].List) != 500 || got.Pairs[0].More == 0 || len(got.Pairs[0].Text) > 2000 {
		t.Errorf("%d groups, %d factors, %d members", len(got.Groups), len(got.Factors), len(got.Pairs[0].List))
	}
	for _, f := range got.Factors {
		if len(f.Values) > 8 || len(f.Text) > 4000 {
			t.Errorf("factor %s: %d values, %d bytes", f.Name, len(f.Values), len(f.Text))
		}
	}
	if len(difference.Wanted(difference.Groups(&w.verdict))) > difference.MaxStatements {
		t.Error("too many statements are read")
	}
	for range 2 {
		if diff := cmp.Diff(got, w.explain()); diff != "" {
			t.Fatal(diff)
		}
	}
}
