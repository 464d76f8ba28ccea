package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// group is what statements are counted together for.
type group struct {
	Channel string `json:"channel"`
	Target  string `json:"target"`
	Stage   string `json:"stage,omitzero"`
}

func (g group) compare(o group) int {
	return cmp.Or(cmp.Compare(g.Channel, o.Channel), cmp.Compare(g.Target, o.Target), cmp.Compare(g.Stage, o.Stage))
}

// decided is the verdict on one group.
type decided struct {
	verdicts   []quorum.Verdict
	statements int      // that count
	roster     int      // operators that the quorum counts
	need       int      // how many of them pass at least
	notes      []string // what people should look at, and what decides nothing
	heard      map[string][]hearsay
}

// hearsay is what a statement says that does not count, where it differs from
// the first group of an artifact.
type hearsay struct {
	Name   string           `json:"name"` // as it is filed, which nobody checked
	Code   statement.Code   `json:"code"`
	SHA256 statement.SHA256 `json:"sha256"`
}

// taker turns what was found into records, and records into verdicts.
type taker struct {
	c      *decideCmd
	j      *juror
	box    *spill
	reject *rejecter
	signer signers
	counts int // statements that count
	lost   int // statements that do not
}

func newTaker(c *decideCmd, j *juror, box *spill, p decidePrinter) *taker {
	return &taker{c: c, j: j, box: box, reject: &rejecter{print: p}}
}

func (t *taker) take(f *found) error {
	t.signer.see(f, t.reject.note)
	if f.statement != nil {
		for _, w := range f.statement.Warnings {
			t.reject.warn(f.path, w)
		}
	}
	readable := f.statement != nil || f.native != nil
	if f.err != nil && (t.c.Count != "all" || !readable || f.past) {
		t.lost++
		return errors.Join(t.reject.add(reject(f)), t.hear(f))
	}
	switch {
	case t.c.TSV:
		t.counts++
		return t.row(f)
	case f.native != nil:
		t.counts++
		return t.inChannel(f, f.native.Channel, f.native.Target, f.native.Stage, f.admitted)
	}
	counts := false
	for _, c := range f.naming.Cases(f.statement) {
		added, err := t.inChannels(f, c)
		if err != nil {
			return err
		}
		counts = counts || added
	}
	if counts {
		t.counts++
	} else {
		t.lost++
	}
	return nil
}

// hear keeps what a list says that does not count, to be shown where it differs.
// Only lists name their target by themselves.
func (t *taker) hear(f *found) error {
	if t.c.TSV || f.statement == nil || f.statement.Kind != evidence.GuixSigs {
		return nil
	}
	c := f.naming.Cases(f.statement)[0]
	for _, ch := range t.j.policy.Channels {
		if !ch.Matches(c.Target) || t.c.Channel != "" && ch.Name != t.c.Channel {
			continue
		}
		o := quorum.Observation{ID: f.statement.ID, Builder: f.statement.Claim.Name, Files: c.Files}
		if err := t.box.add(record{group{ch.Name, c.Target, c.Stage}, f.vote.Made, o, codeOfReason(f.err)}); err != nil {
			return err
		}
	}
	return nil
}

// Codes of what counts for nobody because of the policy.
const (
	codeNoChannel = statement.Code("no-channel")
	codeNotInIt   = quorum.CodeBuilderChannel
)

// inChannels adds the vote to every channel of the policy that is for the target
// and has the operator in its quorum, and reports whether there is one.
func (t *taker) inChannels(f *found, c evidence.Case) (added bool, err error) {
	code, msg := codeNoChannel, noChannel(c.Target)+"; --name and --target say what is released"
	for _, ch := range t.j.policy.Channels {
		if !ch.Matches(c.Target) || t.c.Channel != "" && ch.Name != t.c.Channel {
			continue
		}
		if ch.Index(f.vote.Builder.Operator) < 0 {
			code, msg = codeNotInIt, notInIt(f, ch)
			continue
		}
		if err := t.inChannel(f, ch.Name, c.Target, c.Stage, f.vote.Observe(f.statement, c)); err != nil {
			return false, err
		}
		added = true
	}
	if added {
		return true, nil
	}
	return false, t.reject.add(rejection{"rejected", f.path, code, fmt.Sprintf("%s (%s)", msg, code)})
}

func noChannel(target string) string { return "no channel of the policy is for " + render.Text(target) }

func notInIt(f *found, ch *policy.Channel) string {
	return fmt.Sprintf("operator %s of builder %s is not in the quorum of channel %s", f.vote.Builder.Operator, f.vote.Builder.Name, ch.Name)
}

func (t *taker) inChannel(f *found, channel, target, stage string, o quorum.Observation) error {
	if t.c.Channel != "" && t.c.Channel != channel {
		return nil
	}
	made := f.vote.Made
	if f.native != nil {
		made = f.native.Finished
	}
	return t.box.add(record{group{channel, target, stage}, made, o, ""})
}

// row adds the statement to the table, under the name that it bears.
func (t *taker) row(f *found) error {
	if f.native != nil {
		o := f.admitted
		o.ID, o.Builder, o.Files = f.native.ID(), f.native.Builder, nil
		for _, a := range f.native.Artifacts {
			o.Files = append(o.Files, quorum.File{Name: a.Name, SHA256: a.SHA256})
		}
		return t.box.add(record{group{"", f.native.Target, f.native.Stage}, f.native.Finished, o, ""})
	}
	for _, c := range f.naming.Cases(f.statement) {
		g := group{"", c.Target, c.Stage}
		if f.statement.Kind == evidence.GuixSigs {
			g.Target = f.statement.Claim.Release
		}
		o := quorum.Observation{ID: f.statement.ID, Builder: rowName(f), Files: c.Files}
		if err := t.box.add(record{g, f.vote.Made, o, ""}); err != nil {
			return err
		}
	}
	return nil
}

// rowName is what the table calls the maker of a statement. Where the format has
// no name it is the policy's, or the key that the signature claims.
func rowName(f *found) string {
	switch v := f.statement.Verdicts; {
	case f.statement.Kind == evidence.GuixSigs:
		return f.statement.Claim.Name
	case f.vote.Builder != nil:
		return f.vote.Builder.Name
	case len(v) > 0 && v[0].Hint != "":
		return "key:" + v[0].Hint
	}
	return "unsigned"
}

// judge decides one group. Its statements come in the order in which they say
// they were made, as nobody recorded when they arrived.
func (t *taker) judge(g group, list []record, p decidePrinter, o *outcome) error {
	if t.c.TSV {
		return p.group(g, list, nil)
	}
	ch := t.j.policy.Channel(g.Channel)
	if ch == nil {
		return nil
	}
	var obs []quorum.Observation
	for i := range list {
		if list[i].why == "" {
			obs = append(obs, list[i].obs)
			obs[len(obs)-1].Seq = uint64(len(obs))
		}
	}
	d := &decided{verdicts: quorum.Decide(unsigned(ch), obs, nil, t.j.at), statements: len(obs), roster: len(ch.Roster), need: ch.Rule.MinPass()}
	d.notes, d.heard = caseNotes(d.verdicts), hearsays(d.verdicts, list)
	for _, n := range d.notes {
		t.reject.note(g.title() + ": " + n)
	}
	o.add(d.verdicts)
	return p.group(g, nil, d)
}

// hearsays compares what does not count with the first group of each artifact.
func hearsays(verdicts []quorum.Verdict, list []record) map[string][]hearsay {
	first := map[string]statement.SHA256{}
	for i := range verdicts {
		if len(verdicts[i].Groups) > 0 {
			first[verdicts[i].Artifact] = verdicts[i].Groups[0].SHA256
		}
	}
	out := map[string][]hearsay{}
	for i := range list {
		if list[i].why == "" {
			continue
		}
		for _, f := range list[i].obs.Files {
			if d, known := first[f.Name]; known && d != f.SHA256 {
				out[f.Name] = append(out[f.Name], hearsay{list[i].obs.Builder, list[i].why, f.SHA256})
			}
		}
	}
	return out
}

// unsigned is the channel without its outputs: foreign statements mostly have
// SHA-256 alone, and whether a signature could be made from them is not asked.
func unsigned(ch *policy.Channel) *policy.Channel {
	c := *ch
	c.Sign = nil
	return &c
}

func (g group) title() string {
	if g.Stage == "" {
		return render.Text(g.Target)
	}
	return render.Text(g.Target) + " " + render.Text(g.Stage)
}

// caseNotes names what may be one file under two names.
func caseNotes(verdicts []quorum.Verdict) (notes []string) {
	names := make([]string, len(verdicts))
	for i := range verdicts {
		names[i] = verdicts[i].Artifact
	}
	for _, alike := range evidence.LookAlikes(names) {
		notes = append(notes, "names that differ in letter case or Unicode form only, counted as different files: "+quoted(alike))
	}
	pairs := sameBytes(verdicts)
	if len(pairs) > 0 {
		notes = append(notes, fmt.Sprintf("%s under two names by different operators, such as %s", plural(len(pairs), "digest"), quoted(pairs[0])))
	}
	return notes
}

// sameBytes finds digests that some operators gave under one name and others
// under another. Who gives both names means two files.
func sameBytes(verdicts []quorum.Verdict) (pairs [][]string) {
	type place struct {
		artifact string
		by       map[string]bool
	}
	seen := map[statement.SHA256]place{}
	for i := range verdicts {
		for _, g := range verdicts[i].Groups {
			first, again := seen[g.SHA256]
			if !again {
				first = place{verdicts[i].Artifact, map[string]bool{}}
				for _, m := range g.Members {
					first.by[m.Operator] = true
				}
				seen[g.SHA256] = first
				continue
			}
			if !slices.ContainsFunc(g.Members, func(m quorum.Member) bool { return first.by[m.Operator] }) {
				pairs = append(pairs, []string{first.artifact, verdicts[i].Artifact})
			}
		}
	}
	return pairs
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%+q", render.Cut(s, 128))
	}
	return strings.Join(out, " and ")
}

// say ends the output for people.
func (t *taker) say(o *outcome) {
	if t.counts+t.lost == 0 {
		say("no file there is a statement of a kind that is known; docs/evidence.md lists them")
		return
	}
	count, do := "count", "do"
	if t.counts == 1 {
		count = "counts"
	}
	if t.lost == 1 {
		do = "does"
	}
	say("%s %s, %d %s not; %s", plural(t.counts, "statement"), count, t.lost, do, o)
}

// maxSaid bounds what is written about single files.
const maxSaid = 1000

// rejecter says what counts for nobody, as it comes, and how much of it there
// was where that would be too much.
type rejecter struct {
	print    decidePrinter
	n        int
	notes    int
	warnings map[evidence.Warning]*warned
}

// warned is a warning with the files that have it.
type warned struct {
	first string
	n     int
}

// warn collects warnings about statements: many files tend to have the same.
func (r *rejecter) warn(path string, w evidence.Warning) {
	switch old := r.warnings[w]; {
	case old != nil:
		old.n++
	case len(r.warnings) < maxSaid:
		if r.warnings == nil {
			r.warnings = map[evidence.Warning]*warned{}
		}
		r.warnings[w] = &warned{path, 1}
	}
}

func (r *rejecter) add(x rejection) error {
	if r.n++; r.n <= maxSaid {
		say("rejected: %s", x.text())
	}
	return r.print.reject(x)
}

func (r *rejecter) note(text string) {
	if r.notes++; r.notes <= maxSaid {
		say("note: %s", text)
	}
}

func (r *rejecter) finish() {
	list := slices.SortedFunc(maps.Keys(r.warnings), func(a, b evidence.Warning) int { return cmp.Compare(r.warnings[a].first, r.warnings[b].first) })
	for _, w := range list {
		say("note: %s: %s: %s, in %s", render.Text(r.warnings[w].first), w.Field, w.Msg, plural(r.warnings[w].n, "file"))
	}
	if r.n > maxSaid {
		say("rejected: %d more, which --json lists", r.n-maxSaid)
	}
	if r.notes > maxSaid {
		say("note: %d more", r.notes-maxSaid)
	}
}

// signers looks for names of builders' folders that look alike. Statements come
// folder by folder, so one release is remembered at a time.
type signers struct {
	release string
	names   []string
	said    int
}

func (s *signers) see(f *found, note func(string)) {
	if f.statement == nil || f.statement.Kind != evidence.GuixSigs {
		return
	}
	c := f.statement.Claim
	if s.release != c.Release {
		*s = signers{release: c.Release}
	}
	if slices.Contains(s.names, c.Name) {
		return
	}
	s.names = append(s.names, c.Name)
	if alike := evidence.LookAlikes(s.names); len(alike) > s.said {
		s.said = len(alike)
		note(render.Text(c.Release) + ": folders that differ in letter case or Unicode form only: " + quoted(alike[len(alike)-1]))
	}
}
