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
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// An empty file is one empty piece.
	chunk := bus.Chunk{SHA256: u.SHA256, Count: max(1, int((size+bus.FileChunk-1)/bus.FileChunk))}
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
	log.Info("file uploaded", "sha256", u.SHA256, "bytes", size)
	a.step("uploaded")
	return nil
}

// findOutput looks among the kept outputs of the target for the file with the
// digest; path is empty when there is none.
func (a *agent) findOutput(ctx context.Context, u *wire.Upload) (path string, size int64, err error) {
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
		if err != nil || r == nil || (statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}) != u.Case() {
			continue
		}
		candidate := filepath.Join(a.state.Dir, buildsDir, id, outName, u.Artifact)
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
