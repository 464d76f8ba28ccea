package coordinator_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
)

// alarm is what a signer raises about the target of the tests.
func alarm(message string) *wire.Alarm {
	return &wire.Alarm{Version: quorum.Version, Code: "second-digest", Channel: "core", Target: "pkg:generic/hello@1", Artifact: "hello",
		Message: message, From: "coordinator", At: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// raise publishes as the signer does. Each message is another one to the bus.
func (s *signer) raise(data []byte) {
	s.w.t.Helper()
	must(s.conn.Publish(limit(s.w.t), must(bus.SignerAlarmSubject("core", "signer"))(s.w.t), time.Now().String(), data))(s.w.t)
}

func (s *signer) raiseAlarm(a *wire.Alarm) {
	s.w.t.Helper()
	s.raise(must(wire.Encode(a))(s.w.t))
}

// nextAlarm waits for an event that is an alarm.
func (s *stream) nextAlarm() (e api.Event) {
	s.t.Helper()
	for {
		if kind, data := s.next(); kind == api.EventAlarm {
			check(s.t, json.Unmarshal([]byte(data), &e))
			return e
		}
	}
}

// An alarm that a signer raised is shown wherever the coordinator's own are, under
// the name that the bus vouches for, and again in the stream that people read.
func TestSignerAlarmIsShownUnderItsSigner(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	s, events := w.signer(), w.events(t, "", "")
	events.next()
	s.raiseAlarm(alarm("two digests <script>alert(1)</script>\nsecond line"))
	if e := events.nextAlarm(); e.Alarm.From != "signer" || e.Alarm.Code != "second-digest" || e.Target != "pkg:generic/hello@1" || e.Artifact != "hello" {
		t.Errorf("%+v", e)
	}
	list := w.detail(w.hello().TargetID).Alarms
	if len(list) != 1 || list[0].From != "signer" || list[0].Artifact != "hello" || time.Since(list[0].At).Abs() > time.Hour {
		t.Errorf("%+v: its time is that of the bus", list)
	}
	for path, want := range map[string]string{
		"/alarms":                        "by signer <b><bdi>signer</bdi></b>",
		"/v1/channels/core/feed.atom":    "signer signer: two digests",
		"/metrics":                       `quorate_alarms_total{code="second-digest",from="signer"} 1`,
		"/targets/" + w.hello().TargetID: "signer signer: two digests",
	} {
		if _, body := w.fetch(path); !strings.Contains(string(body), want) || strings.Contains(string(body), "<script>alert") {
			t.Errorf("%s lacks %q, or has it as it came:\n%s", path, want, body)
		}
	}
	published := must(must(w.as("coordinator").JS().OrderedConsumer(limit(t), bus.StreamAlarms, jetstream.OrderedConsumerConfig{}))(t).Next(jetstream.FetchMaxWait(testLimit)))(t)
	if a := must(wire.ParseAlarm(published.Data()))(t); a.From != "signer" {
		t.Errorf("published again as %+v", a)
	}
}

// The same alarm is one alarm: said again, read again after the coordinator was
// killed, and in a rebuilt database.
func TestSignerAlarmIsRaisedOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	s, events := w.signer(), w.events(t, "", "")
	events.next()
	s.raiseAlarm(alarm("first"))
	again := alarm("first")
	again.At = time.Now()
	s.raiseAlarm(again)
	s.raiseAlarm(alarm("second"))
	for _, want := range []string{"first", "second"} {
		if e := events.nextAlarm(); e.Alarm.Message != want {
			t.Errorf("%+v, want %s", e.Alarm, want)
		}
	}
	w.stop()
	for range 3 {
		cmd, _ := w.child()
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	w.forgetAlarmCursor()
	w.start()
	events, s = w.events(t, "", ""), w.signer()
	events.next()
	s.raiseAlarm(alarm("third"))
	if e := events.nextAlarm(); e.Alarm.Message != "third" {
		t.Errorf("%+v came again", e.Alarm)
	}
	if list := w.detail(w.hello().TargetID).Alarms; len(list) != 3 {
		t.Errorf("%d alarms: %+v", len(list), list)
	}
}

// forgetAlarmCursor makes the coordinator read all alarms again, as after a crash
// that lost the place.
func (w *world) forgetAlarmCursor() {
	w.t.Helper()
	db := must(sql.Open("sqlite", filepath.Join(w.state(), "coordinator.db")))(w.t)
	must(db.Exec("UPDATE alarm_cursor SET seq = 0"))(w.t)
	check(w.t, db.Close())
}

// What is no alarm is refused with a code, and what comes behind it is heard.
func TestBadSignerAlarms(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	s, events := w.signer(), w.events(t, "", "")
	events.next()
	change := func(f func(*wire.Alarm)) []byte {
		a := alarm("bad")
		f(a)
		return must(wire.Encode(a))(t)
	}
	bad := [][]byte{
		nil, []byte("{"), []byte("\xff\xfe"), []byte(`{"version":1,"more":true}`),
		change(func(a *wire.Alarm) { a.Version = 2 }),
		change(func(a *wire.Alarm) { a.Code = "<b>" }),
		change(func(a *wire.Alarm) { a.Channel = "other" }),
		change(func(a *wire.Alarm) { a.Target = "" }),
		change(func(a *wire.Alarm) { a.Artifact = "../x" }),
		change(func(a *wire.Alarm) { a.Message = "" }),
	}
	for _, data := range bad {
		s.raise(data)
	}
	s.raiseAlarm(alarm(strings.Repeat("long ", 10_000)))
	if e := events.nextAlarm(); len(e.Alarm.Message) > 5000 || !strings.HasPrefix(e.Alarm.Message, "long ") {
		t.Errorf("%d bytes: %.40q", len(e.Alarm.Message), e.Alarm.Message)
	}
	if _, body := w.fetch("/metrics"); !strings.Contains(string(body), `quorate_alarms_refused_total{code="bad-alarm"} 10`) {
		t.Error("not every bad alarm was counted")
	}
	if list := w.detail(w.hello().TargetID).Alarms; len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// A signer that raises alarms without end is heard for a while.
func TestSignerCannotFloodWithAlarms(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	s := w.signer()
	for i := range 205 {
		a := alarm("again")
		a.Target = "pkg:generic/flood@" + strings.Repeat("1", i+1)
		s.raiseAlarm(a)
	}
	w.wantMetric(`quorate_alarms_refused_total{code="too-many-alarms"} 5`)
	w.wantMetric(`quorate_alarms_total{code="second-digest",from="signer"} 200`)
}
