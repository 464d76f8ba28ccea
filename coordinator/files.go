package coordinator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// FilesConfig says whether and how long files on which builders differ are asked
// for and kept.
type FilesConfig struct {
	Keep     Duration `toml:"keep"`      // 0: nothing is asked for nor kept
	MaxFile  int64    `toml:"max_file"`  // bytes of one file; 0: 256 MiB; at most 2 GiB
	MaxTotal int64    `toml:"max_total"` // bytes of all files; 0: 4 GiB
	MaxCount int      `toml:"max_count"` // files, and logs; 0: 1000
	MaxLog   int64    `toml:"max_log"`   // bytes of one build's log; 0: 32 MiB; at most 2 GiB
	MaxLogs  int64    `toml:"max_logs"`  // bytes of all logs; 0: 1 GiB
}

func (f *FilesConfig) defaults() {
	if f.MaxFile == 0 {
		f.MaxFile = 256 << 20
	}
	if f.MaxTotal == 0 {
		f.MaxTotal = 4 << 30
	}
	if f.MaxLog == 0 {
		f.MaxLog = 32 << 20
	}
	if f.MaxLogs == 0 {
		f.MaxLogs = 1 << 30
	}
	if f.MaxCount == 0 {
		f.MaxCount = 1000
	}
}

func (f *FilesConfig) check(path string) error {
	const most = int64(bus.FileChunk) * bus.MaxFileChunks
	switch {
	case f.MaxFile < 0 || f.MaxTotal < 0 || f.MaxCount < 0 || f.MaxLog < 0 || f.MaxLogs < 0:
		return configError("leave it out for the default", "%s: files: a limit is negative", path)
	case f.MaxFile > most:
		return configError("larger files are compared by their members only", "%s: files: max_file is more than %d", path, most)
	case f.MaxLog > most:
		return configError("builders keep 16 MiB of a log unless they are told otherwise", "%s: files: max_log is more than %d", path, most)
	case f.MaxLog > f.MaxLogs:
		return configError("raise max_logs", "%s: files: max_log is more than max_logs", path)
	case f.MaxFile > f.MaxTotal:
		return configError("raise max_total", "%s: files: max_file is more than max_total", path)
	}
	return nil
}

const (
	dirFiles   = "files"
	partPrefix = "part-"

	// maxPartial is how many uploads are taken in beside each other. The one that
	// has waited longest makes room.
	maxPartial = 16

	// maxPartialOf is how many of them may be of one builder. The room for an upload
	// under way is kept free: a builder that began many and sent nothing more would
	// leave none for others.
	maxPartialOf = 2
)

// files is the folder of uploaded files, named by their digest. What has that name
// has that digest. Only one goroutine uploads; the rest may be used from anywhere.
type files struct {
	dir     string
	config  FilesConfig
	partial map[fileKey]*partial // owned by the goroutine that uploads
}

// fileKey is one upload: two builders may send the same file.
type fileKey struct {
	builder string
	sha256  statement.SHA256
}

type partial struct {
	f       *os.File
	hash    hash.Hash
	next    int
	count   int
	touched time.Time
}

func openFiles(dir string, config FilesConfig) (*files, error) {
	s := &files{dir: dir, config: config, partial: map[fileKey]*partial{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	// What a crash left of an upload is of no use: it begins anew.
	left, err := filepath.Glob(filepath.Join(dir, partPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return s, err
}

func (s *files) path(d statement.SHA256) string { return filepath.Join(s.dir, d.String()) }

// has reports whether the file is there. A nil store has none.
func (s *files) has(d statement.SHA256) bool {
	if s == nil {
		return false
	}
	_, err := os.Lstat(s.path(d))
	return err == nil
}

// errNoRoom says that limits keep a file out, errTooLarge that it will always be so.
var (
	errNoRoom   = errors.New("no room for it")
	errTooLarge = errors.New("it is larger than is kept")
)

// room checks the limits for a file of so many bytes more than what is in the
// folder.
func (s *files) room(more int64) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	total := more
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	if total > s.config.MaxTotal || len(entries) >= s.config.MaxCount {
		return fmt.Errorf("%w: %d files and %d bytes are kept", errNoRoom, len(entries), total-more)
	}
	return nil
}

// expected is how much is still to come of the uploads under way.
func (s *files) expected() (total int64) {
	for _, p := range s.partial {
		total += int64(p.count-p.next) * bus.FileChunk
	}
	return total
}

// begin makes room for an upload that starts.
func (s *files) begin(k fileKey, count int, now time.Time) error {
	s.drop(k)
	s.dropIdle(now)
	if s.countOf(k.builder) >= maxPartialOf {
		s.dropOldest(k.builder)
	}
	least := int64(count-1) * bus.FileChunk // the last piece may be short
	if least >= s.config.MaxFile {
		return fmt.Errorf("%w: %d bytes", errTooLarge, s.config.MaxFile)
	}
	if err := s.room(least + s.expected()); err != nil {
		return err
	}
	if len(s.partial) >= maxPartial {
		s.dropOldest("")
	}
	f, err := os.CreateTemp(s.dir, partPrefix)
	if err != nil {
		return err
	}
	s.partial[k] = &partial{f: f, hash: sha256.New(), count: count, touched: now}
	return nil
}

// drop forgets an upload.
func (s *files) drop(k fileKey) {
	if p := s.partial[k]; p != nil {
		_ = p.f.Close()
		_ = os.Remove(p.f.Name())
		delete(s.partial, k)
	}
}

// dropOldest forgets the upload that has waited longest for its next piece: of the
// builder, unless that is empty.
func (s *files) dropOldest(builder string) {
	var oldest fileKey
	for k, p := range s.partial {
		if o := s.partial[oldest]; (builder == "" || k.builder == builder) && (o == nil || p.touched.Before(o.touched)) {
			oldest = k
		}
	}
	s.drop(oldest)
}

// dropIdle forgets uploads whose next piece does not come.
func (s *files) dropIdle(now time.Time) {
	for k, p := range s.partial {
		if now.Sub(p.touched) > uploadPause {
			s.drop(k)
		}
	}
}

func (s *files) countOf(builder string) (n int) {
	for k := range s.partial {
		if k.builder == builder {
			n++
		}
	}
	return n
}

// errWrongDigest says that a file is not what it was announced as.
var errWrongDigest = errors.New("the uploaded file has another digest")

// add takes the next piece of an upload that was begun, and reports whether the
// file is complete. One out of order is passed over: the upload stays as it is
// until it begins anew.
func (s *files) add(k fileKey, c bus.Chunk, data []byte, now time.Time) (complete bool, err error) {
	p := s.partial[k]
	last := c.Index == c.Count-1
	if p == nil || p.next != c.Index || p.count != c.Count || len(data) > bus.FileChunk || !last && len(data) != bus.FileChunk {
		return false, nil
	}
	p.hash.Write(data)
	if _, err := p.f.Write(data); err != nil {
		s.drop(k)
		return false, err
	}
	if p.next, p.touched = p.next+1, now; !last {
		return false, nil
	}
	defer s.drop(k)
	if statement.SHA256(p.hash.Sum(nil)) != k.sha256 {
		return false, errWrongDigest
	}
	info, err := p.f.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() > s.config.MaxFile {
		return false, fmt.Errorf("%w: %d bytes", errTooLarge, s.config.MaxFile)
	}
	if err := errors.Join(p.f.Sync(), os.Rename(p.f.Name(), s.path(k.sha256))); err != nil {
		return false, err
	}
	return true, nil
}

// expire removes what was kept long enough.
func (s *files) expire(now time.Time) error {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr != nil || strings.HasPrefix(e.Name(), partPrefix) || now.Sub(info.ModTime()) <= time.Duration(s.config.Keep) {
			continue
		}
		if rerr := os.Remove(filepath.Join(s.dir, e.Name())); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
