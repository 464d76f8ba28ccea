package coordinator_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// setDayBytes changes the limit of a coordinator that does not run.
func (w *world) setDayBytes(was, n int) {
	w.t.Helper()
	path := filepath.Join(w.state(), "coordinator.toml")
	text := string(must(os.ReadFile(path))(w.t))
	changed := strings.Replace(text, fmt.Sprintf("bytes_per_builder_day = %d\n", was), fmt.Sprintf("bytes_per_builder_day = %d\n", n), 1)
	if changed == text {
		w.t.Fatal("the configuration has no such limit")
	}
	check(w.t, os.WriteFile(path, []byte(changed), 0o600))
}

// tryToSay publishes one more statement.
func (w *world) tryToSay(builder string) (*statement.Statement, error) {
	w.t.Helper()
	st := build{builder: builder, nonce: fmt.Sprint(time.Now().UnixNano())}.statement(w.t)
	conn := w.as(builder)
	defer conn.Close()
	_, err := conn.Publish(limit(w.t), must(bus.StatementSubject("core", builder))(w.t), bus.MsgID(st.Raw()), st.Raw())
	if err == nil {
		w.sync()
	}
	check(w.t, w.c.ReloadUsers(limit(w.t)))
	return st, err
}

func (w *world) wantDenied(builder string) {
	w.t.Helper()
	var denied *bus.DeniedError
	if _, err := w.tryToSay(builder); !errors.As(err, &denied) {
		w.t.Errorf("%s: %v, want a denial", builder, err)
	}
}

func (w *world) overQuotaAlarms() (list []api.ListedAlarm) {
	w.t.Helper()
	for _, a := range get[api.Alarms](w, "/v1/alarms").Alarms {
		if a.Code == "over-quota" {
			list = append(list, a)
		}
	}
	return list
}

// One builder's key cannot fill the disk: on the day on which it has sent its bytes
// the bus takes no more of it. What is recorded counts, and nobody else is kept out.
func TestABuilderSendsItsBytesOfTheDay(t *testing.T) {
	w := newWorld(t)
	w.setClock(time.Now())
	first := build{builder: "alice"}.statement(t)
	w.setDayBytes(1<<30, 2*len(first.Raw()))
	w.start()
	for range 2 {
		if _, err := w.tryToSay("alice"); err != nil {
			t.Fatal(err)
		}
	}
	// The second may have been the one that reached it, or a third is, as sizes differ a little.
	last, err := w.tryToSay("alice")
	if err == nil {
		w.wantDenied("alice")
	}
	if n := len(w.overQuotaAlarms()); n != 1 {
		t.Errorf("%d alarms, want one", n)
	}
	if a := w.overQuotaAlarms()[0]; !strings.Contains(a.Message, "alice has sent") {
		t.Errorf("alarm %q", a.Message)
	}
	resp := must(http.Get(w.c.URL() + "/metrics"))(t)
	text := string(must(io.ReadAll(resp.Body))(t))
	resp.Body.Close()
	if !strings.Contains(text, "\nquorate_over_quota_senders 1\n") {
		t.Error("the metric does not say it")
	}
	if _, err := w.tryToSay("bob"); err != nil {
		t.Errorf("another builder: %v", err)
	}
	if n := len(get[rejectedList](w, "/v1/rejected").Rejected); n != 0 {
		t.Errorf("%d statements rejected", n)
	}
	// A start on the same day remembers it, and alice still hears what is recorded.
	w.stop()
	w.start()
	w.sync()
	check(t, w.c.ReloadUsers(limit(t)))
	w.wantDenied("alice")
	s := &spool{t, w.as("alice"), "alice", map[statement.SHA256]*statement.Statement{}}
	if err == nil {
		s.kept[last.ID()] = last
	}
	if left := s.flush(); left != 0 {
		t.Errorf("%d without a receipt", left)
	}
	if n := len(w.overQuotaAlarms()); n != 1 {
		t.Errorf("%d alarms after a start, want one", n)
	}
	w.setClock(time.Now().Add(24 * time.Hour))
	check(t, w.c.ReloadUsers(limit(t)))
	if _, err := w.tryToSay("alice"); err != nil {
		t.Errorf("on the next day: %v", err)
	}
	w.stop()
	w.setDayBytes(2*len(first.Raw()), 0)
	w.setClock(time.Now())
	w.start()
	if _, err := w.tryToSay("alice"); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
