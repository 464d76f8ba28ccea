package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/filehash"
	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/render"
	"quorate/internal/sigformat/text"
	"quorate/quorum/statement"
)

type attestCmd struct {
	stateFlag
	Channel      string    `required:"" placeholder:"NAME" help:"Channel that the target belongs to."`
	Target       string    `required:"" placeholder:"PURL" help:"What was built, such as pkg:generic/hello@1.0."`
	Stage        string    `placeholder:"NAME" help:"Stage of the build, where a target has several."`
	SourceURI    string    `name:"source-uri" placeholder:"URI" help:"Where the source came from."`
	SourceSHA256 string    `name:"source-sha256" placeholder:"HEX" help:"Digest of the source."`
	Started      time.Time `placeholder:"TIME" help:"When the build began, as in 2026-11-20T12:00:00Z (default: when it finished)."`
	Finished     time.Time `placeholder:"TIME" help:"When the build finished (default: now)."`
	Text         []string  `sep:"none" placeholder:"PATTERN" help:"Files whose name matches are texts that may be clear-signed, such as Release: says the state of the text, too. Can be repeated."`
	Inner        []string  `sep:"none" placeholder:"PATTERN" help:"Files whose name matches are packages (tar, zip, deb, rpm) whose files are to be signed one by one: says the SHA-256 of each file inside, too. Can be repeated."`
	InnerDigests string    `placeholder:"FILE" help:"The same for the one file of the call, with the digests from FILE as sha256sum writes them, - for standard input. Names in it play no part."`
	Withdraw     bool      `xor:"novote" help:"Take back what this builder said about the target. Takes no files."`
	Failed       bool      `xor:"novote" help:"Say that the build failed. Takes no files."`
	Reason       string    `help:"Why, for people. With --withdraw and --failed."`

	Manifest    bool `help:"Also say what is inside the files: members of archives, sections of ELF files. Everybody can read it."`
	Environment bool `help:"Also say what this machine is (see agent.toml). Only if the build ran here and as this command runs."`

	Wait           time.Duration `default:"30s" help:"How long to wait for a coordinator's receipt; 0 only puts the statement into the spool."`
	RequireReceipt bool          `help:"End with exit code 4 if there was no receipt."`
	DryRun         bool          `help:"Print the signed envelope. Keep and send nothing."`
	JSON           bool          `name:"json" help:"Print one JSON object."`

	Files []string `arg:"" optional:"" name:"file" help:"Files that the build gave."`
}

func (attestCmd) Help() string {
	return `For builders whose own tool made the build. Hashes the files, signs a statement, puts it into the spool and sends it.

Standard output has "statement ID" and then, for each file, its SHA-256 and name.

Exit code 0: a coordinator has recorded it, or it is in the spool because nobody answered (standard error says so); the next "quorate agent run" or "quorate agent flush" sends it. 1: it could not be made, or this builder is not let in by the bus (it is in the spool then). 4: no receipt, with --require-receipt. 5: the coordinator rejected it.`
}

func (c *attestCmd) Run() error {
	st, err := c.describe()
	if err != nil {
		return err
	}
	s, err := c.open()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	given, err := c.readInner()
	if err != nil {
		return err
	}
	if st.Artifacts, err = hashWithProgress(ctx, c.Files, builderagent.Wanted{Manifests: c.Manifest, Texts: c.Text, Inner: c.Inner}); errors.Is(err, fs.ErrPermission) {
		return usageError("may you read it?", "%w: %w", builderagent.ErrFiles, err)
	} else if errors.Is(err, text.ErrNotText) {
		return usageError("leave out --text for it; it can then be signed in every format but openpgp-cleartext", "%w", err)
	} else if errors.Is(err, builderagent.ErrInner) {
		return usageError("leave out --inner for it, or say the digests with --inner-digests; without them it can be signed in every format but ima and sshsig-files", "%w", err)
	} else if err != nil {
		return agentError(err)
	}
	if err := c.addInner(st.Artifacts, given); err != nil {
		return err
	}
	if c.Finished.IsZero() {
		st.Finished = time.Now()
	}
	if st.Started.IsZero() {
		st.Started = st.Finished
	}
	if c.Environment {
		st.Environment = environmentHere(s.Config.EnvironmentExcept)
	}
	signed, left, err := s.SignVote(st)
	if err != nil {
		return attestRefused(err)
	}
	if left {
		say("the statement would be too large with what is inside the files, which is left out (hint: attest the files in several calls)")
	}
	if c.DryRun {
		_, err := fmt.Printf("%s\n", signed.Raw())
		return err
	}
	if _, err := s.Spool.Add(signed.Raw()); err != nil {
		return err
	}
	return c.deliver(ctx, s, signed)
}

// attestRefused tells what the person gave from what failed.
func attestRefused(err error) error {
	var refused *statement.Error
	if !errors.As(err, &refused) {
		return err
	}
	hint := ""
	if refused.Code == statement.CodeTooLarge {
		hint = "attest the files in several calls"
	}
	return &exitError{exitUsage, err, hint}
}

// describe reads the flags before anything is hashed.
func (c *attestCmd) describe() (st statement.Statement, err error) {
	st = statement.Statement{
		Case:   statement.Case{Channel: c.Channel, Target: c.Target, Stage: c.Stage},
		Source: sourceOf(c.SourceURI, c.SourceSHA256), Reason: c.Reason,
		Started: c.Started, Finished: c.Finished, Version: version,
	}
	if err := checkCase(st.Case, c.SourceSHA256); err != nil {
		return st, err
	}
	switch {
	case c.Withdraw:
		st.Status = statement.Withdrawn
	case c.Failed:
		st.Status = statement.Failed
	case c.Reason != "":
		return st, usageError("", "--reason goes with --withdraw or --failed")
	}
	if st.Status != "" && (c.Manifest || c.Environment || len(c.Inner) > 0 || c.InnerDigests != "") {
		return st, usageError("", "--manifest, --environment, --inner and --inner-digests go with files, not with --withdraw or --failed")
	}
	switch {
	case st.Status != "" && len(c.Files) > 0:
		return st, usageError("", "--withdraw and --failed are about the whole target and take no files")
	case st.Status != "" && c.Reason == "":
		return st, usageError("", "--withdraw and --failed need a --reason")
	case st.Status != "":
		return st, nil
	}
	if err := c.checkPatterns("--text", c.Text); err != nil {
		return st, err
	}
	if err := c.checkInner(); err != nil {
		return st, err
	}
	return st, agentError(builderagent.CheckFiles(c.Files))
}

// checkPatterns refuses a pattern that is for none of the files: the vote would not
// have what was meant.
func (c *attestCmd) checkPatterns(flag string, patterns []string) error {
	if err := builderagent.CheckNames(patterns); err != nil {
		return usageError("", "%s: %w", flag, err)
	}
	for _, pattern := range patterns {
		if !slices.ContainsFunc(c.Files, func(f string) bool { return filehash.Matches([]string{pattern}, filepath.Base(f)) }) {
			return usageError("the pattern is for names without a directory", "%s %s matches none of the files", flag, pattern)
		}
	}
	return nil
}

func checkCase(c statement.Case, sourceSHA256 string) error {
	if err := c.Check(); err != nil {
		return usageError("", "%w", err)
	}
	if sourceSHA256 == "" {
		return nil
	}
	if _, err := statement.ParseSHA256(sourceSHA256); err != nil {
		return usageError("", "--source-sha256: %w", err)
	}
	return nil
}

func sourceOf(uri, sha256 string) *statement.Source {
	if uri == "" && sha256 == "" {
		return nil
	}
	s := &statement.Source{URI: uri}
	if sha256 != "" {
		s.Digest = map[string]string{"sha256": sha256}
	}
	return s
}

// deliver waits for the receipt and says what became of the statement. It is
// safe on the disk by now, so only a refusal is a failure.
func (c *attestCmd) deliver(ctx context.Context, s *builderagent.State, st *statement.Statement) error {
	var deliverErr error
	if c.Wait > 0 {
		ctx, cancel := context.WithTimeout(ctx, c.Wait)
		defer cancel()
		deliverErr = builderagent.Deliver(ctx, s, []statement.SHA256{st.ID()}, quietLog())
	}
	state, reason, err := s.Spool.Where(st.ID())
	if err != nil {
		return err
	}
	if err := c.print(st, state); err != nil {
		return err
	}
	switch {
	case state == spool.Sent:
		return nil
	case state == spool.Rejected:
		return &exitError{exitRefused, fmt.Errorf("the coordinator rejected the statement: %s", sayRejected(reason)), ""}
	}
	say("the statement is in the spool and will be sent by the next quorate agent run or quorate agent flush")
	switch {
	case deliverErr != nil && !errors.Is(deliverErr, bus.ErrUnavailable):
		return agentError(deliverErr)
	case c.RequireReceipt:
		return &exitError{exitWaiting, errors.New("no coordinator confirmed the statement"), ""}
	case deliverErr != nil:
		say("no receipt: %v", deliverErr)
	}
	return nil
}

// sayRejected names the code once; most messages end with it again.
func sayRejected(r *spool.Reason) string {
	return string(r.Code) + ": " + sayOnce(r.Code, r.Message)
}

func sayOnce(code statement.Code, message string) string {
	return strings.TrimSuffix(message, " ("+string(code)+")")
}

// attestResult is what --json prints.
type attestResult struct {
	Statement statement.SHA256 `json:"statement"`
	State     string           `json:"state"` // recorded, rejected or spooled
	Files     []attestFile     `json:"files"`
}

type attestFile struct {
	Name   string           `json:"name"`
	Size   uint64           `json:"size"`
	SHA256 statement.SHA256 `json:"sha256"`
	SHA512 statement.SHA512 `json:"sha512"`
}

func (c *attestCmd) print(st *statement.Statement, state spool.State) error {
	r := attestResult{Statement: st.ID(), State: map[spool.State]string{
		spool.Sent: "recorded", spool.Rejected: "rejected", spool.Pending: "spooled"}[state]}
	for _, a := range st.Artifacts {
		r.Files = append(r.Files, attestFile{a.Name, a.Size, a.SHA256, a.SHA512})
	}
	if c.JSON {
		return printJSON(os.Stdout, r)
	}
	fmt.Println("statement", r.Statement)
	for _, f := range r.Files {
		fmt.Printf("%s  %s\n", f.SHA256, f.Name)
	}
	return nil
}

// hashWithProgress shows on a terminal how far it is when that takes long.
func hashWithProgress(ctx context.Context, paths []string, want builderagent.Wanted) ([]statement.Artifact, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var add filehash.Progress
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p := newProgress(os.Stderr, totalSize(paths))
		defer p.stop()
		add = p.add
	}
	artifacts, problems, err := builderagent.Hash(ctx, paths, add, want)
	for _, p := range problems {
		say("no list of what is in %s: %s", render.Text(p.Name), p.Why)
	}
	return artifacts, err
}

// environmentHere is what this command runs on.
func environmentHere(except []string) map[string]string {
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	return builderagent.Environment(dir, os.Environ(), except)
}

func totalSize(paths []string) (n int64) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
		}
	}
	return n
}
