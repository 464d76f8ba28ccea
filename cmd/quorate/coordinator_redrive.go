package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
)

type redriveCmd struct {
	busFlags

	Channel  string `required:"" placeholder:"NAME" help:"Channel of the target."`
	Target   string `required:"" placeholder:"PURL" help:"The target, such as pkg:generic/hello@1.0."`
	Stage    string `placeholder:"NAME" help:"Its stage, where it has several."`
	Artifact string `placeholder:"NAME" help:"Only this file; otherwise every file of the target."`
}

func (redriveCmd) Help() string {
	return `Makes the coordinator ask the signer again for what is agreed on and not signed, now and whatever was refused before. Prints how many questions are asked. A coordinator that was just started has ten seconds until it answers. It changes nothing that is true: the signer decides by itself.`
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
	conn, err := c.connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := askSoon(conn, data)
	if err != nil {
		return nil, redriveAskError(err)
	}
	answer := new(wire.RedriveAnswer)
	if err := json.Unmarshal(reply, answer); err != nil {
		return nil, &exitError{code: exitFailure, err: fmt.Errorf("answer of the coordinator: %w", err)}
	}
	return answer, nil
}

// redriveLimit is how long a coordinator that was just started has until it
// answers; tests have no time for it.
var redriveLimit = 10 * time.Second

// redrivePause is between two tries: nobody says when a coordinator begins to answer.
const redrivePause = 100 * time.Millisecond

// askSoon asks until somebody is there to answer. Asking twice does no harm.
func askSoon(conn *bus.Conn, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), redriveLimit)
	defer cancel()
	for told := false; ; told = true {
		reply, err := conn.Request(ctx, bus.SubjectRedrive, data)
		if !errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
			return reply, err
		}
		if !told {
			fmt.Fprintln(os.Stderr, "no coordinator answers yet; trying for", redriveLimit)
		}
		select {
		case <-time.After(redrivePause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func redriveAskError(err error) error {
	var denied *bus.DeniedError
	if errors.As(err, &denied) {
		return &exitError{exitFailure, err, "the user must have the role tooling, and --name must be its name"}
	}
	return &exitError{exitFailure, err, "is a coordinator running on this bus?"}
}
