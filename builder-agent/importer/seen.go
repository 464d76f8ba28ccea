package importer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"quorate/builder-agent/durable"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// seen is what was taken, on disk: a line with a digest for each. It is appended
// to and synced; what a crash left of a last line is cut off.
type seen struct {
	file *os.File
	have map[statement.SHA256]struct{}
}

const seenLine = 2*sha256.Size + 1

func openSeen(dir string) (*seen, error) {
	path := filepath.Join(dir, seenFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := durable.WriteFile(path, nil); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &seen{have: make(map[statement.SHA256]struct{}, len(data)/seenLine)}
	whole := len(data) / seenLine * seenLine
	for line := range bytes.Lines(data[:whole]) {
		id, err := statement.ParseSHA256(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			return nil, fmt.Errorf("%w: %s is damaged (hint: remove it; everything is then carried once more, which counts once)", ErrConfig, path)
		}
		s.have[id] = struct{}{}
	}
	if s.file, err = os.OpenFile(path, os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	err = s.file.Truncate(int64(whole))
	if err == nil {
		_, err = s.file.Seek(int64(whole), 0)
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *seen) has(id statement.SHA256) bool {
	_, ok := s.have[id]
	return ok
}

func (s *seen) add(id statement.SHA256) error {
	if s.has(id) {
		return nil
	}
	if _, err := fmt.Fprintf(s.file, "%s\n", id); err != nil {
		return err
	}
	s.have[id] = struct{}{}
	return s.file.Sync()
}

func (s *seen) close() error { return s.file.Close() }

// identity is what makes two finds one: channel, evidence and keys. A key file
// that was renewed makes another: what was refused for the old one is worth
// another look.
func identity(f *wire.Foreign) statement.SHA256 {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", f.Channel, f.ID())
	for _, k := range f.Keys {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(k))
	}
	return statement.SHA256(h.Sum(nil))
}
