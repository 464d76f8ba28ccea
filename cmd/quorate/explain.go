package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/internal/render"
	"quorate/quorum"
)

type explainCmd struct {
	serverFlags
	Channel string `placeholder:"NAME" help:"Only this channel."`
	Stage   string `placeholder:"NAME" help:"Only this stage."`
	Target  string `arg:"" help:"A target (pkg:...), a file, or the SHA-256 of one."`
}

// Help is shown by --help.
func (explainCmd) Help() string {
	return `Says in sentences what the verdict on each file is, who agrees and who differs, what differs inside of the files and what goes with it, what maintainers did, which alarms there were, what would change it, and what happened when. "quorate show" has the same as a table.

Exit codes: those of "quorate show".`
}

func (c *explainCmd) Run() error {
	show := showCmd{serverFlags: c.serverFlags, Channel: c.Channel, Stage: c.Stage, What: c.Target}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := show.ask(ctx, cl)
	if err != nil {
		return err
	}
	s.askDifferences(ctx, cl)
	if err := s.addTargets(ctx, cl.Target); err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	width, _ := screen()
	for i, t := range s.targets {
		if i > 0 {
			fmt.Fprintln(out)
		}
		for _, p := range s.explainTarget(t) {
			if !strings.HasPrefix(p, attachedBar) { // others' lines are not broken into what has no bar
				p = render.Wrap(p, width, "")
			}
			fmt.Fprintln(out, p)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return s.verdict(c.Target)
}

// addTargets reads the targets of artifacts that were found by their digest.
func (s *shown) addTargets(ctx context.Context, read func(context.Context, string) (*api.TargetDetail, error)) error {
	seen := map[string]bool{}
	for i := range first(s.artifacts) {
		a := &s.artifacts[i]
		if seen[a.TargetID] {
			continue
		}
		seen[a.TargetID] = true
		t, err := read(ctx, a.TargetID)
		if err != nil {
			return serverError(err)
		}
		t.Artifacts = slices.DeleteFunc(t.Artifacts, func(o api.Artifact) bool { return o.Artifact != a.Artifact })
		s.targets = append(s.targets, t)
	}
	s.artifacts = nil
	return nil
}

// explainTarget says a target in paragraphs. All text that comes from others went
// through package render or is quoted.
func (s *shown) explainTarget(t *api.TargetDetail) (out []string) {
	at := "in channel " + render.Text(t.Channel)
	if t.Stage != "" {
		at += " at stage " + render.Text(t.Stage)
	}
	out = append(out, fmt.Sprintf("%s %s has %s and %s.", render.Text(t.Target.Target), at,
		plural(len(t.Artifacts), "file"), plural(len(t.Statements), "statement")))
	render.DifferingFirst(t.Artifacts)
	for i := range first(t.Artifacts) {
		out = append(out, "", explainArtifact(&t.Artifacts[i]))
		if d := s.differencesOf(&t.Artifacts[i]); d != nil {
			out = append(out, explainDifferences(d)...)
		}
	}
	if more := len(t.Artifacts) - len(first(t.Artifacts)); more > 0 {
		out = append(out, "", fmt.Sprintf("%s are not told; quorate show --json has all.", plural(more, "more file")))
	}
	if len(t.Artifacts) == 0 {
		out = append(out, "No builder has given a file yet.")
	}
	if line := explainHolds(t.Acts); line != "" {
		out = append(out, "", line)
	}
	if lines := logLines(t); len(lines) > 0 {
		out = append(out, "", "Logs: "+strings.Join(lines, "; ")+".")
	}
	for _, a := range first(t.Alarms) {
		out = append(out, "", fmt.Sprintf("An alarm was raised at %s: %s (%s).", stamp(a.At), render.AlarmText(a.Alarm), render.Text(a.Code)))
	}
	for i := range first(t.Acts) {
		if a := &t.Acts[i]; a.Attachment != "" {
			out = append(out, "", fmt.Sprintf("With a %s came a text of %s:", render.Act(a), plural(render.Lines(a.Attachment), "line")))
			out = append(out, attached(a, "")...)
		}
	}
	return append(append(out, "", "What happened:"), timeline(t)...)
}

func explainArtifact(a *api.Artifact) string {
	e := quorum.Explain(&a.Verdict)
	text := append([]string{render.Text(a.Artifact) + ":", e.Verdict}, e.Facts...)
	for _, r := range first(a.Requests) {
		if r.Refusal != nil {
			text = append(text, fmt.Sprintf("The signer of key %s refused: %s.", render.Text(r.Key), sayRefusal(r.Refusal)))
		}
	}
	for _, s := range first(a.Signatures) {
		text = append(text, fmt.Sprintf("It was signed in format %s%s with key %s at %s.", render.Text(string(s.Format)), ofFiles(s.Count), render.Text(s.Key), stamp(s.SignedAt)))
	}
	return strings.Join(append(text, e.Next...), " ")
}

// explainDifferences says what differs inside of the files and what goes with it.
func explainDifferences(d *difference.Artifact) (out []string) {
	for _, p := range render.Inside(d) {
		out = append(out, fmt.Sprintf("Inside of %s and %s: %s.", render.Text(p.A), render.Text(p.B), render.Text(p.Text)))
	}
	factors, more := render.Factors(d)
	if len(factors) == 0 {
		return out
	}
	var said []string
	for _, f := range factors {
		said = append(said, render.Text(f.Kind)+" "+render.Text(f.Text))
	}
	if more != "" {
		said = append(said, more)
	}
	return append(out, "What goes with the difference, the likeliest first, by what the builders say of themselves: "+strings.Join(said, ". ")+".")
}

// explainHolds says what stands, also where it gives no verdict yet.
func explainHolds(acts []api.Act) string {
	var out []string
	for _, a := range first(acts) {
		if a.Stands {
			out = append(out, fmt.Sprintf("There is a %s.", render.Act(&a)))
		}
	}
	return strings.Join(out, " ")
}

// moment is one line of the timeline.
type moment struct {
	at   time.Time
	text string
}

// timeline tells what happened in its order.
func timeline(t *api.TargetDetail) (out []string) {
	var list []moment
	for _, s := range t.Statements {
		what := "voted"
		if s.Status != "" {
			what = "said " + render.Text(string(s.Status))
			if s.Reason != "" {
				what += fmt.Sprintf(" (%q)", render.Cut(s.Reason, 200))
			}
		}
		list = append(list, moment{s.Received, fmt.Sprintf("%s of %s %s.", render.Text(s.Builder), render.Text(s.Operator), what)})
	}
	for i := range t.Acts {
		list = append(list, moment{t.Acts[i].Received, render.Act(&t.Acts[i]) + "."})
	}
	for i := range t.Artifacts {
		for _, s := range t.Artifacts[i].Signatures {
			list = append(list, moment{s.SignedAt, fmt.Sprintf("%s was signed with key %s.", render.Text(t.Artifacts[i].Artifact), render.Text(s.Key))})
		}
	}
	for _, a := range t.Alarms {
		list = append(list, moment{a.At, "Alarm " + render.Text(a.Code) + "."})
	}
	slices.SortStableFunc(list, func(a, b moment) int { return a.at.Compare(b.at) })
	for _, m := range first(list) {
		out = append(out, "  "+stamp(m.at)+"  "+m.text)
	}
	if more := len(list) - len(first(list)); more > 0 {
		out = append(out, fmt.Sprintf("  and %s", plural(more, "more event")))
	}
	return out
}
