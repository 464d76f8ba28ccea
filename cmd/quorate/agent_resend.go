package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/internal/bus"
	"quorate/internal/render"
)

type agentResendCmd struct {
	stateFlag
	Since time.Time     `placeholder:"TIME" help:"Only what was confirmed at this time or later, as in 2026-11-20T12:00:00Z; all that is kept without it."`
	Wait  time.Duration `default:"30s" help:"How long to try."`
}

func (agentResendCmd) Help() string {
	return `For the day on which a coordinator was restored from a copy and has lost what came after it. Asks the coordinator which of the statements that were confirmed once it still has, puts the others back into the spool, and sends them byte for byte as they were. Confirmed statements are kept for the retention time of agent.toml. The agent may run meanwhile.

A statement is left where it is when the coordinator has a later one by this builder about the same target: sent now, the older would count in the newer one's stead. Attest what is to count.

Standard output has one line for each that was lacking: "recorded ID", "rejected ID CODE" or "outdated ID".

Exit codes as those of quorate agent flush.`
}

func (c *agentResendCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	r, err := builderagent.Resend(ctx, s, c.Since, quietLog())
	switch {
	case errors.Is(err, bus.ErrUnavailable):
		return &exitError{exitWaiting, fmt.Errorf("nothing was sent: %w", err), "repeat the command when the coordinator runs"}
	case err != nil:
		return agentError(err)
	}
	for _, path := range r.Damaged {
		say("damaged, not sent: %s", render.Text(path))
	}
	for _, id := range r.Outdated {
		fmt.Println("outdated", id)
	}
	err = deliverAll(ctx, s, r.Lacking)
	say("%d sent again, %d outdated, %d not lacking", len(r.Lacking), len(r.Outdated), r.Known)
	return err
}
