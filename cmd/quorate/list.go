package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum"
)

type listCmd struct {
	serverFlags
	State   []string `placeholder:"STATE" help:"Only targets with an artifact in this state; may be repeated: waiting, agreed, conflicting, unreachable, held, signed, disputed, withdrawn."`
	Channel string   `placeholder:"NAME" help:"Only this channel."`
	Limit   int      `placeholder:"N" help:"At most so many targets; all without it."`
	JSON    bool     `name:"json" help:"One JSON object a target and line."`
}

// Help is shown by --help.
func (listCmd) Help() string {
	return "A target's state is the most pressing of its artifacts'. Exit code 0 also when the list is empty."
}

func (c *listCmd) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	rows := [][]string{{"STATE", "CHANNEL", "STAGE", "UPDATED", "ARTIFACTS", "TARGET"}}
	n := 0
	for t, err := range cl.Targets(context.Background(), c.query()) {
		if err != nil {
			return serverError(err)
		}
		if !c.wants(&t) {
			continue
		}
		if rows = append(rows, listRow(&t)); c.JSON {
			if err := printJSON(os.Stdout, t); err != nil {
				return err
			}
		}
		if n++; n == c.Limit {
			break // before the next page is asked for
		}
	}
	if c.JSON {
		return nil
	}
	if len(rows) == 1 {
		say("no targets")
		return nil
	}
	_, err = fmt.Print(render.Table(rows))
	return err
}

func (c *listCmd) check() error {
	for _, s := range c.State {
		if !slices.Contains(quorum.States, quorum.State(s)) {
			return usageError("quorate list --help names the states", "there is no state %q", s)
		}
	}
	if c.Limit < 0 {
		return usageError("leave --limit out for all", "--limit %d is less than zero", c.Limit)
	}
	return nil
}

// query lets the server narrow the list where it can; it takes one state.
func (c *listCmd) query() client.Query {
	q := client.Query{Channel: c.Channel, Page: math.MaxInt}
	if len(c.State) == 1 {
		q.State = c.State[0]
	}
	if len(c.State) < 2 && c.Limit > 0 {
		q.Page = c.Limit
	}
	return q
}

// wants narrows by several states, which the server does not.
func (c *listCmd) wants(t *api.Target) bool {
	return len(c.State) < 2 || slices.ContainsFunc(c.State, func(s string) bool {
		return t.State == quorum.State(s) || t.Counts[quorum.State(s)] > 0
	})
}

func listRow(t *api.Target) []string {
	var counts []string
	for _, s := range quorum.States {
		if n := t.Counts[s]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	stage := "-"
	if t.Stage != "" {
		stage = render.Text(t.Stage)
	}
	return []string{render.Text(string(t.State)), render.Text(t.Channel), stage, stamp(t.Updated), strings.Join(counts, ", "), render.Text(t.Target)}
}
