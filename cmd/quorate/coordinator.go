package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/coordinator"
	"quorate/internal/bus"
)

type coordinatorCmd struct {
	Init       coordinatorInitCmd    `cmd:"" help:"Make a new state directory: configuration, database, keys for the bus."`
	Run        coordinatorRunCmd     `cmd:"" help:"Run the coordinator."`
	Enroll     coordinatorEnrollCmd  `cmd:"" help:"Let a builder, signer or tool onto the bus."`
	NATSConfig coordinatorConfigCmd  `cmd:"" name:"nats-config" help:"Print the configuration for a NATS server of your own."`
	Rebuild    coordinatorRebuildCmd `cmd:"" help:"Make the database again from the stream."`
	Reseed     coordinatorReseedCmd  `cmd:"" help:"Publish again what the stream lost."`
	Backup     coordinatorBackupCmd  `cmd:"" help:"Copy the database to a new file, also while the coordinator runs."`
}

// coordinatorState names the state directory.
type coordinatorState struct {
	State string `required:"" env:"QUORATE_STATE" placeholder:"DIR" help:"State directory of the coordinator."`
}

// coordinatorError gives an error of the coordinator its exit code and hint.
func coordinatorError(err error) error {
	var config *coordinator.ConfigError
	var stream *coordinator.StreamError
	var disk *coordinator.DiskError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &config):
		return &exitError{exitUsage, err, config.Hint}
	case errors.As(err, &stream):
		return &exitError{exitFailure, err, stream.Hint}
	case errors.As(err, &disk):
		return &exitError{exitFailure, err, disk.Hint}
	}
	return &exitError{code: exitFailure, err: err}
}

type coordinatorInitCmd struct {
	coordinatorState
	Policy     string `required:"" placeholder:"FILE" help:"Policy file. It stays where it is; the configuration names it."`
	NATS       string `name:"nats" placeholder:"URL" help:"NATS server of your own; without it the coordinator runs one itself."`
	Listen     string `placeholder:"ADDR" help:"Address of the HTTP interface (default 127.0.0.1:7780)."`
	NATSListen string `name:"nats-listen" placeholder:"ADDR" help:"Address of the embedded NATS server (default 127.0.0.1:7422)."`
}

func (coordinatorInitCmd) Help() string {
	return `Makes the directory with coordinator.toml, coordinator.db, users.toml and the seeds coordinator.nk and tooling.nk. It refuses a directory that holds anything; an empty one is kept.

Seeds are secrets: give tooling.nk to whoever may ask for builds, and keep coordinator.nk where it is. Builders and signers make their own and are enrolled.`
}

func (c *coordinatorInitCmd) Run() error {
	err := coordinator.Init(coordinator.InitOptions{State: c.State, Policy: c.Policy, NATS: c.NATS, Listen: c.Listen, BusListen: c.NATSListen, Now: time.Now()})
	if err != nil {
		return coordinatorError(err)
	}
	config, err := coordinator.LoadConfig(c.State)
	if err != nil {
		return coordinatorError(err)
	}
	fmt.Fprintln(os.Stderr, "made", c.State+". Next:")
	for _, k := range config.Keys {
		path, what := k.Certificate, "certificate of key %s at %s (quorate-signer key export)"
		if path == "" {
			path, what = k.PublicKey, "public key of key %s at %s (quorate-signer key export --pem, or --x509 for CMS)"
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.State, path)
		}
		fmt.Fprintf(os.Stderr, "  put the "+what+"\n", k.Name, path)
	}
	fmt.Fprintf(os.Stderr, "  quorate coordinator enroll --state %s --role builder NAME UKEY   for each builder (quorate agent keygen prints UKEY)\n", c.State)
	fmt.Fprintf(os.Stderr, "  quorate coordinator enroll --state %s --role signer --key KEY NAME UKEY   for the signer (quorate-signer init prints UKEY)\n", c.State)
	if c.NATS != "" {
		fmt.Fprintf(os.Stderr, "  quorate coordinator nats-config --state %s > nats.conf   and run your NATS server with it\n", c.State)
	}
	fmt.Fprintf(os.Stderr, "  quorate coordinator run --state %s\n", c.State)
	return nil
}

type coordinatorEnrollCmd struct {
	coordinatorState
	Role string   `enum:"builder,signer,tooling,reader,importer" default:"builder" help:"What the user may do: builder, signer, tooling, reader or importer (default ${default})."`
	Key  []string `placeholder:"NAME" help:"Signing keys that a signer answers for; may be repeated."`
	Name string   `arg:"" help:"Name of the user. For a builder, the one it has in the policy."`
	NKey string   `arg:"" name:"ukey" help:"Public key of the user on the bus; it begins with U."`
}

func (coordinatorEnrollCmd) Help() string {
	return `Adds the user to users.toml. If a coordinator with its embedded bus runs there, the command ends when the bus answers the user; a NATS server of your own needs the new output of "quorate coordinator nats-config".

Enrolment lets a builder speak. Whether its word counts is the policy's to say.`
}

func (c *coordinatorEnrollCmd) Run() error {
	// What is not the public key may be the secret one: it must not be repeated
	// on the terminal.
	if !strings.HasPrefix(c.NKey, "U") {
		return usageError("quorate agent keygen prints the key; it begins with U", "the last argument is not the public key of a user of the bus")
	}
	u := bus.User{Name: c.Name, Role: bus.Role(c.Role), NKey: c.NKey, Keys: c.Key}
	if err := u.Validate(); err != nil {
		return usageError("quorate coordinator enroll --help", "%w", err)
	}
	changed, err := coordinator.Enroll(c.State, u)
	if err != nil {
		return coordinatorError(err)
	}
	if changed {
		fmt.Fprintf(os.Stderr, "enrolled %s as %s\n", c.Name, c.Role)
	} else {
		fmt.Fprintf(os.Stderr, "%s is enrolled already\n", c.Name)
	}
	if err := coordinator.AwaitAdmission(context.Background(), c.State); err != nil {
		return &exitError{exitFailure, err, "the user is in users.toml and gets in when the coordinator reads it"}
	}
	return nil
}

type coordinatorConfigCmd struct{ coordinatorState }

func (c *coordinatorConfigCmd) Run() error {
	text, err := coordinator.ServerConfig(c.State)
	if err != nil {
		return coordinatorError(err)
	}
	_, err = fmt.Print(text)
	return err
}

type coordinatorBackupCmd struct {
	coordinatorState
	File string `arg:"" help:"New file to write."`
}

func (c *coordinatorBackupCmd) Run() error {
	return coordinatorError(coordinator.Backup(context.Background(), c.State, c.File))
}
