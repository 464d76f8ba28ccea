package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/term"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum"
)

// serverFlags are the flags of every command that asks a coordinator.
type serverFlags struct {
	Server string `env:"QUORATE_SERVER" default:"http://127.0.0.1:7780" placeholder:"URL" help:"Address of the coordinator (default ${default})."`
}

func (f serverFlags) client() (*client.Client, error) {
	c, err := client.New(f.Server)
	if err != nil {
		return nil, usageError("--server http://HOST:PORT, or the variable QUORATE_SERVER", "%w", err)
	}
	return c, nil
}

// caseFlags narrow a question to one case.
type caseFlags struct {
	Channel string `placeholder:"NAME" help:"Only this channel."`
	Target  string `placeholder:"PURL" help:"Only this target, such as pkg:generic/hello@1.0."`
	Stage   string `placeholder:"NAME" help:"Only this stage."`
}

// place is what is known of a file of that name.
func (f caseFlags) place(name string) client.Place {
	return client.Place{Channel: f.Channel, Target: f.Target, Stage: f.Stage, Name: name}
}

func (f caseFlags) matches(channel, target, stage string) bool {
	return (f.Channel == "" || f.Channel == channel) && (f.Target == "" || f.Target == target) && (f.Stage == "" || f.Stage == stage)
}

// serverError turns an error of the client into one for people.
func serverError(err error) error {
	if client.Temporary(err) {
		return &exitError{exitFailure, err, "is the coordinator running there? --server or QUORATE_SERVER names another"}
	}
	return &exitError{exitFailure, err, "is it a coordinator of Quorate, of this version?"}
}

// byWeight orders exit codes from the best to the worst: over several files or
// targets the worst one counts. A failed check outweighs a disagreement, and
// what only takes longer weighs least.
var byWeight = []int{exitOK, exitWaiting, exitFailure, exitRefused, exitDisagree, exitVerify, exitUsage}

func worse(a, b int) int {
	if slices.Index(byWeight, a) >= slices.Index(byWeight, b) {
		return a
	}
	return b
}

// exitOf is the exit code of a verdict.
func exitOf(a *api.Artifact) int {
	switch a.State {
	case quorum.Signed:
		return exitOK
	case quorum.Agreed:
		if refusal(a, "") != nil {
			return exitRefused
		}
		return exitOK
	case quorum.Conflicting, quorum.Unreachable, quorum.Disputed:
		return exitDisagree
	case quorum.Withdrawn:
		if a.Reason == quorum.ReasonStopped {
			return exitRefused
		}
		return exitWaiting
	case quorum.Waiting:
		return exitWaiting
	case quorum.Held:
		return exitRefused
	}
	return exitFailure // of a later version: nothing is promised
}

// refusal returns the request that the signer refused and that is not being
// asked again at this moment; one that will not be retried comes first. With a
// key only requests for that key count.
func refusal(a *api.Artifact, key string) *api.Request {
	var found *api.Request
	for i := range a.Requests {
		r := &a.Requests[i]
		if r.Refusal == nil || (key != "" && r.Key != key) || (!r.Answered.IsZero() && r.Asked.After(r.Answered)) {
			continue
		}
		if found == nil || found.Refusal.Retryable && !r.Refusal.Retryable {
			found = r
		}
	}
	return found
}

func sayRefusal(r *quorum.Refusal) string {
	return render.Text(string(r.Code)) + ": " + strconv.Quote(render.Cut(r.Message, 500))
}

// printJSON writes one object in one line.
func printJSON(w io.Writer, v any) error {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// screen says how standard output is to be laid out.
func screen() (width int, color bool) {
	width = 80
	fd := int(os.Stdout.Fd())
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	} else if n, _, err := term.GetSize(fd); err == nil && n > 0 {
		width = n
	}
	_, never := os.LookupEnv("NO_COLOR")
	return width, term.IsTerminal(fd) && !never && os.Getenv("TERM") != "dumb"
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// say writes a line for people to standard error.
func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, render.Message(fmt.Sprintf(format, args...)))
}

// gridWidth is how wide a grid may be. On a terminal it is cut to the screen; what
// goes elsewhere is read by programs, which need whole names of files, unless
// COLUMNS says how much there is room for.
func gridWidth(screen int) int {
	if os.Getenv("COLUMNS") == "" && !term.IsTerminal(int(os.Stdout.Fd())) {
		return math.MaxInt
	}
	return screen
}
