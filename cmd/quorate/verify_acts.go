package main

import (
	"fmt"

	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/act"
)

// checkActs says what maintainers said about the file. What does not count by this
// policy is shown: somebody whom it does not know may have been right.
func (k *checker) checkActs(b *quorum.Bundle) {
	for i, a := range b.JudgeActs(k.policy) {
		switch {
		case a.Err != nil:
			k.add(note, "act", "%d: does not count: %v", i+1, a.Err)
			continue
		case !a.Against(k.at()):
			k.add(note, "act", "%d: %s%s", i+1, actText(&a), k.aside(&a))
			continue
		}
		k.add(stop, "act", "%d: %s", i+1, actText(&a))
		if k.stopped == nil || a.Act.Kind == act.Withdraw {
			k.stopped = &a
		}
	}
}

func actText(a *quorum.BundleAct) string {
	what := "of the file"
	switch s := a.Act.Subject; {
	case s.Target == "":
		what = "of the whole channel"
	case s.Artifact == "":
		what = "of the target"
	}
	return fmt.Sprintf("%s %s by maintainer %s at %s: %s", a.Act.Kind, what, a.By, stamp(a.Act.Time), render.Text(a.Act.Reason))
}

// aside is why an act is not against the file.
func (k *checker) aside(a *quorum.BundleAct) string {
	switch {
	case a.Act.Kind != act.Hold:
		return ""
	case a.Stands:
		return "; said after the signature, which stays good"
	}
	return "; released since"
}

// stoppedError is the exit code that quorate wait has for the same thing, or would
// have had.
func stoppedError(a *quorum.BundleAct, file string) error {
	hint := "do not use the file until you know why; ask maintainer " + a.By
	if a.Act.Kind == act.Withdraw {
		return &exitError{exitDisagree, fmt.Errorf("%s was withdrawn: the signature is good, and maintainer %s says not to use the file", render.Text(file), a.By), hint}
	}
	return &exitError{exitRefused, fmt.Errorf("%s was signed although maintainer %s held it", render.Text(file), a.By), hint}
}
