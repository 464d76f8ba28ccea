package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/difference"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

const (
	dirLogs = "logs"

	// logsPerArtifact is how many logs are asked for because a file differs: of each
	// group some.
	logsPerArtifact = 16

	// maxWantedLogs is how many logs of one builder wait to be asked for. A builder
	// whose every build fails must not fill the database.
	maxWantedLogs = 500

	// logsAtOnce is how many questions a builder has to answer at a time, and logPause
	// how long one that does not answer keeps the others back.
	logsAtOnce = maxPartialOf
	logPause   = time.Hour

	// logsRemembered is how long it is known what became of a log.
	logsRemembered = 90 * 24 * time.Hour

	// logsRead bounds the statements of a target that are read for the digest of
	// their log.
	logsRead = 64

	// logPolicy is for text that a build printed: nothing of it runs or loads.
	logPolicy = "default-src 'none'; sandbox; frame-ancestors 'none'"
)

// logConfig is the limits of the store of logs.
func (f *FilesConfig) logConfig() FilesConfig {
	return FilesConfig{Keep: f.Keep, MaxFile: f.MaxLog, MaxTotal: f.MaxLogs, MaxCount: f.MaxCount}
}

// wantLog remembers that the log of a statement should be asked for. What a builder
// said long ago is not: it no longer has it.
func (c *Coordinator) wantLog(tx *store.Tx, s *statement.Statement, received time.Time) error {
	d, ok := wire.LogOf(s)
	if c.logs == nil || !ok || c.now().Sub(received) > time.Duration(c.config.Files.Keep) {
		return nil
	}
	return tx.WantLog(&store.BuildLog{Statement: s.ID(), Case: store.NewCaseID(s.Case), Builder: s.Builder, SHA256: d, Changed: c.now()}, maxWantedLogs)
}

// wantsLog reports whether a build has failed, so that somebody wants to know why.
func wantsLog(s *statement.Statement) bool {
	return s.Status == statement.Failed || s.Status == statement.Timeout || s.Status == statement.MissingInput
}

// noteLogs remembers the logs of an artifact that differs: one of each group, then
// the second of each, and so on.
func (c *Coordinator) noteLogs(id store.CaseID, groups []difference.Group) error {
	if c.logs == nil || len(groups) == 0 {
		return nil
	}
	rows, err := c.db.LogsOf(id)
	if err != nil {
		return err
	}
	var unknown []*statement.Statement
	ids := difference.Wanted(groups)
	for _, id := range ids[:min(len(ids), logsPerArtifact)] {
		if slices.ContainsFunc(rows, func(l store.BuildLog) bool { return l.Statement == id }) {
			continue
		}
		// What importers bring has no log.
		if s, err := c.saidBy(id); err == nil {
			unknown = append(unknown, s)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return c.db.Update(func(tx *store.Tx) error {
		for _, s := range unknown {
			if err := c.wantLog(tx, s, receivedOf(groups, s.ID())); err != nil {
				return err
			}
		}
		return nil
	})
}

func receivedOf(groups []difference.Group, id statement.SHA256) (at time.Time) {
	for _, g := range groups {
		for _, m := range g.Members {
			if m.Statement == id {
				return m.Received
			}
		}
	}
	return at
}

// askForLogs asks for what is wanted, as long as there is room. A crash between the
// question and its mark asks once more.
func (c *Coordinator) askForLogs(ctx context.Context) error {
	if c.logs == nil {
		return nil
	}
	now := c.now()
	if err := c.logs.expire(now); err != nil {
		c.log.Warn("old logs not removed", "error", err)
	}
	if now.Sub(c.logsForgot) > day {
		if err := c.db.Update(func(tx *store.Tx) error { return tx.ForgetLogs(now.Add(-logsRemembered)) }); err != nil {
			return err
		}
		c.logsForgot = now
	}
	list, err := c.db.LogsToAsk(now.Add(-logPause), logsAtOnce, askBatch)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := c.logs.room(0); err != nil {
		c.log.Debug("logs not asked for", "error", err)
		return nil
	}
	asked := map[string]bool{} // one of each builder at a time: what it has to answer is looked up anew
	for i := range list {
		if asked[list[i].Builder] {
			continue
		}
		asked[list[i].Builder] = true
		state := store.LogAsked
		if c.logs.has(list[i].SHA256) {
			state = store.LogKept // another builder's, the same to the byte
		} else if err := c.publishLogJob(ctx, &list[i]); err != nil {
			c.log.Warn("log not asked for", "builder", list[i].Builder, "error", err)
			return nil
		}
		if err := c.db.Update(func(tx *store.Tx) error { return tx.SetLog(list[i].Statement, state, now) }); err != nil {
			return err
		}
	}
	signal(c.filesWake) // there may be more
	return nil
}

func (c *Coordinator) publishLogJob(ctx context.Context, l *store.BuildLog) error {
	t, err := c.saidBy(l.Statement)
	if err != nil {
		return err
	}
	// The same for every coordinator that asks.
	id := sha256.Sum256(fmt.Appendf(nil, "log %s", l.Statement))
	return c.publishJob(ctx, &wire.Upload{Version: quorum.Version, Kind: wire.KindLog, ID: "log-" + hex.EncodeToString(id[:16]), Channel: t.Channel, Target: t.Target,
		Stage: t.Stage, SHA256: l.SHA256, Statement: l.Statement, Max: c.config.Files.MaxLog, Builders: []string{l.Builder}})
}

// saidBy reads a recorded statement of an agent.
func (c *Coordinator) saidBy(id statement.SHA256) (*statement.Statement, error) {
	raw, err := c.db.Raw(id)
	if err != nil {
		return nil, err
	}
	return statement.Parse(raw)
}

// takeLogPiece takes in one piece of a log, or reports that the piece is of no log.
// Only what was asked for gets as far as the disk.
func (c *Coordinator) takeLogPiece(piece bus.Chunk, data []byte) (isLog bool, err error) {
	if c.logs == nil {
		return false, nil
	}
	k := fileKey{piece.Builder, piece.SHA256}
	if piece.Index == 0 {
		pending, err := c.db.PendingLogs(piece.Builder, piece.SHA256)
		if err != nil || len(pending) == 0 {
			return false, err
		}
		err = c.logs.begin(k, piece.Count, c.now())
		if err != nil {
			return true, c.logRefused(k, err)
		}
	} else if c.logs.partial[k] == nil {
		return false, nil
	}
	complete, err := c.logs.add(k, piece, data, c.now())
	switch {
	case errors.Is(err, errWrongDigest):
		return true, c.wrongLog(k)
	case err != nil:
		return true, c.logRefused(k, err)
	case complete:
		if err := c.logCame(k, store.LogKept, 0); err != nil {
			return true, err
		}
		c.log.Info("log kept", "builder", k.builder, "sha256", k.sha256)
		c.metrics.uploads.WithLabelValues(uploadKept).Inc()
	}
	return true, nil
}

// logRefused deals with a log that limits keep out. One for which there is no room
// now is not asked for again: its builder has sent it, and may do so to no end.
func (c *Coordinator) logRefused(k fileKey, why error) error {
	c.log.Warn("log not kept", "builder", k.builder, "sha256", k.sha256, "error", why)
	c.metrics.uploads.WithLabelValues(uploadRefused).Inc()
	if !errors.Is(why, errTooLarge) {
		return nil
	}
	return c.logCame(k, store.LogLarge, 0)
}

// logCame writes down what became of a log.
func (c *Coordinator) logCame(k fileKey, state store.LogState, bytes int64) error {
	defer signal(c.filesWake) // its builder can be asked for the next one
	return c.db.Update(func(tx *store.Tx) error {
		_, err := tx.SetLogs(k.builder, k.sha256, state, bytes, c.now())
		return err
	})
}

// wrongLog raises an alarm: the builder signed one digest and sent other bytes.
func (c *Coordinator) wrongLog(k fileKey) error {
	c.metrics.uploads.WithLabelValues(uploadMismatch).Inc()
	pending, err := c.db.PendingLogs(k.builder, k.sha256)
	if err != nil || len(pending) == 0 {
		return err
	}
	s, err := c.saidBy(pending[0].Statement)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("builder %q uploaded another log than the one that its statement %s names: %s; it was thrown away", k.builder, pending[0].Statement, k.sha256)
	err = c.db.Update(func(tx *store.Tx) error {
		if _, err := tx.SetLogs(k.builder, k.sha256, store.LogMismatch, 0, c.now()); err != nil {
			return err
		}
		_, err := c.raise(tx, s.Case, "", alarmUpload, message, k.builder+" "+k.sha256.String())
		return err
	})
	c.newEvents()
	c.wakeAsk()
	return err
}

// takeNoLog writes down why a builder sends no log.
func (c *Coordinator) takeNoLog(builder string, d statement.SHA256, data []byte) error {
	n, err := wire.ParseNoLog(data)
	if err != nil || c.logs == nil {
		return err
	}
	state := map[string]store.LogState{wire.NoLogGone: store.LogGone, wire.NoLogLarge: store.LogLarge, wire.NoLogKept: store.LogNotGiven}[n.Reason]
	c.log.Info("builder sends no log", "builder", builder, "sha256", d, "reason", n.Reason)
	return c.logCame(fileKey{builder, d}, state, n.Bytes)
}

// addLogs says of the statements of a case where their logs are, or why they are
// not here.
func (c *Coordinator) addLogs(id store.CaseID, list []api.StatementInfo) error {
	known := map[statement.SHA256]store.BuildLog{}
	if c.logs != nil {
		rows, err := c.db.LogsOf(id)
		if err != nil {
			return err
		}
		for _, l := range rows {
			known[l.Statement] = l
		}
	}
	read := 0
	for i := range slices.Backward(list) { // the newest ones are asked about
		if list[i].Foreign != nil {
			continue
		}
		if read++; read > logsRead {
			break
		}
		s, err := c.saidBy(list[i].ID)
		if err != nil {
			continue // gone between two reads
		}
		if d, ok := wire.LogOf(s); ok {
			list[i].Log = c.toLog(list[i].ID, d, known[list[i].ID])
		}
	}
	return nil
}

func (c *Coordinator) toLog(id, d statement.SHA256, row store.BuildLog) *api.Log {
	log := &api.Log{SHA256: d, State: api.LogNotAsked, Bytes: row.Bytes}
	switch {
	case c.logs.has(d):
		log.State, log.Path = api.LogKept, logPath(id)
	case row.State == store.LogKept:
		log.State = api.LogExpired
	case row.State != "":
		log.State = string(row.State)
	}
	return log
}

func logPath(id statement.SHA256) string { return "/v1/statements/" + id.String() + "/log" }

// getLog gives the log of a build: text that a build printed, whatever it is.
func (c *Coordinator) getLog(w http.ResponseWriter, r *http.Request) {
	d, err := c.logFor(r)
	if err != nil {
		c.fail(w, err)
		return
	}
	w.Header().Set("Content-Security-Policy", logPolicy)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.serveKept(w, r, c.logs, d)
}

func (c *Coordinator) logFor(r *http.Request) (d statement.SHA256, err error) {
	id, err := digestOf(r)
	if err != nil {
		return d, err
	}
	if c.logs == nil {
		return d, notFound("no logs are kept here: [files] in coordinator.toml has no keep")
	}
	s, err := c.saidBy(id)
	if isAboutBytes(err) {
		return d, notFound("%s is no statement of an agent", id)
	}
	if err != nil {
		return d, err
	}
	d, ok := wire.LogOf(s)
	switch {
	case !ok:
		return d, notFound("statement %s names no log", id)
	case !c.logs.has(d):
		return d, notFound("the log with sha256 %s is not here; the target's page says why", d)
	}
	return d, nil
}
