package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

type requestCmd struct {
	NATS   string `name:"nats" env:"QUORATE_NATS" default:"nats://127.0.0.1:7422" placeholder:"URL" help:"Address of the bus (default ${default})."`
	NKey   string `name:"nkey" required:"" env:"QUORATE_NKEY" placeholder:"FILE" help:"Seed file of a user of the bus that may ask for builds (role tooling)."`
	Name   string `env:"QUORATE_NAME" default:"tooling" placeholder:"NAME" help:"Name of that user (default ${default})."`
	CAFile string `name:"ca-file" env:"QUORATE_CA_FILE" placeholder:"FILE" help:"Certificate authority of the bus; makes TLS mandatory."`

	Channel      string `required:"" placeholder:"NAME" help:"Channel whose builders are asked."`
	Target       string `required:"" placeholder:"PURL" help:"What to build, such as pkg:generic/hello@1.0."`
	Stage        string `placeholder:"NAME" help:"Stage of the build, where a target has several."`
	Source       string `placeholder:"URI" help:"Where the source is, as the builders' build commands understand it."`
	SourceSHA256 string `name:"source-sha256" placeholder:"HEX" help:"Digest of the source."`
}

func (requestCmd) Help() string {
	return `Puts a job on the bus and prints its id. Every builder of the channel builds it once. Asking again makes another job.

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
	conn, err := bus.Connect(bus.Options{URL: c.NATS, Name: c.Name, SeedFile: c.NKey, CAFile: c.CAFile, Logger: quietLog()})
	if err != nil {
		return c.sendError(err)
	}
	defer conn.Close()
	subject, err := bus.JobSubject(c.Channel)
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	_, err = conn.Publish(ctx, subject, bus.MsgID(data), data)
	return c.sendError(err)
}

func (c *requestCmd) sendError(err error) error {
	var denied *bus.DeniedError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &denied):
		return &exitError{exitFailure, err, "the user must have the role tooling, and --name must be its name"}
	case errors.Is(err, bus.ErrUnauthorized):
		return &exitError{exitFailure, err, "--nkey must be the seed file of an enrolled user"}
	case errors.Is(err, bus.ErrUnavailable):
		return &exitError{exitFailure, err, "is the bus running there? --nats or QUORATE_NATS names another"}
	}
	return &exitError{exitUsage, err, "--nkey takes the seed file of a user of the bus"}
}
