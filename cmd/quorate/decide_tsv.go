package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

// Columns of the tables. Other tools read them.
const (
	agreementHeader = "# release\tstage\tartifact\tstatements_in_stage\tstatements_naming_artifact\tdistinct_digests\tlargest_group\tlargest_group_digest\tother_groups(digest12=signers)\tsigners_silent_on_artifact\n"
	signatureHeader = "# release\tsigner_dir\tfile\tverdict\tprimary_fingerprint\tsig_created_utc\tpubkey_algo\thash_algo\tmatches_key_file_of_that_name\n"
)

// table writes who gave which digest, one line for each artifact.
type table struct {
	out   *bufio.Writer
	begun bool
}

func newTable(out *bufio.Writer) *table { return &table{out: out} }

func (t *table) reject(rejection) error { return nil }

func (t *table) end(*outcome) error { return t.begin() }

func (t *table) begin() error {
	if t.begun {
		return nil
	}
	t.begun = true
	_, err := t.out.WriteString(agreementHeader)
	return err
}

func (t *table) group(g group, list []record, _ *decided) error {
	if err := t.begin(); err != nil {
		return err
	}
	rows := map[string]map[statement.SHA256][]string{}
	var signers []string
	for i := range list {
		signers = append(signers, list[i].obs.Builder)
		for _, f := range list[i].obs.Files {
			if rows[f.Name] == nil {
				rows[f.Name] = map[statement.SHA256][]string{}
			}
			rows[f.Name][f.SHA256] = append(rows[f.Name][f.SHA256], list[i].obs.Builder)
		}
	}
	slices.Sort(signers)
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if _, err := t.out.WriteString(tableRow(g, name, rows[name], signers)); err != nil {
			return err
		}
	}
	return nil
}

// tableRow writes one artifact: the largest group first, and of groups alike in
// size the one with the least digest.
func tableRow(g group, name string, by map[statement.SHA256][]string, signers []string) string {
	digests := slices.Collect(maps.Keys(by))
	slices.SortFunc(digests, func(a, b statement.SHA256) int {
		return cmp.Or(cmp.Compare(len(by[b]), len(by[a])), cmp.Compare(a.String(), b.String()))
	})
	naming := 0
	var others []string
	said := map[string]bool{}
	for i, d := range digests {
		slices.Sort(by[d])
		naming += len(by[d])
		for _, who := range by[d] {
			said[who] = true
		}
		if i > 0 {
			others = append(others, d.String()[:12]+"="+strings.Join(by[d], ","))
		}
	}
	silent := slices.DeleteFunc(slices.Clone(signers), func(s string) bool { return said[s] })
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", tsvField(g.Target), tsvField(g.Stage), tsvField(name),
		len(signers), naming, len(digests), len(by[digests[0]]), digests[0], orDash(strings.Join(others, ";")), orDash(strings.Join(silent, ",")))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// tsvField keeps a name from breaking the table. Readers of statements refuse
// such characters already; the path of a tree is not theirs.
func tsvField(s string) string {
	return orDash(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s))
}

// printSignatures writes the verdict on every signature in the order of the
// trees.
func printSignatures(out io.Writer, j *juror, paths []string) error {
	fmt.Fprintf(out, "# quorate %s; clock %s; keys = the key files at hand only\n%s", version, j.at.Format("2006-01-02"), signatureHeader)
	rejects := &rejecter{print: newTable(nil)}
	for _, path := range paths {
		err := j.walk(path, func(f *found) error {
			switch {
			case f.native != nil:
				return nil
			case f.statement == nil || f.past:
				return rejects.add(reject(f))
			}
			for _, v := range f.statement.Verdicts {
				if _, err := io.WriteString(out, j.signatureRow(f, v)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	rejects.finish()
	return nil
}

func (j *juror) signatureRow(f *found, v evidence.Verdict) string {
	s := f.statement
	row := []string{s.Claim.Release, s.Claim.Name, s.Claim.Stage + guixsigs.Suffix + guixsigs.SignatureSuffix, openpgp.GnuPG(v), "-", "-", "-", "-", "-"}
	if s.Kind != evidence.GuixSigs {
		row[0], row[1], row[2] = s.Subject, "-", f.path
	}
	if v.Primary != "" {
		row[4], row[5] = v.Primary, v.Created.Format("2006-01-02T15:04:05Z")
		row[6], row[7] = strconv.Itoa(int(v.PublicKey)), strconv.Itoa(int(v.Hash))
		row[8] = j.holdsKey(s.Claim.Name, v.Primary)
	}
	for i := range row {
		row[i] = tsvField(row[i])
	}
	return strings.Join(row, "\t") + "\n"
}

// differing lists the groups besides the first as DIGEST=OPERATORS.
func differing(v *quorum.Verdict) string {
	var out []string
	for i := 1; i < len(v.Groups); i++ {
		out = append(out, v.Short(v.Groups[i].SHA256)+"="+strings.Join(memberNames(v.Groups[i].Members), ","))
	}
	return strings.Join(out, " ")
}

func memberNames(members []quorum.Member) []string {
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].Operator
	}
	return names
}
