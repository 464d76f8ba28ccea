package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/difference"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

type diffCmd struct {
	serverFlags
	attachFlags
	Channel  string   `placeholder:"NAME" help:"Only this channel."`
	Stage    string   `placeholder:"NAME" help:"Only this stage."`
	Artifact string   `placeholder:"NAME" help:"Only this file of the target."`
	Between  []string `placeholder:"A,B" help:"The two groups to compare, by their letters (default: A with each other one)."`
	HTML     string   `name:"html" placeholder:"DIR" help:"Write diffoscope's report as HTML files into this folder instead."`
	JSON     bool     `name:"json" help:"Print what the builders' statements say of the difference, one JSON object a target; fetch no files."`
	Members  bool     `help:"Compare by the builders' lists of members only; fetch no files."`

	Diffoscope string        `default:"diffoscope" placeholder:"PROGRAM" help:"The program that compares (default ${default})."`
	Time       time.Duration `default:"10m" help:"How long fetching and comparing one pair of files may take."`
	Memory     int64         `default:"4096" placeholder:"MIB" help:"Address space that each process of diffoscope may take (Linux only)."`
	Output     int64         `default:"16" placeholder:"MIB" help:"How long a report may be."`
	MaxFile    int64         `default:"2048" placeholder:"MIB" help:"How large a file may be that is fetched."`

	Target string `arg:"" name:"target" help:"A target (pkg:...) on which builders differ."`
}

func (diffCmd) Help() string {
	return `Fetches one file of each group from the coordinator, checks its digest, and compares the files with diffoscope. Where a file or diffoscope is missing, it lists the members that differ by what the builders said, and says why on standard error.

diffoscope opens files that nobody agreed on with dozens of programs. It runs with limits on time, memory and output, and in a folder of its own, but not confined: use a machine or container that you could lose.

With --attach a maintainer with the right "note" puts what is printed beside the target, where its page and "quorate show" have it; what is longer than 16 KiB is cut after a line. Nothing is attached unless everything was compared.

Exit codes: 0 compared, by the files or by the lists as far as there are any, or nothing differs; 1 diffoscope failed or went over a limit, or no answer from the coordinator or bus, or ssh-keygen failed; 2 usage; 4 nothing is known of the target, or the note was not recorded in time; 5 the note was refused; 6 the coordinator gave another file than the builders voted for.`
}

func (c *diffCmd) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	targets, err := c.casesOf(ctx, cl, caseFlags{c.Channel, c.Target, c.Stage})
	if err != nil {
		return err
	}
	d := differ{diffCmd: c, client: cl, out: os.Stdout}
	for _, t := range targets {
		if c.Attach {
			d.found = newAttachment()
			d.out = io.MultiWriter(os.Stdout, &d.found.text)
		}
		if err := d.target(ctx, t); err != nil {
			return err
		}
		if c.Attach {
			if err := d.attach(ctx, t); err != nil {
				return err
			}
		}
	}
	if d.code != exitOK {
		return &exitError{code: d.code}
	}
	return nil
}

func (c *diffCmd) check() error {
	switch {
	case !strings.HasPrefix(c.Target, "pkg:"):
		return usageError("quorate show FILE says of which target a file is", "%q is not a target: it does not begin with pkg:", render.Cut(c.Target, 300))
	case len(c.Between) != 0 && (len(c.Between) != 2 || c.Between[0] == c.Between[1]):
		return usageError("--between A,B", "--between takes two different letters")
	case c.Time <= 0 || c.Memory <= 0 || c.Output <= 0 || c.MaxFile <= 0:
		return usageError("", "--time, --memory, --output and --max-file must be more than nothing")
	case c.HTML != "" && (c.JSON || c.Members):
		return usageError("", "--html goes with neither --json nor --members: it is diffoscope's report")
	case c.Attach && (c.HTML != "" || c.JSON):
		return usageError("", "--attach goes with neither --html nor --json: it takes the text")
	case c.HTML == "":
		return c.attachFlags.check()
	}
	if err := c.attachFlags.check(); err != nil {
		return err
	}
	info, err := os.Stat(c.HTML)
	if err != nil || !info.IsDir() {
		return usageError("make it first", "--html: there is no folder %s", render.Text(c.HTML))
	}
	return nil
}

// differ compares the files of one call.
type differ struct {
	*diffCmd
	client *client.Client
	out    io.Writer
	found  *attachment // nil without --attach
	code   int
}

// problem tells what went wrong with one pair; the others are compared all the same.
func (d *differ) problem(code int, format string, args ...any) {
	d.code = worse(d.code, code)
	say("quorate: "+format, args...)
}

func (d *differ) target(ctx context.Context, t *api.TargetDetail) error {
	found, err := d.client.Differences(ctx, t.ID, d.Artifact)
	if client.IsNotFound(err) && d.Artifact != "" {
		return usageError("quorate show "+d.Target, "the target has no file %q", d.Artifact)
	}
	if err != nil {
		return serverError(err)
	}
	if d.JSON {
		return printJSON(os.Stdout, found)
	}
	if len(found.Artifacts) == 0 {
		say("nobody differs on %s (channel %s)", render.Text(t.Target.Target), render.Text(t.Channel))
	}
	for i := range found.Artifacts {
		if err := d.artifact(ctx, &found.Artifacts[i]); err != nil {
			return err
		}
	}
	if found.More > 0 {
		say("%s not compared: name one with --artifact", plural(found.More, "further file"))
	}
	return nil
}

func (d *differ) artifact(ctx context.Context, a *difference.Artifact) error {
	if !statement.ValidArtifactName(a.Artifact) {
		return serverError(fmt.Errorf("the coordinator names a file %q", render.Cut(a.Artifact, 300)))
	}
	for _, g := range a.Groups { // it becomes part of a file's name
		if strings.Trim(g.Letter, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || g.Letter == "" || len(g.Letter) > 4 {
			return serverError(fmt.Errorf("the coordinator names a group %q", render.Cut(g.Letter, 300)))
		}
	}
	pairs, err := d.pairs(a)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		d.pair(ctx, a.Artifact, p[0], p[1])
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pairs lists the groups to compare.
func (d *differ) pairs(a *difference.Artifact) (list [][2]*difference.Group, err error) {
	group := func(letter string) (*difference.Group, error) {
		i := slices.IndexFunc(a.Groups, func(g difference.Group) bool { return strings.EqualFold(g.Letter, letter) })
		if i < 0 {
			return nil, usageError("quorate show "+d.Target, "%s has no group %q", render.Text(a.Artifact), letter)
		}
		return &a.Groups[i], nil
	}
	if len(d.Between) == 2 {
		x, err := group(d.Between[0])
		if err != nil {
			return nil, err
		}
		y, err := group(d.Between[1])
		return [][2]*difference.Group{{x, y}}, err
	}
	for i := 1; i < len(a.Groups); i++ {
		list = append(list, [2]*difference.Group{&a.Groups[0], &a.Groups[i]})
	}
	return list, nil
}

// pair compares the files of two groups: with diffoscope where that can be, else
// by their members.
func (d *differ) pair(ctx context.Context, artifact string, x, y *difference.Group) {
	if d.found != nil {
		d.found.pairs = append(d.found.pairs, fmt.Sprintf("%s, %s and %s", render.Text(artifact), render.Text(x.Letter), render.Text(y.Letter)))
	}
	fmt.Fprintf(d.out, "%s  %s %s  %s %s\n", render.Text(artifact), render.Text(x.Letter), x.SHA256, render.Text(y.Letter), y.SHA256)
	if !d.Members {
		limited, cancel := context.WithTimeout(ctx, d.Time)
		done, err := d.compareFiles(limited, artifact, x, y)
		cancel()
		if done {
			return
		}
		d.tell(err)
	}
	// With a time of its own: a program that hung has used up the other.
	ctx, cancel := context.WithTimeout(ctx, d.Time)
	defer cancel()
	d.members(ctx, artifact, x, y)
}

// missing is why files could not be compared; it is no failure.
type missing struct{ why string }

func (e *missing) Error() string { return e.why }

func (d *differ) tell(err error) {
	var m *missing
	var ee *exitError
	switch {
	case errors.As(err, &m):
		say("%s; comparing by the builders' lists of members", m.why)
	case errors.Is(err, client.ErrDigest):
		d.problem(exitVerify, "%v", err)
	case errors.As(err, &ee):
		d.problem(ee.code, "%v", err)
	default:
		d.problem(exitFailure, "%v", err)
	}
}

// compareFiles reports whether the files were compared and the result shown.
func (d *differ) compareFiles(ctx context.Context, artifact string, x, y *difference.Group) (bool, error) {
	program, err := exec.LookPath(d.Diffoscope)
	if err != nil {
		return false, &missing{fmt.Sprintf("diffoscope is not installed (no program %q): on Debian, apt install diffoscope-minimal", d.Diffoscope)}
	}
	if program, err = filepath.Abs(program); err != nil { // it runs in another folder
		return false, err
	}
	for _, g := range []*difference.Group{x, y} {
		if g.File == "" {
			return false, &missing{fmt.Sprintf("the coordinator does not have the file of group %s (is [files] configured there, and does a builder of the group still keep it?)", g.Letter)}
		}
	}
	dir, err := os.MkdirTemp("", "quorate-diff-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	var paths []string
	for _, g := range []*difference.Group{x, y} {
		path, err := d.fetch(ctx, dir, groupFolder(g), artifact, g.SHA256)
		if err != nil {
			return false, fmt.Errorf("fetch the file of group %s: %w", g.Letter, err)
		}
		paths = append(paths, path)
	}
	report, err := d.diffoscope(ctx, program, dir, paths)
	if err != nil {
		return false, err
	}
	return true, d.deliver(report, artifact, x, y)
}

// groupFolder is under which name the file of a group stands in the report: its
// letter, as everywhere, if what the coordinator says is one.
func groupFolder(g *difference.Group) string {
	if len(g.Letter) == 1 && g.Letter[0] >= 'A' && g.Letter[0] <= 'Z' {
		return g.Letter
	}
	return g.SHA256.String()
}

// fetch writes a file under its own name, by which diffoscope knows its kind, into
// a new folder in dir, and returns its path there.
func (d *differ) fetch(ctx context.Context, dir, folder, artifact string, sum statement.SHA256) (string, error) {
	if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(folder, artifact)
	f, err := os.OpenFile(filepath.Join(dir, path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	err = d.client.Download(ctx, sum, d.MaxFile<<20, f)
	return path, errors.Join(err, f.Close())
}

// inert is put first into an HTML report: what a build put into it must not run
// when somebody opens it. The report loses its buttons to fold parts away.
const inert = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">`

// deliver shows the report, or writes it.
func (d *differ) deliver(report []byte, artifact string, x, y *difference.Group) error {
	if d.HTML == "" {
		_, err := io.WriteString(d.out, render.Message(string(report)))
		return err
	}
	text := string(report)
	if head := strings.Index(text, "<head>"); head >= 0 && !strings.Contains(text[:head], "<script") {
		text = text[:head+len("<head>")] + inert + text[head+len("<head>"):]
	} else {
		text = "<!doctype html>" + inert + text
	}
	path := filepath.Join(d.HTML, artifact+"."+x.Letter+"-"+y.Letter+".html")
	if err := writeFile(path, []byte(text)); err != nil {
		return err
	}
	fmt.Printf("report %s\n", render.Text(path))
	return nil
}
