package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/builder-agent/importer"
	"quorate/internal/render"
	"quorate/internal/rest"
	"quorate/quorum/evidence"
)

// Bounds of what an instance of rebuilderd may answer, and of the pauses after a
// failure.
const (
	buildsPage     = 100
	maxBuildsList  = 8 << 20
	instanceLimit  = time.Minute // one request
	lastInstance   = 15 * time.Minute
	statusGood     = "GOOD"
	statusFailed   = "FAIL"
	instanceMarker = "follow-"
)

// instance is a rebuilderd that is followed over its HTTP interface, api/v1: new
// builds have larger numbers, so the number of the last one is where to go on.
type instance struct {
	base     *url.URL
	file     string        // where the number is kept
	patience time.Duration // how long it may fail; zero: for ever
	http     *http.Client

	mark   instanceMark
	loaded bool
	saved  instanceMark // what the file has
	asked  time.Time    // when the sick builds were asked for again; zero: never
	again  bool         // they are being asked for
	sick   string       // what was last answered with an error of the instance
	tries  int          // how often
	pause  time.Duration
	next   time.Time // not before
	failed time.Time // since when; zero: it answered last time
}

func newInstance(u *url.URL, state, channel string, patience time.Duration) *instance {
	sum := sha256.Sum256([]byte(channel + "\n" + u.String()))
	limit := instanceLimit
	if patience > 0 {
		limit = min(limit, patience) // it may be silent no longer than that
	}
	return &instance{base: u, file: filepath.Join(state, instanceMarker+hex.EncodeToString(sum[:8])+".json"), patience: patience,
		mark: instanceMark{Address: u.String(), Channel: channel},
		http: &http.Client{Timeout: limit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// look reads the builds that are new. While the instance fails it is left alone
// for a growing time; without --watch the command waits for it.
func (i *instance) look(ctx context.Context, b *bringer) error {
	if time.Now().Before(i.next) {
		return nil
	}
	for {
		err := i.follow(ctx, b)
		var down *instanceError
		switch {
		case err == nil:
			i.recovered()
			return nil
		case !errors.As(err, &down):
			return err
		}
		wait := i.fail(down)
		if i.patience == 0 {
			i.next = time.Now().Add(wait)
			return nil
		}
		if down.final || time.Since(i.failed)+wait > i.patience {
			return &exitError{exitFailure, down, i.hint(down)}
		}
		if err := rest.For(ctx, wait); err != nil {
			return err
		}
	}
}

// hint says what to do about a failure that did not pass.
func (i *instance) hint(e *instanceError) string {
	if i.mark.After > 0 || !e.final {
		return "the next import goes on where this one stopped; --wait waits longer"
	}
	return "is it the address of an instance of rebuilderd, without api/v1?"
}

// fail says that the instance failed, once in a row, and returns how long to leave
// it alone.
func (i *instance) fail(e *instanceError) time.Duration {
	if i.failed.IsZero() {
		i.failed = time.Now()
		say("warning: %v", e)
	}
	i.pause = min(max(2*i.pause, firstInstance), lastInstance)
	return min(max(i.pause, e.after), lastInstance)
}

func (i *instance) recovered() { i.pause, i.failed = 0, time.Time{} }

// instanceError is a failure of an instance, which may pass.
type instanceError struct {
	err   error
	after time.Duration // by its own word
	final bool          // trying again soon is of no use
	large bool          // it answers with more than is read
}

func (e *instanceError) Error() string { return e.err.Error() }
func (e *instanceError) Unwrap() error { return e.err }

// follow reads pages of builds until there is none. The number is moved on when
// everything up to there is in the spool, after a page or at a failure: a crash reads
// a page once more.
func (i *instance) follow(ctx context.Context, b *bringer) error {
	if err := i.load(ctx); err != nil {
		return err
	}
	if err := i.askAgain(ctx, b); err != nil {
		return err
	}
	for {
		page, err := i.builds(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		err = i.page(ctx, b, page)
		if err := cmp.Or(i.save(), err); err != nil {
			return err
		}
	}
}

func (i *instance) page(ctx context.Context, b *bringer, page []rebuild) error {
	for _, r := range page {
		if r.ID <= i.mark.After {
			return &instanceError{err: fmt.Errorf("%s: builds are not in the order of their numbers", i.base.Redacted()), final: true}
		}
		if r.Status != statusFailed {
			if err := i.build(ctx, b, r.ID); err != nil {
				return err
			}
		}
		i.mark.After = r.ID
	}
	return nil
}

// firstInstance is the pause after the first failure; it doubles. It is a constant;
// tests do not wait so long.
var firstInstance = time.Second

// rebuild is a build, or an artifact of one, in a list.
type rebuild struct {
	ID             int64  `json:"id"`
	Status         string `json:"status"`
	HasAttestation *bool  `json:"has_attestation"` // nil: the instance does not say
}

func (i *instance) builds(ctx context.Context) ([]rebuild, error) {
	var page struct {
		Records []rebuild `json:"records"`
	}
	query := fmt.Sprintf("limit=%d&after=%d", buildsPage, i.mark.After)
	data, _, err := i.get(ctx, maxBuildsList, query, "builds")
	if err != nil {
		return nil, err
	}
	err = i.decode(data, &page)
	return page.Records, err
}

func (i *instance) decode(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return &instanceError{err: fmt.Errorf("%s: %w", i.base.Redacted(), err), final: true}
	}
	return nil
}

// build brings the attestations of one build.
func (i *instance) build(ctx context.Context, b *bringer, id int64) error {
	path := []string{"builds", strconv.FormatInt(id, 10), "artifacts"}
	data, status, err := i.get(ctx, maxBuildsList, "", path...)
	switch {
	case status == http.StatusNotFound:
		return nil // it was removed meanwhile
	case i.givesUp(id, status, err, path):
		i.skip(b, path, err)
		return nil
	case err != nil:
		return err
	}
	var artifacts []rebuild
	if err := i.decode(data, &artifacts); err != nil {
		return err
	}
	for _, a := range artifacts {
		if a.Status != statusGood || a.HasAttestation != nil && !*a.HasAttestation {
			continue
		}
		if err := i.attestation(ctx, b, id, append(path, strconv.FormatInt(a.ID, 10), "attestation")...); err != nil {
			return err
		}
	}
	return nil
}

// attestation brings one attestation of a build.
func (i *instance) attestation(ctx context.Context, b *bringer, build int64, path ...string) error {
	origin := i.address(path...).String()
	link, status, err := i.get(ctx, evidence.MaxBody, "", path...)
	switch {
	case status == http.StatusNotFound:
		return nil
	case i.givesUp(build, status, err, path):
		i.skip(b, path, err)
		return nil
	case err != nil:
		return err
	}
	err = b.take(ctx, importer.Find{Bundle: evidence.Bundle{Kind: evidence.Rebuilderd, Body: link}, Origin: origin})
	if stop := fatal(err); stop != nil {
		return stop
	}
	if err != nil {
		b.skip(origin, err)
	}
	return nil
}

// skip says that something cannot be had.
func (i *instance) skip(b *bringer, path []string, err error) {
	origin := i.address(path...)
	b.skip(origin.String(), errors.New(strings.TrimPrefix(err.Error(), origin.Redacted()+": ")))
}

func (i *instance) address(path ...string) *url.URL {
	return i.base.JoinPath(append([]string{"api", "v1"}, path...)...)
}

// get reads one answer. Every failure is an [instanceError].
func (i *instance) get(ctx context.Context, limit int64, query string, path ...string) (data []byte, status int, err error) {
	address := i.address(path...)
	address.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, 0, &instanceError{err: err, final: true}
	}
	req.Header.Set("User-Agent", "quorate/"+version)
	resp, err := i.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		return nil, 0, &instanceError{err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.StatusCode, statusError(address, resp)
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, resp.StatusCode, &instanceError{err: fmt.Errorf("%s: %w", address.Redacted(), err)}
	case int64(len(data)) > limit:
		return nil, resp.StatusCode, &instanceError{err: fmt.Errorf("%s: more than %d bytes", address.Redacted(), limit), final: true, large: true}
	}
	return data, resp.StatusCode, nil
}

func statusError(address *url.URL, resp *http.Response) error {
	e := &instanceError{err: fmt.Errorf("%s: answers %s", address.Redacted(), render.Text(resp.Status))}
	if to := resp.Header.Get("Location"); to != "" {
		e.err = fmt.Errorf("%w, and names %s", e.err, render.Text(to))
	}
	e.final = resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.after = min(time.Duration(n), 24*3600) * time.Second
	}
	return e
}
