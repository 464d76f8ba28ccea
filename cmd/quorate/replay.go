package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/evidence"
)

type replayCmd struct {
	evidenceFlags
	Timeline string `required:"" placeholder:"FILE" help:"When which file came: tab-separated time, A, M or D, path, old and new git blob id, commit."`
	JSON     bool   `name:"json" help:"One JSON object a line."`
	Path     string `arg:"" name:"path" help:"Folder with RELEASE/NAME/STAGE.SHA256SUMS, and deeper down what was replaced."`
}

// Help is shown by --help.
func (replayCmd) Help() string {
	return `Feeds statements in the order in which they arrived, as if a coordinator had been there: each is judged as of its
arrival, and what becomes agreed counts as signed from then on, so that later dissent makes it disputed. First come
the statements that were replaced or withdrawn, then a line for each artifact: the last verdict, how long it took from
the first statement that names it until it was agreed, and when its verdict changed. Files are found by their git blob
id, so each event has the bytes that it had. With --at it ends at that time: what came later is left out. Settle
times run until then.

Exit codes: 0 everything became agreed and nobody differed later; 2 usage, or an input that cannot be read;
3 something ends conflicting, unreachable or disputed; 4 something is still waiting; 5 something is held.`
}

func (c *replayCmd) Run() error { return c.run(os.Stdout) }

func (c *replayCmd) run(w io.Writer) error {
	if c.Policy == "" {
		return usageError("quorate policy init --from guix.sigs PATH writes a first one", "--policy is missing")
	}
	j, err := c.juror([]string{c.Path}, formatFlags{})
	if err != nil {
		return err
	}
	events, err := readTimeline(c.Timeline)
	if err != nil {
		return err
	}
	files, err := openBlobs(c.Path)
	if err != nil {
		return err
	}
	defer files.close()
	r := newReplay(j, files, c.name())
	for _, commit := range commits(until(events, j.at)) {
		if err := r.commit(commit); err != nil {
			return err
		}
	}
	return c.print(w, r)
}

func (c *replayCmd) name() string {
	if c.Name != "" {
		return c.Name
	}
	return evidenceName(c.Path)
}

func (c *replayCmd) print(w io.Writer, r *replay) error {
	out := bufio.NewWriter(w)
	o := outcome{}
	for _, e := range r.changes {
		if err := c.printChange(out, &e); err != nil {
			return err
		}
	}
	for _, cs := range r.sorted() {
		cs.settle(r.juror.at)
		for _, a := range cs.artifacts() {
			if o.states == nil {
				o.states = map[quorum.State]int{}
			}
			o.states[a.State]++
			o.artifacts++
			if err := c.printArtifact(out, &a); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	say("%s arrived, %d count, %d replaced, %d withdrawn; %s", plural(r.arrived, "statement"), r.counted, r.replaced, r.withdrawn, &o)
	return replayExit(&o)
}

func replayExit(o *outcome) error {
	if o.states[quorum.Disputed] > 0 {
		return &exitError{code: exitDisagree}
	}
	all := *o
	all.states = map[quorum.State]int{}
	for s, n := range o.states {
		if s == quorum.Signed {
			s = quorum.Agreed
		}
		all.states[s] += n
	}
	return all.exit()
}

// readTimeline reads the events. The order of the lines is that of the arrival.
func readTimeline(path string) ([]event, error) {
	data, err := readInput(path, maxTimeline)
	if err != nil {
		return nil, err
	}
	events, err := parseTimeline(data)
	if err != nil {
		return nil, usageError("six columns with tabs between them: time, A, M or D, path, old blob, new blob, commit", "%s: %w", render.Text(path), err)
	}
	return events, nil
}

// read judges the bundle as of its arrival. What lies in the tree now may have
// been judged differently then: keys expire.
func (r *replay) read(b evidence.Bundle, e *event) *found {
	j := *r.juror
	j.at = e.at
	f := &found{path: e.path, naming: evidence.Naming{Name: r.name}}
	if err := b.Check(); err != nil {
		f.err = err
		return f
	}
	if j.judge(b, f); f.err == nil {
		f.err = r.place(f)
	}
	return f
}

// place refuses a vote that counts in no channel.
func (r *replay) place(f *found) error {
	var err error
	for _, c := range f.naming.Cases(f.statement) {
		channels := r.channels(c.Target)
		if len(channels) == 0 {
			err = fmt.Errorf("%s; --name says what is released (%s)", noChannel(c.Target), codeNoChannel)
		}
		for _, ch := range channels {
			if ch.Index(f.vote.Builder.Operator) >= 0 {
				return nil
			}
			err = fmt.Errorf("%s (%s)", notInIt(f, ch), codeNotInIt)
		}
	}
	return err
}

var errNoBlob = errors.New("no file of the tree has these bytes")
