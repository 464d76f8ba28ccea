package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/difference"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Results of an upload.
const (
	uploadKept     = "kept"
	uploadRefused  = "refused" // not asked for, or no room
	uploadMismatch = "mismatch"
)

// alarmUpload tells of a builder whose file is not the one it voted for.
const alarmUpload = "upload-digest"

// downloadTime is how long a reader may take for a file.
const downloadTime = 30 * time.Minute

// readFiles takes in what builders upload.
func (c *Coordinator) readFiles(ctx context.Context) error {
	if c.files == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.beside(ctx, "uploaded files", func(ctx context.Context) error {
		if err := bus.EnsureFiles(ctx, c.conn.JS(), c.config.NATS.Replicas); err != nil {
			return err
		}
		return c.takeEach(ctx, bus.StreamFiles, jetstream.OrderedConsumerConfig{}, func(messages []jetstream.Msg) error {
			for _, m := range messages {
				c.takePiece(m.Subject(), m.Data())
			}
			return nil
		})
	})
}

// takePiece takes in one piece of a file. Only what was voted for by the builder
// that sends it, on an artifact that differs, gets as far as the disk.
func (c *Coordinator) takePiece(subject string, data []byte) {
	if builder, d, err := bus.ParseNoFileSubject(subject); err == nil {
		if err := c.takeNoLog(builder, d, data); err != nil {
			c.log.Warn("builder's answer about a log not taken", "builder", builder, "error", err)
		}
		return
	}
	piece, err := bus.ParseFileSubject(subject)
	if err != nil {
		return
	}
	if isLog, err := c.takeLogPiece(piece, data); isLog || err != nil {
		if err != nil {
			c.log.Error("log not kept", "builder", piece.Builder, "sha256", piece.SHA256, "error", err)
		}
		return
	}
	if c.files.has(piece.SHA256) {
		return
	}
	k := fileKey{piece.Builder, piece.SHA256}
	log := c.log.With("builder", piece.Builder, "sha256", piece.SHA256)
	if piece.Index == 0 {
		_, wanted, err := c.differing(piece.SHA256, piece.Builder)
		if err == nil && !wanted && c.logs != nil && c.logs.has(piece.SHA256) {
			return // a log from before a restart: the stream is read from its beginning
		}
		if err == nil && !wanted {
			err = errors.New("nobody differs on it, or the builder did not vote for it")
		}
		if err == nil {
			err = c.files.begin(k, piece.Count, c.now())
		}
		if err != nil {
			log.Warn("uploaded file refused", "error", err)
			c.metrics.uploads.WithLabelValues(uploadRefused).Inc()
			return
		}
	}
	complete, err := c.files.add(k, piece, data, c.now())
	switch {
	case errors.Is(err, errWrongDigest):
		c.metrics.uploads.WithLabelValues(uploadMismatch).Inc()
		if err := c.alarmWrongUpload(piece); err != nil {
			log.Error("alarm not raised", "error", err)
		}
	case err != nil:
		log.Error("uploaded file not kept", "error", err)
		c.metrics.uploads.WithLabelValues(uploadRefused).Inc()
	case complete:
		log.Info("uploaded file kept")
		c.metrics.uploads.WithLabelValues(uploadKept).Inc()
	}
}

// place is an artifact that differs.
type place struct {
	of       statement.Case
	artifact string
}

// differing finds an artifact that differs and on which the builder's vote is the
// digest.
func (c *Coordinator) differing(d statement.SHA256, builder string) (p place, found bool, err error) {
	places, err := c.db.ByDigest(d, store.PlaceFilter{}, maxLimit)
	if err != nil {
		return p, false, err
	}
	for _, at := range places {
		verdicts, err := c.db.Verdicts(at.Case, at.Artifact)
		if err != nil {
			return p, false, err
		}
		if len(verdicts) == 0 || !filesWanted(verdicts[0]) || !slices.ContainsFunc(difference.Groups(verdicts[0]), func(g difference.Group) bool {
			return g.SHA256 == d && slices.ContainsFunc(g.Members, func(m quorum.Member) bool { return m.Builder == builder })
		}) {
			continue
		}
		t, err := c.db.Target(at.Case)
		return place{t.Case.Case, at.Artifact}, err == nil, err
	}
	return p, false, nil
}

// filesWanted reports whether a person has to find out why builders differ.
func filesWanted(v *quorum.Verdict) bool {
	switch v.State {
	case quorum.Conflicting, quorum.Disputed, quorum.Unreachable:
	case quorum.Held:
		if v.Reason != quorum.ReasonDissent {
			return false
		}
	default:
		return false
	}
	return len(difference.Groups(v)) > 1
}

// alarmWrongUpload raises an alarm: the builder signed one digest and sent other
// bytes, so its disk, its memory or its keeper is not to be trusted. There is one for
// a builder and artifact: a key that votes anew each time must not raise more.
func (c *Coordinator) alarmWrongUpload(piece bus.Chunk) error {
	p, found, err := c.differing(piece.SHA256, piece.Builder)
	if err != nil || !found {
		return err
	}
	message := fmt.Sprintf("builder %q uploaded another file than the one it voted for on %q: %s; it was thrown away", piece.Builder, p.artifact, piece.SHA256)
	err = c.db.Update(func(tx *store.Tx) error {
		_, err := c.raise(tx, p.of, p.artifact, alarmUpload, message, piece.Builder)
		return err
	})
	c.wakeAsk()
	return err
}

// getFile gives an uploaded file. It is what a builder made: never a type that a
// browser would show.
func (c *Coordinator) getFile(w http.ResponseWriter, r *http.Request) {
	d, err := digestOf(r)
	if err == nil && c.files == nil {
		err = notFound("no files are kept here: [files] in coordinator.toml has no keep")
	}
	if err == nil && !c.files.has(d) {
		err = notFound("no builder has uploaded a file with sha256 %s, or it has expired", d)
	}
	if err != nil {
		c.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", contentDisposition(d.String()))
	c.serveKept(w, r, c.files, d)
}

// serveKept gives what was uploaded, under the headers that are set.
func (c *Coordinator) serveKept(w http.ResponseWriter, r *http.Request, from *files, d statement.SHA256) {
	f, err := os.Open(from.path(d))
	if err != nil {
		w.Header().Del("Content-Disposition")
		c.fail(w, notFound("what has the sha256 %s has just expired", d))
		return
	}
	defer f.Close()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTime))
	http.ServeContent(w, r, "", time.Time{}, io.ReadSeeker(f))
}
