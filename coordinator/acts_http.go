package coordinator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/wire"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// maxActs bounds the acts that are shown with a target.
const maxActs = 200

func toAct(a *store.Act) *api.Act {
	return &api.Act{ID: a.ID, Seq: a.Seq, Kind: a.Kind, Subject: a.Subject, Builder: a.Builder, By: a.Maintainer, Key: a.Fingerprint,
		Reason: a.Reason, Attachment: a.Attachment, Time: a.Said, Received: a.Received, After: a.After, Stands: a.Stands, Path: "/v1/statements/" + a.Message.String()}
}

func toActs(list []store.Act) []api.Act {
	out := make([]api.Act, len(list))
	for i := range list {
		out[i] = *toAct(&list[i])
	}
	return out
}

// aroundTarget reads what maintainers did about a target, and the alarms.
func (c *Coordinator) aroundTarget(t *store.Target) (acts []api.Act, alarms []api.TargetAlarm, err error) {
	list, err := c.db.ActsOn(t.Case.Case, maxActs)
	if err != nil {
		return nil, nil, err
	}
	bodies, err := c.db.AlarmsOn(t.Case.Case, maxActs)
	if err != nil {
		return nil, nil, err
	}
	for _, body := range bodies {
		var a wire.Alarm
		if err := json.Unmarshal(body, &a); err != nil {
			return nil, nil, fmt.Errorf("stored alarm: %w", err)
		}
		alarms = append(alarms, toTargetAlarm(&a))
	}
	slices.SortStableFunc(alarms, func(a, b api.TargetAlarm) int { return a.At.Compare(b.At) })
	return toActs(list), alarms, nil
}

// subjectOf reads which acts are asked for.
func subjectOf(r *http.Request) act.Subject {
	q := r.URL.Query()
	return act.Subject{Channel: q.Get("channel"), Target: q.Get("target"), Stage: q.Get("stage"), Artifact: q.Get("artifact")}
}

func (c *Coordinator) getActs(r *http.Request) (out api.Acts, err error) {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return out, err
	}
	before := uint64(0)
	if text := q.Get("before"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 63); err != nil {
			return out, badRequest("before is not a number")
		}
	}
	list, err := c.db.Acts(subjectOf(r), before, limit+1)
	if err != nil {
		return out, err
	}
	if len(list) > limit {
		list = list[:limit]
		out.Next = list[limit-1].Seq
	}
	out.Acts = toActs(list)
	return out, nil
}

// getSubject says what the next act has to follow, so that a maintainer signs for
// what they saw.
func (c *Coordinator) getSubject(r *http.Request) (out api.Subject, err error) {
	s := subjectOf(r)
	ch := c.policy.Channel(s.Channel)
	switch {
	case ch == nil:
		return out, badRequest("the policy has no channel %q", s.Channel)
	case s.Target == "" && (s.Stage != "" || s.Artifact != ""):
		return out, badRequest("target is missing")
	case s.Target != "" && s.Case().Check() != nil:
		return out, badRequest("target or stage is malformed: %v", s.Case().Check())
	case s.Target != "" && !ch.Matches(s.Target):
		return out, badRequest("%q matches no target of channel %q", s.Target, ch.Name)
	}
	chain, err := c.db.Chain(s)
	if err != nil {
		return out, err
	}
	out = api.Subject{Subject: s, Known: s.Target == "", Head: chain.Head, Held: chain.Held, Withdrawn: chain.Withdrawn}
	if s.Target != "" {
		out.Known, err = c.db.Knows(s)
	}
	return out, err
}

func (c *Coordinator) getReceipt(r *http.Request) (out api.Receipt, err error) {
	id, err := digestOf(r)
	if err != nil {
		return out, err
	}
	found, err := c.db.Admissions([]statement.SHA256{id})
	if err != nil {
		return out, err
	}
	adm, ok := found[id]
	if !ok {
		return out, notFound("no message with sha256 %s is recorded", id)
	}
	return api.Receipt{Message: id, Accepted: !adm.Rejected, Code: adm.Code, Reason: adm.Message}, nil
}
