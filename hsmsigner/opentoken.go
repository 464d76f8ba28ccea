package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// absentPause is the pause before a token that is not there is looked for again.
const absentPause = 5 * time.Second

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

// awaitToken is StartToken for a service: a token that is not there yet is waited
// for. Any other failure ends it, because a PIN may have been tried.
func awaitToken(ctx context.Context, c TokenConfig, prompt io.Writer, log *slog.Logger) (*tokenproc.Proxy, error) {
	config, err := c.open(prompt, log)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		p, err := tokenproc.Start(ctx, c.process(config, log))
		switch {
		case err == nil && told:
			log.Info("the token is there now")
			return p, nil
		case !errors.Is(err, token.ErrTokenNotFound):
			return p, err
		case !told:
			log.Warn("the token is not there; it is waited for (hint: check module, label and serial, and that it is plugged in)", "error", err)
		}
		select {
		case <-time.After(absentPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
