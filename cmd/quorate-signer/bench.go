package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"quorate/hsmsigner"
	"quorate/quorum/statement"
)

type benchCmd struct {
	Config string        `required:"" placeholder:"FILE" help:"Configuration of the signer."`
	Key    []string      `required:"" placeholder:"LABEL" help:"Key to measure; may be given more than once."`
	Time   time.Duration `default:"30s" help:"For each key; from 1s to 1h. [${default}]"`
	Batch  int           `placeholder:"N" help:"Signatures of a batch, for keys whose format is one of batches; up to 10000. [1000]"`
	JSON   bool          `name:"json" help:"One JSON object."`
}

// defaultBatch is a package of many files.
const defaultBatch = 1000

// benchRounds are the pairs of measurements that the time is divided into.
const benchRounds = 5

func (c *benchCmd) Run(ctx context.Context, s *streams) (err error) {
	if c.Time < time.Second || c.Time > time.Hour {
		return usage("--time: %v, want 1s to 1h", c.Time)
	}
	if c.Batch < 0 || c.Batch > statement.MaxDigests {
		return usage("--batch: %d, want 1 to %d", c.Batch, statement.MaxDigests)
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
	if c.Batch > 0 && !slices.ContainsFunc(keys, func(k hsmsigner.KeyConfig) bool { return hsmsigner.MakesBatches(p, k) }) {
		return usage("--batch: the policy asks none of these keys for batches")
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
			Key: k, Policy: p, Batch: cmp.Or(c.Batch, defaultBatch), Dir: filepath.Dir(conf.Ledger), Rounds: benchRounds, Round: c.Time / (3*benchRounds + 2)})
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
		if s.Batch > 0 {
			printBatchSpeed(t, s)
			continue
		}
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

func printBatchSpeed(w io.Writer, s *hsmsigner.Speed) {
	fmt.Fprintf(w, "batch of %d\t%.1f signatures a second, %.2f of the token alone\n", s.Batch, s.Rate, s.Ratio)
	fmt.Fprintf(w, "whole batch\tp50 %.2f ms\n", s.P50)
	for _, c := range s.Steps {
		fmt.Fprintf(w, "  %s\t%.2f ms, %.0f%% of its time, also beside the token\n", c.Name, c.Time, 100*c.Share)
	}
	fmt.Fprintf(w, "batch of 1\tp50 %.2f ms, p99 %.2f ms\n", s.AloneP50, s.AloneP99)
	fmt.Fprintf(w, "beside a batch of %d\tp50 %.2f ms, p99 %.2f ms, %.1f of that alone\n", s.Batch, s.BesideP50, s.BesideP99, s.BesideP99/s.AloneP99)
}
