package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// agentCmd holds the commands of a builder that have to do with its state
// directory.
type agentCmd struct {
	Keygen agentKeygenCmd `cmd:"" help:"Make a builder's state directory with new keys."`
	Public agentPublicCmd `cmd:"" help:"Print the public keys again, as the policy and the coordinator need them."`
	Run    agentRunCmd    `cmd:"" help:"Take jobs, build, and send what came out."`
	Flush  agentFlushCmd  `cmd:"" help:"Send what is in the spool."`
	Resend agentResendCmd `cmd:"" help:"Send again what a restored coordinator has lost."`
	Status agentStatusCmd `cmd:"" help:"Say what is in the spool, and what was confirmed or rejected."`
}

// stateFlag names the builder's state directory.
type stateFlag struct {
	State string `required:"" env:"QUORATE_AGENT_STATE" placeholder:"DIR" help:"The builder's state directory."`
}

func (f stateFlag) open() (*builderagent.State, error) {
	s, err := builderagent.Open(f.State)
	return s, agentError(err)
}

// agentError gives an error of the agent its exit code.
func agentError(err error) error {
	var denied *bus.DeniedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, builderagent.ErrConfig), errors.Is(err, builderagent.ErrFiles):
		return &exitError{exitUsage, err, ""}
	case errors.As(err, &denied), errors.Is(err, bus.ErrUnauthorized):
		return &exitError{exitFailure, err, "the coordinator's keeper lets a builder in with: quorate coordinator enroll; one that has sent its bytes of the day waits for the next"}
	}
	return err
}

// interrupted is done when the process is asked to end.
func interrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// quietLog is for commands that say themselves what happened.
func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

type agentKeygenCmd struct {
	State     string   `required:"" env:"QUORATE_AGENT_STATE" placeholder:"DIR" help:"Directory to make."`
	Name      string   `required:"" help:"Name of the builder, as it will stand in the policy."`
	Algorithm string   `default:"ed25519" enum:"ed25519,ecdsa-p256" help:"Kind of the statement key: ${enum}."`
	NATS      string   `name:"nats" placeholder:"URL" help:"Address of the bus, for agent.toml."`
	CAFile    string   `name:"ca-file" placeholder:"FILE" help:"Certificate authority of the bus, for agent.toml."`
	Channel   []string `placeholder:"NAME" help:"Channels whose jobs are built, for agent.toml."`
}

func (agentKeygenCmd) Help() string {
	return `Makes DIR with two new keys that have nothing to do with each other: statement.key signs what this builder says, bus.nk opens the bus. Nothing is ever overwritten.

Standard output has the builder's entry for the policy and, after an empty line, the command with which the coordinator's keeper lets the builder in. Neither is secret.`
}

func (c *agentKeygenCmd) Run() error {
	id, err := builderagent.Keygen(builderagent.KeygenOptions{
		Dir: c.State, Name: c.Name, Algorithm: builderagent.Algorithm(c.Algorithm),
		NATS: c.NATS, CAFile: c.CAFile, Channels: c.Channel,
	})
	if err != nil {
		return agentError(err)
	}
	printIdentity(os.Stdout, id)
	say("made %s; set the build command in %s/agent.toml before running the agent", c.State, c.State)
	return nil
}

func printIdentity(w io.Writer, id builderagent.Identity) {
	fmt.Fprintf(w, "%s\n%s\n", id.PolicySnippet(), id.EnrollCommand())
}

type agentPublicCmd struct{ stateFlag }

func (c *agentPublicCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	id, err := s.Identity()
	if err != nil {
		return agentError(err)
	}
	printIdentity(os.Stdout, id)
	return nil
}

type agentRunCmd struct {
	stateFlag
	LogFormat string `default:"text" enum:"text,json" help:"Form of the log on standard error: ${enum}."`
}

func (agentRunCmd) Help() string {
	return `Runs until it gets SIGTERM or SIGINT. A build under way is then stopped and its job comes back at the next start. Killing it in any other way loses nothing either.

The bus need not be there at the start.`
}

func (c *agentRunCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, nil)
	if c.LogFormat == "json" {
		h = slog.NewJSONHandler(os.Stderr, nil)
	}
	ctx, stop := interrupted()
	defer stop()
	return agentError(builderagent.Run(ctx, s, builderagent.Options{Version: version, Logger: slog.New(h)}))
}

type agentFlushCmd struct {
	stateFlag
	Wait time.Duration `default:"30s" help:"How long to try."`
}

func (agentFlushCmd) Help() string {
	return `Sends every statement in the spool and waits for a coordinator's receipts. Standard output has one line for each that was settled: "recorded ID" or "rejected ID CODE".

Exit code 0: the spool is empty. 4: the time ran out, statements are still in the spool. 5: a statement was rejected.`
}

func (c *agentFlushCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	ids, err := s.Spool.PendingIDs()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	return deliverAll(ctx, s, ids)
}

// deliverAll sends these statements and prints what became of them.
func deliverAll(ctx context.Context, s *builderagent.State, ids []statement.SHA256) error {
	deliverErr := builderagent.Deliver(ctx, s, ids, quietLog())
	code, err := printSettled(os.Stdout, s.Spool, ids)
	switch {
	case err != nil:
		return err
	case deliverErr != nil && !errors.Is(deliverErr, bus.ErrUnavailable):
		return agentError(deliverErr)
	case deliverErr != nil:
		return &exitError{exitWaiting, deliverErr, "the statements stay in the spool and go out with the next quorate agent run or flush"}
	case code != exitOK:
		return &exitError{code, errors.New("a statement was rejected"), "quorate agent status --state " + s.Dir}
	}
	return nil
}

func printSettled(w io.Writer, sp *spool.Spool, ids []statement.SHA256) (code int, err error) {
	for _, id := range ids {
		state, reason, err := sp.Where(id)
		switch {
		case err != nil:
			return exitFailure, err
		case state == spool.Sent:
			fmt.Fprintln(w, "recorded", id)
		case state == spool.Rejected:
			code = exitRefused
			fmt.Fprintln(w, "rejected", id, reason.Code)
		}
	}
	return code, nil
}
