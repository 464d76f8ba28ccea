package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/quorum/statement"
)

// StreamFiles carries the files that builders upload when they differ. It is a
// pipe and not a store: coordinators read it and keep what they asked for. It
// exists only where a coordinator is configured to.
//
// It is no JetStream object store: that one gives every writer of a bucket the
// right to write over every object. Here a builder's account imports its own
// subjects only.
const StreamFiles = "QUORATE_FILES"

const (
	prefixFiles = "quorate.files."

	// FileChunk is the size of every piece of a file but the last.
	FileChunk = 1 << 20
	// MaxFileChunks bounds a file to 2 GiB.
	MaxFileChunks = 2048

	// The oldest pieces make room for new ones: a coordinator reads them at once.
	filesBytes = 1 << 30
	filesKept  = 6 * time.Hour
)

// Chunk is one piece of a file, as its subject has it.
type Chunk struct {
	Builder string // vouched for by the server's permissions
	SHA256  statement.SHA256
	Count   int // of all pieces
	Index   int // from 0
}

// FileSubject is where a builder sends a piece of a file.
func FileSubject(c Chunk) (string, error) {
	if !ValidName(c.Builder) {
		return "", fmt.Errorf("subject %s: %q: %w", prefixFiles, c.Builder, ErrInvalidName)
	}
	if c.Count < 1 || c.Count > MaxFileChunks || c.Index < 0 || c.Index >= c.Count {
		return "", fmt.Errorf("subject %s: piece %d of %d", prefixFiles, c.Index, c.Count)
	}
	return fmt.Sprintf("%s%s.%s.%d.%d", prefixFiles, c.Builder, c.SHA256, c.Count, c.Index), nil
}

// ErrNotFile says that a subject is none of [StreamFiles].
var ErrNotFile = errors.New("not a subject of the files stream")

// ParseFileSubject takes a subject of [StreamFiles] apart. A builder may send
// anything below its own name.
func ParseFileSubject(subject string) (c Chunk, err error) {
	tokens := strings.Split(subject, ".")
	if !strings.HasPrefix(subject, prefixFiles) || len(tokens) != 6 {
		return c, fmt.Errorf("subject %.200q: %w", subject, ErrNotFile)
	}
	c.Builder = tokens[2]
	if c.SHA256, err = statement.ParseSHA256(tokens[3]); err != nil {
		return c, fmt.Errorf("subject %.200q: %w", subject, ErrNotFile)
	}
	c.Count, _ = strconv.Atoi(tokens[4])
	c.Index, err = strconv.Atoi(tokens[5])
	// Written again it must be the same: +1 and 01 are other spellings of 1.
	if again, ferr := FileSubject(c); err != nil || ferr != nil || again != subject {
		return c, fmt.Errorf("subject %.200q: %w", subject, ErrNotFile)
	}
	return c, nil
}

// EnsureFiles creates [StreamFiles] or checks it, like [EnsureStreams].
func EnsureFiles(ctx context.Context, js jetstream.JetStream, replicas int) error {
	want := StreamConfigs(replicas)[1]
	want.Name, want.Subjects = StreamFiles, []string{prefixFiles + "*.>"}
	want.MaxAge, want.MaxBytes = filesKept, filesBytes
	want.MaxMsgSize = FileChunk + headerRoom
	have, err := ensureStream(ctx, js, want)
	if err == nil {
		err = checkStream(want, have)
	}
	if err != nil {
		return fmt.Errorf("ensure stream %s: %w", want.Name, err)
	}
	return nil
}

// PublishChunk sends a piece of a file. A piece that is sent again is another
// message: who reads starts anew with the first one.
func (c *Conn) PublishChunk(ctx context.Context, chunk Chunk, data []byte) error {
	chunk.Builder = c.name
	subject, err := FileSubject(chunk)
	if err != nil {
		return err
	}
	_, err = c.Publish(ctx, subject, rand.Text(), data)
	return err
}

// noFile ends the subject on which a builder says that it sends no file.
const noFile = "none"

// NoFileSubject is where a builder says that it does not send the file, and why.
func NoFileSubject(builder string, d statement.SHA256) (string, error) {
	return subject(prefixFiles, builder, d.String(), noFile)
}

// ParseNoFileSubject takes such a subject apart.
func ParseNoFileSubject(subject string) (builder string, d statement.SHA256, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) == 5 {
		builder = tokens[2]
		d, err = statement.ParseSHA256(tokens[3])
	}
	if again, serr := NoFileSubject(builder, d); err != nil || serr != nil || again != subject {
		return "", d, fmt.Errorf("subject %.200q: %w", subject, ErrNotFile)
	}
	return builder, d, nil
}

// PublishNoFile says that this builder does not send the file.
func (c *Conn) PublishNoFile(ctx context.Context, d statement.SHA256, data []byte) error {
	subject, err := NoFileSubject(c.name, d)
	if err != nil {
		return err
	}
	_, err = c.Publish(ctx, subject, rand.Text(), data)
	return err
}
