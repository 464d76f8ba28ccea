package coordinator

import (
	"context"
	"log/slog"

	"quorate/coordinator/store"
	"quorate/quorum"
)

// maxTold is how many lines one transaction may write to the log. A policy that
// changes, or a builder that floods, changes a million things at once: the page
// lists them, the metrics count them.
const maxTold = 20

// told is what the log says of a transaction once it is committed.
type told struct {
	lines []func(*slog.Logger)
	more  int
}

func (t *told) add(level slog.Level, msg string, args ...any) {
	if len(t.lines) == maxTold {
		t.more++
		return
	}
	t.lines = append(t.lines, func(l *slog.Logger) { l.Log(context.Background(), level, msg, args...) })
}

func (t *told) log(l *slog.Logger) {
	for _, line := range t.lines {
		line(l)
	}
	if t.more > 0 {
		l.Info("and more of the same moment, which the log leaves out", "lines", t.more)
	}
}

// verdict tells of a verdict that became another one. The first vote on a file is
// no news.
func (t *told) verdict(cs store.Case, v *quorum.Verdict, was quorum.State) {
	level := slog.LevelInfo
	switch v.State {
	case was, quorum.Waiting:
		return
	case quorum.Conflicting, quorum.Disputed, quorum.Unreachable:
		level = slog.LevelWarn
	}
	t.add(level, "verdict", "state", v.State, "was", was, "reason", v.Reason, "channel", cs.Channel, "target", cs.Target,
		"stage", cs.Stage, "artifact", v.Artifact, "sha256", v.SHA256)
}

func (t *told) refused(a *quorum.Answer) {
	t.add(slog.LevelWarn, "signer refused", "code", a.Refusal.Code, "message", a.Refusal.Message, "retryable", a.Refusal.Retryable,
		"id", a.ID, "channel", a.Channel, "target", a.Target, "stage", a.Stage, "artifact", a.Artifact)
}

func (t *told) rejected(e *entry) {
	t.add(slog.LevelWarn, "message rejected", "code", e.refusal.code, "message", e.refusal.message, "subject", e.Subject, "seq", e.Seq)
}

func (t *told) overQuota(user string, limit int64) {
	t.add(slog.LevelWarn, "sender has sent its bytes of the day", "user", user, "limit", limit)
}
