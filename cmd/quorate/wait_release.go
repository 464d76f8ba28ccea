package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// checked is a signature that verified over the file.
type checked struct {
	named api.Signature    // what the server says of it
	sig   *sigcheck.Result // what was found
	raw   []byte
}

// release fetches the signatures of a signed artifact, checks all of them, and
// only then writes. What nobody could check is not written.
func (w *waiter) release(ctx context.Context, f *waitFile, found finding) (finding, error) {
	found.final, found.code = true, exitVerify
	var good []checked
	var problems []string
	for _, s := range w.wanted(found.artifact) {
		raw, err := w.fetchSignature(ctx, f, found.artifact, s)
		if client.Temporary(err) {
			return found, err
		}
		if err != nil {
			return found.failed(exitFailure, "cannot fetch the signature: "+err.Error()), nil
		}
		sig, err := w.check(f, found.artifact, s, raw)
		switch {
		case err == nil:
			good = append(good, checked{s, sig, raw})
		case errors.Is(err, errNoKey):
			problems = append(problems, fmt.Sprintf("the signature with key %s is by %s, for which there is no %s",
				render.Text(s.Key), render.Text(s.Fingerprint), flagFor(s.Format)))
		default:
			return found.failed(exitVerify, fmt.Sprintf("the signature with key %s does not verify: %v", render.Text(s.Key), err)), nil
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

// wanted are the signatures to fetch, of formats that are known here, in the order
// in which the channel lists them; no more than a request can have asked for.
func (w *waiter) wanted(a *api.Artifact) (out []api.Signature) {
	for _, s := range a.Signatures {
		if len(out) == quorum.MaxOutputs {
			break
		}
		if _, err := format.Lookup(s.Format); err == nil && (w.cmd.Key == "" || w.cmd.Key == s.Key) {
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

// check verifies one signature. A summary must also be about what the file was
// asked for as.
func (w *waiter) check(f *waitFile, a *api.Artifact, s api.Signature, raw []byte) (*sigcheck.Result, error) {
	r, err := f.verifyAny(w.keys, s.Format, s.Fingerprint, raw)
	if err != nil {
		return nil, err
	}
	if v := r.Summary; v != nil && (v.Artifact != a.Artifact || v.Target != a.Target || v.Channel != a.Channel) {
		return nil, fmt.Errorf("the verification summary is about %s of %s in channel %s", render.Text(v.Artifact), render.Text(v.Target), render.Text(v.Channel))
	}
	return r, nil
}

func (w *waiter) write(f *waitFile, found finding, good []checked, problems []string) finding {
	if err := f.changed(); err != nil {
		return found.failed(exitVerify, err.Error()+"; its signature is not written")
	}
	found.code = exitOK
	var said []string
	for _, s := range good {
		if alreadyWritten(found.written, s) {
			continue
		}
		path, err := w.outputPath(f, found.written, s.named.Output)
		var data []byte
		if err == nil {
			data, err = w.encode(f, s)
		}
		if err == nil {
			err = writeFile(path, data)
		}
		if err != nil {
			return found.failed(exitFailure, err.Error())
		}
		found.written = append(found.written, written{s.named.Output, path, s.sig.Fingerprint, s.sig.Time})
		said = append(said, fmt.Sprintf("by %s, in %s%s", s.sig.Fingerprint, render.Text(path), ofFiles(s.sig.Count)))
	}
	said[len(said)-1] += " (" + sayCase(found.artifact) + ")"
	if len(found.also) > 0 {
		problems = append(problems, "it is signed for "+strings.Join(found.also[:min(len(found.also), maxAlso)], " and ")+" too, which --channel or --target chooses")
	}
	found.message = "signed " + strings.Join(append(said, problems...), "; ")
	return found
}

// maxAlso bounds how many further cases of a file are named.
const maxAlso = 3

// sayCase names what the signature is for: the same bytes may be in several
// targets.
func sayCase(a *api.Artifact) string {
	text := render.Text(a.Target)
	if a.Stage != "" {
		text += " stage " + render.Text(a.Stage)
	}
	return text + " in channel " + render.Text(a.Channel)
}

// alreadyWritten reports whether a signature of that format and key was written. A
// server that lists one genuine signature under many names would otherwise
// choose the paths to which it is written.
func alreadyWritten(before []written, s checked) bool {
	return slices.ContainsFunc(before, func(b written) bool {
		return b.Format == s.named.Format && b.Fingerprint == s.sig.Fingerprint
	})
}

// outputPath is the file's name with the suffix of the format, such as FILE.sig, for
// the first signature in a format, and FILE.KEY.sig for others. The key's name
// comes from the server, and a path is made of it.
func (w *waiter) outputPath(f *waitFile, before []written, o policy.Output) (string, error) {
	row, err := format.Lookup(o.Format)
	if err != nil {
		return "", err
	}
	suffix := row.Suffix
	if o.Format == policy.OpenPGP && w.cmd.Armor {
		suffix = ".asc"
	}
	further := slices.ContainsFunc(before, func(s written) bool { return s.Format == o.Format })
	if further {
		if err := w.keyNamesWaited(f, o.Key); err != nil {
			return "", err
		}
		suffix = "." + o.Key + suffix
	}
	path := beside(f.path, w.cmd.Out, suffix)
	if o.Format == format.Cleartext && !further {
		path = messagePath(f.path, w.cmd.Out)
	}
	if other := w.given(path); other != nil {
		return "", fmt.Errorf("the signature of %s would be written over %s", render.Text(f.path), render.Text(other.path))
	}
	if slices.ContainsFunc(before, func(s written) bool { return s.Path == path }) {
		return "", fmt.Errorf("two signatures would be %s; choose one with --key", render.Text(path))
	}
	return path, nil
}

// keyNamesFile refuses a key's name that makes what is written for FILE that of
// another file, as the name "files" does beside core.db.files: the coordinator
// would have the signature of that file overwritten.
func keyNamesFile(file, out, key string) error {
	if !statement.ValidName(key) {
		return fmt.Errorf("the coordinator names a key %s, which is not a name", render.Text(key))
	}
	for _, path := range []string{file + "." + key, beside(file, out, "."+key)} {
		if _, err := os.Lstat(path); err == nil {
			return keyTakesPlace(file, path)
		}
	}
	return nil
}

func keyTakesPlace(file, other string) error {
	return fmt.Errorf("a signature of %s would take the place of one of %s; choose one with --key", render.Text(file), render.Text(other))
}

// keyNamesWaited is keyNamesFile for files that are waited for in other folders.
func (w *waiter) keyNamesWaited(f *waitFile, key string) error {
	taken := filepath.Clean(beside(f.path, w.cmd.Out, "."+key))
	for _, other := range w.files {
		if filepath.Clean(beside(other.path, w.cmd.Out, "")) == taken {
			return keyTakesPlace(f.path, other.path)
		}
	}
	return keyNamesFile(f.path, w.cmd.Out, key)
}

// given returns the file of the command line that is at the path.
func (w *waiter) given(path string) *waitFile {
	info, err := os.Stat(path)
	if err != nil {
		return nil // nothing is there to be overwritten
	}
	for _, f := range w.files {
		if os.SameFile(f.info, info) {
			return f
		}
	}
	return nil
}

// encode gives the form that was asked for. The signature verified, so it can be
// read.
func (w *waiter) encode(f *waitFile, s checked) ([]byte, error) {
	switch s.named.Format {
	case policy.OpenPGP:
		binary, err := pgpsig.Dearmor(s.raw)
		if err == nil && w.cmd.Armor {
			binary = pgpsig.Armor(binary)
		}
		return binary, err
	case format.Cleartext:
		for _, k := range w.keys {
			if k.OpenPGP != nil && k.OpenPGP.Fingerprint() == s.sig.Fingerprint {
				return f.clearSigned(k.OpenPGP, s.raw)
			}
		}
	}
	return s.raw, nil
}
