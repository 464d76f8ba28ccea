package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/quorum"
	"quorate/quorum/act"
)

// Sentences that the terminal and the pages have in common. What others wrote in
// them went through [Text] or is quoted.

// Bounds of what is said of one artifact's differences; quorate diff has all.
const (
	maxFactors = 10
	maxPairs   = 8
)

// Cut shortens a text to n bytes of whole characters, and shows that it did.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Subject says what an act is about.
func Subject(s act.Subject) string {
	switch {
	case s.Target == "":
		return "channel " + Text(s.Channel)
	case s.Artifact != "":
		return Text(s.Artifact) + " of " + Text(s.Target)
	}
	return Text(s.Target)
}

// Act says an act in one line.
func Act(a *api.Act) string { return ActBy(a) + " at " + stamp(a.Received) + ": " + ActWhy(a) }

// ActBy says who did what.
func ActBy(a *api.Act) string {
	return Text(string(a.Kind)) + " of " + Subject(a.Subject) + " by " + Text(a.By)
}

// ActWhy says why, in the maintainer's words, and which builder a rebuild is for.
func ActWhy(a *api.Act) string {
	text := quote(Cut(a.Reason, 500))
	if a.Builder != "" {
		text += ", builder " + Text(a.Builder)
	}
	return text
}

// Lines counts the lines of a text.
func Lines(s string) int { return strings.Count(strings.TrimSuffix(s, "\n"), "\n") + 1 }

// Bounds of what the terminal shows of an attachment.
const (
	maxAttachedLines  = 8
	maxAttachedColumn = 200
)

// Attached lists the first lines of what a note carries, harmless, and says how
// much is left out.
func Attached(a *api.Act) (list []string, more string) {
	all := strings.SplitAfterN(strings.TrimSuffix(a.Attachment, "\n"), "\n", maxAttachedLines+1)
	cut := false
	for _, line := range all[:min(len(all), maxAttachedLines)] {
		line = strings.TrimSuffix(line, "\n")
		cut = cut || len(line) > maxAttachedColumn
		list = append(list, Message(Cut(line, maxAttachedColumn)))
	}
	switch n := Lines(a.Attachment) - len(list); {
	case n == 1:
		more = "and 1 further line; quorate show --json has all"
	case n > 1:
		more = "and " + strconv.Itoa(n) + " further lines; quorate show --json has all"
	case cut:
		more = "quorate show --json has the long lines whole"
	}
	return list, more
}

// quote always quotes; what is not visible by itself is escaped.
func quote(s string) string { return `"` + escape(s, needsQuotes) + `"` }

// AlarmText is an alarm's message in one line.
func AlarmText(a api.Alarm) string {
	return AlarmBy(a) + Message(strings.ReplaceAll(Cut(a.Message, 500), "\n", " "))
}

// AlarmBy begins the text of an alarm that somebody else than a coordinator raised.
func AlarmBy(a api.Alarm) string {
	if a.From == api.FromCoordinator || a.From == "" { // events from before there was a name
		return ""
	}
	return "signer " + Text(a.From) + ": "
}

// Foreign says of a statement that an importer brought in what form it is, which
// key signed it, and who carried it.
func Foreign(f *api.Foreign) string {
	text := Text(f.Kind)
	for _, v := range f.Verdicts {
		if v.Key != "" {
			text += ", signature " + Text(v.Status) + " by " + Text(v.Key)
			break
		}
	}
	text += ", judged as of " + stamp(f.Judged) + ", brought by " + Text(f.Importer)
	if f.Origin != "" {
		text += " from " + Text(Cut(f.Origin, 300))
	}
	return text
}

// Inside lists the pairs of groups of which there is something to say.
func Inside(d *difference.Artifact) (list []*difference.Pair) {
	for i := range d.Pairs[:min(len(d.Pairs), maxPairs)] {
		if p := &d.Pairs[i]; p.Members > 0 || p.Problem == "" || len(d.Factors) > 0 {
			list = append(list, p)
		}
	}
	return list
}

// Factors lists what goes with a difference, the likeliest first, and says how
// much is left out.
func Factors(d *difference.Artifact) (list []difference.Factor, more string) {
	list = d.Factors[:min(len(d.Factors), maxFactors)]
	switch n := len(d.Factors) - len(list) + d.More; n {
	case 0:
	case 1:
		more = "and 1 further difference; quorate diff --json has them"
	default:
		more = "and " + strconv.Itoa(n) + " further differences; quorate diff --json has them"
	}
	return list, more
}

// DifferingFirst puts the files on which builders differ before the others: of
// hundreds they are those that somebody looks for. Both parts keep their order.
func DifferingFirst(artifacts []api.Artifact) {
	place := func(a api.Artifact) int {
		if len(a.Groups) > 1 || len(a.Late) > 0 || slices.Contains(differing, a.Reason) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(artifacts, func(a, b api.Artifact) int { return cmp.Compare(place(a), place(b)) })
}

// differing are the reasons by which builders of one digest differ in something else.
var differing = []quorum.Reason{quorum.ReasonSHA512, quorum.ReasonSignable}

// Built says when the builds of each group ran; empty where that is not known.
func Built(groups []difference.Group) string {
	minute := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }
	var parts []string
	for _, g := range groups {
		switch first, last := minute(g.First), minute(g.Last); {
		case g.First.IsZero():
		case first == last:
			parts = append(parts, Text(g.Letter)+" at "+first)
		default:
			parts = append(parts, fmt.Sprintf("%s from %s to %s", Text(g.Letter), first, last))
		}
	}
	return strings.Join(parts, "; ")
}
