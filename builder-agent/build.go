package builderagent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quorate/internal/sigformat/text"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

const (
	logName          = wire.LogName
	dependenciesName = "dependencies.txt"
	outName          = "out"
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// build is one run of the build command.
type build struct {
	state   *State
	job     *wire.Job
	log     *slog.Logger
	version string

	mark string // the job's id and something random: name of the folder, mark of the processes
	root string // work/MARK
}

func newBuild(s *State, job *wire.Job, version string, log *slog.Logger) *build {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	mark := job.ID + "-" + hex.EncodeToString(random[:])
	return &build{state: s, job: job, log: log, version: version, mark: mark, root: filepath.Join(s.Dir, workDir, mark)}
}

func (b *build) dir() string  { return filepath.Join(b.root, "build") }
func (b *build) tmp() string  { return filepath.Join(b.root, "tmp") }
func (b *build) keep() string { return filepath.Join(b.root, "keep") }

// run builds and returns the signed statement that came of it: a vote, or the
// reason why there is none. An error means that nothing can be said about the
// target, because ctx ended or this machine failed.
func (b *build) run(ctx context.Context) (*statement.Statement, error) {
	for _, dir := range []string{b.root, b.dir(), b.tmp(), b.keep()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make build directory: %w", err)
		}
	}
	st := statement.Statement{
		Case: b.job.Case(), Source: b.job.Source, Invocation: b.mark,
		Version: b.version, Started: time.Now(),
	}
	if err := b.fill(ctx, &st); err != nil {
		return nil, err
	}
	signed, err := b.sign(st)
	if err != nil {
		return nil, err
	}
	if err := b.keepRest(); err != nil {
		return nil, err
	}
	return signed, nil
}

// fill runs the command and writes into st what there is to say.
func (b *build) fill(ctx context.Context, st *statement.Statement) error {
	log, err := createLog(filepath.Join(b.keep(), logName), b.state.Config.LogLimit)
	if err != nil {
		return err
	}
	c := b.command()
	c.out = log
	e, err := c.run(ctx)
	if err = errors.Join(err, log.Close()); err != nil {
		return err
	}
	st.Finished = time.Now()
	st.Byproducts = []statement.Byproduct{{Name: logName, Digest: sha256Digest(log.digest())}}
	switch {
	case e.startErr != nil:
		st.Status, st.Reason = statement.Failed, "build command cannot be started: "+printable(e.startErr.Error())
	case e.timedOut:
		st.Status = statement.Timeout
		st.Reason = fmt.Sprintf("build command ran longer than %s%s", time.Duration(b.state.Config.Timeout), b.told(log))
	case e.status != "":
		st.Status, st.Reason = statement.Failed, fmt.Sprintf("build command: %s%s", e.status, b.told(log))
	default:
		return b.vote(ctx, st)
	}
	return nil
}

// told is what a statement says of the log besides its digest. By default nothing:
// statements are public for ever, and a hostile build prints the secrets that it
// finds on this machine.
func (b *build) told(log *buildLog) string {
	if !b.state.Config.PublishLogTail {
		return ""
	}
	return "\n" + log.lastLines()
}

// vote collects and hashes the outputs.
func (b *build) vote(ctx context.Context, st *statement.Statement) error {
	// Before the outputs are moved: the command may want to see them.
	b.dependencies(ctx, st)
	outputs, err := findOutputs(b.dir(), b.state.Config.Outputs)
	var bad *outputError
	if errors.As(err, &bad) {
		st.Status, st.Reason = bad.status, printable(bad.text)
		return nil
	}
	if err != nil {
		return err
	}
	// A file with holes is as long as a build likes, and takes no room on the disk.
	limit := time.Duration(b.state.Config.Timeout)
	reading, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	kept, err := keepOutputs(reading, filepath.Join(b.keep(), outName), outputs)
	var problems []Problem
	if err == nil {
		st.Artifacts, problems, err = Hash(reading, kept, nil, Wanted{b.state.Config.Manifest != "none", b.state.Config.Texts, b.state.Config.InnerDigests})
	}
	if err != nil && reading.Err() != nil && ctx.Err() == nil {
		st.Artifacts, st.Status, st.Reason = nil, statement.Timeout, fmt.Sprintf("the outputs could not be read within %s", limit)
		return removeTree(filepath.Join(b.keep(), outName)) // nobody is to read them again
	}
	if errors.Is(err, text.ErrNotText) {
		st.Artifacts, st.Status, st.Reason = nil, statement.Failed, b.notText(err)
		return nil
	}
	if errors.Is(err, ErrInner) {
		st.Artifacts, st.Status, st.Reason = nil, statement.Failed, printable(err.Error())+" (it is one of inner_digests in agent.toml)"
		return nil
	}
	for _, p := range problems {
		b.log.Warn("no list of what is in an output", "output", p.Name, "reason", p.Why)
	}
	st.Environment = b.environment()
	return err
}

// notText leaves the path out, which is of this machine.
func (b *build) notText(err error) string {
	folder := filepath.Join(b.keep(), outName) + string(filepath.Separator)
	return printable(strings.ReplaceAll(err.Error(), folder, "")) + " (it is one of texts in agent.toml)"
}

// dependencies is best effort: a vote counts without them.
func (b *build) dependencies(ctx context.Context, st *statement.Statement) {
	argv := dependenciesCommand(&b.state.Config)
	if argv == nil {
		return
	}
	c := b.command()
	c.argv = argv
	list, err := listDependencies(ctx, c)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.keep(), dependenciesName), dependenciesText(list), 0o600)
	}
	if err != nil {
		b.log.Warn("dependencies left out of the statement", "error", err)
		return
	}
	st.Dependencies = list
	st.Byproducts = append(st.Byproducts, statement.Byproduct{
		Name: dependenciesName, Digest: sha256Digest(statement.ID(dependenciesText(list)))})
}

// sign signs what fits. A list of dependencies that makes the statement too
// large is left to its digest; what then still cannot be said as a vote is said
// as a failure, so that the people who wait for this builder see why.
func (b *build) sign(st statement.Statement) (*statement.Statement, error) {
	st.Reason = clipReason(st.Reason)
	signed, left, err := b.state.SignVote(st)
	if left {
		b.log.Warn("statement would be too large with what is in the outputs, which is left out")
	}
	if isRefused(err, statement.CodeTooLarge) && len(st.Dependencies) > 0 {
		b.log.Warn("statement names its dependencies by digest only", "error", err)
		st.Dependencies = nil
		signed, _, err = b.state.SignVote(st)
	}
	var refused *statement.Error
	if errors.As(err, &refused) && st.IsVote() {
		st.Artifacts, st.Dependencies, st.Environment = nil, nil, nil
		st.Status, st.Reason = statement.Failed, clipReason("outputs do not fit into a statement: "+printable(refused.Error()))
		signed, err = b.state.Sign(st)
	}
	return signed, err
}

func clipReason(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), statement.MaxReason)], "")
}

func isRefused(err error, code statement.Code) bool {
	var refused *statement.Error
	return errors.As(err, &refused) && refused.Code == code
}

// keepRest puts log and outputs where people find them. A build of this job
// that was there got lost before its statement was recorded.
func (b *build) keepRest() error {
	final := filepath.Join(b.state.Dir, buildsDir, b.job.ID)
	if err := removeTree(final); err != nil {
		return fmt.Errorf("keep build: %w", err)
	}
	if err := os.Rename(b.keep(), final); err != nil {
		return fmt.Errorf("keep build: %w", err)
	}
	return nil
}

// clean removes the build's directory. What is left is removed at the next start.
func (b *build) clean() {
	if err := removeTree(b.root); err != nil {
		b.log.Warn("build directory not removed", "dir", b.root, "error", err)
	}
}

func (b *build) command() command {
	c := &b.state.Config
	return command{
		argv: c.Command, dir: b.dir(), env: b.env(), mark: b.mark,
		timeout: time.Duration(c.Timeout), grace: time.Duration(c.Grace), log: b.log,
	}
}

// env is the whole environment of the build. Nothing of the agent's own gets
// through but PATH.
func (b *build) env() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = defaultPath
	}
	env := []string{"PATH=" + path, "HOME=" + b.dir(), "TMPDIR=" + b.tmp(), "LANG=C.UTF-8", "TZ=UTC"}
	for name, value := range b.state.Config.Env {
		env = append(env, name+"="+value) // the last one of a name counts
	}
	return slices.Concat(env, jobEnv(b.job, b.mark))
}

func sha256Digest(d statement.SHA256) map[string]string {
	return map[string]string{"sha256": d.String()}
}
