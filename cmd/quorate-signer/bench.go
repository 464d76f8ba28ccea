package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"text/tabwriter"
	"time"

	"quorate/hsmsigner"
)

type benchCmd struct {
	Config string        `required:"" placeholder:"FILE" help:"Configuration of the signer."`
	Key    []string      `required:"" placeholder:"LABEL" help:"Key to measure; may be given more than once."`
	Time   time.Duration `default:"30s" help:"For each key; from 1s to 1h. [${default}]"`
	JSON   bool          `name:"json" help:"One JSON object."`
}

// benchRounds are the pairs of measurements that the time is divided into.
const benchRounds = 5

func (c *benchCmd) Run(ctx context.Context, s *streams) (err error) {
	if c.Time < time.Second || c.Time > time.Hour {
		return usage("--time: %v, want 1s to 1h", c.Time)
	}
	conf, err := hsmsigner.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	var keys []hsmsigner.KeyConfig
	for _, label := range c.Key {
		k, ok := conf.Key(label)
		if !ok {
			return usage("--key: the configuration has no key %q", label)
		}
		keys = append(keys, k)
	}
	p, err := hsmsigner.LoadPolicy(conf.Policy, time.Now())
	if err != nil {
		return err
	}
	log := logger(s, "text", slog.LevelWarn)
	raw, tok, err := hsmsigner.OpenForSpeed(ctx, conf.Token, s.err, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close(), raw.Close()) }()
	var list []*hsmsigner.Speed
	for _, k := range keys {
		// Three measurements a round, and two before.
		speed, err := hsmsigner.MeasureSpeed(ctx, hsmsigner.SpeedOptions{Raw: raw, Token: tok, Workers: tok.Stats().Workers,
			Key: k, Policy: p, Dir: filepath.Dir(conf.Ledger), Rounds: benchRounds, Round: c.Time / (3*benchRounds + 2)})
		if err != nil {
			return err
		}
		list = append(list, speed)
	}
	if c.JSON {
		return writeJSON(s.out, map[string]any{"keys": list})
	}
	return printSpeed(s.out, list)
}

func printSpeed(w io.Writer, list []*hsmsigner.Speed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "key %s\t%s, %s\n", s.Key, s.Type, s.Format)
		fmt.Fprintf(t, "token alone\t%.1f signatures a second\n", s.Limit)
		fmt.Fprintf(t, "whole way\t%.1f requests a second, %.2f of the token alone\n", s.Rate, s.Ratio)
		fmt.Fprintf(t, "under load\tp50 %.2f ms, p99 %.2f ms\n", s.P50, s.P99)
		fmt.Fprintf(t, "one by one\tp50 %.2f ms, p99 %.2f ms\n", s.AloneP50, s.AloneP99)
		for _, c := range s.Steps {
			fmt.Fprintf(t, "  %s\t%.2f ms, %.0f%%\n", c.Name, c.Time, 100*c.Share)
		}
		fmt.Fprintf(t, "beside a huge request\tp50 %.2f ms, p99 %.2f ms\n", s.BesideP50, s.BesideP99)
	}
	return t.Flush()
}
