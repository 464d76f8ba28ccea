package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

type showCmd struct {
	serverFlags
	Channel string `placeholder:"NAME" help:"Only this channel."`
	Stage   string `placeholder:"NAME" help:"Only this stage."`
	JSON    bool   `name:"json" help:"One JSON object a target (or artifact) and line, as the coordinator gives it."`
	What    string `arg:"" name:"target" help:"A target (pkg:...), a file, or the SHA-256 of one."`
}

// Help is shown by --help.
func (showCmd) Help() string {
	return `A file in whose name pkg: comes first is written ./pkg:...

Exit codes: 0 agreed or signed; 1 no answer from the coordinator; 2 usage; 3 the builders disagree;
4 waiting, or nothing is known; 5 held or refused. With several artifacts the weightiest counts: 3, 5, 1, 4.`
}

// shown is what there is to show: whole targets, or single artifacts.
type shown struct {
	targets   []*api.TargetDetail
	artifacts []api.Artifact
	file      *hashedFile // nil when a target or a digest was asked for
	digest    statement.SHA256

	differences []*api.Differences // why they differ, where that is known
}

func (c *showCmd) Run() error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	s, err := c.ask(context.Background(), cl)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.printJSON()
	} else {
		s.askDifferences(context.Background(), cl)
		err = s.print(os.Stdout)
	}
	if err != nil {
		return err
	}
	return s.verdict(c.What)
}

// ask finds out what the argument is: a target begins with pkg:, 64 hex digits
// are a digest, everything else is a file.
func (c *showCmd) ask(ctx context.Context, cl *client.Client) (*shown, error) {
	if strings.HasPrefix(c.What, "pkg:") {
		return c.askTarget(ctx, cl)
	}
	s := &shown{}
	var err error
	if s.digest, err = statement.ParseSHA256(strings.ToLower(c.What)); err != nil {
		if s.file, err = c.hash(); err != nil {
			return nil, err
		}
		s.digest = s.file.sha256
	}
	flags := caseFlags{Channel: c.Channel, Stage: c.Stage}
	known, err := cl.Artifacts(ctx, s.digest, flags.place(""))
	if err != nil {
		return nil, serverError(err)
	}
	for _, a := range known.Artifacts {
		if flags.matches(a.Channel, a.Target, a.Stage) {
			s.artifacts = append(s.artifacts, a)
		}
	}
	if len(s.artifacts) == 0 && s.file != nil {
		return s, c.askByName(ctx, cl, s)
	}
	return s, nil
}

func (c *showCmd) hash() (*hashedFile, error) {
	h, err := hashFile(c.What)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("a target begins with pkg:, a digest has 64 hex digits; anything else is a file",
			"%q is no target, no digest, and no file", c.What)
	}
	return h, err
}

// maxShown bounds the cases of one target: its channels and stages.
const maxShown = 256

// casesOf reads what is known of a target, for commands that can do nothing without.
func (f serverFlags) casesOf(ctx context.Context, cl *client.Client, of caseFlags) ([]*api.TargetDetail, error) {
	s, err := (&showCmd{serverFlags: f, Channel: of.Channel, Stage: of.Stage, What: of.Target}).askTarget(ctx, cl)
	if err != nil {
		return nil, err
	}
	if len(s.targets) == 0 {
		return nil, &exitError{exitWaiting, fmt.Errorf("nobody has said anything about %q", render.Cut(of.Target, 300)), "quorate list shows what there is"}
	}
	return s.targets, nil
}

func (c *showCmd) askTarget(ctx context.Context, cl *client.Client) (*shown, error) {
	s := &shown{}
	flags := caseFlags{c.Channel, c.What, c.Stage}
	for t, err := range cl.Targets(ctx, client.Query{Channel: c.Channel, Text: c.What}) {
		if err != nil {
			return nil, serverError(err)
		}
		if !flags.matches(t.Channel, t.Target, t.Stage) {
			continue
		}
		detail, err := cl.Target(ctx, t.ID)
		if err != nil {
			return nil, serverError(err)
		}
		if s.targets = append(s.targets, detail); len(s.targets) == maxShown {
			break
		}
	}
	return s, nil
}

// askByName looks for other bytes under the file's name, as wait does.
func (c *showCmd) askByName(ctx context.Context, cl *client.Client, s *shown) error {
	w := &waiter{cmd: &waitCmd{caseFlags: caseFlags{Channel: c.Channel, Stage: c.Stage}}, client: cl}
	f := &waitFile{hashedFile: s.file}
	ids, err := w.targetsNaming(ctx, f)
	if err != nil {
		return serverError(err)
	}
	for _, id := range ids {
		t, err := cl.Target(ctx, id)
		if err != nil {
			return serverError(err)
		}
		for _, a := range t.Artifacts {
			if a.Artifact == s.file.name && w.cmd.matches(a.Channel, a.Target, a.Stage) {
				s.artifacts = append(s.artifacts, a)
			}
		}
	}
	return nil
}

func (s *shown) printJSON() error {
	for _, t := range s.targets {
		if err := printJSON(os.Stdout, t); err != nil {
			return err
		}
	}
	for i := range s.artifacts {
		if err := printJSON(os.Stdout, &s.artifacts[i]); err != nil {
			return err
		}
	}
	return nil
}

// verdict is the exit code: that of the weightiest artifact.
func (s *shown) verdict(what string) error {
	if len(s.targets)+len(s.artifacts) == 0 {
		return &exitError{exitWaiting, fmt.Errorf("nobody has said anything about %q", render.Cut(what, 300)), "quorate list shows what there is"}
	}
	code := exitOK
	for _, t := range s.targets {
		for i := range t.Artifacts {
			code = worse(code, exitOf(&t.Artifacts[i]))
		}
		if len(t.Artifacts) == 0 {
			code = worse(code, exitWaiting)
		}
	}
	for i := range s.artifacts {
		a := &s.artifacts[i]
		if code = worse(code, exitOf(a)); settled(a) && a.SHA256 != s.digest {
			code = exitDisagree
		}
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}
