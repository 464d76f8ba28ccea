package coordinator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum"
)

// Bounds of deliveries.
const (
	hookTimeout = 15 * time.Second // for one, its answer included
	hookFirst   = 5 * time.Second  // pause after the first failure; it doubles
	hookLongest = time.Hour
	hookRefused = 12 // attempts at an event that the other side refuses
	hookBatch   = 256
	hookAnswer  = 64 << 10 // bytes of an answer that are read, for the connection's sake
)

// Results of deliveries, for the metrics.
const (
	hookDelivered = "delivered"
	hookFailed    = "failed"  // to be tried again
	hookDropped   = "dropped" // given up, or no longer kept when its turn came
)

// errGone says that the other side wants nothing more (410).
var errGone = errors.New("the other side answered 410 Gone")

// refusedError is an answer that trying again will hardly change.
type refusedError struct{ status int }

func (e *refusedError) Error() string { return "the other side answered " + strconv.Itoa(e.status) }

// runHook tells one webhook of events, in their order, for as long as the
// coordinator runs. Nothing waits for it: it reads the events from the database,
// and its place in them is there, too.
func (c *Coordinator) runHook(ctx context.Context, h *hook) error {
	d := &delivery{c: c, hook: h, client: &http.Client{Timeout: hookTimeout, CheckRedirect: stay}}
	for ctx.Err() == nil {
		changed := c.events.wait()
		pause, err := d.some(ctx)
		switch {
		case errors.Is(err, errGone):
			c.log.Error("webhook ended: it is not called any more until the coordinator starts again", "webhook", h.Name, "error", err)
			<-ctx.Done()
		case ctx.Err() != nil:
		case err != nil:
			c.log.Error("webhook", "webhook", h.Name, "error", err)
			pause = hookFirst
		}
		if pause == 0 {
			pause = maxTimer
		}
		timer := time.NewTimer(min(pause, maxTimer))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return ctx.Err()
}

// placeHooks gives a new webhook its place: it is told of what happens from now on.
func (c *Coordinator) placeHooks() error {
	names := make([]string, len(c.hooks))
	for i, h := range c.hooks {
		names[i] = h.Name
	}
	return c.db.Update(func(tx *store.Tx) error { return tx.KeepWebhooks(names) })
}

// stay follows no redirect: the receiver was chosen by a person, and what is sent
// is for nobody else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// delivery is the work on one webhook. It belongs to one goroutine.
type delivery struct {
	c      *Coordinator
	hook   *hook
	client *http.Client
}

// some delivers what there is. It returns how long to wait before the next try; 0:
// until there is something new.
func (d *delivery) some(ctx context.Context) (pause time.Duration, err error) {
	at, err := d.c.db.Webhook(d.hook.Name)
	if err != nil {
		return 0, fmt.Errorf("read place: %w", err)
	}
	epoch, err := d.begin(&at)
	if err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		if wait := at.Next.Sub(d.c.now()); wait > 0 {
			return wait, nil
		}
		list, err := d.c.db.Events(at.Cursor, hookBatch)
		if err != nil {
			return 0, fmt.Errorf("read events: %w", err)
		}
		if len(list) == 0 {
			return 0, nil
		}
		if err := d.batch(ctx, &at, epoch, list); err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

// begin passes over events that are not kept any more.
func (d *delivery) begin(at *store.Webhook) (epoch string, err error) {
	cur, err := d.c.db.Cursor()
	if err != nil {
		return "", err
	}
	first, _, err := d.c.db.EventRange()
	if err != nil {
		return "", err
	}
	if lost := first - 1 - at.Cursor; lost > 0 {
		d.c.log.Error("webhook fell behind: events are not kept so long", "webhook", d.hook.Name, "events", lost)
		d.c.metrics.hooks.WithLabelValues(d.hook.Name, hookDropped).Add(float64(lost))
		at.Cursor, at.Attempts, at.Next = first-1, 0, time.Time{}
	}
	return cur.Epoch, nil
}

// batch goes through events until one cannot be delivered. A crash delivers the
// latest one again, under the same id.
func (d *delivery) batch(ctx context.Context, at *store.Webhook, epoch string, list []store.Event) error {
	for _, e := range list {
		var body api.Event
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return fmt.Errorf("stored event %d: %w", e.ID, err)
		}
		kind, wanted := d.hook.wants(&body)
		if !wanted {
			at.Cursor = e.ID
			continue
		}
		err := d.post(ctx, fmt.Sprintf("evt_%s-%d", epoch, e.ID), kind, &body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.settle(at, e.ID, kind, err); errors.Is(err, errGone) {
			return err
		}
		if err := d.save(at); err != nil {
			return err
		}
		if !at.Next.IsZero() {
			return nil
		}
	}
	return d.save(at)
}

func (d *delivery) save(at *store.Webhook) error {
	return d.c.db.Update(func(tx *store.Tx) error { return tx.PutWebhook(*at) })
}

// settle notes what became of an attempt.
func (d *delivery) settle(at *store.Webhook, id int64, kind string, err error) {
	var refused *refusedError
	result := hookDelivered
	switch {
	case err == nil:
		at.Cursor, at.Attempts, at.Next = id, 0, time.Time{}
	case errors.As(err, &refused) && at.Attempts+1 >= hookRefused:
		result = hookDropped
		d.c.log.Error("webhook refuses an event, it is given up", "webhook", d.hook.Name, "event", id, "type", kind, "error", err)
		at.Cursor, at.Attempts, at.Next = id, 0, time.Time{}
	default:
		result = hookFailed
		at.Attempts++
		at.Next = d.c.now().Add(hookPause(at.Attempts))
		d.c.log.Warn("webhook not delivered", "webhook", d.hook.Name, "event", id, "type", kind, "attempt", at.Attempts, "next", at.Next, "error", err)
	}
	d.c.metrics.hooks.WithLabelValues(d.hook.Name, result).Inc()
}

func hookPause(attempts int) time.Duration { return min(hookFirst<<min(attempts-1, 20), hookLongest) }

// wants reports under which type an event is sent, if it is.
func (h *hook) wants(e *api.Event) (kind string, wanted bool) {
	if len(h.Channels) > 0 && !slices.Contains(h.Channels, e.Channel) {
		return "", false
	}
	switch e.Type() {
	case api.EventAct:
		return eventAct + "." + string(e.Act.Kind), slices.Contains(h.Events, eventAct)
	case api.EventAlarm:
		return eventAlarm, slices.Contains(h.Events, eventAlarm)
	}
	// An event tells of new reasons, too; only another verdict is news to others, and
	// that somebody differs, which may come while the settle time holds the file.
	wanted = e.State != e.Was && slices.Contains(h.Events, string(e.State)) ||
		differs(e.State, e.Reason) && !differs(e.Was, e.WasReason) && slices.Contains(h.Events, eventDissent)
	return "verdict." + string(e.State), wanted
}

// differs reports whether the verdict is held because an operator differs.
func differs(s quorum.State, r quorum.Reason) bool {
	return s == quorum.Held && r == quorum.ReasonDissent
}

// HookBody is what is sent.
type HookBody struct {
	Type string     `json:"type"` // verdict.STATE, act.KIND or alarm
	At   time.Time  `json:"timestamp"`
	Data *api.Event `json:"data"`
}

// post makes one attempt.
func (d *delivery) post(ctx context.Context, id, kind string, e *api.Event) error {
	body, err := json.Marshal(HookBody{kind, e.At, e}, json.Deterministic(true))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hook.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the url cannot be used")
	}
	stamp := strconv.FormatInt(d.c.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "quorate")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", stamp)
	req.Header.Set("webhook-signature", sign(d.hook.secret, id, stamp, body))
	resp, err := d.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may have a token in it
		}
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, hookAnswer) // the status is the answer
	_ = resp.Body.Close()
	return judgeAnswer(resp.StatusCode)
}

// sign is the scheme "v1" of Standard Webhooks: HMAC-SHA256 over id, time and body.
func sign(secret []byte, id, stamp string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%s.%s.", id, stamp)
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func judgeAnswer(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusGone:
		return errGone
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("the other side answered %d", status)
	case status >= 300 && status < 400:
		return fmt.Errorf("the other side answered %d, and redirects are not followed", status)
	}
	return &refusedError{status}
}
