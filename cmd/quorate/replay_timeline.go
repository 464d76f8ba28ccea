package main

import (
	"crypto/sha1" // git's blob ids
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	treewalk "quorate/internal/tree"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
)

// maxTimeline bounds the file, in bytes.
const maxTimeline = 256 << 20

// event is one line of a timeline.
type event struct {
	at     time.Time
	status byte // A, M or D
	path   string
	blob   string // new content; empty when it was deleted
	commit string
}

var blobID = regexp.MustCompile(`^(-|[0-9a-f]{40})$`)

// parseTimeline reads the lines. Times that go back, as times of commits do, are
// moved to the one before: arrival has one order.
func parseTimeline(data []byte) ([]event, error) {
	var events []event
	var last time.Time
	for n, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		e, err := parseEvent(strings.Split(strings.TrimSuffix(line, "\r"), "\t"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if e.at.Before(last) {
			e.at = last
		}
		last = e.at
		events = append(events, e)
	}
	return events, nil
}

func parseEvent(f []string) (e event, err error) {
	if len(f) != 6 {
		return e, fmt.Errorf("%d columns, want 6", len(f))
	}
	if e.at, err = time.Parse(time.RFC3339, f[0]); err != nil {
		return e, fmt.Errorf("time: %.64q is not RFC 3339", f[0])
	}
	e.at = e.at.UTC()
	if f[1] != "A" && f[1] != "M" && f[1] != "D" {
		return e, fmt.Errorf("status: %.64q is not A, M or D", f[1])
	}
	if err := evidence.CheckPath(f[2]); err != nil {
		return e, fmt.Errorf("path: %.128q %w", f[2], err)
	}
	if !blobID.MatchString(f[3]) || !blobID.MatchString(f[4]) || (f[4] == "-") != (f[1] == "D") {
		return e, fmt.Errorf("blob: %.64q and %.64q are not the git blob ids of status %s", f[3], f[4], f[1])
	}
	e.status, e.path, e.blob, e.commit = f[1][0], f[2], strings.Trim(f[4], "-"), f[5]
	return e, nil
}

// until leaves out what came after a time, and says so.
func until(events []event, end time.Time) []event {
	n := slices.IndexFunc(events, func(e event) bool { return e.at.After(end) })
	if n < 0 {
		return events
	}
	say("%s after %s left out", plural(len(events)-n, "event"), stamp(end))
	return events[:n]
}

// commits splits the events where the commit changes: a list and its signature
// arrive together.
func commits(events []event) (out [][]event) {
	for i := range events {
		if i == 0 || events[i].commit != events[i-1].commit {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], events[i])
	}
	return out
}

// blobs finds the files of a tree by their content.
type blobs struct {
	tree  *treewalk.Tree
	files map[string]treewalk.Entry // git blob id -> a file that has it
}

func openBlobs(path string) (*blobs, error) {
	t, err := treewalk.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	b := &blobs{t, map[string]treewalk.Entry{}}
	err = t.Walk(func(e treewalk.Entry) error {
		if !strings.HasSuffix(e.Path, guixsigs.Suffix) && !strings.HasSuffix(e.Path, guixsigs.Suffix+guixsigs.SignatureSuffix) {
			return nil
		}
		data, err := t.Read(e, guixsigs.MaxSize)
		if err != nil {
			say("rejected: %s: %v", filepath.Join(path, e.Path), err)
			return nil
		}
		b.files[gitBlob(data)] = e
		return nil
	})
	return b, err
}

func (b *blobs) close() { b.tree.Close() }

// read returns the content of that id, and looks whether it still has it.
func (b *blobs) read(id string) ([]byte, error) {
	e, ok := b.files[id]
	if !ok {
		return nil, errNoBlob
	}
	data, err := b.tree.Read(e, guixsigs.MaxSize)
	if err == nil && gitBlob(data) != id {
		err = treewalk.ErrChanged
	}
	return data, err
}

// gitBlob is the id that git gives to a file's content. It only finds files;
// what is believed is what is signed.
func gitBlob(data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// evidenceName is the default of --name for a folder.
func evidenceName(path string) string {
	abs := absolute(path)
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		abs = filepath.Dir(abs)
	}
	return filepath.Base(abs)
}
