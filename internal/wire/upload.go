package wire

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// KindUpload is the kind of an [Upload]. A [Job] has none.
const KindUpload = "upload"

// maxUploaders is how many builders one job may ask.
const maxUploaders = 16

// Upload is a job that asks builders for a file that they voted on and others
// differ from. It changes nothing that is true.
type Upload struct {
	Version  int              `json:"version"`
	Kind     string           `json:"kind"` // [KindUpload]
	ID       string           `json:"id"`
	Channel  string           `json:"channel"`
	Target   string           `json:"target"`
	Stage    string           `json:"stage"`
	Artifact string           `json:"artifact"`
	SHA256   statement.SHA256 `json:"sha256"`
	Builders []string         `json:"builders"` // who is asked; the others have nothing to do
}

// Case returns what the file is of.
func (u *Upload) Case() statement.Case {
	return statement.Case{Channel: u.Channel, Target: u.Target, Stage: u.Stage}
}

// IsUpload reports whether a job asks for a file and not for a build. It looks at
// nothing else: what it is then must be parsed.
func IsUpload(data []byte) bool {
	var job struct {
		Kind string `json:"kind"`
	}
	return len(data) <= MaxJob && json.Unmarshal(data, &job) == nil && job.Kind == KindUpload
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
	case u.Kind != KindUpload:
		return nil, fmt.Errorf("upload: kind %.80q, want %q", u.Kind, KindUpload)
	case !statement.ValidName(u.ID):
		return nil, fmt.Errorf("upload: id %.80q is not a name", u.ID)
	case !statement.ValidArtifactName(u.Artifact):
		return nil, fmt.Errorf("upload: artifact %.80q is not a file name", u.Artifact)
	case len(u.Builders) == 0 || len(u.Builders) > maxUploaders || slices.ContainsFunc(u.Builders, func(b string) bool { return !statement.ValidName(b) }):
		return nil, fmt.Errorf("upload: builders are not 1 to %d names", maxUploaders)
	}
	if err := u.Case().Check(); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	return u, nil
}
