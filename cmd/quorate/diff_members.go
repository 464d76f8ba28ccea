package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"quorate/internal/difference"
	"quorate/internal/manifest"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

// statementsRead is how many statements of a group are read for its list.
const statementsRead = 4

// members compares two groups by what their builders said. It reads the statements
// themselves: the coordinator compares each group with the first one only.
func (d *differ) members(ctx context.Context, artifact string, x, y *difference.Group) {
	groups := []difference.Group{*x, *y}
	for i := range groups {
		groups[i].Members = groups[i].Members[:min(len(groups[i].Members), statementsRead)]
	}
	var failed error
	a := difference.Explain(artifact, groups, func(id statement.SHA256) *statement.Statement {
		raw, err := d.client.Raw(ctx, "/v1/statements/"+id.String(), statement.MaxEnvelope)
		if err != nil {
			failed = err
			return nil
		}
		s, err := statement.Parse(raw)
		if err != nil || s.ID() != id {
			return nil
		}
		return s
	})
	if failed != nil {
		d.problem(exitFailure, "read statements: %v", failed)
		return
	}
	p := a.Pairs[0]
	fmt.Fprintln(d.out, render.Text(p.Text))
	if len(p.List) > 0 {
		fmt.Fprint(d.out, render.Table(memberRows(&p)))
	}
	if p.More > 0 {
		fmt.Fprintf(d.out, "and %s\n", plural(p.More, "further member"))
	}
	_ = os.Stdout.Sync()
}

func memberRows(p *difference.Pair) [][]string {
	rows := [][]string{{"member", "differs", p.A, p.B}}
	for _, m := range p.List {
		rows = append(rows, []string{render.Text(m.Name), strings.Join(m.What, ","), values(m.A, m.What), values(m.B, m.What)})
	}
	return rows
}

// values is what a member is in the fields that differ.
func values(m *manifest.Member, what []string) string {
	if m == nil {
		return "-"
	}
	var parts []string
	for _, w := range what {
		switch w {
		case difference.WhatContent, difference.WhatAdded, difference.WhatRemoved:
			parts = append(parts, strconv.FormatUint(m.Size, 10)+" bytes "+m.SHA256.String()[:12])
		case difference.WhatSize:
			parts = append(parts, strconv.FormatUint(m.Size, 10)+" bytes")
		case difference.WhatType:
			parts = append(parts, m.Type)
		case difference.WhatMode:
			parts = append(parts, m.Mode)
		case difference.WhatOwner:
			parts = append(parts, m.Owner)
		case difference.WhatMTime:
			parts = append(parts, m.MTime)
		case difference.WhatLink:
			parts = append(parts, m.Link)
		}
	}
	return render.Text(strings.Join(parts, " "))
}
