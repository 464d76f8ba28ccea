package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quorate/quorum"
)

// TestImportRealTrees brings whole trees of real lists to a coordinator and
// compares what it found with the tables that lie beside them.
func TestImportRealTrees(t *testing.T) {
	for set, name := range map[string]string{"guix.sigs": "bitcoin", "guix.sigs-dash": "dash"} {
		t.Run(set, func(t *testing.T) {
			dir := realData(t, set)
			text := expected(t, filepath.Dir(firstPolicy(t, policyInitCmd{Name: name, Path: dir})), "policy.toml")
			r := newRecord(t, liveText(text))
			got := r.bring("guix.sigs", dir)
			want := decideOut(t, exitOK, decideCmd{evidenceFlags: evidenceFlags{Policy: inFile(t, text), Name: name}, TSV: true, Paths: []string{dir}})
			if len(got) == 0 || strings.Count(strings.Join(got, "\n"), "rejected ") != strings.Count(r.rejectedCodes(), " ") {
				t.Errorf("%d lines, rejected %q", len(got), r.rejectedCodes())
			}
			counted, rows := tableRows(want), r.rows()
			if !slices.Equal(rows, counted) {
				for i := range max(len(rows), len(counted)) {
					if i >= len(rows) || i >= len(counted) || rows[i] != counted[i] {
						t.Fatalf("row %d of %d and %d: %q, want %q", i, len(rows), len(counted), at(rows, i), at(counted, i))
					}
				}
			}
			r.checkOracle(t, tableRows(expected(t, dir, "EXPECTED-agreement.tsv")), rows)
		})
	}
}

// checkOracle compares the rows of stages in which every statement counts: the
// oracle believes every name.
func (r *recordWorld) checkOracle(t *testing.T, oracle, rows []string) {
	t.Helper()
	same := 0
	for _, row := range oracle {
		if slices.Contains(rows, row) {
			same++
			continue
		}
		f := strings.Split(row, "\t")
		i := slices.IndexFunc(rows, func(o string) bool { return strings.HasPrefix(o, strings.Join(f[:3], "\t")+"\t") })
		if i < 0 {
			t.Logf("nobody who counts: %s", row)
			continue
		}
		if have := strings.Split(rows[i], "\t"); have[3] == f[3] {
			t.Errorf("%q, want %q", rows[i], row)
		}
	}
	if same < len(oracle)/3 {
		t.Errorf("%d of %d rows are those of the table", same, len(oracle))
	}
	t.Logf("%d of %d rows are those of the table, the others lack statements that do not count", same, len(oracle))
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// liveText makes a first policy one for a coordinator of the tests.
func liveText(text string) string {
	text = regexp.MustCompile(`(?m)^\[\[channel\]\]\nname    = .*$`).ReplaceAllString(text, "[[channel]]\nname    = \"core\"")
	return strings.Replace(text, `key = "change-me"`, `key = "k"`, 1)
}

// tableRows keeps of a table what does not name people: release, stage, artifact,
// statements in the stage, statements on the artifact, digests, the largest group
// and its digest.
func tableRows(text string) (rows []string) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) >= 8 && !strings.HasPrefix(line, "#") {
			rows = append(rows, strings.Join(f[:8], "\t"))
		}
	}
	slices.Sort(rows)
	return rows
}

// rows writes what the coordinator found in the form of the table.
func (r *recordWorld) rows() (rows []string) {
	r.t.Helper()
	for _, t := range r.targets() {
		_, release, _ := strings.Cut(t.Target.Target, "@")
		for i := range t.Artifacts {
			v := &t.Artifacts[i].Verdict
			votes := 0
			first := quorum.Group{}
			for _, g := range v.Groups {
				votes += len(g.Members)
				if n := len(g.Members) - len(first.Members); n > 0 || n == 0 && g.SHA256.String() < first.SHA256.String() {
					first = g
				}
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s", release, t.Stage, v.Artifact, votes+len(v.Silent), votes,
				len(v.Groups), len(first.Members), first.SHA256))
		}
	}
	slices.Sort(rows)
	return rows
}

// rejectedCodes lists the codes of everything that was refused.
func (r *recordWorld) rejectedCodes() string {
	r.t.Helper()
	out := ""
	for _, j := range r.rejected() {
		out += " " + string(j.Code)
	}
	return out
}

// TestImportRealFiles brings the real files of the other kinds.
func TestImportRealFiles(t *testing.T) {
	policy := strings.NewReplacer(`name = "all"`, `name = "core"`, `format = "openpgp", key = "none"`, `format = "raw-sha256", key = "k"`).Replace(otherPolicy)
	for _, c := range []struct {
		set, kind string
		keys      bool
		want      map[string]int
	}{
		{"rebuilderd-attestation", "rebuilderd", false, map[string]int{"recorded": 3, "bad": 1, "no-key": 1}}, // the sixth has the bytes of another
		{"debian-buildinfo", "buildinfo", true, map[string]int{"recorded": 1, "no-key": 1, "unsigned": 1}},
		{"nix-narinfo", "narinfo", false, map[string]int{"recorded": 2}},
		{"dsse", "dsse", false, map[string]int{"recorded": 1, "no-key": 1}},
		{"in-toto-link-gpg", "link", false, map[string]int{"no-key": 2}}, // the keys are in a layout, which does not travel
	} {
		t.Run(c.set, func(t *testing.T) {
			dir := realData(t, c.set)
			r := newRecord(t, policy)
			cmd := r.command(c.kind, dir)
			if c.keys {
				cmd.Keys = dir
			}
			got := map[string]int{}
			for _, line := range r.run(cmd) {
				f := strings.Fields(line)
				if f[0] == "rejected" {
					f[0] = f[2]
				}
				got[f[0]]++
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
