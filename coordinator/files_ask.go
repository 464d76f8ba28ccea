package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/difference"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

const (
	// uploadPause is how long a builder has for its file before the next one of the
	// same digest is asked.
	uploadPause = 10 * time.Minute

	// maxWants bounds what is remembered of files that are still to come.
	maxWants = 4096
)

// want is a file that is missing. It is kept in memory only: after a restart the
// events say again what differs, and asking twice does no harm.
type want struct {
	id       store.CaseID
	artifact string
	sha256   statement.SHA256
}

type asking struct {
	asked []string // builders; a vote that comes later may stand before theirs
	next  time.Time
}

// askFiles follows the events, and asks the builders for the files of every
// artifact on which they differ: one file of each digest.
func (c *Coordinator) askFiles(ctx context.Context) error {
	if c.files == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	after, wants := int64(0), map[want]*asking{}
	for {
		changed := c.events.wait()
		var err error
		if after, err = c.followEvents(after, wants); err != nil {
			return err
		}
		c.askForFiles(ctx, wants)
		if err := c.askForLogs(ctx); err != nil {
			return err
		}
		if err := c.files.expire(c.now()); err != nil {
			c.log.Warn("old files not removed", "error", err)
		}
		timer := time.NewTimer(maxTimer)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-c.filesWake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// followEvents notes what is missing of artifacts whose verdict has changed.
func (c *Coordinator) followEvents(after int64, wants map[want]*asking) (int64, error) {
	for {
		list, err := c.db.Events(after, batchMessages)
		if err != nil || len(list) == 0 {
			return after, err
		}
		for _, stored := range list {
			after = stored.ID
			var e api.Event
			// What is about no file, such as a hold of a target, changes nothing here.
			if json.Unmarshal(stored.Body, &e) != nil || e.Artifact == "" {
				continue
			}
			id, err := store.ParseCaseID(e.TargetID)
			if err != nil {
				continue
			}
			if err := c.noteWants(id, e.Artifact, wants); err != nil {
				return after, err
			}
		}
	}
}

func (c *Coordinator) noteWants(id store.CaseID, artifact string, wants map[want]*asking) error {
	groups, err := c.wantedGroups(id, artifact)
	for _, g := range groups {
		w := want{id, artifact, g.SHA256}
		if wants[w] == nil && len(wants) < maxWants && !c.files.has(g.SHA256) && c.recent(g.Members) {
			wants[w] = &asking{}
		}
	}
	if err != nil {
		return err
	}
	return c.noteLogs(id, groups)
}

// recent reports whether a vote is younger than files are kept: what differed long
// ago is not asked for again at each start.
func (c *Coordinator) recent(members []quorum.Member) bool {
	for _, m := range members {
		if c.now().Sub(m.Received) < time.Duration(c.config.Files.Keep) {
			return true
		}
	}
	return false
}

// wantedGroups is the groups of an artifact whose files are wanted, as of now.
func (c *Coordinator) wantedGroups(id store.CaseID, artifact string) ([]difference.Group, error) {
	verdicts, err := c.db.Verdicts(id, artifact)
	if err != nil || len(verdicts) == 0 || !filesWanted(verdicts[0]) {
		return nil, err
	}
	return difference.Groups(verdicts[0]), nil
}

// askForFiles asks for what is due. What has come, is not wanted any more or was
// asked of everybody is forgotten.
func (c *Coordinator) askForFiles(ctx context.Context, wants map[want]*asking) {
	for w, a := range wants {
		if a.next.After(c.now()) {
			continue
		}
		builder, err := c.nextUploader(w, a)
		if err == nil && builder == "" {
			delete(wants, w)
			continue
		}
		if err == nil {
			err = c.files.room(0)
		}
		if err == nil {
			err = c.publishUpload(ctx, w, builder)
		}
		a.next = c.now().Add(uploadPause)
		if err != nil {
			c.log.Warn("file not asked for", "artifact", w.artifact, "sha256", w.sha256, "error", err)
			continue
		}
		a.asked = append(a.asked, builder)
	}
}

func (c *Coordinator) nextUploader(w want, a *asking) (string, error) {
	if c.files.has(w.sha256) {
		return "", nil
	}
	groups, err := c.wantedGroups(w.id, w.artifact)
	for _, g := range groups {
		if g.SHA256 != w.sha256 {
			continue
		}
		for _, m := range g.Members {
			if !slices.Contains(a.asked, m.Builder) {
				return m.Builder, nil
			}
		}
	}
	return "", err
}

func (c *Coordinator) publishUpload(ctx context.Context, w want, builder string) error {
	t, err := c.db.Target(w.id)
	if err != nil {
		return err
	}
	// The same for every coordinator that asks.
	id := sha256.Sum256(fmt.Appendf(nil, "%s %q %s %s", w.id, w.artifact, w.sha256, builder))
	u := &wire.Upload{Version: quorum.Version, Kind: wire.KindUpload, ID: "upload-" + hex.EncodeToString(id[:16]),
		Channel: t.Channel, Target: t.Case.Target, Stage: t.Stage, Artifact: w.artifact, SHA256: w.sha256, Builders: []string{builder}}
	return c.publishJob(ctx, u)
}

func (c *Coordinator) publishJob(ctx context.Context, u *wire.Upload) error {
	data, err := wire.Encode(u)
	if err != nil {
		return err
	}
	subject, err := bus.JobSubject(u.Channel)
	if err != nil {
		return err
	}
	if _, err := c.conn.Publish(ctx, subject, u.ID, data); err != nil {
		return err
	}
	c.log.Info("file asked for", "kind", u.Kind, "builders", u.Builders, "artifact", u.Artifact, "sha256", u.SHA256)
	return nil
}
