// Command quorate-signer runs beside the key. It takes sign requests from the
// bus, checks the evidence in them against its own policy, has a PKCS#11 token
// sign, and publishes signatures or refusals. It listens on nothing, but for its
// health on its own machine if that is turned on.
//
// Exit codes: 0 done; 1 failure of ours, of the network, or of a token that is
// away (starting again may help); 2 usage or configuration, a refused PIN
// included (a person is needed: never restart on it, tokens lock); 5 refused;
// 6 verification failed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"quorate/hsmsigner"
	"quorate/hsmsigner/tokenproc"
)

// version is set by the linker.
var version = "0.1.0-dev"

const description = "Signs what enough independent builders built alike, with a key in a token."

// cli is the command line. No flag takes a PIN: others can read a process's
// arguments.
type cli struct {
	Init     initCmd     `cmd:"" help:"Make the state of a signer: configuration, ledger, key for the bus."`
	Token    tokenCmd    `cmd:"" help:"Prepare a token."`
	Key      keyCmd      `cmd:"" help:"Make, list, change and export keys."`
	Run      runCmd      `cmd:"" help:"Answer sign requests."`
	Selftest selftestCmd `cmd:"" help:"Make and verify one signature with each key."`
	Bench    benchCmd    `cmd:"" help:"Measure how fast keys sign, and what a signature costs beside the token."`
	Ledger   ledgerCmd   `cmd:"" help:"Show what was signed and refused."`
	Version  versionCmd  `cmd:"" help:"Print the version."`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, "quorate-signer", version)
	return err
}

// streams are where data and words for people go.
type streams struct {
	out io.Writer // data
	err io.Writer // people
}

func main() {
	hsmsigner.TuneMemory()
	if tokenproc.IsCommand(os.Args) {
		os.Exit(tokenproc.Main())
	}
	os.Exit(run(os.Args[1:]))
}

// run parses and executes one command line.
func run(args []string) int {
	s := &streams{os.Stdout, os.Stderr}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parser, err := kong.New(&c, kong.Name("quorate-signer"), kong.Writers(s.out, s.err), kong.Vars{"version": "quorate-signer " + version},
		kong.Description(description),
		kong.Bind(s), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		fmt.Fprintln(s.err, "quorate-signer:", err)
		return exitFailure
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(s.err, "quorate-signer: %v\nhint: quorate-signer --help\n", err)
		return exitUsage
	}
	return report(s.err, k.Run())
}
