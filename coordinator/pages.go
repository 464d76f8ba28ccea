package coordinator

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"quorate/coordinator/store"
	"quorate/coordinator/web"
	"quorate/internal/api"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/act"
)

// pageRoutes adds the pages for people.
func (c *Coordinator) pageRoutes(get func(string, http.HandlerFunc)) {
	get("/{$}", c.page("overview", c.overviewPage))
	get("/targets", c.page("targets", c.targetsPage))
	get("/targets/{id}", c.page("target", c.targetPageOf))
	get("/targets/{id}/grid.svg", c.getPicture)
	get("/builders", c.page("builders", c.buildersPage))
	get("/builders/{name}", c.page("builder", c.builderPage))
	get("/alarms", c.page("alarms", c.alarmsPage))
	get("/assets/{file}", c.getAsset)
}

// page serves a page. It is made whole before any of it is sent: an error in the
// middle gives a page that says so, not half a one.
func (c *Coordinator) page(name string, build func(*http.Request) (any, error)) http.HandlerFunc {
	made := func(r *http.Request) ([]byte, error) {
		end, err := c.turn(r)
		if err != nil {
			return nil, err
		}
		defer end()
		data, err := build(r)
		if err != nil {
			return nil, err
		}
		return web.Render(name, data)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := made(r)
		status := http.StatusOK
		if err != nil {
			e := c.public(err)
			status = statusOf[e.code]
			body, err = web.Render("error", struct {
				web.Page
				Message string
			}{c.newPage(http.StatusText(status), "", ""), e.message})
		}
		if err != nil {
			c.fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", web.Policy)
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(status)
		_, _ = w.Write(body) // a reader that went away is no error of ours
	}
}

func (c *Coordinator) newPage(title, section, live string) web.Page {
	return web.Page{Title: title, Section: section, Live: live, Now: c.now(), Policy: strconv.FormatUint(c.policy.Version, 10)}
}

func (c *Coordinator) getAsset(w http.ResponseWriter, r *http.Request) {
	data, kind, err := web.Asset(r.PathValue("file"))
	if errors.Is(err, fs.ErrNotExist) {
		err = notFound("there is no such file")
	}
	if err != nil {
		c.fail(w, err)
		return
	}
	c.send(w, r, kind, data)
}

type overviewChannel struct {
	api.Channel
	Waiting []api.Target     // those that wait longest
	Hold    *web.StandingAct // of the whole channel; nil: there is none
}

// waitingShown is how many targets of a channel the overview names.
const waitingShown = 5

// open are the states that wait for something or somebody.
var open = []quorum.State{quorum.Disputed, quorum.Conflicting, quorum.Unreachable, quorum.Held, quorum.Waiting, quorum.Agreed}

func (c *Coordinator) overviewPage(r *http.Request) (any, error) {
	list, err := c.getChannels(r)
	if err != nil {
		return nil, err
	}
	page := struct {
		web.Page
		Channels []overviewChannel
		Expired  bool
		Expires  time.Time
	}{Page: c.newPage("Overview", "overview", "/v1/events"), Expired: c.policy.Expired(c.now()), Expires: c.policy.Expires}
	for _, ch := range list.Channels {
		waiting, err := c.waitingLongest(ch.Name)
		if err != nil {
			return nil, err
		}
		hold, err := c.channelHold(ch.Name)
		if err != nil {
			return nil, err
		}
		page.Channels = append(page.Channels, overviewChannel{ch, waiting, hold})
	}
	return page, nil
}

// channelHold reads the hold of a whole channel, which no target's page need show.
func (c *Coordinator) channelHold(channel string) (*web.StandingAct, error) {
	chain, err := c.db.Chain(act.Subject{Channel: channel})
	if err != nil || !chain.Held {
		return nil, err
	}
	hold, err := c.db.ActBy(chain.Head)
	if err != nil {
		return nil, err
	}
	standing := web.NewNotes(toActs([]store.Act{hold}), nil).Standing
	if len(standing) == 0 { // released since
		return nil, nil
	}
	return &standing[0], nil
}

// waitingLongest lists the targets of a channel that have been open for longest.
func (c *Coordinator) waitingLongest(channel string) ([]api.Target, error) {
	var list []store.Target
	seen := map[store.CaseID]bool{}
	for _, state := range open {
		page, err := c.db.Targets(store.TargetFilter{Channel: channel, State: state, Oldest: true, Limit: waitingShown})
		if err != nil {
			return nil, err
		}
		for _, t := range page.Targets {
			if !seen[t.ID] {
				seen[t.ID] = true
				list = append(list, t)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b store.Target) int { return cmp.Compare(a.First, b.First) })
	out := make([]api.Target, 0, waitingShown)
	for i := range list[:min(len(list), waitingShown)] {
		out = append(out, toTarget(&list[i]))
	}
	return out, nil
}

// ages are what the page offers to choose from.
var ages = []string{"1h", "6h", "1d", "3d", "7d", "30d", "90d"}

func (c *Coordinator) targetsPage(r *http.Request) (any, error) {
	q := r.URL.Query()
	page := struct {
		web.Page
		Query       url.Values
		Targets     []api.Target
		Channels    []string
		Builders    []string
		Ages        []string
		Kept        []string // filters that the form has no field for
		First, Next string
		Short       bool
	}{Page: c.newPage("Targets", "targets", ""), Query: q, Builders: c.builderNames(), Ages: ages}
	list, next, err := c.targetPage(q)
	if err != nil {
		return nil, err
	}
	for i := range list {
		page.Targets = append(page.Targets, toTarget(&list[i]))
	}
	for _, ch := range c.policy.Channels {
		page.Channels = append(page.Channels, ch.Name)
	}
	for _, name := range []string{"differs", "changed"} {
		if q.Get(name) != "" {
			page.Kept = append(page.Kept, name)
		}
	}
	limit, _ := limitOf(q)
	page.Short = len(list) < limit
	if next != "" {
		page.Next = listPath(q, next)
	}
	if q.Get("after") != "" {
		page.First = listPath(q, "")
	}
	if ch := q.Get("channel"); c.policy.Channel(ch) != nil {
		page.Feed = "/v1/channels/" + ch + "/feed.atom"
	}
	return page, nil
}

// listPath is the path of another page of the same list.
func listPath(q url.Values, after string) string {
	v := url.Values{}
	for _, name := range append(slices.Clone(filterNames), "limit") {
		if s := q.Get(name); s != "" {
			v.Set(name, s)
		}
	}
	if after != "" {
		v.Set("after", after)
	}
	if len(v) == 0 {
		return "/targets"
	}
	return "/targets?" + v.Encode()
}

func (c *Coordinator) builderNames() (list []string) {
	for _, o := range c.policy.Operators {
		for _, b := range o.Builders {
			list = append(list, b.Name)
		}
	}
	return list
}

// filesShown is how many files of a target one page shows.
const filesShown = 100

func (c *Coordinator) targetPageOf(r *http.Request) (any, error) {
	t, err := c.targetOf(r)
	if err != nil {
		return nil, err
	}
	artifacts, err := c.artifacts(&t, "")
	if err != nil {
		return nil, err
	}
	statements, err := c.statementsOf(t.ID)
	if err != nil {
		return nil, err
	}
	acts, alarms, err := c.aroundTarget(&t)
	if err != nil {
		return nil, err
	}
	live := "/v1/events?" + url.Values{"channel": {t.Channel}, "target": {t.Case.Target}}.Encode()
	p := &web.Target{Page: c.newPage(t.Case.Target, "targets", live), Target: toTarget(&t), Picture: "/targets/" + t.ID.String() + "/grid.svg",
		PolicyRef: quorum.PolicyRef{Version: c.policy.Version, Digest: c.policy.Digest}, Expires: c.policy.Expires,
		Commands: web.NewCommands(ptr(toTarget(&t)), artifacts, statements), Timeline: web.NewTimeline(statements, artifacts, acts), Notes: web.NewNotes(acts, alarms), Logs: web.Logs(statements)}
	if p.Channel = c.policy.Channel(t.Channel); p.Channel != nil {
		p.Rule = web.NewRule(p.Channel.Rule, statements)
		p.Feed = "/v1/channels/" + t.Channel + "/feed.atom"
		p.Commands = append(p.Commands, web.ActCommands(&p.Target, p.Channel, acts)...)
	}
	render.DifferingFirst(artifacts)
	shown, err := window(r, &p.Shown, len(artifacts))
	if err != nil {
		return nil, err
	}
	artifacts = artifacts[shown[0]:shown[1]]
	p.Grid, p.Artifacts = web.NewGrid(artifacts), web.NewArtifacts(artifacts)
	p.Differences, err = c.differencesOf(r.Context(), artifacts)
	return p, err
}

func ptr[T any](v T) *T { return &v }

// window cuts the files of a target into parts.
func window(r *http.Request, w *web.Window, n int) (part [2]int, err error) {
	from := 1
	if text := r.URL.Query().Get("from"); text != "" {
		if from, err = strconv.Atoi(text); err != nil || from < 1 || from > max(n, 1) {
			return part, badRequest("from is not a number from 1 to %d", max(n, 1))
		}
	}
	part = [2]int{min(from-1, n), min(from-1+filesShown, n)}
	if n <= filesShown {
		return part, nil
	}
	*w = web.Window{From: from, To: part[1], Of: n}
	if from > 1 {
		w.Earlier = fmt.Sprintf("%s?from=%d", r.URL.Path, max(1, from-filesShown))
	}
	if part[1] < n {
		w.Later = fmt.Sprintf("%s?from=%d", r.URL.Path, part[1]+1)
	}
	return part, nil
}

func (c *Coordinator) getPicture(w http.ResponseWriter, r *http.Request) {
	data, err := c.picture(r)
	if err != nil {
		c.fail(w, err)
		return
	}
	w.Header().Set("Content-Security-Policy", web.PicturePolicy)
	c.send(w, r, "image/svg+xml", data)
}

func (c *Coordinator) picture(r *http.Request) ([]byte, error) {
	end, err := c.turn(r)
	if err != nil {
		return nil, err
	}
	defer end()
	t, err := c.targetOf(r)
	if err != nil {
		return nil, err
	}
	artifacts, err := c.artifacts(&t, "")
	if err != nil {
		return nil, err
	}
	render.DifferingFirst(artifacts)
	data, err := web.Picture(web.PictureTitle(t.Channel, t.Case.Target, t.Stage, t.State), web.NewGrid(artifacts))
	if err == nil && data == nil {
		return nil, notFound("the grid is too large for a picture")
	}
	return data, err
}
