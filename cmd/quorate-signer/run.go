package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/hsmsigner"
	"quorate/internal/hint"
)

type runCmd struct {
	Config    string `required:"" placeholder:"FILE" help:"Configuration of the signer."`
	LogFormat string `enum:"text,json" default:"text" help:"Form of the log on standard error: text or json. [${default}]"`
	Verbose   bool   `short:"v" help:"Log what is of use when something is wrong."`
}

func (c *runCmd) Run(ctx context.Context, s *streams) (err error) {
	conf, err := hsmsigner.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	log := logger(s, c.LogFormat, level)
	// Before what may take long: a token that is away is waited for, and until then
	// the signal would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	service, err := hsmsigner.Open(ctx, conf, s.err, log)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("signer stopped before its token was there")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Close()) }()
	defer onHangup(hangup, func() {
		if err := service.Reload(); err != nil {
			log.Error("not reloaded; the policy and the certificates in force stay", "error", err)
		}
	})()
	return service.Run(ctx)
}

// onHangup calls f for each signal until stop is called.
func onHangup(hangup <-chan os.Signal, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangup:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func logger(s *streams, format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(s.err, o))
	}
	return slog.New(slog.NewTextHandler(s.err, o))
}

type selftestCmd struct {
	Config string `required:"" placeholder:"FILE" help:"Configuration of the signer."`
	JSON   bool   `name:"json" help:"One JSON object."`
}

// testedKey is a result as programs see it.
type testedKey struct {
	hsmsigner.TestResult
	OK           bool    `json:"ok"`
	Problem      string  `json:"problem,omitzero"`
	Milliseconds float64 `json:"milliseconds"`
}

func (c *selftestCmd) Run(ctx context.Context, s *streams) (err error) {
	conf, err := hsmsigner.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	tok, err := hsmsigner.StartToken(ctx, conf.Token, s.err, logger(s, "text", slog.LevelWarn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	// Keys can be tested without a policy, which may not be there yet; but then
	// nobody knows what they are to sign.
	p, err := hsmsigner.LoadPolicy(conf.Policy, time.Now())
	if err != nil {
		text, _ := hint.Split(err.Error())
		fmt.Fprintf(s.err, "note: each key is tested in one format only, without the policy: %s\n", text)
	}
	var keys []testedKey
	var failed []error
	err = nil
	for _, r := range hsmsigner.Selftest(ctx, tok, conf.Keys, p) {
		k := testedKey{TestResult: r, OK: r.Err == nil, Milliseconds: float64(r.Took.Microseconds()) / 1000}
		if r.Err != nil {
			k.Problem, _ = hint.Split(r.Err.Error())
			failed = append(failed, r.Err)
		}
		keys = append(keys, k)
	}
	if c.JSON {
		err = writeJSON(s.out, map[string]any{"keys": keys})
	} else {
		err = printTested(s.out, keys)
	}
	return errors.Join(append(failed, err)...)
}

func printTested(w io.Writer, keys []testedKey) error {
	for _, k := range keys {
		verdict := "ok"
		if !k.OK {
			verdict = "FAILED: " + k.Problem
		}
		if _, err := fmt.Fprintf(w, "%s %s %s %s\n", k.Key, k.Format, k.Fingerprint, verdict); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON writes one value and a line break.
func writeJSON(w io.Writer, v any) error {
	if err := json.MarshalWrite(w, v, json.Deterministic(true), jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// writeLine writes one value on one line.
func writeLine(w io.Writer, v any) error {
	if err := json.MarshalWrite(w, v, json.Deterministic(true)); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	_, err := fmt.Fprintln(w)
	return err
}
