package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"quorate/coordinator"
)

type coordinatorRunCmd struct{ coordinatorState }

func (coordinatorRunCmd) Help() string {
	return `Runs until it gets SIGINT or SIGTERM. It may be killed at any time: what it acknowledged is on the disk, and it goes on from there.

With SIGHUP it reads the certificates and public keys of coordinator.toml again, all or none, and judges the record by them. A changed policy or configuration takes effect at the next start.

Log lines go to standard error. The address of the bus is written to the file bus-url in the state directory.`
}

func (c *coordinatorRunCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := coordinatorOptions(c.State)
	if err != nil {
		return err
	}
	// Before what may take long: until then the signal would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	co, err := coordinator.Start(ctx, o)
	if err != nil && ctx.Err() != nil {
		return nil // told to stop before it ran
	}
	if err != nil {
		return coordinatorError(err)
	}
	o.Log.Info("coordinator runs", "http", co.URL(), "bus", co.BusURL())
	go func() {
		for {
			select {
			case <-hangup:
				if err := co.ReloadKeys(ctx); err != nil && ctx.Err() == nil {
					o.Log.Error("not reloaded; the certificates in force stay", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return coordinatorError(co.Wait())
}

func coordinatorOptions(state string) (o coordinator.Options, err error) {
	config, err := coordinator.LoadConfig(state)
	if err != nil {
		return o, coordinatorError(err)
	}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, nil)
	if config.Log == "json" {
		h = slog.NewJSONHandler(os.Stderr, nil)
	}
	return coordinator.Options{State: state, Log: slog.New(h)}, nil
}

type coordinatorRebuildCmd struct{ coordinatorState }

func (coordinatorRebuildCmd) Help() string {
	return `Reads the whole stream into a new database and then puts it in place of the old one. It refuses a stream that lacks anything the old database has. A missing database is made, and a damaged one is moved aside to coordinator.db.damaged-TIME. The coordinator must not be running.`
}

func (c *coordinatorRebuildCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := coordinatorOptions(c.State)
	if err != nil {
		return err
	}
	n, err := coordinator.Rebuild(ctx, o)
	if err != nil {
		return coordinatorError(err)
	}
	fmt.Fprintf(os.Stderr, "rebuilt from %d messages\n", n)
	return nil
}

type coordinatorReseedCmd struct{ coordinatorState }

func (coordinatorReseedCmd) Help() string {
	return `Compares the stream with the database and publishes, in their order, the messages that the stream lacks. The coordinator must not be running. It may be interrupted and repeated.`
}

func (c *coordinatorReseedCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := coordinatorOptions(c.State)
	if err != nil {
		return err
	}
	r, err := coordinator.Reseed(ctx, o)
	if err != nil {
		return coordinatorError(err)
	}
	fmt.Fprintf(os.Stderr, "published %d messages that the stream lacked\n", r.Published)
	if r.Rebuilt {
		fmt.Fprintln(os.Stderr, "the stream had other messages too, so the database was rebuilt in its new order")
	}
	return nil
}
