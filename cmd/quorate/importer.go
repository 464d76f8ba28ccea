package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"quorate/builder-agent/importer"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/render"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// importerCmd holds the commands of an importer's state directory.
type importerCmd struct {
	Keygen importerKeygenCmd `cmd:"" help:"Make an importer's state directory with a new key for the bus."`
	Status importerStatusCmd `cmd:"" help:"Say what waits for a receipt and what was rejected."`
}

// importerState names the importer's state directory.
type importerState struct {
	State string `required:"" env:"QUORATE_IMPORTER_STATE" placeholder:"DIR" help:"The importer's state directory."`
}

func (f importerState) open() (*importer.State, error) {
	s, err := importer.Open(f.State)
	return s, importerError(err)
}

// importerError gives an error of an importer its exit code.
func importerError(err error) error {
	var denied *bus.DeniedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, importer.ErrConfig):
		return &exitError{exitUsage, err, ""}
	case errors.As(err, &denied), errors.Is(err, bus.ErrUnauthorized):
		return &exitError{exitFailure, err, "the coordinator's keeper lets an importer in with: quorate coordinator enroll --role importer"}
	case errors.Is(err, bus.ErrUnavailable):
		return &exitError{exitWaiting, err, "what was taken stays in the spool; the same command goes on where it stopped"}
	}
	return err
}

type importerKeygenCmd struct {
	State    string `required:"" env:"QUORATE_IMPORTER_STATE" placeholder:"DIR" help:"Directory to make."`
	Name     string `required:"" help:"Name of the importer. It is shown beside what it brings."`
	NATS     string `name:"nats" placeholder:"URL" help:"Address of the bus."`
	CAFile   string `name:"ca-file" placeholder:"FILE" help:"Certificate authority of the bus."`
	PlainBus bool   `help:"Allow a bus on another machine without TLS."`
}

func (importerKeygenCmd) Help() string {
	return `Makes DIR with a new key for the bus. Nothing is ever overwritten. Standard output has the command with which the coordinator's keeper lets the importer in.

An importer has no vote and is believed in nothing: what it brings counts for the builders whose keys the policy pins.`
}

func (c *importerKeygenCmd) Run() error {
	nkey, err := importer.Keygen(c.State, importer.Config{Name: c.Name, NATS: c.NATS, CAFile: c.CAFile, PlainBus: c.PlainBus})
	if err != nil {
		return importerError(err)
	}
	fmt.Printf("quorate coordinator enroll --role importer %s %s\n", c.Name, nkey)
	return nil
}

type importerStatusCmd struct {
	importerState
	JSON bool `name:"json" help:"Print one JSON object."`
}

// importerStatus is what --json prints.
type importerStatus struct {
	Importer string             `json:"importer"`
	Pending  int                `json:"pending"` // messages without a receipt
	Rejected []importerRejected `json:"rejected"`
}

type importerRejected struct {
	Message string `json:"message"` // SHA-256 of what was sent
	Channel string `json:"channel"`
	Origin  string `json:"origin"` // path or address at which it was found
	Code    string `json:"code"`
	Reason  string `json:"reason"`
}

func (c *importerStatusCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	st := importerStatus{Importer: s.Config.Name, Rejected: []importerRejected{}}
	pending, err := s.Spool.PendingIDs()
	if err != nil {
		return err
	}
	st.Pending = len(pending)
	rejected, err := s.Spool.Settled(spool.Rejected)
	if err != nil {
		return err
	}
	for _, id := range rejected {
		r, err := rejectedMessage(s.Spool, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		st.Rejected = append(st.Rejected, *r)
	}
	if c.JSON {
		return printJSON(os.Stdout, st)
	}
	for _, r := range st.Rejected {
		fmt.Printf("rejected %s %s %s: %s\n", r.Message, render.Text(r.Code), render.Text(r.Origin), render.Text(r.Reason))
	}
	say("%d wait for a receipt, %d rejected; %s has the rejected ones", st.Pending, len(st.Rejected), filepath.Join(s.Spool.Dir(), "rejected"))
	return nil
}

// rejectedMessage says what was rejected, and where it came from.
func rejectedMessage(sp *spool.Spool, id statement.SHA256) (*importerRejected, error) {
	_, reason, err := sp.Where(id)
	if err == nil && reason == nil {
		err = fs.ErrNotExist // a person removed it meanwhile
	}
	if err != nil {
		return nil, err
	}
	raw, err := sp.Read(id)
	if err != nil {
		return nil, err
	}
	f, err := wire.ParseForeign(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return &importerRejected{Message: id.String(), Channel: f.Channel, Origin: f.Origin, Code: string(reason.Code), Reason: reason.Message}, nil
}
