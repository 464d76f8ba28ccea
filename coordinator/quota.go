package coordinator

import (
	"fmt"
	"sync"
	"time"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// defaultDayBytes is what a builder may send in a day where the configuration says
// nothing: some 1,000 of the largest statements, or a million of ordinary ones.
const defaultDayBytes = 1 << 30

// LimitsConfig bounds what those who write to the record may send.
//
// It is configuration and not policy because it decides nothing: what reached the
// record is judged as ever, by every coordinator alike, and only whoever runs the bus
// can close its door. Rejecting would save no disk, since the record keeps what it
// rejects.
type LimitsConfig struct {
	// BytesPerBuilderDay is how many bytes of messages a builder or importer may put
	// into the record on one day in UTC, by the stream's time. Who has sent them may
	// publish nothing more until the day is over; its agent keeps what it has to say,
	// and says it then. Not given: 1 GiB; 0: no limit. On a bus of your own there is
	// the alarm only.
	BytesPerBuilderDay *int64 `toml:"bytes_per_builder_day"`
}

// dayBytes is the limit in force; zero: none.
func (l LimitsConfig) dayBytes() int64 {
	if l.BytesPerBuilderDay == nil {
		return defaultDayBytes
	}
	return *l.BytesPerBuilderDay
}

// quota counts what each user of the bus put into the record on the latest day.
type quota struct {
	limit int64 // zero: none

	mu   sync.Mutex       // held for each method
	day  time.Time        // its beginning
	sent map[string]int64 // by user
}

// add counts a message, and reports whether it was the one that reached the limit.
// Messages of days before the latest are passed over.
func (q *quota) add(user string, at time.Time, size int64) (reached bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if begin := dayOf(at); begin.After(q.day) {
		q.day, q.sent = begin, map[string]int64{}
	} else if begin.Before(q.day) {
		return false
	}
	before := q.sent[user]
	q.sent[user] = before + size
	return q.limit > 0 && before < q.limit && before+size >= q.limit
}

// over lists who has reached the limit on the day of now.
func (q *quota) over(now time.Time) map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	users := map[string]bool{}
	if q.limit == 0 || !dayOf(now).Equal(q.day) {
		return users
	}
	for user, n := range q.sent {
		if n >= q.limit {
			users[user] = true
		}
	}
	return users
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(day) }

// senderOf is the builder or importer on whose subject a message of the record is.
func senderOf(subject string) (user, channel string, ok bool) {
	kind, channel, user, err := bus.ParseRecordSubject(subject)
	return user, channel, err == nil && (kind == bus.KindStatement || kind == bus.KindForeign)
}

// loadQuota counts what of the day is in the record already.
func (c *Coordinator) loadQuota() error {
	c.quota.limit = c.config.Limits.dayBytes()
	if c.quota.limit == 0 {
		return nil
	}
	err := c.db.SizesSince(dayOf(c.now()), func(subject string, received time.Time, size int64) {
		if user, _, ok := senderOf(subject); ok {
			c.quota.add(user, received, size)
		}
	})
	if err != nil {
		return fmt.Errorf("count the bytes of the day: %w", err)
	}
	return nil
}

const alarmOverQuota = "over-quota"

// count adds a message to what its sender sent, and raises the alarm of the day.
func (a *application) count(m *store.Message) error {
	user, channel, ok := senderOf(m.Subject)
	if !ok || !a.c.quota.add(user, m.Received, int64(len(m.Raw))) {
		return nil
	}
	date := m.Received.UTC().Format(time.DateOnly)
	isNew, err := a.c.raise(a.tx, statement.Case{Channel: channel}, "", alarmOverQuota,
		fmt.Sprintf("%s has sent %d bytes on %s, as many as [limits] bytes_per_builder_day allows; %s", user, a.c.quota.limit, date, a.c.whatThen()), user+" "+date)
	if isNew {
		a.alarms++
		a.told.overQuota(user, a.c.quota.limit)
	}
	return err
}

// whatThen says what reaching the limit means here.
func (c *Coordinator) whatThen() string {
	if c.config.NATS.URL != "" {
		return "nothing stops it, because the bus is not this coordinator's"
	}
	return "the bus takes no more of it until the day is over in UTC"
}
