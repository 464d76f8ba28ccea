package builderagent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// recordsKept is longer than the bus keeps a job: without its record, a job that
// is delivered again would be built again.
const recordsKept = 30 * 24 * time.Hour

// sweep removes what has been kept long enough, now and every hour.
func (a *agent) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := a.state.expire(time.Now()); err != nil {
			a.log.Warn("old files not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *State) expire(now time.Time) error {
	kept := time.Duration(s.Config.Retention)
	return errors.Join(
		s.Spool.Expire(kept),
		expireDir(filepath.Join(s.Dir, buildsDir), now, kept),
		expireDir(filepath.Join(s.Dir, jobsDir), now, max(kept, recordsKept)),
	)
}

func expireDir(dir string, now time.Time, kept time.Duration) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && now.Sub(info.ModTime()) > kept {
			err = removeTree(filepath.Join(dir, e.Name()))
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
