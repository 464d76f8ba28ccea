package evidence_test

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/openpgp"
)

// signatureRow writes a statement in the columns of EXPECTED-gpg-verdicts.tsv.
func signatureRow(s *evidence.Statement, keys keyring) string {
	v := s.Verdicts[0]
	row := []string{s.Claim.Release, s.Claim.Name, s.Claim.Stage + ".SHA256SUMS.asc", openpgp.GnuPG(v), "-", "-", "-", "-", "-"}
	if v.Primary != "" {
		row[4], row[5] = v.Primary, v.Created.Format("2006-01-02T15:04:05Z")
		row[6], row[7] = strconv.Itoa(int(v.PublicKey)), strconv.Itoa(int(v.Hash))
		row[8] = "no-key-file"
		if fpr, ok := keys.byName[s.Claim.Name]; ok {
			row[8] = "no"
			if fpr.String() == v.Primary {
				row[8] = "yes"
			}
		}
	}
	return strings.Join(row, "\t")
}

// TestGnuPGVerdicts holds every verdict against what GnuPG said. There is no
// class of differences: all rows are equal. What GnuPG has one word for is
// counted apart, so that a change in the finer verdicts shows.
func TestGnuPGVerdicts(t *testing.T) {
	for _, tt := range []struct {
		set  string
		want map[evidence.Status]int
	}{
		{"guix.sigs", map[evidence.Status]int{evidence.Good: 203, evidence.ExpiredSince: 55, evidence.NoKey: 16}},
		{"guix.sigs-dash", map[evidence.Status]int{evidence.Good: 12, evidence.ExpiredSince: 8}},
	} {
		t.Run(tt.set, func(t *testing.T) {
			dir := dataDir(t, tt.set)
			keys := loadKeys(t, filepath.Join(dir, "builder-keys"))
			got, want, counts := map[string]bool{}, map[string]bool{}, map[evidence.Status]int{}
			for _, row := range rows(t, dir, "EXPECTED-gpg-verdicts.tsv") {
				want[strings.Join(row, "\t")] = true
			}
			for _, b := range bundles(t, dir) {
				s, err := guixsigs.Read(b, keys.ring, judged)
				if err != nil {
					t.Fatalf("%s: %v", b.Path, err)
				}
				if len(s.Verdicts) != 1 {
					t.Fatalf("%s: %d verdicts", b.Path, len(s.Verdicts))
				}
				row := signatureRow(s, keys)
				if got[row] = true; !want[row] {
					t.Errorf("differs from GnuPG: %s\n\t%+v", row, s.Verdicts[0])
				}
				counts[s.Verdicts[0].Status]++
			}
			for row := range want {
				if !got[row] {
					t.Errorf("missing: %s", row)
				}
			}
			if !maps.Equal(counts, tt.want) {
				t.Errorf("verdicts %v, want %v", counts, tt.want)
			}
		})
	}
}

// cell is what the builders of one stage say about one file.
type cell struct {
	release, stage, name string
	by                   map[string][]string // digest -> builders
}

// agreement groups statements the way EXPECTED-agreement.tsv does: by file,
// believing the builder's name in the path and asking no signature. A decision
// must not do that; see TestFiledUnderAnotherName.
func agreement(statements []*evidence.Statement) []string {
	cells, builders := map[string]*cell{}, map[string][]string{}
	for _, s := range statements {
		stage := s.Claim.Release + "\t" + s.Claim.Stage
		builders[stage] = append(builders[stage], s.Claim.Name)
		for _, a := range s.Artifacts {
			c := cells[stage+"\t"+a.Name]
			if c == nil {
				c = &cell{s.Claim.Release, s.Claim.Stage, a.Name, map[string][]string{}}
				cells[stage+"\t"+a.Name] = c
			}
			c.by[a.SHA256.String()] = append(c.by[a.SHA256.String()], s.Claim.Name)
		}
	}
	var out []string
	for _, c := range cells {
		out = append(out, c.row(builders[c.release+"\t"+c.stage]))
	}
	return out
}

func (c *cell) row(builders []string) string {
	digests := slices.Sorted(maps.Keys(c.by))
	slices.SortStableFunc(digests, func(a, b string) int { return cmp.Compare(len(c.by[b]), len(c.by[a])) })
	var named, others []string
	for i, d := range digests {
		slices.Sort(c.by[d])
		if named = append(named, c.by[d]...); i > 0 {
			others = append(others, d[:12]+"="+strings.Join(c.by[d], ","))
		}
	}
	silent := slices.DeleteFunc(slices.Sorted(slices.Values(builders)), func(b string) bool { return slices.Contains(named, b) })
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s", c.release, c.stage, c.name, len(builders), len(named), len(digests),
		len(c.by[digests[0]]), digests[0], dash(strings.Join(others, ";")), dash(strings.Join(silent, ",")))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func TestAgreement(t *testing.T) {
	for set, lists := range map[string]int{"guix.sigs": 274, "guix.sigs-dash": 20, "guix.sigs-qbit": 6} {
		t.Run(set, func(t *testing.T) {
			dir := dataDir(t, set)
			var statements []*evidence.Statement
			for _, b := range bundles(t, dir) {
				s, err := guixsigs.Read(b, nil, judged)
				if err != nil {
					t.Fatalf("%s: %v", b.Path, err)
				}
				statements = append(statements, s)
			}
			if len(statements) != lists {
				t.Errorf("%d lists, want %d", len(statements), lists)
			}
			got := agreement(statements)
			var want []string
			for _, row := range rows(t, dir, "EXPECTED-agreement.tsv") {
				want = append(want, strings.Join(row, "\t"))
			}
			slices.Sort(got)
			slices.Sort(want)
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("row %d of %d and %d:\ngot  %q\nwant %q", i, len(got), len(want), at(got, i), at(want, i))
				}
			}
		})
	}
}

func at(rows []string, i int) string {
	if i < len(rows) {
		return rows[i]
	}
	return ""
}

// TestFiledUnderAnotherName counts what the table of agreements believes and a
// decision must not: lists whose signature is not by the key that is pinned for
// the name in the path.
func TestFiledUnderAnotherName(t *testing.T) {
	for set, want := range map[string]string{
		"guix.sigs":      "no-key=16 no-pin-for-name=4 pinned=254",
		"guix.sigs-dash": "no-pin-for-name=4 pinned=16",
	} {
		t.Run(set, func(t *testing.T) {
			dir := dataDir(t, set)
			keys := loadKeys(t, filepath.Join(dir, "builder-keys"))
			counts := map[string]int{}
			for _, b := range bundles(t, dir) {
				s, err := guixsigs.Read(b, keys.ring, judged)
				if err != nil {
					t.Fatal(err)
				}
				pin, pinned := keys.byName[s.Claim.Name]
				accepted := s.Accepted(evidence.Accept{ExpiredSince: true})
				switch {
				case len(accepted) == 0:
					counts["no-key"]++
				case !pinned:
					counts["no-pin-for-name"]++
				case slices.Contains(accepted, pin.URI()):
					counts["pinned"]++
				default:
					counts["other-key"]++
				}
			}
			var got []string
			for _, k := range slices.Sorted(maps.Keys(counts)) {
				got = append(got, fmt.Sprintf("%s=%d", k, counts[k]))
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("got %q, want %q", s, want)
			}
		})
	}
}

// TestQbit verifies the set that has no table of verdicts: its key file names
// the fingerprints of its operators.
func TestQbit(t *testing.T) {
	dir := dataDir(t, "guix.sigs-qbit")
	keys := loadKeys(t, filepath.Join(dir, "operator-keys", "public-keys"))
	for _, b := range bundles(t, dir) {
		s, err := guixsigs.Read(b, keys.ring, judged)
		if err != nil {
			t.Fatal(err)
		}
		pin := keys.byName[s.Claim.Name+"-release"]
		if got := s.Accepted(evidence.Accept{}); !slices.Equal(got, []string{pin.URI()}) {
			t.Errorf("%s: accepted %v, want %v: %+v", b.Path, got, pin.URI(), s.Verdicts)
		}
	}
}

// TestSuperseded reads what builders filed first and then replaced or withdrew.
func TestSuperseded(t *testing.T) {
	dir := dataDir(t, "guix.sigs")
	keys := loadKeys(t, filepath.Join(dir, "builder-keys"))
	commits, err := filepath.Glob(filepath.Join(dir, "superseded", "*"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[evidence.Status]int{}
	for _, commit := range commits {
		for _, b := range bundles(t, commit) {
			s, err := guixsigs.Read(b, keys.ring, judged)
			if err != nil {
				t.Fatalf("%s: %v", b.Path, err)
			}
			counts[s.Verdicts[0].Status]++
		}
	}
	if n := counts[evidence.Good] + counts[evidence.ExpiredSince]; n != 8 || len(counts) > 2 {
		t.Errorf("%v, want 8 good ones", counts)
	}
}
