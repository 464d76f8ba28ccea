package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/statement"
)

var functions = template.FuncMap{
	"name":    render.Text,
	"plain":   render.Message,
	"letter":  quorum.Letter,
	"stamp":   stamp,
	"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"ago":     ago,
	"took":    took,
	"short":   func(d statement.SHA256) string { return d.String()[:12] },
	"sign":    sign,
	"count":   count,
	"lines":   func(s string) string { return count(render.Lines(s), "line") },
	"percent": percent,
	"command": command,
	"group":   group,
	"add":     func(a, b int) int { return a + b },
	"did":     render.ActBy,
	"because": render.ActWhy,
	"alarm":   render.AlarmText,
	"foreign": render.Foreign,
	"logwhy":  render.LogText,
	"states":  func() []quorum.State { return pressing },
	"dict":    dict,

	"markclass":   markClass,
	"markglyph":   markGlyph,
	"answerclass": func(s string) string { return strings.ReplaceAll(s, " ", "-") },
}

// pressing orders the states by how much they ask for a person.
var pressing = []quorum.State{quorum.Disputed, quorum.Conflicting, quorum.Unreachable, quorum.Held, quorum.Waiting, quorum.Agreed, quorum.Signed, quorum.Withdrawn}

// sign is a character for a state, so that it is told without colour.
func sign(s quorum.State) string {
	switch s {
	case quorum.Disputed:
		return "!"
	case quorum.Conflicting:
		return "≠"
	case quorum.Unreachable:
		return "×"
	case quorum.Held:
		return "‖"
	case quorum.Waiting:
		return "…"
	case quorum.Agreed:
		return "="
	case quorum.Signed:
		return "✓"
	}
	return "–"
}

// The signs of the terminal's grid, as classes and as characters that are easier
// on the eye.
var markLooks = map[string][2]string{".": {"silent", "·"}, "x": {"failed", "✗"}, "-": {"missing", "–"}, "r": {"revoked", "r"}, "/": {"other", "/"}, "#": {"other", "#"}}

func markClass(mark string) string { return markLooks[mark][0] }
func markGlyph(mark string) string { return markLooks[mark][1] }

// group is the class of a digest group: there are six colours and patterns, and
// letters without end.
func group(i int) string { return fmt.Sprintf("g%d", i%6) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ago says roughly how long before now a time lies.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour") + " ago"
	default:
		return count(int(d/(24*time.Hour)), "day") + " ago"
	}
}

// took says how long something lasted.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func percent(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	// Rounded down: what is not quite all is not 100.
	return fmt.Sprintf("%d.%d %%", part*100/whole, part*1000/whole%10)
}

// plainWord has what a shell takes as it is.
const plainWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,"

// command is a line for a shell. Words that are more than plain are quoted.
func command(words ...string) string {
	for i, w := range words {
		switch {
		case strings.ContainsFunc(w, render.Unprintable):
			words[i] = escaped(w)
		case w == "" || strings.Trim(w, plainWord) != "":
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// escaped quotes a word with characters that do not show themselves, or turn
// others around, in the way of bash, ksh and zsh.
func escaped(w string) string {
	var b strings.Builder
	for _, r := range w {
		switch {
		case r == '\'' || r == '\\':
			b.WriteString(`\` + string(r))
		case render.Unprintable(r):
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return "$'" + b.String() + "'"
}

// dict gives a template several values by name.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}
