package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// printer writes the text form of show.
type printer struct {
	*bufio.Writer
	width int
	color bool
}

func (s *shown) print(out io.Writer) error {
	p := printer{Writer: bufio.NewWriter(out)}
	p.width, p.color = screen()
	for i, t := range s.targets {
		if i > 0 {
			p.line("")
		}
		p.target(t, s)
	}
	for i := range s.artifacts {
		if i > 0 {
			p.line("")
		}
		p.single(&s.artifacts[i], s)
	}
	return p.Flush()
}

func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// wrap writes a sentence over as many lines as it needs.
func (p *printer) wrap(first, text string) {
	indent := strings.Repeat(" ", len(first))
	p.line("%s%s", first, render.Wrap(text, p.width-len(first), indent))
}

func (p *printer) heading(channel, target, stage string) {
	at := "channel " + render.Text(channel)
	if stage != "" {
		at += ", stage " + render.Text(stage)
	}
	p.line("%s  (%s)", render.Text(target), at)
	p.line("")
}

func (p *printer) target(t *api.TargetDetail, s *shown) {
	p.heading(t.Channel, t.Target.Target, t.Stage)
	render.DifferingFirst(t.Artifacts)
	verdicts := make([]quorum.Verdict, len(t.Artifacts))
	for i := range t.Artifacts {
		verdicts[i] = t.Artifacts[i].Verdict
	}
	if len(verdicts) > 0 {
		p.WriteString(render.NewGrid(verdicts).Text(gridWidth(p.width), p.color))
	} else {
		p.line("No builder has given a file yet.")
		p.answers(t.Statements)
	}
	p.acts(t)
	p.logs(t)
	p.brought(t.Statements)
	for i := range t.Artifacts {
		if p.line(""); i == maxDetails {
			p.line("Details of %s are not shown; --json has all.", plural(len(t.Artifacts)-i, "more file"))
			return
		}
		p.artifact(&t.Artifacts[i], s)
	}
}

// acts lists what maintainers said, and the alarms.
func (p *printer) acts(t *api.TargetDetail) {
	if len(t.Acts)+len(t.Alarms) > 0 {
		p.line("")
	}
	for i := range first(t.Acts) {
		a := &t.Acts[i]
		mark := "  act "
		if a.Stands {
			mark = "  ACT "
		}
		p.wrap(mark, render.Act(a))
		p.line("      id %s", a.ID)
		for _, line := range attached(a, "      ") {
			p.line("%s", line)
		}
	}
	for _, a := range first(t.Alarms) {
		p.wrap("  ALARM ", fmt.Sprintf("%s at %s: %s", render.Text(a.Code), stamp(a.At), render.AlarmText(a.Alarm)))
	}
}

// logs says of the builds whose logs somebody asked for where they are.
func (p *printer) logs(t *api.TargetDetail) {
	lines := logLines(t)
	if len(lines) > 0 {
		p.line("")
	}
	for _, line := range lines {
		p.wrap("  log ", line)
	}
}

// logLines says of each builder's newest log that was asked for where it is.
func logLines(t *api.TargetDetail) (lines []string) {
	seen := map[string]bool{}
	for _, s := range slices.Backward(t.Statements) {
		if s.Log == nil || s.Log.State == api.LogNotAsked || seen[s.Builder] || len(lines) == maxLines {
			continue
		}
		seen[s.Builder] = true
		text := "of " + render.Text(s.Builder) + ": " + render.LogText(s.Log)
		if s.Log.State == api.LogKept {
			text += "; quorate log --builder " + render.Text(s.Builder) + " " + render.Text(t.Target.Target)
		}
		lines = append(lines, text)
	}
	slices.Reverse(lines)
	return lines
}

// attachedBar begins each line that is a note's.
const attachedBar = "| "

// attached is the beginning of what a note carries, behind bars: no line of it
// can pass for one of ours.
func attached(a *api.Act, indent string) (out []string) {
	if a.Attachment == "" {
		return nil
	}
	lines, more := render.Attached(a)
	for _, line := range lines {
		out = append(out, indent+attachedBar+line)
	}
	if more != "" {
		out = append(out, indent+more)
	}
	return out
}

// Bounds of what is printed, against a coordinator that invents things to fill
// the screen with.
const (
	maxDetails = 2000 // artifacts
	maxLines   = 256  // of one kind about an artifact, such as digests
)

// first cuts a list to what is printed.
func first[T any](list []T) []T { return list[:min(len(list), maxLines)] }

// answers lists what builders said when there is no file to put it beside.
func (p *printer) answers(list []api.StatementInfo) {
	for _, s := range first(list) {
		text := render.Text(s.Operator) + " (" + render.Text(s.Builder) + "): " + render.Text(string(s.Status))
		if s.Reason != "" {
			text += ", " + fmt.Sprintf("%q", render.Cut(s.Reason, 300))
		}
		p.wrap("  ", text)
	}
}

// single shows one artifact that was asked for by its digest.
func (p *printer) single(a *api.Artifact, s *shown) {
	p.heading(a.Channel, a.Target, a.Stage)
	if s.file != nil && !votedFor(a, s.digest) {
		p.wrap("", "Nobody built this file. Its SHA-256 is "+s.digest.String()+"; the builders gave other bytes under its name:")
		p.line("")
	}
	if s.file != nil && votedFor(a, s.digest) && a.Artifact != s.file.name {
		p.wrap("", "The builders know these bytes under another name than "+render.Text(s.file.name)+".")
		p.line("")
	}
	p.WriteString(render.NewGrid([]quorum.Verdict{a.Verdict}).Text(gridWidth(p.width), p.color))
	p.line("")
	p.artifact(a, s)
}

func votedFor(a *api.Artifact, d statement.SHA256) bool {
	for i := range a.Groups {
		if a.Groups[i].SHA256 == d {
			return true
		}
	}
	for i := range a.Late {
		if a.Late[i].SHA256 == d {
			return true
		}
	}
	return a.SHA256 == d
}

func (p *printer) artifact(a *api.Artifact, s *shown) {
	p.line("%s", render.Text(a.Artifact))
	e := quorum.Explain(&a.Verdict)
	p.wrap("  ", e.Verdict)
	for _, f := range e.Facts {
		p.wrap("  - ", f)
	}
	for _, n := range e.Next {
		p.wrap("  > ", n)
	}
	p.why(s.differencesOf(a))
	p.requests(a)
	for _, s := range first(a.Signatures) {
		p.wrap("  signature ", fmt.Sprintf("%s%s with key %s, by %s at %s", render.Text(string(s.Format)), ofFiles(s.Count), render.Text(s.Key), render.Text(s.Fingerprint), stamp(s.SignedAt)))
	}
	p.digests(a)
}

func (p *printer) requests(a *api.Artifact) {
	for _, r := range first(a.Requests) {
		text := fmt.Sprintf("key %s, asked %s, last at %s", render.Text(r.Key), times(r.Attempts), stamp(r.Asked))
		if r.Parts != nil && r.Parts.Have < r.Parts.Count {
			text += fmt.Sprintf("; %d of %s are there", r.Parts.Have, plural(r.Parts.Count, "part"))
		}
		if r.Refusal != nil {
			text += "; refused: " + sayRefusal(r.Refusal)
		}
		switch {
		case !r.Next.IsZero():
			text += "; asked again at " + stamp(r.Next)
		case r.Refusal != nil && !r.Refusal.Retryable:
			text += "; not asked again by itself: quorate redrive asks"
		case r.Refusal == nil && r.Answered.IsZero():
			text += "; no answer yet"
		}
		p.wrap("  request ", text)
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// digests stand in full on lines of their own, to be copied.
func (p *printer) digests(a *api.Artifact) {
	for i := range first(a.Groups) {
		p.line("  %-2s sha256 %s", quorum.Letter(i), a.Groups[i].SHA256)
	}
	for i := range first(a.Late) {
		if !a.Late[i].Withdrawn {
			p.line("  !  sha256 %s", a.Late[i].SHA256)
		}
	}
}
