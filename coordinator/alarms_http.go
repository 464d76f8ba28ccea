package coordinator

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"quorate/coordinator/store"
	"quorate/coordinator/web"
	"quorate/internal/api"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// alarmList reads a page of the alarms, newest first.
func (c *Coordinator) alarmList(q url.Values) (out api.Alarms, err error) {
	limit, err := limitOf(q)
	if err != nil {
		return out, err
	}
	var before time.Time
	if text := q.Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return out, badRequest("before is not a time in nanoseconds")
		}
		before = time.Unix(0, n)
	}
	list, err := c.db.Alarms(before, limit+1)
	if err != nil {
		return out, err
	}
	if len(list) > limit {
		list = list[:limit]
		out.Next = list[limit-1].Raised.UnixNano()
	}
	out.Alarms = make([]api.ListedAlarm, len(list))
	for i := range list {
		if out.Alarms[i], err = c.listedAlarm(&list[i]); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (c *Coordinator) listedAlarm(a *store.Alarm) (out api.ListedAlarm, err error) {
	alarm, err := wire.ParseAlarm(a.Body)
	if err != nil {
		return out, fmt.Errorf("stored alarm %s: %w", a.ID, err)
	}
	out = api.ListedAlarm{TargetAlarm: toTargetAlarm(alarm), Channel: alarm.Channel, Target: alarm.Target, Stage: alarm.Stage}
	id := store.NewCaseID(statement.Case{Channel: alarm.Channel, Target: alarm.Target, Stage: alarm.Stage})
	if _, err = c.db.Target(id); errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	out.TargetID = id.String()
	return out, err
}

func (c *Coordinator) getAlarms(r *http.Request) (api.Alarms, error) {
	return c.alarmList(r.URL.Query())
}

func (c *Coordinator) alarmsPage(r *http.Request) (any, error) {
	page := struct {
		web.Page
		Alarms []api.ListedAlarm
		Next   string
	}{Page: c.newPage("Alarms", "alarms", "")}
	list, err := c.alarmList(url.Values{"before": r.URL.Query()["before"]})
	if err != nil {
		return nil, err
	}
	if page.Alarms = list.Alarms; list.Next != 0 {
		page.Next = fmt.Sprintf("/alarms?before=%d", list.Next)
	}
	return page, nil
}
