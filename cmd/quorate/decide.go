package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

type decideCmd struct {
	evidenceFlags
	formatFlags
	Channel    string   `placeholder:"NAME" help:"Only this channel of the policy; every channel that the target belongs to without it."`
	JSON       bool     `name:"json" xor:"form" help:"One JSON object a line: what counts for nobody, then the artifacts."`
	HTML       bool     `name:"html" xor:"form" help:"One page without scripts."`
	TSV        bool     `name:"tsv" xor:"form" help:"A table of digests and names, whatever the verdict."`
	Signatures bool     `help:"With --tsv: the verdict on each signature instead, in GnuPG's words."`
	Count      string   `enum:"good,all" default:"good" placeholder:"good|all" help:"With --tsv: only statements whose signature counts, or all of them, checked or not."`
	Paths      []string `arg:"" name:"path" help:"Folders or files of statements."`
}

// evidenceFlags say how a tree of foreign statements is judged.
type evidenceFlags struct {
	Policy string `placeholder:"FILE" help:"Policy to judge by."`
	At     string `placeholder:"TIME" help:"Judge as of this time (2027-01-31 or RFC 3339); now without it."`
	Keys   string `placeholder:"DIR" help:"OpenPGP key files of the pinned keys; the policy's keys, or builder-keys beside the statements, without it."`
	Name   string `placeholder:"NAME" help:"What is released, for pkg:generic/NAME@RELEASE; the folder's name without it."`
}

// formatFlags are for statements that are no lists.
type formatFlags struct {
	Layout string `placeholder:"FILE" help:"An in-toto layout that you trust: the keys in it are used where the policy pins them."`
	Target string `placeholder:"PURL" help:"Target of statements whose format names none; each file is a target of its own without it."`
}

// Help is shown by --help.
func (decideCmd) Help() string {
	return `Reads statements of any kind that others made (guix.sigs, rebuilderd, in-toto links, .buildinfo, narinfo,
SLSA provenance) and Quorate's own, verifies them by the keys that the policy pins, and says of each artifact
whether enough independent operators built it alike. It asks no server and writes nothing. What counts for nobody
is named on standard error with the reason. With --count all the table believes names that nobody checked; no
verdict ever does.

Exit codes: 0 everything is agreed; 2 usage, or an input that cannot be read; 3 something is conflicting or
unreachable; 4 something is still waiting, or nothing was found; 5 something is held back by the policy.`
}

func (c *decideCmd) Run() error { return c.run(os.Stdout) }

func (c *decideCmd) run(w io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	j, err := c.juror(c.Paths, c.formatFlags)
	if err != nil {
		return err
	}
	if err := c.hasChannel(j.policy); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	if c.Signatures {
		err = printSignatures(out, j, c.Paths)
	} else {
		err = c.decide(j, out)
	}
	return errors.Join(out.Flush(), err)
}

func (c *decideCmd) check() error {
	switch {
	case c.Signatures && !c.TSV:
		return usageError("quorate decide --tsv --signatures PATH", "--signatures is a form of --tsv")
	case c.Count == "all" && (!c.TSV || c.Signatures):
		return usageError("a verdict counts only what was checked", "--count all is for --tsv")
	case c.Target != "" && !statement.ValidTarget(c.Target):
		return usageError("such as pkg:generic/hello@1.0", "--target: %q is not a package URL of at most 512 printable ASCII characters", render.Cut(c.Target, 80))
	case c.Policy == "" && !c.Signatures && c.Count != "all":
		return usageError("quorate policy init --from guix.sigs PATH writes a first one", "--policy is missing")
	}
	return nil
}

// hasChannel refuses a channel that is not there: with it nothing would count.
func (c *decideCmd) hasChannel(p *policy.Policy) error {
	if c.Channel == "" || p == nil || p.Channel(c.Channel) != nil {
		return nil
	}
	names := make([]string, len(p.Channels))
	for i, ch := range p.Channels {
		names[i] = ch.Name
	}
	return usageError("the channels are "+strings.Join(names, ", "), "--channel: the policy has no channel %q", c.Channel)
}

// juror prepares what reads and judges statements.
func (c *evidenceFlags) juror(paths []string, f formatFlags) (*juror, error) {
	at, err := parseAt(c.At)
	if err != nil {
		return nil, err
	}
	j := &juror{at: at, naming: evidence.Naming{Name: c.Name, Target: f.Target}}
	if c.Policy != "" {
		if j.policy, err = loadPolicyAt(c.Policy, at); err != nil {
			return nil, err
		}
		j.roll = evidence.NewRoll(j.policy)
	}
	return j, c.loadKeys(j, paths, f.Layout)
}

func loadPolicyAt(path string, at time.Time) (*policy.Policy, error) {
	data, err := readInput(path, policy.MaxSize)
	if err != nil {
		return nil, err
	}
	p, err := policy.Load(data, at)
	if err != nil {
		return nil, usageError("quorate policy check "+render.Text(path), "%s: %w", render.Text(path), err)
	}
	return p, nil
}

// decide reads the trees, sorts what counts by target, and judges one target
// after the other.
func (c *decideCmd) decide(j *juror, out *bufio.Writer) (err error) {
	box := newSpill(spillAt)
	defer func() { err = errors.Join(err, box.close()) }()
	p, err := c.printer(j, out)
	if err != nil {
		return err
	}
	t := newTaker(c, j, box, p)
	for _, path := range c.Paths {
		if err := j.walk(path, t.take); err != nil {
			return err
		}
	}
	t.reject.finish()
	tally := outcome{}
	err = box.groups(func(g group, list []record) error { return t.judge(g, list, p, &tally) })
	if err == nil {
		err = p.end(&tally)
	}
	if err != nil || c.TSV {
		return err
	}
	t.say(&tally)
	return tally.exit()
}

func (c *decideCmd) printer(j *juror, out *bufio.Writer) (decidePrinter, error) {
	switch {
	case c.TSV:
		return newTable(out), nil
	case c.JSON:
		return &decideJSON{out}, nil
	case c.HTML:
		return newDecidePage(out, j)
	}
	return &decideText{out}, nil
}

// decidePrinter writes one form of the output.
type decidePrinter interface {
	reject(r rejection) error
	group(g group, list []record, d *decided) error
	end(o *outcome) error
}

// outcome counts what was decided.
type outcome struct {
	states    map[quorum.State]int
	artifacts int
}

func (o *outcome) add(verdicts []quorum.Verdict) {
	if o.states == nil {
		o.states = map[quorum.State]int{}
	}
	o.artifacts += len(verdicts)
	for i := range verdicts {
		o.states[verdicts[i].State]++
	}
}

// exit turns the worst verdict into an exit code. Nothing at all is not
// agreement: a mistyped path must not pass.
func (o *outcome) exit() error {
	switch {
	case o.states[quorum.Conflicting]+o.states[quorum.Unreachable] > 0:
		return &exitError{code: exitDisagree}
	case o.states[quorum.Held] > 0:
		return &exitError{code: exitRefused}
	case o.states[quorum.Agreed] < o.artifacts || o.artifacts == 0:
		return &exitError{code: exitWaiting}
	}
	return nil
}

// String lists the states in their usual order.
func (o *outcome) String() string {
	text := plural(o.artifacts, "artifact")
	for i, s := range present(o) {
		text += map[bool]string{true: ": ", false: ", "}[i == 0] + fmt.Sprintf("%d %s", o.states[s], s)
	}
	return text
}

func present(o *outcome) (list []quorum.State) {
	for _, s := range quorum.States {
		if o.states[s] > 0 {
			list = append(list, s)
		}
	}
	return list
}

// absolute is the path without a symbolic name such as "." at its end, from which
// release and name are taken.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}
