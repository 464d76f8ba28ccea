package builderagent

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"unicode"

	"quorate/quorum/statement"
)

const (
	tailBytes = 4096 // of the log's end, kept in memory for the reason
	tailLines = 20   // of those, told in the reason
	tailRoom  = 2048 // bytes of the reason that they may take
)

// buildLog is a build's output: in a file the beginning, up to a limit, and the
// last bytes of what is longer, where a build says why it failed.
type buildLog struct {
	f       *os.File
	sum     hash.Hash // of what is in the file
	limit   int64
	room    int64
	dropped int64
	tail    []byte
	err     error // the first failure to write the file
}

func createLog(path string, limit int64) (*buildLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create build log: %w", err)
	}
	return &buildLog{f: f, sum: sha256.New(), limit: limit, room: limit}, nil
}

// Write never fails, so that a full disk does not block the build; Close tells.
func (l *buildLog) Write(p []byte) (int, error) {
	l.tail = append(l.tail, p...)
	if len(l.tail) > tailBytes {
		l.tail = append(l.tail[:0], l.tail[len(l.tail)-tailBytes:]...)
	}
	kept := p[:min(int64(len(p)), l.room)]
	l.dropped += int64(len(p) - len(kept))
	l.room -= int64(len(kept))
	l.keep(kept)
	return len(p), nil
}

func (l *buildLog) keep(p []byte) {
	if l.err != nil || len(p) == 0 {
		return
	}
	l.sum.Write(p)
	_, l.err = l.f.Write(p)
}

// Close ends the file, and says in it when something was left out.
func (l *buildLog) Close() error {
	if l.dropped > 0 {
		end := l.tail[max(0, int64(len(l.tail))-min(l.dropped, l.limit)):]
		l.keep(fmt.Appendf(nil, "\n[log cut here: %d more bytes, the last %d follow]\n", l.dropped, len(end)))
		l.keep(end)
	}
	if err := l.f.Close(); l.err == nil {
		l.err = err
	}
	if l.err != nil {
		return fmt.Errorf("write build log: %w", l.err)
	}
	return nil
}

func (l *buildLog) digest() statement.SHA256 { return statement.SHA256(l.sum.Sum(nil)) }

// lastLines is the end of the log, made fit for a statement's reason: bounded,
// valid UTF-8, no control characters but the ends of lines.
func (l *buildLog) lastLines() string {
	lines := strings.Split(strings.TrimRight(printable(string(l.tail)), "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	text := strings.Join(lines, "\n")
	if len(text) > tailRoom {
		text = strings.ToValidUTF8(text[len(text)-tailRoom:], "")
	}
	return text
}

// printable keeps a build from writing to the terminal of whoever reads the
// reason: escape sequences lose what makes them work, and bidirectional controls
// cannot reorder a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

var _ io.WriteCloser = (*buildLog)(nil)
