package main

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// finding is what one look at the coordinator says about a file.
type finding struct {
	code     int    // exit code, if it stays like this
	final    bool   // nothing that is worth waiting for can change it
	ready    bool   // signatures can be fetched
	message  string // for people
	artifact *api.Artifact
	also     []string // for what else the file is signed: it is not waited for
	refusal  *quorum.Refusal
	written  []written
}

// find asks for the file's digest, and when nobody voted for it, for files of
// its name.
func (w *waiter) find(ctx context.Context, f *waitFile) (finding, error) {
	known, err := w.client.Artifacts(ctx, f.sha256, w.cmd.place(f.name))
	if err != nil {
		return finding{}, err
	}
	var best *finding
	var ready []*api.Artifact
	for i := range known.Artifacts {
		a := &known.Artifacts[i]
		if a.Artifact != f.name || !w.cmd.matches(a.Channel, a.Target, a.Stage) {
			continue
		}
		found := judge(a, f.sha256, w.cmd.Key)
		if found.ready {
			ready = append(ready, a)
		}
		if best == nil || found.hope() > best.hope() {
			best = &found
		}
	}
	if best != nil {
		for _, a := range ready {
			if a != best.artifact {
				best.also = append(best.also, sayCase(a))
			}
		}
		return *best, nil
	}
	// Under another name the bytes are of no use, but whoever waits should hear it.
	if known, err = w.client.Artifacts(ctx, f.sha256, client.Place{}); err != nil {
		return finding{}, err
	}
	return w.findByName(ctx, f, known.Artifacts)
}

// hope orders findings about one file: what is signed first, then what can still
// change, then what is over. A file may be in several channels.
func (f *finding) hope() int {
	switch {
	case f.ready:
		return 3
	case !f.final && f.code != exitDisagree:
		return 2
	case !f.final:
		return 1
	}
	return 0
}

// judge says what an artifact's verdict means for somebody who has a file with
// that digest in hand.
func judge(a *api.Artifact, have statement.SHA256, key string) finding {
	f := finding{artifact: a, message: explain(a), code: exitOf(a)}
	f.final = a.State == quorum.Unreachable || a.State == quorum.Disputed ||
		a.State == quorum.Withdrawn && a.Reason == quorum.ReasonStopped // by a maintainer, for ever
	if settled(a) && a.SHA256 != have {
		f.message = "this file is not what the builders agreed on (that is sha256 " + a.SHA256.String() + "). " + f.message
		f.code, f.final = exitDisagree, a.State != quorum.Held
		return f
	}
	switch a.State {
	case quorum.Signed:
		f.ready = true
	case quorum.Agreed, quorum.Held, quorum.Waiting:
		f.ready = a.State == quorum.Agreed && key != "" && hasKey(a, key)
		if f.code == exitOK {
			f.code = exitWaiting // agreed is not signed
		}
		if r := refusal(a, key); r != nil && a.State == quorum.Agreed && !f.ready {
			f.refusal, f.code, f.final = r.Refusal, exitRefused, !r.Refusal.Retryable
			f.message = "the signer refused: " + sayRefusal(r.Refusal)
		}
	}
	return f
}

// explain says state and reason, the state's word first so that it can be found.
func explain(a *api.Artifact) string {
	text := quorum.Explain(&a.Verdict).Verdict
	if a.State == quorum.Held || a.State == quorum.Conflicting {
		text += " (" + render.Text(string(a.Reason)) + ")"
	}
	return text
}

// settled reports whether the verdict names the bytes that are agreed.
func settled(a *api.Artifact) bool {
	return a.SHA256 != statement.SHA256{} && a.State != quorum.Withdrawn
}

func hasKey(a *api.Artifact, key string) bool {
	return slices.ContainsFunc(a.Signatures, func(s api.Signature) bool { return s.Key == key })
}

// maxNamed bounds how many targets are opened in search of a file's name.
const maxNamed = 32

// findByName is for a file that nobody built: perhaps the builders built other
// bytes under its name.
func (w *waiter) findByName(ctx context.Context, f *waitFile, sameBytes []api.Artifact) (finding, error) {
	nobody := finding{code: exitWaiting, message: "nobody has built this file yet."}
	if len(sameBytes) > 0 {
		a := &sameBytes[0]
		nobody.message = "nobody has built a file of this name that matches; the same bytes are known as " +
			render.Text(a.Artifact) + " of " + render.Text(a.Target) + " in channel " + render.Text(a.Channel) + "."
	}
	ids, err := w.targetsNaming(ctx, f)
	if err != nil {
		return finding{}, err
	}
	best := nobody
	for _, id := range ids {
		t, err := w.client.Target(ctx, id)
		if client.IsNotFound(err) {
			continue
		}
		if err != nil {
			return finding{}, err
		}
		for i := range t.Artifacts {
			a := &t.Artifacts[i]
			if a.Artifact == f.name && w.cmd.matches(a.Channel, a.Target, a.Stage) {
				best = w.weigh(best, f, a)
			}
		}
	}
	return best, nil
}

// weigh takes into account that builders gave other bytes under the file's name.
func (w *waiter) weigh(best finding, f *waitFile, a *api.Artifact) finding {
	found := judge(a, f.sha256, w.cmd.Key)
	found.ready = false
	switch {
	case settled(a):
		// Whether it is about this file is certain when the caller named the
		// target, or when the name itself has the target's version. Otherwise the
		// builders may still come to the version that is meant.
		found.final = found.final && (w.cmd.Target != "" || namesVersion(f.name, a.Target))
	case a.State == quorum.Waiting || a.State == quorum.Withdrawn:
		found.message = "nobody has built these bytes; the builders gave others under this name. " + found.message
	default:
		found.final = found.final && w.cmd.Target != ""
		found.message = "nobody has built these bytes. " + found.message
	}
	if worse(best.code, found.code) == found.code && (!best.final || found.final) {
		return found
	}
	return best
}

// namesVersion reports whether a file's name has the version of the package URL
// in it, as the names of packages do.
func namesVersion(name, target string) bool {
	target, _, _ = strings.Cut(target, "#")
	target, _, _ = strings.Cut(target, "?")
	at := strings.LastIndexByte(target, '@')
	if at < 0 {
		return false
	}
	version, err := url.PathUnescape(target[at+1:])
	if _, upstream, epoch := strings.Cut(version, ":"); epoch {
		version = upstream // Debian leaves the epoch out of file names
	}
	return err == nil && len(version) >= 3 && strings.Contains(name, version)
}

// telling are the states that say most about a file, in this order.
var telling = []quorum.State{quorum.Signed, quorum.Disputed, quorum.Agreed, quorum.Held, ""}

// targetsNaming lists targets that may have an artifact of the file's name. When
// there are more than are opened, those that say most come first: a builder who
// puts a file of the name into many targets must not hide the one that is meant.
func (w *waiter) targetsNaming(ctx context.Context, f *waitFile) (ids []string, err error) {
	for id := range f.seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	all, more, err := w.addNaming(ctx, f, slices.Clone(ids), "")
	if err != nil || !more {
		return all, err
	}
	for _, state := range telling {
		if ids, _, err = w.addNaming(ctx, f, ids, state); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// addNaming adds the targets in a state, until there are enough. more says that
// some were left out.
func (w *waiter) addNaming(ctx context.Context, f *waitFile, ids []string, state quorum.State) (all []string, more bool, err error) {
	q := client.Query{Channel: w.cmd.Channel, Text: f.name, State: string(state)}
	if w.cmd.Target != "" {
		q.Text = w.cmd.Target
	}
	for t, err := range w.client.Targets(ctx, q) {
		switch {
		case err != nil:
			return nil, false, err
		case !w.cmd.matches(t.Channel, t.Target, t.Stage) || slices.Contains(ids, t.ID):
		case len(ids) >= maxNamed:
			return ids, true, nil
		default:
			ids = append(ids, t.ID)
		}
	}
	return ids, false, nil
}
