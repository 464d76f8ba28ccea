package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-json-experiment/json"

	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
)

type redriveCmd struct {
	NATS   string `name:"nats" env:"QUORATE_NATS" default:"nats://127.0.0.1:7422" placeholder:"URL" help:"Address of the bus (default ${default})."`
	NKey   string `name:"nkey" required:"" env:"QUORATE_NKEY" placeholder:"FILE" help:"Seed file of a user of the bus with the role tooling."`
	Name   string `env:"QUORATE_NAME" default:"tooling" placeholder:"NAME" help:"Name of that user (default ${default})."`
	CAFile string `name:"ca-file" env:"QUORATE_CA_FILE" placeholder:"FILE" help:"Certificate authority of the bus; makes TLS mandatory."`

	Channel  string `required:"" placeholder:"NAME" help:"Channel of the target."`
	Target   string `required:"" placeholder:"PURL" help:"The target, such as pkg:generic/hello@1.0."`
	Stage    string `placeholder:"NAME" help:"Its stage, where it has several."`
	Artifact string `placeholder:"NAME" help:"Only this file; otherwise every file of the target."`
}

func (redriveCmd) Help() string {
	return `Makes the coordinator ask the signer again for what is agreed on and not signed, now and whatever was refused before. Prints how many questions are asked. It changes nothing that is true: the signer decides by itself.`
}

func (c *redriveCmd) Run() error {
	data, err := wire.Encode(&wire.Redrive{Version: quorum.Version, Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: c.Artifact})
	if err != nil {
		return err
	}
	// What the coordinator would refuse is better refused here.
	if _, err := wire.ParseRedrive(data); err != nil {
		return usageError("quorate redrive --help", "%w", err)
	}
	answer, err := c.ask(data)
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return &exitError{exitRefused, errors.New(answer.Error), "quorate show says what the coordinator knows of the target"}
	}
	if answer.Asked == 0 {
		return &exitError{exitRefused, errors.New("nothing to ask: no file of the target is agreed on and unsigned"), "quorate show says what is missing"}
	}
	_, err = fmt.Println(answer.Asked)
	return err
}

func (c *redriveCmd) ask(data []byte) (*wire.RedriveAnswer, error) {
	conn, err := bus.Connect(bus.Options{URL: c.NATS, Name: c.Name, SeedFile: c.NKey, CAFile: c.CAFile, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, redriveConnectError(err)
	}
	defer conn.Close()
	reply, err := conn.Request(context.Background(), bus.SubjectRedrive, data)
	if err != nil {
		return nil, redriveAskError(err)
	}
	answer := new(wire.RedriveAnswer)
	if err := json.Unmarshal(reply, answer); err != nil {
		return nil, &exitError{code: exitFailure, err: fmt.Errorf("answer of the coordinator: %w", err)}
	}
	return answer, nil
}

func redriveConnectError(err error) error {
	switch {
	case errors.Is(err, bus.ErrUnauthorized):
		return &exitError{exitFailure, err, "--nkey must be the seed file of an enrolled user"}
	case errors.Is(err, bus.ErrUnavailable):
		return &exitError{exitFailure, err, "the file bus-url in the coordinator's state directory has the address for --nats"}
	}
	return &exitError{exitUsage, err, "--nkey takes the seed file of a user of the bus"}
}

func redriveAskError(err error) error {
	var denied *bus.DeniedError
	if errors.As(err, &denied) {
		return &exitError{exitFailure, err, "the user must have the role tooling, and --name must be its name"}
	}
	return &exitError{exitFailure, err, "is a coordinator running on this bus?"}
}
