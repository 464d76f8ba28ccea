package builderagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/builder-agent/filehash"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// maxUpload is the largest file that the bus takes.
const maxUpload int64 = bus.FileChunk * bus.MaxFileChunks

// handleUpload deals with one request for a file that differs. Whatever it says,
// only a file that this builder has built, for that target and with that digest,
// ever leaves the machine.
func (a *agent) handleUpload(ctx context.Context, m jetstream.Msg, beat time.Duration) {
	u, err := a.acceptUpload(m)
	if err != nil {
		a.log.Error("request for a file refused", "subject", m.Subject(), "error", err)
		a.end("terminate job", m.TermWithReason("refused by the agent"))
		return
	}
	log := a.log.With("job", u.ID, "channel", u.Channel, "target", u.Target, "artifact", u.Artifact)
	switch {
	case !slices.Contains(u.Builders, a.state.Config.Name):
	case u.Kind == wire.KindLog:
		stop := keepAlive(m, beat)
		err = a.uploadLog(ctx, u, log)
		stop()
	case a.state.Config.Uploads == "none":
		log.Info("a file was asked for, which agent.toml does not allow")
	default:
		stop := keepAlive(m, beat)
		err = a.upload(ctx, u, log)
		stop()
	}
	switch {
	case err == nil:
		a.end("acknowledge job", m.DoubleAck(context.WithoutCancel(ctx)))
	case ctx.Err() != nil:
		a.end("give job back", m.Nak())
	default:
		log.Warn("file not uploaded, it is tried again", "error", err)
		a.end("give job back", m.NakWithDelay(retryJob))
	}
}

func (a *agent) acceptUpload(m jetstream.Msg) (*wire.Upload, error) {
	u, err := wire.ParseUpload(m.Data())
	if err != nil {
		return nil, err
	}
	return u, a.acceptChannel(m, u.ID, u.Channel)
}

// upload sends the file if it is still kept. That it is not is no failure:
// nothing brings it back.
func (a *agent) upload(ctx context.Context, u *wire.Upload, log *slog.Logger) error {
	path, size, err := a.findOutput(ctx, u)
	if err != nil {
		return err
	}
	if path == "" {
		log.Info("a file was asked for that is not kept here (any more)", "sha256", u.SHA256)
		return nil
	}
	if size > maxUpload {
		log.Warn("a file was asked for that is too large for the bus", "bytes", size, "limit", maxUpload)
		return nil
	}
	return a.send(ctx, u.SHA256, path, size, log)
}

// send publishes a file piece by piece.
func (a *agent) send(ctx context.Context, d statement.SHA256, path string, size int64, log *slog.Logger) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// An empty file is one empty piece.
	chunk := bus.Chunk{SHA256: d, Count: max(1, int((size+bus.FileChunk-1)/bus.FileChunk))}
	buf := make([]byte, bus.FileChunk)
	for ; chunk.Index < chunk.Count; chunk.Index++ {
		n, err := io.ReadFull(f, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := a.conn.PublishChunk(ctx, chunk, buf[:n]); err != nil {
			return fmt.Errorf("upload piece %d of %d: %w", chunk.Index+1, chunk.Count, err)
		}
	}
	log.Info("file uploaded", "sha256", d, "bytes", size)
	a.step("uploaded")
	return nil
}

// findOutput looks among the kept outputs of the target for the file with the
// digest; path is empty when there is none.
func (a *agent) findOutput(ctx context.Context, u *wire.Upload) (path string, size int64, err error) {
	return a.find(ctx, u, func(*jobRecord) string { return filepath.Join(outName, u.Artifact) })
}

// find looks among the kept builds of the target for the file with the digest. name
// says where in a build it would be, or "" for a build that is not meant.
func (a *agent) find(ctx context.Context, u *wire.Upload, name func(*jobRecord) string) (path string, size int64, err error) {
	entries, err := os.ReadDir(filepath.Join(a.state.Dir, jobsDir))
	if err != nil {
		return "", 0, err
	}
	for _, e := range entries {
		id := e.Name()[:max(0, len(e.Name())-len(filepath.Ext(e.Name())))]
		if !statement.ValidName(id) {
			continue
		}
		r, err := a.jobs.load(id)
		if err != nil || r == nil || (statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}) != u.Case() || name(r) == "" {
			continue
		}
		candidate := filepath.Join(a.state.Dir, buildsDir, id, name(r))
		got, err := filehash.File(ctx, candidate, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", 0, err
		}
		if got.SHA256 == u.SHA256 {
			return candidate, int64(got.Size), nil
		}
	}
	return "", 0, nil
}

// uploadLog sends the log of a build, or says why it does not: a person who waits
// for it should know.
func (a *agent) uploadLog(ctx context.Context, u *wire.Upload, log *slog.Logger) error {
	none := wire.NoLog{Version: quorum.Version, Reason: wire.NoLogKept}
	if a.state.Config.UploadLogs {
		path, size, err := a.find(ctx, u, func(r *jobRecord) string {
			if r.Statement != u.Statement {
				return ""
			}
			return logName
		})
		limit := min(u.Max, maxUpload)
		switch {
		case err != nil:
			return err
		case path == "":
			none.Reason = wire.NoLogGone
		case size > limit:
			none.Reason, none.Bytes = wire.NoLogLarge, size
		default:
			return a.send(ctx, u.SHA256, path, size, log)
		}
	}
	log.Info("the log of a build was asked for, which is not sent", "statement", u.Statement, "reason", none.Reason)
	data, err := wire.Encode(&none)
	if err != nil {
		return err
	}
	return a.conn.PublishNoFile(ctx, u.SHA256, data)
}
