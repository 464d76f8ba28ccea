package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// maxSignature bounds a signature, in bytes.
const maxSignature = 128 << 10

// checked is a signature that verified over the file.
type checked struct {
	named api.Signature     // what the server says of it
	sig   *pgpsig.Signature // what was found
	raw   []byte
}

// release fetches the signatures of a signed artifact, checks all of them, and
// only then writes. What nobody could check is not written.
func (w *waiter) release(ctx context.Context, f *waitFile, found finding) (finding, error) {
	found.final, found.code = true, exitVerify
	var good []checked
	var problems []string
	for _, s := range w.wanted(found.artifact) {
		raw, err := w.client.Raw(ctx, s.Path, maxSignature)
		if client.Temporary(err) {
			return found, err
		}
		if err != nil {
			return found.failed(exitFailure, "cannot fetch the signature: "+err.Error()), nil
		}
		sig, err := w.check(f, raw, s.Fingerprint)
		switch {
		case err == nil:
			good = append(good, checked{s, sig, raw})
		case w.claims(s.Fingerprint):
			return found.failed(exitVerify, fmt.Sprintf("the signature with key %s does not verify: %v", render.Text(s.Key), err)), nil
		default:
			problems = append(problems, fmt.Sprintf("the signature with key %s is by %s, for which there is no --cert",
				render.Text(s.Key), render.Text(s.Fingerprint)))
		}
	}
	switch {
	case len(good) > 0:
		return w.write(f, found, good, problems), nil
	case len(problems) > 0:
		return found.failed(exitVerify, strings.Join(problems, "; ")), nil
	case w.cmd.Key != "":
		return found.failed(exitUsage, fmt.Sprintf("it is signed, but not with key %s; there is %s", render.Text(w.cmd.Key), keysOf(found.artifact))), nil
	}
	return found.failed(exitFailure, "the coordinator calls it signed and names no signature that this version knows"), nil
}

func (f finding) failed(code int, message string) finding {
	f.code, f.message = code, message
	return f
}

// wanted are the signatures to fetch, in the order in which the channel lists them.
func (w *waiter) wanted(a *api.Artifact) (out []api.Signature) {
	for _, s := range a.Signatures {
		if s.Format == policy.OpenPGP && (w.cmd.Key == "" || w.cmd.Key == s.Key) {
			out = append(out, s)
		}
	}
	return out
}

func keysOf(a *api.Artifact) string {
	var keys []string
	for _, s := range a.Signatures {
		keys = append(keys, render.Text(s.Key))
	}
	return strings.Join(keys, ", ")
}

// check verifies by whichever certificate fits. What the server says about the
// key only chooses which of the errors is shown.
func (w *waiter) check(f *waitFile, raw []byte, fingerprint string) (*pgpsig.Signature, error) {
	var shown error
	for _, c := range w.certs {
		sig, err := f.verify(c, raw)
		if err == nil {
			return sig, nil
		}
		if shown == nil || c.Fingerprint() == fingerprint {
			shown = err
		}
	}
	return nil, shown
}

func (w *waiter) claims(fingerprint string) bool {
	return slices.ContainsFunc(w.certs, func(c *pgpsig.Certificate) bool { return c.Fingerprint() == fingerprint })
}

func (w *waiter) write(f *waitFile, found finding, good []checked, problems []string) finding {
	if err := f.changed(); err != nil {
		return found.failed(exitVerify, err.Error()+"; its signature is not written")
	}
	found.code = exitOK
	var said []string
	for i, s := range good {
		path, err := w.outputPath(f, i, s.named.Key)
		if err == nil {
			err = writeFile(path, w.encode(s.raw))
		}
		if err != nil {
			return found.failed(exitFailure, err.Error())
		}
		found.written = append(found.written, written{s.named.Output, path, s.sig.Fingerprint, s.sig.Created})
		said = append(said, fmt.Sprintf("by %s, in %s", s.sig.Fingerprint, render.Text(path)))
	}
	found.message = "signed " + strings.Join(append(said, problems...), "; ")
	return found
}

// outputPath is FILE.sig for the first signature and FILE.KEY.sig for others.
// The key's name comes from the server, and a path is made of it.
func (w *waiter) outputPath(f *waitFile, i int, key string) (string, error) {
	suffix := ".sig"
	if w.cmd.Armor {
		suffix = ".asc"
	}
	if i > 0 {
		if !statement.ValidName(key) {
			return "", fmt.Errorf("the coordinator names a key %s, which is not a name", render.Text(key))
		}
		suffix = "." + key + suffix
	}
	return beside(f.path, w.cmd.Out, suffix), nil
}

// encode gives the form that was asked for. The signature verified, so it can be
// read.
func (w *waiter) encode(raw []byte) []byte {
	binary, err := pgpsig.Dearmor(raw)
	if err != nil {
		return raw
	}
	if w.cmd.Armor {
		return pgpsig.Armor(binary)
	}
	return binary
}
