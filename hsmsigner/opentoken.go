package hsmsigner

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
)

// Limits of the deadline of a signature. A shorter one would take a busy machine
// for a hanging token.
const (
	minDeadline = Duration(time.Second)
	maxDeadline = Duration(10 * time.Minute)
)

// absentPause is the pause before a token that is away is looked for again;
// tests are in more of a hurry.
var absentPause = 5 * time.Second

// OpenToken opens the configured token in this process, for commands that change
// what is in it.
func OpenToken(ctx context.Context, c TokenConfig, prompt io.Writer, log *slog.Logger) (*token.Token, error) {
	config, err := c.open(prompt, log)
	if err != nil {
		return nil, err
	}
	return token.Open(ctx, config)
}

// StartToken opens the configured token in a process of its own, which is killed
// and replaced when it hangs. The program's main must have asked
// [tokenproc.IsCommand] first.
func StartToken(ctx context.Context, c TokenConfig, prompt io.Writer, log *slog.Logger) (*tokenproc.Proxy, error) {
	config, err := c.open(prompt, log)
	if err != nil {
		return nil, err
	}
	return tokenproc.Start(ctx, c.process(config, log))
}

// open is the configuration as package token wants it.
func (t *TokenConfig) open(prompt io.Writer, log *slog.Logger) (config token.Config, err error) {
	if err := t.Check(); err != nil {
		return config, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	// A person should not type a PIN for nothing.
	if err := token.CheckModule(t.Module); err != nil {
		return config, err
	}
	config = token.Config{Module: t.Module, Label: t.Label, Serial: t.Serial, Workers: t.Workers, Logger: log}
	config.PIN, err = t.PIN(prompt)
	return config, err
}

func (t *TokenConfig) process(config token.Config, log *slog.Logger) tokenproc.Options {
	return tokenproc.Options{Token: config, Network: t.Network, Deadline: time.Duration(t.Deadline), Logger: log}
}

// awaitToken is StartToken for a service: a token that is away is waited for, as
// long as no PIN was tried. With one that was, the failure ends it: nobody knows
// what came of that try, and tokens lock after a few.
func awaitToken(ctx context.Context, c TokenConfig, prompt io.Writer, log *slog.Logger) (*tokenproc.Proxy, error) {
	config, err := c.open(prompt, log)
	if err != nil {
		return nil, err
	}
	var tried atomic.Bool
	pin := config.PIN
	config.PIN = func() ([]byte, error) {
		tried.Store(true)
		return pin()
	}
	for told := ""; ; {
		p, err := tokenproc.Start(ctx, c.process(config, log))
		switch {
		case err == nil && told != "":
			log.Info("the token is there now")
			return p, nil
		case err == nil || tried.Load() || !token.IsUnavailable(err):
			return p, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err.Error() != told:
			told = err.Error()
			log.Warn("the token is away; it is waited for", "error", err,
				"hint", "check module, label and serial, and that the token is plugged in or its server runs")
		}
		select {
		case <-time.After(absentPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
