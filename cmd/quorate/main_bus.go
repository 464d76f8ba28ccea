package main

import (
	"context"
	"errors"

	"quorate/internal/bus"
)

// busFlags are the flags of every command that sends something as tooling.
type busFlags struct {
	NATS   string `name:"nats" env:"QUORATE_NATS" default:"nats://127.0.0.1:7422" placeholder:"URL" help:"Address of the bus (default ${default})."`
	NKey   string `name:"nkey" required:"" env:"QUORATE_NKEY" placeholder:"FILE" help:"Seed file of a user of the bus with the role tooling."`
	Name   string `env:"QUORATE_NAME" default:"tooling" placeholder:"NAME" help:"Name of that user (default ${default})."`
	CAFile string `name:"ca-file" env:"QUORATE_CA_FILE" placeholder:"FILE" help:"Certificate authority of the bus; makes TLS mandatory."`
}

func (f busFlags) connect() (*bus.Conn, error) {
	conn, err := bus.Connect(bus.Options{URL: f.NATS, Name: f.Name, SeedFile: f.NKey, CAFile: f.CAFile, Logger: quietLog()})
	return conn, f.busError(err)
}

func (busFlags) busError(err error) error {
	var denied *bus.DeniedError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &denied):
		return &exitError{exitFailure, err, "the user must have the role tooling, and --name must be its name"}
	case errors.Is(err, bus.ErrAddress):
		return &exitError{exitUsage, err, "--nats or QUORATE_NATS names it; the file bus-url in the coordinator's state directory has the address"}
	case errors.Is(err, bus.ErrUnauthorized):
		return &exitError{exitFailure, err, "--nkey must be the seed file of an enrolled user"}
	case errors.Is(err, bus.ErrUnavailable):
		return &exitError{exitFailure, err, "is the bus running there? --nats or QUORATE_NATS names another; the file bus-url in the coordinator's state directory has the address"}
	}
	return &exitError{exitUsage, err, "--nkey takes the seed file of a user of the bus"}
}
