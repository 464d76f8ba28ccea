package builderagent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quorate/quorum/statement"
)

// Build is a job that was done, and where its log is.
type Build struct {
	Job       string           `json:"job"`
	Channel   string           `json:"channel"`
	Target    string           `json:"target"`
	Stage     string           `json:"stage"`
	Finished  time.Time        `json:"finished"`
	Outcome   string           `json:"outcome"`         // "vote", or the status of a statement without one
	Reason    string           `json:"reason,omitzero"` // why there is no vote
	Statement statement.SHA256 `json:"statement"`
	Log       string           `json:"log,omitzero"` // path; empty once it is no longer kept
}

// Builds lists the latest n builds, the newest last. It may be called while an
// agent runs on the directory.
func (s *State) Builds(n int) ([]Build, error) {
	dir := filepath.Join(s.Dir, jobsDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read job records: %w", err)
	}
	records := &jobs{dir: dir}
	type written struct {
		Build
		at time.Time // a statement's own time has whole seconds
	}
	var list []written
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !statement.ValidName(id) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was kept long enough just now
		}
		if err != nil {
			return nil, fmt.Errorf("read job records: %w", err)
		}
		r, err := records.load(id)
		if err != nil {
			return nil, err
		}
		if r != nil {
			list = append(list, written{s.buildOf(r), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b written) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Job, b.Job)) })
	var latest []Build
	for _, w := range list[max(0, len(list)-n):] {
		latest = append(latest, w.Build)
	}
	return latest, nil
}

func (s *State) buildOf(r *jobRecord) Build {
	b := Build{Job: r.Job, Channel: r.Channel, Target: r.Target, Stage: r.Stage, Finished: r.Finished,
		Outcome: outcome(r.Status), Reason: r.Reason, Statement: r.Statement, Log: s.BuildLog(r.Job)}
	if _, err := os.Stat(b.Log); errors.Is(err, fs.ErrNotExist) {
		b.Log = ""
	}
	return b
}

func outcome(status statement.Status) string {
	if status == "" {
		return "vote"
	}
	return string(status)
}

// BuildLog is where the output of a job's build is kept, as long as the build is.
func (s *State) BuildLog(job string) string {
	return filepath.Join(s.Dir, buildsDir, job, logName)
}
