package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum"
)

type watchCmd struct {
	serverFlags
	Channel string   `placeholder:"NAME" help:"Only this channel."`
	Target  string   `placeholder:"PURL" help:"Only this target."`
	Verdict []string `placeholder:"STATE" help:"Only verdicts of this state, such as conflicting; may be repeated. Acts and alarms are shown always."`
	JSON    bool     `name:"json" help:"One JSON object an event and line."`
}

// Help is shown by --help.
func (watchCmd) Help() string {
	return `On a terminal it shows the counts of each channel and the latest events, until you press Ctrl-C; otherwise one line an event. It reconnects by itself and goes on where it was; when events were missed it says so.

Exit codes: 0 ended by Ctrl-C; 1 the server is no coordinator; 2 usage.`
}

func (c *watchCmd) Run() error {
	for _, v := range c.Verdict {
		if !slices.Contains(quorum.States, quorum.State(v)) {
			return usageError(fmt.Sprintf("one of %s", joinStates()), "--verdict %q is not known", v)
		}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	w := &watcher{cmd: c, client: cl, out: bufio.NewWriter(os.Stdout)}
	if fd := int(os.Stdout.Fd()); !c.JSON && term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		w.size = func() (int, int) { width, height, _ := term.GetSize(fd); return max(width, 40), max(height, 8) }
		_, w.color = screen()
	}
	err = cl.Watch(ctx, client.Query{Channel: c.Channel, Target: c.Target}, w)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return serverError(err)
}

func joinStates() string {
	words := make([]string, len(quorum.States))
	for i, s := range quorum.States {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// watcher shows events. It implements [client.Watcher]; everything runs in one
// goroutine.
type watcher struct {
	cmd    *watchCmd
	client *client.Client
	out    *bufio.Writer
	size   func() (width, height int) // nil: not a live view
	color  bool

	began    bool
	channels []api.Channel
	lines    []string // the latest, for the live view
	lost     error
}

// watchEvent is what --json prints. It is part of the interface.
type watchEvent struct {
	Type string `json:"type"` // verdict, act, alarm; reset: events may be missing before this line
	api.Event
}

// Fresh is a new connection, or events that were missed.
func (w *watcher) Fresh(ctx context.Context) error {
	list, err := w.client.Channels(ctx)
	if err != nil {
		return err
	}
	if w.cmd.Channel != "" && !slices.ContainsFunc(list.Channels, func(c api.Channel) bool { return c.Name == w.cmd.Channel }) {
		return usageError("quorate list shows the channels", "the coordinator has no channel %q", w.cmd.Channel)
	}
	w.channels, w.lost = list.Channels, nil
	switch {
	case !w.began:
		w.began = true
	case w.cmd.JSON:
		return nil // what happened meanwhile follows
	default:
		w.line("connected again")
	}
	return w.show()
}

// Missed says that there is a hole in what is shown.
func (w *watcher) Missed() {
	if w.cmd.JSON {
		_ = w.json(watchEvent{"reset", api.Event{At: time.Now().UTC()}}) // the next line fails, too
		return
	}
	w.line("events were missed; quorate list shows how things stand")
}

// Event shows one event.
func (w *watcher) Event(ctx context.Context, e *api.Event) error {
	if e.Type() == "verdict" && len(w.cmd.Verdict) > 0 && !slices.Contains(w.cmd.Verdict, string(e.State)) {
		return nil
	}
	if w.cmd.JSON {
		return w.json(watchEvent{e.Type(), *e})
	}
	w.line(e.At.UTC().Format("15:04:05") + "  " + sayEvent(e))
	if w.size != nil {
		// The counts are part of the view; that they cannot be read now is said
		// when the stream of events breaks, too.
		if list, err := w.client.Channels(ctx); err == nil {
			w.channels = list.Channels
		}
	}
	return w.show()
}

// Lost is called once for each attempt; it is said once for each interruption.
func (w *watcher) Lost(err error) {
	if w.lost == nil {
		say("%v; trying again", err)
	}
	w.lost = err
	if w.size != nil {
		_ = w.show()
	}
}

func (w *watcher) json(e watchEvent) error {
	if err := printJSON(w.out, e); err != nil {
		return err
	}
	return w.out.Flush()
}

// sayEvent says an event in one line.
func sayEvent(e *api.Event) string {
	switch {
	case e.Act != nil:
		return "channel " + render.Text(e.Channel) + "  " + render.ActBy(e.Act) + ": " + render.ActWhy(e.Act) // the line has the time
	case e.Alarm != nil:
		return fmt.Sprintf("channel %s  ALARM %s: %s", render.Text(e.Channel), render.Text(e.Alarm.Code), render.AlarmText(*e.Alarm))
	}
	at := render.Text(e.Target)
	if e.Stage != "" {
		at += " (" + render.Text(e.Stage) + ")"
	}
	return fmt.Sprintf("channel %s  %-11s %s of %s (%s)", render.Text(e.Channel), render.Text(string(e.State)), render.Text(e.Artifact), at, render.Text(string(e.Reason)))
}

// maxLinesKept is more than any terminal has.
const maxLinesKept = 500

func (w *watcher) line(text string) {
	text = strings.ReplaceAll(text, "\n", " ")
	if w.size == nil {
		fmt.Fprintln(w.out, text)
		return
	}
	if w.lines = append(w.lines, text); len(w.lines) > maxLinesKept {
		w.lines = w.lines[len(w.lines)-maxLinesKept:]
	}
}

// show brings the terminal up to date.
func (w *watcher) show() error {
	if w.size != nil {
		width, height := w.size()
		w.draw(w.out, width, height)
	}
	return w.out.Flush()
}

// Sequences of ECMA-48.
const (
	home      = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// draw writes the whole view: each line is cleared as it is written, so nothing
// flickers.
func (w *watcher) draw(out io.Writer, width, height int) {
	var view []string
	state := "connected to " + w.client.Server()
	if w.lost != nil {
		state = "no connection to " + w.client.Server() + ", trying again"
	}
	view = append(view, state+"  (Ctrl-C ends)")
	for i := range w.channels {
		if c := &w.channels[i]; w.cmd.Channel == "" || c.Name == w.cmd.Channel {
			view = append(view, countsLine(c))
		}
	}
	view = append(view[:min(len(view), max(1, height/2))], "")
	room := max(height-len(view)-1, 1)
	lines := w.lines[max(0, len(w.lines)-room):]
	if len(lines) == 0 {
		lines = []string{"nothing has happened yet"}
	}
	fmt.Fprint(out, home)
	for _, line := range append(view, lines...) {
		fmt.Fprint(out, clip(line, width), clearLine+"\r\n")
	}
	fmt.Fprint(out, clearRest)
}

func countsLine(c *api.Channel) string {
	line := render.Text(c.Name) + ":"
	for _, s := range quorum.States {
		if n := c.Counts[s]; n > 0 {
			line += fmt.Sprintf(" %d %s", n, s)
		}
	}
	return line
}

// clip cuts a line that went through package render to the width of the screen.
func clip(line string, width int) string {
	if render.Width(line) <= width {
		return line
	}
	n := 0
	for i, r := range line {
		if n += render.Width(string(r)); n >= width {
			return line[:i] + "…"
		}
	}
	return line
}
