package coordinator

import (
	"net/http"
	"slices"
	"time"

	"quorate/coordinator/store"
	"quorate/coordinator/web"
	"quorate/internal/api"
	"quorate/quorum/policy"
)

type builderRow struct {
	*policy.Builder
	Totals store.BuilderCounts
}

func (c *Coordinator) buildersPage(*http.Request) (any, error) {
	page := struct {
		web.Page
		Builders []builderRow
	}{Page: c.newPage("Builders", "builders", "")}
	for _, name := range c.builderNames() {
		totals, err := c.db.BuilderTotals(name)
		if err != nil {
			return nil, err
		}
		page.Builders = append(page.Builders, builderRow{c.policy.Builder(name), totals})
	}
	return page, nil
}

// How much of a builder's past its page shows.
const (
	saidShown    = 50
	differsShown = 10
)

type said struct {
	store.Said
	TargetID, Target, Channel string
	Took                      time.Duration
}

type keyRow struct{ Text, Limits, Revoked string }

func (c *Coordinator) builderPage(r *http.Request) (any, error) {
	b := c.policy.Builder(r.PathValue("name"))
	if b == nil {
		return nil, notFound("the policy has no builder %q", r.PathValue("name"))
	}
	page := struct {
		web.Page
		builderRow
		Channels                 []string
		Keys                     []keyRow
		Recent                   []said
		Differed                 []api.Target
		Median, Fastest, Slowest time.Duration
	}{Page: c.newPage("Builder "+b.Name, "builders", ""), builderRow: builderRow{Builder: b}, Channels: c.policy.ChannelsOf(b)}
	var err error
	if page.Totals, err = c.db.BuilderTotals(b.Name); err != nil {
		return nil, err
	}
	differed, err := c.db.Targets(store.TargetFilter{Differs: b.Name, Limit: differsShown})
	if err != nil {
		return nil, err
	}
	for i := range differed.Targets {
		page.Differed = append(page.Differed, toTarget(&differed.Targets[i]))
	}
	list, err := c.db.Said(b.Name, saidShown)
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for _, s := range list {
		page.Recent = append(page.Recent, said{s, s.Case.ID.String(), s.Case.Target, s.Case.Channel, s.Finished.Sub(s.Started)})
		times = append(times, s.Finished.Sub(s.Started))
	}
	if slices.Sort(times); len(times) > 0 {
		page.Median, page.Fastest, page.Slowest = times[len(times)/2], times[0], times[len(times)-1]
	}
	for _, k := range b.Keys {
		page.Keys = append(page.Keys, c.keyRow(k))
	}
	return page, nil
}

func (c *Coordinator) keyRow(k policy.Key) keyRow {
	row := keyRow{Text: k.String()}
	if !k.NotBefore.IsZero() {
		row.Limits = "from " + k.NotBefore.UTC().Format(time.RFC3339) + " "
	}
	if !k.NotAfter.IsZero() {
		row.Limits += "until " + k.NotAfter.UTC().Format(time.RFC3339)
	}
	if !k.Revoked.IsZero() {
		row.Revoked = "revoked from " + k.Revoked.UTC().Format(time.RFC3339)
	}
	return row
}
