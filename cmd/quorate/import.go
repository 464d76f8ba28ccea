package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"time"

	"quorate/builder-agent/importer"
	"quorate/builder-agent/spool"
	"quorate/internal/render"
	"quorate/internal/rest"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/live"
	"quorate/quorum/statement"
)

type importCmd struct {
	importerState
	serverFlags
	Channel  string        `required:"" placeholder:"NAME" help:"Channel in which the statements are to count."`
	Keys     string        `placeholder:"DIR" help:"OpenPGP key files that go along with what they signed; builder-keys beside the statements without it."`
	Watch    bool          `help:"Go on, and bring what is new or changed."`
	Interval time.Duration `default:"15s" help:"With --watch: pause between two looks (default ${default})."`
	Wait     time.Duration `default:"1m" help:"How long a bus or server may be silent before giving up (default ${default}); with --watch there is no end."`
	Kind     string        `arg:"" placeholder:"KIND" help:"What the statements are: guix.sigs, rebuilderd, buildinfo, narinfo, link, slsa or dsse."`
	Sources  []string      `arg:"" name:"path-or-url" help:"Folders or files; for rebuilderd also addresses of instances."`
}

func (importCmd) Help() string {
	return `Reads statements that others made and publishes them as they are, with where and when they were found. Whether they count is for the coordinator and the signer to find out, from the bytes and the keys that the policy pins; the importer is believed in nothing.

What was brought once is not brought again. Everything is on the disk before it is sent, and stays there until a coordinator has recorded or rejected it, so the command can be stopped at any moment and started again.

With --watch a folder, such as a git checkout that something else pulls, is looked at again after each interval, and an instance of rebuilderd is asked for new builds.

A channel that the coordinator at --server does not know is refused before anything is sent: the record keeps for ever what it once has. Without a coordinator in reach this is not checked; the first statement that is rejected for it then ends the import.

Standard output has one line for each statement: "recorded ID ORIGIN", with the ID of the statement, or "rejected ID CODE ORIGIN", with that which quorate importer status has.

Exit codes: 0 everything was recorded, or there was nothing new; 1 an instance of rebuilderd does not answer, or git holds the lock of a checkout; 2 usage, an unknown channel, or a file that cannot be a statement of that kind; 5 something was rejected, the codes are on standard error; 4 no coordinator confirmed in time, what was read is in the spool.`
}

func (c *importCmd) Run() error {
	ctx, stop := interrupted()
	defer stop()
	return c.run(ctx, os.Stdout)
}

func (c *importCmd) run(ctx context.Context, out io.Writer) error {
	kind, err := live.ParseKind(c.Kind)
	if err != nil {
		return usageError("quorate import --help", "%w", err)
	}
	if c.Interval <= 0 || c.Wait <= 0 {
		return usageError("quorate import --help", "--interval and --wait must be more than nothing")
	}
	sources, err := c.sources(kind)
	if err != nil {
		return err
	}
	s, err := c.open()
	if err != nil {
		return err
	}
	if err := c.checkChannel(); err != nil {
		return err
	}
	session, err := importer.Begin(s, c.Channel, importLog())
	if err != nil {
		return importerError(err)
	}
	b := &bringer{session: session, out: out, rejected: map[statement.Code]int{}, warned: map[string]string{}}
	session.Tell = b.tell
	if !c.Watch {
		session.Patience = c.Wait
	}
	err = errors.Join(c.bring(ctx, b, sources), session.Close())
	b.finish()
	if c.Watch && errors.Is(err, context.Canceled) {
		return nil // it was told to end
	}
	return importerError(err)
}

// checkChannel refuses a channel that the coordinator does not know.
func (c *importCmd) checkChannel() error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	ch, err := knownChannel(cl, c.Channel)
	if err == nil && ch == nil {
		say("no coordinator answers at %s: whether there is a channel %s was not checked", cl.Server(), render.Text(c.Channel))
	}
	return err
}

// importLog is for what the bus says; each statement has a line of its own.
func importLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

// origin is one place where statements are found.
type origin interface {
	// look brings what is new since the last look. An error ends the import.
	look(ctx context.Context, b *bringer) error
}

func (c *importCmd) sources(kind evidence.Kind) (list []origin, err error) {
	for _, name := range c.Sources {
		u, err := url.Parse(name)
		remote := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
		switch {
		case remote && kind != evidence.Rebuilderd:
			return nil, usageError("fetch them into a folder first", "%s: statements of kind %s are read from files; an address is for an instance of rebuilderd", render.Text(name), c.Kind)
		case remote && (u.User != nil || u.RawQuery != "" || u.Fragment != ""):
			return nil, usageError("quorate import rebuilderd https://HOST/", "%s: give the address of the instance alone", render.Text(u.Redacted()))
		case remote:
			list = append(list, newInstance(u, c.State, c.Channel, c.patience()))
		default:
			t, err := newFolder(name, kind, c.Keys, lockWait{limit: c.Wait, goOn: c.Watch})
			if err != nil {
				return nil, err
			}
			list = append(list, t)
		}
	}
	return list, nil
}

// patience is how long a server may fail; zero is for ever.
func (c *importCmd) patience() time.Duration {
	if c.Watch {
		return 0
	}
	return c.Wait
}

func (c *importCmd) bring(ctx context.Context, b *bringer, sources []origin) error {
	for {
		var failed error
		for _, s := range sources {
			err := s.look(ctx, b)
			if err != nil && !oneSource(err) {
				return err
			}
			failed = errors.Join(failed, err)
		}
		if err := b.session.Flush(ctx); err != nil {
			return err
		}
		if err := b.stopped(); err != nil {
			return err
		}
		if !c.Watch {
			return errors.Join(b.refusal(), b.rejection(), failed)
		}
		if err := rest.For(ctx, c.Interval); err != nil {
			return err
		}
	}
}

// bringer takes finds and says what became of them.
type bringer struct {
	session  *importer.Session
	out      io.Writer
	recorded int
	rejected map[statement.Code]int
	skipped  int
	single   error             // of a file that was named by itself
	warned   map[string]string // by path, so that each look does not say it again
	unknown  *spool.Reason     // the channel is not in the policy
}

func (b *bringer) tell(s importer.Settled) {
	if s.Reason == nil {
		b.recorded++
		fmt.Fprintln(b.out, "recorded", s.ID, render.Text(s.Origin))
		return
	}
	b.rejected[s.Reason.Code]++
	if s.Reason.Code == quorum.CodeUnknownChannel && s.Channel == b.session.Channel() {
		b.unknown = s.Reason
	}
	fmt.Fprintln(b.out, "rejected", s.Message, render.Text(string(s.Reason.Code)), render.Text(s.Origin))
}

// skip says why a file is not brought, once for each reason.
func (b *bringer) skip(path string, err error) {
	if b.warned[path] == err.Error() {
		return
	}
	b.warned[path] = err.Error()
	b.skipped++
	say("not brought: %s: %v", render.Text(path), err)
}

// refusal is the error of a file that was named by itself and is not what it was
// said to be. In a folder such files are passed over.
func (b *bringer) refusal() error {
	if b.single == nil {
		return nil
	}
	return usageError("quorate import --help", "%w", b.single)
}

// stopped ends an import into a channel that does not exist: all that follows
// would lie in the record for nothing.
func (b *bringer) stopped() error {
	if b.unknown == nil {
		return nil
	}
	return usageError("quorate importer status has what was rejected", "the coordinator says: %s", render.Message(b.unknown.Message))
}

// rejection is the error of an import of which something counts for nobody.
func (b *bringer) rejection() error {
	n := 0
	for _, of := range b.rejected {
		n += of
	}
	if n == 0 {
		return nil
	}
	return &exitError{exitRefused, fmt.Errorf("the coordinator rejected %s", plural(n, "statement")), "quorate importer status says why"}
}

func (b *bringer) finish() {
	text := plural(b.recorded, "statement") + " recorded"
	for _, code := range slices.Sorted(maps.Keys(b.rejected)) {
		text += fmt.Sprintf(", %d rejected as %s", b.rejected[code], render.Text(string(code)))
	}
	if b.skipped > 0 {
		text += ", " + plural(b.skipped, "file") + " not brought"
	}
	say("%s", text)
}

// oneSource reports whether only one source could not be read; the others still are.
func oneSource(err error) bool {
	var down *instanceError
	return errors.As(err, &down) || errors.Is(err, errLocked)
}
