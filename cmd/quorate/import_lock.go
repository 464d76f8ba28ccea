package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"quorate/internal/render"
	"quorate/internal/rest"
)

// lockWait is how an import behaves while git holds the lock of a checkout's index:
// what is there then may be half of the old and half of the new. A git that was killed
// leaves the lock behind.
type lockWait struct {
	limit time.Duration // how long it is waited for, or with goOn until it is said
	goOn  bool          // the folder is looked at again later

	since time.Time // zero: it was not there
	said  bool
}

// errLocked says that nothing was read because of the lock.
var errLocked = errors.New("git is writing the checkout")

const lockPause = 50 * time.Millisecond

// look reports whether the folder is not to be read now.
func (l *lockWait) look(ctx context.Context, dir string) (held bool, err error) {
	path := filepath.Join(dir, ".git", "index.lock")
	for {
		if _, err := os.Stat(path); err != nil {
			l.since, l.said = time.Time{}, false
			return false, nil
		}
		if l.since.IsZero() {
			l.since = time.Now()
		}
		err := fmt.Errorf("%s has been there for %s: %w, so nothing in it is read", render.Text(path), l.limit, errLocked)
		switch over := time.Since(l.since) >= l.limit; {
		case !l.goOn && over:
			return true, &exitError{exitFailure, err, lockHint}
		case l.goOn && over && !l.said:
			l.said = true
			say("warning: %v; %s", err, lockHint)
			return true, nil
		case l.goOn:
			return true, nil
		}
		if err := rest.For(ctx, lockPause); err != nil {
			return true, err
		}
	}
}

const lockHint = "if no git runs there, remove the file"
