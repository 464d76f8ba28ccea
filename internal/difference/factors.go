package difference

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"quorate/quorum/statement"
)

// Kinds of factors.
const (
	KindEnvironment = "environment" // of the machine
	KindDependency  = "dependency"  // resolved by the build
	KindSource      = "source"
	KindSoftware    = "software" // that made the statement
	KindTime        = "time"     // day of the build, in UTC
)

// Factor is something that is not the same in all builds.
type Factor struct {
	Kind string `json:"kind"`
	Name string `json:"name"`

	// Score is from 0 to 1: how well the values tell the groups apart. 1 means that
	// all builds of a group have one value and no other group has it. A value that
	// each build has for itself says nothing and scores low.
	Score  float64 `json:"score"`
	Text   string  `json:"text"`
	Values []Value `json:"values"`
	More   int     `json:"more,omitzero"` // values that are left out
}

// Value is one value and how many builds of each group have it.
type Value struct {
	Value  string         `json:"value"`
	Builds map[string]int `json:"builds"` // by the group's letter
}

// absent is the value of a dependency that a build with a list does not have.
const absent = "(absent)"

type factorKey struct{ kind, name string }

// factors ranks what is not alike by how well it separates the groups.
func factors(groups []Group, builds []build) (list []Factor, more int) {
	said := make([]map[factorKey]string, len(builds))
	known := map[factorKey]map[string]bool{} // and in statements of which kinds
	for i, b := range builds {
		said[i] = facts(b.s)
		for k := range said[i] {
			if known[k] == nil {
				known[k] = map[string]bool{}
			}
			known[k][b.s.Kind()] = true
		}
	}
	for k := range known {
		values := make([]string, len(builds)) // empty: not known
		for i, b := range builds {
			v, ok := said[i][k]
			// One tool lists all that is installed, another what the build needs: only
			// lists of one kind lack what the other has.
			if !ok && k.kind == KindDependency && len(b.s.Dependencies) > 0 && known[k][b.s.Kind()] {
				v = absent
			}
			values[i] = v
		}
		if f := (Factor{Kind: k.kind, Name: k.name}); f.judge(groups, builds, values) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b Factor) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	if len(list) > maxFactors {
		more, list = len(list)-maxFactors, list[:maxFactors]
	}
	return list, more
}

// facts is everything that a statement says of its build.
func facts(s *statement.Statement) map[factorKey]string {
	out := map[factorKey]string{}
	// What other tools state often has one time only.
	if day := cmp.Or(s.Started.UTC(), s.Finished.UTC()); !day.IsZero() {
		out[factorKey{KindTime, "day of the build"}] = day.Format("2006-01-02")
	}
	set := func(kind, name, value string) {
		if name != "" && value != "" {
			out[factorKey{kind, clip(name)}] = clip(value)
		}
	}
	for name, value := range s.Environment {
		set(KindEnvironment, name, value)
	}
	set(KindSoftware, "quorate", s.Version)
	if s.Source != nil {
		set(KindSource, "uri", s.Source.URI)
		for algorithm, digest := range s.Source.Digest {
			set(KindSource, algorithm, digest)
		}
	}
	versions := map[string][]string{}
	native := nativeSuffix(s.Dependencies)
	for i := range s.Dependencies {
		name, value := dependency(&s.Dependencies[i])
		if native != "" {
			name = strings.TrimSuffix(name, native)
		}
		versions[name] = append(versions[name], value)
	}
	for name, list := range versions {
		slices.Sort(list)
		set(KindDependency, name, strings.Join(slices.Compact(list), ", "))
	}
	return out
}

// dependency names what was used, and what tells one version of it from another.
func dependency(d *statement.Dependency) (name, value string) {
	name = cmp.Or(d.Name, d.URI)
	value = d.Annotations["version"]
	if value == "" {
		for _, algorithm := range slices.Sorted(maps.Keys(d.Digest)) {
			value = algorithm + ":" + d.Digest[algorithm]
		}
	}
	return name, cmp.Or(value, d.URI)
}

// architectures are those of Debian that packages are qualified with.
var architectures = []string{"amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "ppc64el", "riscv64", "s390x"}

// nativeSuffix is what dpkg-query puts behind the names of packages of the machine's
// own architecture, and a .buildinfo leaves out: the commonest. Packages of other
// architectures keep theirs.
func nativeSuffix(list []statement.Dependency) (suffix string) {
	counts := map[string]int{}
	for i := range list {
		if at := strings.LastIndexByte(list[i].Name, ':'); at > 0 && slices.Contains(architectures, list[i].Name[at+1:]) {
			counts[list[i].Name[at:]]++
		}
	}
	for _, s := range slices.Sorted(maps.Keys(counts)) {
		if counts[s] > counts[suffix] {
			suffix = s
		}
	}
	return suffix
}

// judge fills in the factor, or reports that it tells nothing: because all builds
// are alike in it, or those that are known are all of one group.
func (f *Factor) judge(groups []Group, builds []build, values []string) bool {
	joint := map[string][]int{} // value: builds by group
	byGroup := make([]int, len(groups))
	n := 0
	for i, v := range values {
		if v == "" {
			continue
		}
		if joint[v] == nil {
			joint[v] = make([]int, len(groups))
		}
		joint[v][builds[i].group]++
		byGroup[builds[i].group]++
		n++
	}
	if len(joint) < 2 || entropy(byGroup, n) == 0 {
		return false
	}
	f.Score = math.Round(score(joint, byGroup, n)*float64(n)/float64(len(builds))*1000) / 1000
	order := slices.SortedFunc(maps.Keys(joint), func(a, b string) int {
		return cmp.Or(firstGroup(joint[a])-firstGroup(joint[b]), sum(joint[b])-sum(joint[a]), cmp.Compare(a, b))
	})
	for _, v := range order[:min(len(order), maxValues)] {
		val := Value{v, map[string]int{}}
		for g, c := range joint[v] {
			if c > 0 {
				val.Builds[groups[g].Letter] = c
			}
		}
		f.Values = append(f.Values, val)
	}
	f.More = len(order) - len(f.Values)
	f.Text = f.sentence(groups, byGroup, joint, order)
	return true
}

// score is the mutual information of value and group over the larger of their
// entropies: what both have in common, of all there is.
func score(joint map[string][]int, byGroup []int, n int) float64 {
	var all, byValue []int
	for _, v := range slices.Sorted(maps.Keys(joint)) { // in order: sums of floats must not differ
		all, byValue = append(all, joint[v]...), append(byValue, sum(joint[v]))
	}
	hg, hv := entropy(byGroup, n), entropy(byValue, n)
	return min(max((hg+hv-entropy(all, n))/max(hg, hv), 0), 1)
}

func entropy(counts []int, n int) (h float64) {
	for _, c := range counts {
		if c > 0 {
			p := float64(c) / float64(n)
			h -= p * math.Log2(p)
		}
	}
	return h
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func firstGroup(counts []int) int {
	return slices.IndexFunc(counts, func(c int) bool { return c > 0 })
}

// sentence is such as "all 3 of A have gcc 14.2.1; the one of B has 14.1.0". Values that
// builds of one group do not share even with each other are long and say nothing,
// as the folder of a build; they are among the values.
func (f *Factor) sentence(groups []Group, byGroup []int, joint map[string][]int, order []string) string {
	if len(joint) == sum(byGroup) && slices.Max(byGroup) > 1 {
		return f.label() + ": each build has its own"
	}
	var parts []string
	for g := range groups {
		if byGroup[g] == 0 {
			continue
		}
		var have []string
		for _, v := range order {
			if c := joint[v][g]; c > 0 {
				have = append(have, part(v, c, byGroup[g]))
			}
		}
		if len(have) > 3 {
			have = append(have[:2], fmt.Sprintf("%d other values", len(have)-2))
		}
		parts = append(parts, who(groups[g].Letter, byGroup[g], len(have))+strings.Join(have, ", "))
	}
	return f.label() + ": " + strings.Join(parts, "; ")
}

func (f *Factor) label() string {
	if f.Kind == KindSource {
		return "source " + f.Name
	}
	return f.Name
}

func who(letter string, n, values int) string {
	switch {
	case n == 1:
		return "the one of " + letter + " has "
	case values > 1:
		return "of " + letter + " "
	case n == 2:
		return "both of " + letter + " have "
	}
	return fmt.Sprintf("all %d of %s have ", n, letter)
}

func part(value string, c, of int) string {
	if c == of {
		return value
	}
	if c == 1 {
		return "1 has " + value
	}
	return fmt.Sprintf("%d have %s", c, value)
}

// tools are the beginnings of names of packages that write what is in a build.
// Where many packages separate the groups as well, as after an update of all,
// these come first.
var tools = []string{"gcc", "g++", "clang", "llvm", "binutils", "rust", "cargo", "go", "golang", "openjdk", "jdk", "python3", "python",
	"perl", "glibc", "libc6", "musl", "make", "cmake", "ninja", "meson", "dpkg", "debhelper", "pacman", "rpm", "tar", "gzip", "xz", "zstd", "zip"}

func rank(f Factor) int {
	name, _, _ := strings.Cut(f.Name, ":")
	tool := slices.ContainsFunc(tools, func(t string) bool {
		rest, ok := strings.CutPrefix(name, t)
		return ok && (rest == "" || !('a' <= rest[0] && rest[0] <= 'z'))
	})
	switch {
	case f.Kind == KindSource:
		return 0
	case f.Kind == KindDependency && tool:
		return 1
	case f.Kind == KindEnvironment:
		return 2
	case f.Kind == KindTime, f.Kind == KindSoftware:
		return 4
	}
	return 3
}
