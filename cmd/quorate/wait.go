package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
)

// lookLimit bounds a single look at all files together. A server that answers each
// request just in time would hold the caller for as long as it likes.
const lookLimit = 5 * time.Minute

type waitCmd struct {
	serverFlags
	caseFlags
	Timeout time.Duration `default:"30m" placeholder:"TIME" help:"How long to wait, such as 90s or 2h; 0 looks once (default ${default})."`
	Cert    []string      `sep:"none" env:"QUORATE_CERT" placeholder:"FILE" help:"OpenPGP certificate that signatures must be by; may be repeated."`
	Public  []string      `name:"public-key" sep:"none" env:"QUORATE_PUBLIC_KEY" placeholder:"FILE" help:"Public key for the other formats: PEM, SSH, or X.509 in PEM; may be repeated."`
	Key     string        `placeholder:"NAME" help:"Only the signature by this key of the policy."`
	Out     string        `placeholder:"DIR" help:"Folder for the signatures; beside the files without it."`
	Armor   bool          `help:"Write OpenPGP armoured, to FILE.asc instead of FILE.sig."`
	JSON    bool          `name:"json" help:"One JSON object a file and line on standard output."`
	Files   []string      `arg:"" name:"file" help:"Files to wait for."`
}

// Help is shown by --help.
func (waitCmd) Help() string {
	return `Each signature is checked with the certificate or public key over the file's own bytes before it is written:
OpenPGP to FILE.sig, the other formats to FILE.sshsig, FILE.p7s, FILE.sha256.p7s, FILE.plain.p7s, FILE.sha256.sig,
FILE.sha512.sig and FILE.vsa.json. A clear-signed text goes to FILE.asc, and to InRelease for a file called Release. A batch is one text,
FILE.ima or FILE.files.sshsig, with a line for each file inside of FILE: its SHA-256 in hex, a space, the signature in base64. Each line is checked,
and that they are for what builders agreed on. Where a channel signs one format with several keys, the first is FILE.sig and the others are
FILE.KEY.sig. One of --cert and --public-key is needed.
Standard output has the paths written, or with --json one object for each file.

Exit codes: 0 all signed; 1 no answer from the coordinator; 2 usage; 3 the builders disagree, or agreed on
other bytes than the file's; 4 time ran out; 5 held or refused; 6 a signature is not by the certificate or key.
With several files the weightiest counts: 6, 3, 5, 1, 4.`
}

func (c *waitCmd) Run() error {
	w, err := c.prepare()
	if err != nil {
		return err
	}
	return w.finish(c.follow(w.client, w.query(), w))
}

// follow looks once, or watches until the watcher has enough or the time is up.
func (c *waitCmd) follow(cl *client.Client, q client.Query, w client.Watcher) (err error) {
	ctx := context.Background()
	if c.Timeout == 0 {
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		defer cancel()
		err = w.Fresh(ctx)
	} else {
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		err = cl.Watch(ctx, q, w)
	}
	if errors.Is(err, client.ErrStop) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// prepare does everything that needs no server, so that a mistake shows at once.
func (c *waitCmd) prepare() (*waiter, error) {
	if c.Timeout < 0 {
		return nil, usageError("--timeout 0 looks once", "--timeout %s is less than zero", c.Timeout)
	}
	if err := checkOut(c.Out); err != nil {
		return nil, err
	}
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	keys, err := needKeys(c.Cert, c.Public)
	if err != nil {
		return nil, err
	}
	w := &waiter{cmd: c, client: cl, keys: keys, talk: term.IsTerminal(int(os.Stderr.Fd()))}
	return w, w.hashFiles()
}

// waiter waits for several files over one stream of events. It implements
// [client.Watcher]; everything runs in one goroutine.
//
// Events decide nothing: an event about a file makes it be looked at anew, and
// so does every new connection. So a lost, repeated or invented event does no
// harm.
type waiter struct {
	cmd    *waitCmd
	client *client.Client
	keys   []*sigcheck.Key
	files  []*waitFile
	talk   bool // say what changes meanwhile

	online bool  // the latest attempt to read worked
	lost   error // why there is no connection
}

// waitFile is one file and the latest that is known about it.
type waitFile struct {
	*hashedFile
	finding
	seen map[string]bool // targets in which an event told of a file of this name
	done bool
}

func (w *waiter) hashFiles() error {
	outputs := map[string]string{}
	for _, path := range w.cmd.Files {
		out := beside(path, w.cmd.Out, "")
		if first, twice := outputs[out]; twice {
			return usageError("wait for them one after the other, or without --out",
				"%s and %s would have their signatures in one place", render.Text(first), render.Text(path))
		}
		outputs[out] = path
		h, err := hashFile(path)
		if err != nil {
			return err
		}
		w.files = append(w.files, &waitFile{hashedFile: h, seen: map[string]bool{}})
	}
	return nil
}

func (w *waiter) query() client.Query {
	return client.Query{Channel: w.cmd.Channel, Target: w.cmd.Target}
}

// finish reports the files that are not done when the time is up, or when the
// watch ended with an error.
func (w *waiter) finish(err error) error {
	if err == nil && w.cmd.Timeout > 0 && w.online && w.pending() > 0 {
		// A refusal, for example, need not have come as an event.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.lookAtAll(ctx, func(*waitFile) bool { return true }) // what is known already counts then
	}
	worst, missing := exitOK, 0
	for _, f := range w.files {
		if !f.done {
			w.giveUp(f, err)
		}
		if worst = worse(worst, f.code); f.code != exitOK {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	what := fmt.Sprintf("%d of %s", missing, plural(len(w.files), "file"))
	if len(w.files) == 1 {
		what = render.Text(w.files[0].path)
	}
	return &exitError{worst, fmt.Errorf("no checked signature for %s", what), w.hint(worst)}
}

// giveUp settles a file by what is known of it.
func (w *waiter) giveUp(f *waitFile, err error) {
	if err == nil && !w.online {
		err = w.lost
	}
	if err != nil {
		f.finding = finding{code: exitFailure, message: err.Error()}
	} else if f.message == "" {
		f.finding = finding{code: exitFailure, message: "no answer from " + w.client.Server()}
	} else if f.code == exitWaiting {
		when := "now"
		if w.cmd.Timeout > 0 {
			when = "within " + w.cmd.Timeout.String()
		}
		f.message = "not signed " + when + ". " + f.message
	}
	w.report(f)
}

func (w *waiter) hint(code int) string {
	switch {
	case code == exitFailure && w.online:
		return "the line about each file says why"
	case code == exitFailure:
		return "is the coordinator running at " + w.client.Server() + "? --server or QUORATE_SERVER names another"
	case code == exitVerify:
		return "do not use the file; is --cert or --public-key of the key that signs this channel?"
	case code == exitWaiting:
		return "quorate show FILE says what is missing; --timeout waits longer"
	case code == exitUsage:
		return "quorate show FILE lists the signatures"
	}
	return "quorate show FILE says who built what, and what to do"
}

func (w *waiter) pending() (n int) {
	for _, f := range w.files {
		if !f.done {
			n++
		}
	}
	return n
}
