package wire

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// Kinds of an [Upload]. A [Job] has none.
const (
	KindUpload = "upload" // a file that others differ from
	KindLog    = "log"    // a build's log
)

// LogName is what a statement calls the log of its build.
const LogName = "build.log"

// LogOf is the digest of the log that a statement names.
func LogOf(s *statement.Statement) (d statement.SHA256, ok bool) {
	for _, b := range s.Byproducts {
		if d, err := statement.ParseSHA256(b.Digest["sha256"]); err == nil && b.Name == LogName {
			return d, true
		}
	}
	return d, false
}

// maxUploaders is how many builders one job may ask.
const maxUploaders = 16

// Upload is a job that asks builders for a file that they voted on and others
// differ from, or one builder for the log of a build. It changes nothing that is true.
type Upload struct {
	Version  int              `json:"version"`
	Kind     string           `json:"kind"` // [KindUpload] or [KindLog]
	ID       string           `json:"id"`
	Channel  string           `json:"channel"`
	Target   string           `json:"target"`
	Stage    string           `json:"stage"`
	Artifact string           `json:"artifact"` // empty for a log
	SHA256   statement.SHA256 `json:"sha256"`
	Builders []string         `json:"builders"` // who is asked; the others have nothing to do

	Statement statement.SHA256 `json:"statement,omitzero"` // whose log it is
	Max       int64            `json:"max,omitzero"`       // bytes; a larger log is not sent
}

// Case returns what the file is of.
func (u *Upload) Case() statement.Case {
	return statement.Case{Channel: u.Channel, Target: u.Target, Stage: u.Stage}
}

// IsUpload reports whether a job asks for a file or a log and not for a build. It looks at
// nothing else: what it is then must be parsed.
func IsUpload(data []byte) bool {
	var job struct {
		Kind string `json:"kind"`
	}
	return len(data) <= MaxJob && json.Unmarshal(data, &job) == nil && (job.Kind == KindUpload || job.Kind == KindLog)
}

// ParseUpload reads and checks a job that asks for a file.
func ParseUpload(data []byte) (*Upload, error) {
	u := new(Upload)
	if err := decode("upload", data, MaxJob, u); err != nil {
		return nil, err
	}
	switch {
	case u.Version != quorum.Version:
		return nil, fmt.Errorf("upload: version %d, want %d", u.Version, quorum.Version)
	case u.Kind != KindUpload && u.Kind != KindLog:
		return nil, fmt.Errorf("upload: kind %.80q, want %q or %q", u.Kind, KindUpload, KindLog)
	case !statement.ValidName(u.ID):
		return nil, fmt.Errorf("upload: id %.80q is not a name", u.ID)
	case u.Kind == KindUpload && !statement.ValidArtifactName(u.Artifact):
		return nil, fmt.Errorf("upload: artifact %.80q is not a file name", u.Artifact)
	case u.Kind == KindUpload && (u.Statement != statement.SHA256{} || u.Max != 0):
		return nil, errors.New("upload: statement or max is for logs")
	case u.Kind == KindLog && (u.Artifact != "" || u.Statement == statement.SHA256{} || u.Max < 0):
		return nil, errors.New("upload: a log has a statement, no artifact, and no negative max")
	case len(u.Builders) == 0 || len(u.Builders) > maxUploaders || slices.ContainsFunc(u.Builders, func(b string) bool { return !statement.ValidName(b) }):
		return nil, fmt.Errorf("upload: builders are not 1 to %d names", maxUploaders)
	}
	if err := u.Case().Check(); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	return u, nil
}

// Why a builder sends no log.
const (
	NoLogGone  = "gone"      // it is not kept there, any more or at all
	NoLogLarge = "too-large" // than was asked for
	NoLogKept  = "not-given" // its keeper does not let it leave the machine
)

// NoLog is a builder's answer that no log comes.
type NoLog struct {
	Version int    `json:"version"`
	Reason  string `json:"reason"`         // one of the NoLog words
	Bytes   int64  `json:"bytes,omitzero"` // of a log that is too large
}

// maxNoLog bounds such an answer.
const maxNoLog = 1 << 10

// ParseNoLog reads and checks a builder's answer that no log comes.
func ParseNoLog(data []byte) (*NoLog, error) {
	n := new(NoLog)
	if err := decode("no log", data, maxNoLog, n); err != nil {
		return nil, err
	}
	switch {
	case n.Version != quorum.Version:
		return nil, fmt.Errorf("no log: version %d, want %d", n.Version, quorum.Version)
	case n.Reason != NoLogGone && n.Reason != NoLogLarge && n.Reason != NoLogKept:
		return nil, fmt.Errorf("no log: reason %.80q is not known", n.Reason)
	case n.Bytes < 0:
		return nil, errors.New("no log: bytes is negative")
	}
	return n, nil
}
