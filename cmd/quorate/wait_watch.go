package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Fresh looks at every file that is not done. It is what a new connection, a
// reset and a single look have in common.
func (w *waiter) Fresh(ctx context.Context) error {
	if err := w.lookAtAll(ctx, func(*waitFile) bool { return true }); err != nil {
		return w.failed(ctx, err)
	}
	w.lost = nil
	return w.stopWhenDone()
}

// Event looks at the files that the event may be about.
func (w *waiter) Event(ctx context.Context, e *api.Event) error {
	err := w.lookAtAll(ctx, func(f *waitFile) bool {
		if e.Artifact == f.name {
			f.seen[e.TargetID] = true
			return true
		}
		return slices.Contains(e.Digests, f.sha256)
	})
	if err != nil {
		return w.failed(ctx, err)
	}
	return w.stopWhenDone()
}

// Lost says once for each interruption that there is one.
func (w *waiter) Lost(err error) {
	if w.online || w.lost == nil {
		say("%v; trying again", err)
	}
	w.online, w.lost = false, err
}

// failed notes that the coordinator did not answer, unless it was the caller who
// had no more time.
func (w *waiter) failed(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		w.online, w.lost = false, err
	}
	return err
}

func (w *waiter) stopWhenDone() error {
	if w.pending() == 0 {
		return client.ErrStop
	}
	return nil
}

func (w *waiter) lookAtAll(ctx context.Context, concerned func(*waitFile) bool) error {
	for _, f := range w.files {
		if f.done || !concerned(f) {
			continue
		}
		if err := w.look(ctx, f); err != nil {
			return err
		}
	}
	w.online = true
	return nil
}

// look reads what the coordinator knows about a file and settles the file if
// that is final. An error means that nothing was found out.
func (w *waiter) look(ctx context.Context, f *waitFile) error {
	found, err := w.find(ctx, f)
	if err != nil {
		return err
	}
	if found.ready {
		if found, err = w.release(ctx, f, found); err != nil {
			return err
		}
	}
	changed := found.message != f.message
	f.finding = found
	switch {
	case found.final:
		w.report(f)
	case changed && w.talk:
		say("%s: %s", render.Text(f.path), found.message)
	}
	return nil
}

// waitResult is what --json prints for a file. It is part of the interface.
type waitResult struct {
	File       string           `json:"file"`
	SHA256     statement.SHA256 `json:"sha256"`
	Exit       int              `json:"exit"` // this file's exit code
	Message    string           `json:"message"`
	State      quorum.State     `json:"state,omitzero"`
	Reason     quorum.Reason    `json:"reason,omitzero"`
	Channel    string           `json:"channel,omitzero"`
	Target     string           `json:"target,omitzero"`
	Stage      string           `json:"stage,omitzero"`
	Refusal    *quorum.Refusal  `json:"refusal,omitzero"`
	Signatures []written        `json:"signatures"`
}

// written is one signature that was checked and written.
type written struct {
	policy.Output
	Path        string    `json:"path"`
	Fingerprint string    `json:"fingerprint"`
	Created     time.Time `json:"created,omitzero"` // the signature's own time; some formats have none
}

// report says the end of a file: for people, and as data.
func (w *waiter) report(f *waitFile) {
	f.done = true
	say("%s: %s", render.Text(f.path), f.message)
	if !w.cmd.JSON {
		for _, s := range f.written {
			fmt.Println(s.Path)
		}
		return
	}
	r := waitResult{File: f.path, SHA256: f.sha256, Exit: f.code, Message: f.message, Refusal: f.refusal, Signatures: f.written}
	if a := f.artifact; a != nil {
		r.State, r.Reason, r.Channel, r.Target, r.Stage = a.State, a.Reason, a.Channel, a.Target, a.Stage
	}
	if r.Signatures == nil {
		r.Signatures = []written{}
	}
	if err := printJSON(os.Stdout, r); err != nil {
		say("%v", err)
	}
}
