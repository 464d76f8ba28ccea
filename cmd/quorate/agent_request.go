package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/render"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

type requestCmd struct {
	serverFlags
	busFlags

	Channel      string `required:"" placeholder:"NAME" help:"Channel whose builders are asked."`
	Target       string `required:"" placeholder:"PURL" help:"What to build, such as pkg:generic/hello@1.0."`
	Stage        string `placeholder:"NAME" help:"Stage of the build, where a target has several."`
	Source       string `placeholder:"URI" help:"Where the source is, as the builders' build commands understand it."`
	SourceSHA256 string `name:"source-sha256" placeholder:"HEX" help:"Digest of the source."`
}

func (requestCmd) Help() string {
	return `Puts a job on the bus and prints its id. Every builder of the channel builds it once. Asking again makes another job.

A channel that the coordinator at --server does not know, and a target that the channel is not for, are refused. Without a coordinator in reach this is not checked; a job for a channel that does not exist is built by nobody.

The seed file is the one that "quorate coordinator init" made for tooling, or that of another user enrolled with the role tooling.`
}

func (c *requestCmd) Run() error {
	job, err := c.job()
	if err != nil {
		return err
	}
	data, err := wire.Encode(job)
	if err != nil {
		return err
	}
	// What the builders would refuse is better refused here.
	if _, err := wire.ParseJob(data); err != nil {
		return usageError("", "%w", err)
	}
	if err := c.checkChannel(); err != nil {
		return err
	}
	if err := c.send(data); err != nil {
		return err
	}
	_, err = fmt.Println(job.ID)
	return err
}

func (c *requestCmd) job() (*wire.Job, error) {
	job := &wire.Job{
		Version: quorum.Version, ID: newJobID(time.Now()), Channel: c.Channel, Target: c.Target, Stage: c.Stage,
		Source: sourceOf(c.Source, c.SourceSHA256), Requested: time.Now().UTC().Truncate(time.Second),
	}
	if err := checkCase(statement.Case{Channel: c.Channel, Target: c.Target, Stage: c.Stage}, c.SourceSHA256); err != nil {
		return nil, err
	}
	if err := builderagent.CheckSource(job.Source); err != nil {
		return nil, usageError("", "%w", err)
	}
	return job, nil
}

// newJobID begins with the time, so that ids sort as they were made.
func newJobID(now time.Time) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(random[:])
}

func (c *requestCmd) send(data []byte) error {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	subject, err := bus.JobSubject(c.Channel)
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	_, err = conn.Publish(ctx, subject, bus.MsgID(data), data)
	return c.busError(err)
}

// checkChannel refuses a channel that the coordinator does not know: the stream
// would take its job, and nobody would ever build it. Without a coordinator in
// reach nothing can be said.
func (c *requestCmd) checkChannel() error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	ch, err := knownChannel(cl, c.Channel)
	if ch == nil {
		return err
	}
	return c.checkTarget(ch, cl.Server())
}

// checkTarget refuses a target that the channel is not for: all builders would
// build it, and the coordinator would reject what they say.
func (c *requestCmd) checkTarget(ch *api.Channel, server string) error {
	if (&policy.Channel{Targets: ch.Targets}).Matches(c.Target) {
		return nil
	}
	var patterns []string
	for _, p := range ch.Targets {
		patterns = append(patterns, render.Text(p))
	}
	return usageError("the channel is for "+strings.Join(patterns, ", "), "%q matches no target of channel %q at %s", c.Target, c.Channel, server)
}
