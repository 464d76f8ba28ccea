// Command quorate is everything of Quorate that needs no token: the builder's
// agent, the coordinator, and the tools of repositories and maintainers.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"quorate/internal/hint"
	"quorate/internal/render"
)

// Exit codes. They are part of the interface, see docs/cli.md.
const (
	exitOK       = 0
	exitFailure  = 1 // ours or the network's
	exitUsage    = 2 // usage or configuration
	exitDisagree = 3 // builders disagree
	exitWaiting  = 4 // still waiting when the time ran out
	exitRefused  = 5 // held or refused
	exitVerify   = 6 // verification failed
)

// version is set by the linker.
var version = "0.1.0-dev"

const description = "Signs what enough independent builders built alike."

type cli struct {
	Agent       agentCmd       `cmd:"" help:"Run builds and publish what came out (for people who run a rebuilder)."`
	Attest      attestCmd      `cmd:"" help:"Publish a statement about files that were built by other means."`
	Request     requestCmd     `cmd:"" help:"Ask the builders of a channel to build a target."`
	Import      importCmd      `cmd:"" help:"Bring statements that others made to the record."`
	Importer    importerCmd    `cmd:"" help:"The identity with which statements of others are brought."`
	Coordinator coordinatorCmd `cmd:"" help:"Record statements, decide, ask the signer, show."`
	Redrive     redriveCmd     `cmd:"" help:"Ask the signer again after a refusal."`
	Wait        waitCmd        `cmd:"" help:"Wait for the signatures of files and write them beside the files."`
	Signstar    signstarCmd    `cmd:"" help:"Answer a signing request of Signstar with the signature that the file has."`
	Show        showCmd        `cmd:"" help:"Show the verdict on a target, a file or a digest, and who built what."`
	Diff        diffCmd        `cmd:"" help:"Compare the files on which builders differ."`
	Log         logCmd         `cmd:"" help:"Print the log of a build that failed or differs."`
	List        listCmd        `cmd:"" help:"List targets by state."`
	Explain     explainCmd     `cmd:"" help:"Say in sentences what became of a target, and why."`
	Watch       watchCmd       `cmd:"" help:"Watch verdicts, acts and alarms as they come."`
	Hold        holdCmd        `cmd:"" help:"Keep a target, a file or a channel from being signed (for maintainers)."`
	Release     releaseCmd     `cmd:"" help:"Take a hold away."`
	Withdraw    withdrawCmd    `cmd:"" help:"Say for ever that a target or a file is not to be used."`
	Rebuild     rebuildCmd     `cmd:"" help:"Ask one or all builders to build a target again."`
	Note        noteCmd        `cmd:"" help:"Put a remark beside a target, a file or a channel."`
	Evidence    evidenceCmd    `cmd:"" help:"Write the evidence for a signed file beside it."`
	Decide      decideCmd      `cmd:"" help:"Decide offline on statements that others made."`
	Replay      replayCmd      `cmd:"" help:"Say when statements of others would have been agreed."`
	Verify      verifyCmd      `cmd:"" help:"Check a signature and its evidence offline."`
	Policy      policyCmd      `cmd:"" help:"Say what a policy file means."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run() error {
	_, err := fmt.Println("quorate", version)
	return err
}

// exitError carries an exit code and a hint for the person.
type exitError struct {
	code int
	err  error // nil when everything was said already
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(hint, format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...), hint}
}

func main() { os.Exit(run(os.Args[1:])) }

// run parses and executes one command line. Data goes to standard output, what
// is for people to standard error.
func run(args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("quorate"), kong.Vars{"version": "quorate " + version},
		kong.Description(description))
	if err != nil {
		return report(err)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return report(usageError(helpFor(err), "%w", err))
	}
	return report(ctx.Run())
}

// helpFor names the help of the command that was used wrongly.
func helpFor(err error) string {
	var p *kong.ParseError
	hint := "quorate"
	if errors.As(err, &p) && p.Context != nil {
		for _, step := range p.Context.Path {
			if step.Command != nil {
				hint += " " + step.Command.Name
			}
		}
	}
	return hint + " --help"
}

// report says an error and returns the exit code. Parts of an error may come
// from a file or a server, so none of it reaches the terminal as it is.
func report(err error) int {
	var ee *exitError
	switch {
	case err == nil:
		return exitOK
	case !errors.As(err, &ee):
		ee = &exitError{code: exitFailure}
	case ee.err == nil:
		return ee.code
	}
	text, own := hint.Split(err.Error())
	fmt.Fprintln(os.Stderr, "quorate:", render.Message(text))
	for _, h := range []string{own, ee.hint} {
		if h != "" {
			fmt.Fprintln(os.Stderr, "hint:", render.Message(h))
		}
	}
	return ee.code
}
