package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"quorate/internal/api"
	"quorate/internal/render"
	"quorate/quorum/act"
)

// attachFlags are the flags of acts, for a command that acts only with --attach.
type attachFlags struct {
	Attach  bool          `help:"Attach what is printed to the target, as a note signed with your SSH key; needs --key and --nkey."`
	Key     string        `env:"QUORATE_SSH_KEY" placeholder:"FILE" help:"With --attach: your SSH key as the policy names it: the private key, or the public one of a key in your agent."`
	Reason  string        `short:"m" placeholder:"TEXT" help:"With --attach: the note's text (default: what was compared)."`
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"With --attach: how long to wait for the coordinator to record it (default ${default}); 0: do not wait."`
	NATS    string        `name:"nats" env:"QUORATE_NATS" default:"nats://127.0.0.1:7422" placeholder:"URL" help:"With --attach: address of the bus (default ${default})."`
	NKey    string        `name:"nkey" env:"QUORATE_NKEY" placeholder:"FILE" help:"With --attach: seed file of a user of the bus with the role tooling."`
	Name    string        `env:"QUORATE_NAME" default:"tooling" placeholder:"NAME" help:"With --attach: name of that user (default ${default})."`
	CAFile  string        `name:"ca-file" env:"QUORATE_CA_FILE" placeholder:"FILE" help:"With --attach: certificate authority of the bus; makes TLS mandatory."`
}

func (f *attachFlags) check() error {
	switch {
	case f.Attach && f.Key == "":
		return usageError("or the variable QUORATE_SSH_KEY", "--attach needs --key, your SSH key")
	case f.Attach && f.NKey == "":
		return usageError("or the variable QUORATE_NKEY", "--attach needs --nkey, the seed file of a user of the bus")
	case !f.Attach && f.Reason != "":
		return usageError("", "--reason goes with --attach")
	}
	return nil
}

// attachment collects what is printed for a note.
type attachment struct {
	text  limited
	pairs []string // that were compared
}

// newAttachment keeps a little more than fits, so that what is cut is known.
func newAttachment() *attachment {
	return &attachment{text: limited{limit: act.MaxAttachment + utf8.UTFMax, full: func() {}}}
}

// attach puts what was printed beside the target.
func (d *differ) attach(ctx context.Context, t *api.TargetDetail) error {
	if len(d.found.pairs) == 0 {
		say("nothing to attach to %s (channel %s)", render.Text(t.Target.Target), render.Text(t.Channel))
		return nil
	}
	if d.code != exitOK {
		say("nothing is attached: not everything was compared")
		return nil
	}
	f := actFlags{serverFlags: d.serverFlags, busFlags: busFlags{NATS: d.NATS, NKey: d.NKey, Name: d.Name, CAFile: d.CAFile},
		Key: d.Key, Reason: d.Reason, Timeout: d.Timeout}
	if f.Reason == "" {
		f.Reason = "quorate diff: " + strings.Join(d.found.pairs[:min(len(d.found.pairs), 3)], "; ")
		if more := len(d.found.pairs) - 3; more > 0 {
			f.Reason += fmt.Sprintf("; and %d more", more)
		}
	}
	a := act.Act{Kind: act.Note, Subject: act.Subject{Channel: t.Channel, Target: t.Target.Target, Stage: t.Stage, Artifact: d.Artifact},
		Attachment: fitAttachment(d.found.text.kept.String(), "the result")}
	signed, err := f.record(ctx, a, false, "")
	if err != nil {
		return err
	}
	say("attached to %s (channel %s) as act %s", render.Text(t.Target.Target), render.Text(t.Channel), signed.ID())
	return nil
}

// readAttachment reads a text file for a note.
func readAttachment(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usageError("it takes a text file", "--attach: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, act.MaxAttachment+utf8.UTFMax))
	switch {
	case err != nil:
		return "", usageError("it takes a text file", "--attach: %w", err)
	case strings.TrimSpace(string(data)) == "":
		return "", usageError("", "--attach: %s is empty", render.Text(path))
	}
	return fitAttachment(string(data), render.Text(path)), nil
}

// cutMark ends an attachment that was cut.
const cutMark = "(cut here)\n"

// fitAttachment cuts a text to what a note carries, after a whole line where there
// is one, and says so.
func fitAttachment(text, what string) string {
	end := attachable(text, act.MaxAttachment)
	if end == len(text) {
		return text
	}
	end = attachable(text, act.MaxAttachment-len(cutMark)-2)
	if line := strings.LastIndexByte(text[:end], '\n'); line >= 0 {
		text = text[:line+1]
	} else {
		text = text[:end] + "\n"
	}
	say("%s is too long for a note: cut after %s", what, plural(render.Lines(text), "line"))
	return text + cutMark
}

// attachable is how many bytes of the text take no more than limit in the signed
// JSON, where line ends, tabs, quotes and backslashes take two: so the whole act
// fits too. It ends between characters.
func attachable(text string, limit int) int {
	size := 0
	for i, r := range text {
		n := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, n = utf8.DecodeRuneInString(text[i:])
		}
		if strings.ContainsRune("\n\t\"\\", r) {
			n = 2
		}
		if size += n; size > limit {
			return i
		}
	}
	return len(text)
}
