package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/signstar"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

type signstarCmd struct {
	serverFlags
	caseFlags
	Timeout time.Duration `default:"0s" placeholder:"TIME" help:"How long to wait, such as 90s or 2h; 0 looks once (default ${default})."`
	Cert    []string      `sep:"none" env:"QUORATE_CERT" placeholder:"FILE" help:"OpenPGP certificate that the signature must be by; may be repeated."`
	Key     string        `placeholder:"NAME" help:"Only the signature by this key of the policy."`
}

// Help is shown by --help.
func (signstarCmd) Help() string {
	return `Reads a signing request of Signstar from standard input and writes its response to standard output, so that a client
of Signstar can ask Quorate. Nothing is signed on request: the state is finalised to the file's SHA-512 digest, and the answer is
the signature that the file has because its builders agreed on it. It is checked with the certificate before it is printed.

Exit codes: 0 answered; 1 no answer from the coordinator; 2 usage, or not such a request; 3 the builders disagree, or agreed
on another file; 4 not signed yet; 5 held or refused; 6 the signature is not by the certificate.`
}

func (c *signstarCmd) Run() error {
	if c.Timeout < 0 {
		return usageError("--timeout 0 looks once", "--timeout %s is less than zero", c.Timeout)
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if len(c.Cert) == 0 {
		return usageError("--cert CERTIFICATE is that of the key which signs the channel", "--cert is missing: what the signature must be by")
	}
	keys, err := loadKeys(c.Cert, nil)
	if err != nil {
		return err
	}
	file, err := readSignstar(os.Stdin)
	if err != nil {
		return err
	}
	wait := &waitCmd{serverFlags: c.serverFlags, caseFlags: c.caseFlags, Timeout: c.Timeout, Key: c.Key}
	w := &signstarWaiter{waiter: &waiter{cmd: wait, client: cl, keys: keys}, file: file}
	return w.finish(wait.follow(cl, w.query(), w))
}

// readSignstar reads a request as what a file is after one pass over it, except
// that the file is not here.
func readSignstar(r io.Reader) (*hashedFile, error) {
	const hint = "the request comes from signstar-request-signature prepare"
	data, err := io.ReadAll(io.LimitReader(r, signstar.MaxRequest+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	req, err := signstar.ParseRequest(data)
	if err != nil {
		return nil, usageError(hint, "standard input: %w", err)
	}
	running, err := req.State.Resume()
	if err != nil {
		return nil, usageError(hint, "standard input: %w", err)
	}
	return &hashedFile{sha512: req.SHA512, state512: running}, nil
}

// signstarWaiter waits for the signature of one file that it knows by its hash
// state only. It is a [client.Watcher].
type signstarWaiter struct {
	*waiter
	file     *hashedFile
	found    finding
	response []byte
}

// Fresh looks at what is known of the file.
func (w *signstarWaiter) Fresh(ctx context.Context) error {
	if err := w.lookOnce(ctx); err != nil {
		return w.failed(ctx, err)
	}
	w.online, w.lost = true, nil
	if w.found.final {
		return client.ErrStop
	}
	return nil
}

// Event looks again, whatever happened: events name SHA-256 digests, and which of
// them is the file's is known only from builders, one of whom may lie.
func (w *signstarWaiter) Event(ctx context.Context, _ *api.Event) error { return w.Fresh(ctx) }

func (w *signstarWaiter) lookOnce(ctx context.Context) error {
	known, err := w.client.ArtifactsBySHA512(ctx, w.file.sha512, w.cmd.place(""))
	if err != nil {
		return err
	}
	best := finding{code: exitWaiting, message: "nobody has built this file yet."}
	for i := range known.Artifacts {
		a := &known.Artifacts[i]
		if !w.cmd.matches(a.Channel, a.Target, a.Stage) {
			continue
		}
		if found := judge(a, sha256Of(a, w.file.sha512), w.cmd.Key); best.artifact == nil || found.hope() > best.hope() {
			best = found
		}
	}
	if best.ready {
		if best, err = w.answer(ctx, best); err != nil {
			return err
		}
	}
	w.found = best
	return nil
}

// sha256Of is the other digest of a file, as its builders say; no digest at all if
// they do not agree on this one.
func sha256Of(a *api.Artifact, d statement.SHA512) statement.SHA256 {
	if a.SHA512 == d {
		return a.SHA256
	}
	if a.SHA512 == (statement.SHA512{}) {
		for _, g := range a.Groups {
			if g.SHA512 == d {
				return g.SHA256
			}
		}
	}
	return statement.SHA256{}
}

// answer fetches OpenPGP signatures until one verifies. A signature that says it is
// by one of the certificates and is not ends the search.
func (w *signstarWaiter) answer(ctx context.Context, found finding) (finding, error) {
	found.final = true
	missing := finding{}.failed(exitUsage, "it is signed, but there is no OpenPGP signature that was asked for")
	for _, s := range w.wanted(found.artifact) {
		if s.Format != policy.OpenPGP {
			continue
		}
		raw, err := w.client.Raw(ctx, s.Path, maxSignature)
		if client.Temporary(err) {
			return found, err
		}
		if err != nil {
			return found.failed(exitFailure, "cannot fetch the signature: "+err.Error()), nil
		}
		_, err = w.file.verifyAny(w.keys, s.Format, s.Fingerprint, raw)
		switch {
		case err == nil:
			if w.response, err = signstar.Response(raw); err != nil {
				return found, err
			}
			return found.failed(exitOK, "signed ("+sayCase(found.artifact)+")"), nil
		case !errors.Is(err, errNoKey):
			return found.failed(exitVerify, fmt.Sprintf("the signature with key %s does not verify: %v", render.Text(s.Key), err)), nil
		}
		missing = missing.failed(exitVerify, fmt.Sprintf("the signature with key %s is by %s, for which there is no --cert",
			render.Text(s.Key), render.Text(s.Fingerprint)))
	}
	return found.failed(missing.code, missing.message), nil
}

// finish prints the response, or says why there is none.
func (w *signstarWaiter) finish(err error) error {
	if err == nil && !w.found.final && w.cmd.Timeout > 0 && w.online {
		// A refusal, for example, need not have come as an event.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.lookOnce(ctx) // what is known already counts then
	}
	if err == nil && !w.online {
		if err = w.lost; err == nil {
			err = errors.New("no answer from " + w.client.Server())
		}
	}
	f := &w.found
	switch {
	case err != nil:
		return &exitError{exitFailure, err, w.hint(exitFailure)}
	case f.code == exitOK:
		say("%s", f.message)
		_, err = os.Stdout.Write(append(w.response, '\n'))
		return err
	case f.code == exitWaiting:
		f.message = "not signed yet. " + f.message
	}
	return &exitError{f.code, fmt.Errorf("sha512 %s: %s", w.file.sha512, f.message), w.hintFor(f)}
}

func (w *signstarWaiter) hintFor(f *finding) string {
	switch {
	case f.code == exitVerify || f.code == exitUsage:
		return w.hint(f.code)
	case f.artifact != nil:
		return "quorate show " + render.Text(f.artifact.Target) + " says who built what"
	case f.code == exitWaiting:
		return "--timeout waits for it"
	}
	return w.hint(f.code)
}
