package main

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/quorum"
	"quorate/quorum/act"
)

func watching(t *testing.T, c watchCmd, size func() (int, int)) (*watcher, *bytes.Buffer) {
	t.Helper()
	w := newWorld()
	w.start()
	t.Cleanup(w.stop)
	cl, err := client.New(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	return &watcher{cmd: &c, client: cl, out: bufio.NewWriter(&out), size: size}, &out
}

var (
	verdictEvent = api.Event{Channel: "core", Target: "pkg:a/b@1", Artifact: "b.tar", State: quorum.Conflicting, Reason: quorum.ReasonDiffer, At: time.Unix(0, 0)}
	hostileEvent = api.Event{Channel: "core", Target: "pkg:a/b@1", At: time.Unix(0, 0), Act: &api.Act{Kind: act.Hold,
		Subject: act.Subject{Channel: "core", Target: "pkg:a/b@1", Artifact: "x\x1b[2J\u202e"}, By: "anna", Reason: "line\nbreak\x1b[31m"}}
	alarmEvent = api.Event{Channel: "core", At: time.Unix(0, 0), Alarm: &api.Alarm{Code: "late-dissent", Message: "a\x1b[2Jb\nc"}}
)

func TestWatchLines(t *testing.T) {
	w, out := watching(t, watchCmd{Verdict: []string{"conflicting"}}, nil)
	signed := verdictEvent
	signed.State = quorum.Signed
	for _, e := range []api.Event{verdictEvent, signed, hostileEvent, alarmEvent} {
		if err := w.Event(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	w.Missed()
	text := out.String()
	if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "signed") {
		t.Errorf("%q", text)
	}
	for _, want := range []string{"conflicting", "b.tar of pkg:a/b@1", "hold of", `by anna: "line\nbreak`, "ALARM late-dissent"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
}

func TestWatchJSON(t *testing.T) {
	w, out := watching(t, watchCmd{JSON: true}, nil)
	for _, e := range []api.Event{verdictEvent, hostileEvent, alarmEvent} {
		if err := w.Event(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	w.Missed()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{`"type":"verdict"`, `"type":"act"`, `"type":"alarm"`, `"type":"reset"`} {
		if i >= len(lines) || !strings.Contains(lines[i], want) || strings.Contains(lines[i], "\x1b") {
			t.Errorf("line %d of %q lacks %s", i, lines, want)
		}
	}
}

// TestWatchView: the view never has more lines or columns than the screen, whatever
// happens and however the coordinator names things.
func TestWatchView(t *testing.T) {
	const width, height = 60, 10
	w, out := watching(t, watchCmd{}, func() (int, int) { return width, height })
	for i := range 40 {
		w.channels = append(w.channels, api.Channel{Name: fmt.Sprintf("c%d", i), Counts: map[quorum.State]int{quorum.Signed: i}})
	}
	for range 30 {
		for _, e := range []api.Event{verdictEvent, hostileEvent, alarmEvent} {
			w.line(sayEvent(&e))
		}
		out.Reset()
		if err := w.show(); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(strings.TrimPrefix(out.String(), home), clearRest), "\r\n")
	if len(lines) > height {
		t.Errorf("%d lines on a screen of %d", len(lines), height)
	}
	for _, line := range lines {
		text := strings.TrimSuffix(line, clearLine)
		if n := len([]rune(text)); n > width || strings.Contains(text, "\x1b") {
			t.Errorf("%d columns: %q", n, text)
		}
	}
}
