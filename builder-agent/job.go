package builderagent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"quorate/builder-agent/durable"
	"quorate/builder-agent/spool"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// jobRecord says that a job was done. While Raw is there, the statement may not
// have reached the spool yet.
type jobRecord struct {
	Job       string           `json:"job"`
	Channel   string           `json:"channel"`
	Target    string           `json:"target"`
	Stage     string           `json:"stage"`
	Statement statement.SHA256 `json:"statement"`
	Status    statement.Status `json:"status"` // empty for a vote
	Reason    string           `json:"reason,omitempty"`
	Finished  time.Time        `json:"finished"`
	Raw       []byte           `json:"raw,omitempty"`
}

// jobs is the folder of job records.
type jobs struct {
	dir   string
	spool *spool.Spool
	step  func(string)
}

func (j *jobs) path(id string) string { return filepath.Join(j.dir, id+".json") }

// load returns nil if the job was not done.
func (j *jobs) load(id string) (*jobRecord, error) {
	data, err := os.ReadFile(j.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read job record: %w", err)
	}
	r := new(jobRecord)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read job record %s: %w", id, err)
	}
	return r, nil
}

func (j *jobs) save(r *jobRecord) error {
	data, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("write job record: %w", err)
	}
	if err := durable.WriteFile(j.path(r.Job), append(data, '\n')); err != nil {
		return fmt.Errorf("write job record: %w", err)
	}
	return nil
}

// record makes the statement the one and only outcome of the job. A crash
// before this returns nil may leave nothing, and the job is built again when it
// is delivered again; or it leaves the record, and [jobs.finish] goes on.
func (j *jobs) record(job *wire.Job, st *statement.Statement) (*jobRecord, error) {
	r := &jobRecord{
		Job: job.ID, Channel: job.Channel, Target: job.Target, Stage: job.Stage,
		Statement: st.ID(), Status: st.Status, Reason: st.Reason, Finished: st.Finished, Raw: st.Raw(),
	}
	if err := j.save(r); err != nil {
		return nil, err
	}
	j.step("recorded")
	return r, nil
}

// finish spools a recorded statement. It is the same for a job just built, one
// delivered again and one found at the start. A crash after the spooling leads
// here again, and adding twice is adding once.
func (j *jobs) finish(r *jobRecord) error {
	if len(r.Raw) == 0 {
		return nil
	}
	if _, err := j.spool.Add(r.Raw); err != nil {
		return err
	}
	j.step("spooled")
	r.Raw = nil
	if err := j.save(r); err != nil {
		return err
	}
	j.step("marked")
	return nil
}

// recover finishes what a crash interrupted. A record that cannot be read is
// told to bad and left for a person: its job, should it come again, is not built
// a second time behind its back.
func (j *jobs) recover(bad func(id string, err error)) error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return fmt.Errorf("read job records: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !statement.ValidName(id) {
			continue
		}
		r, err := j.load(id)
		if err != nil || r == nil {
			bad(id, err)
			continue
		}
		if err := j.finish(r); err != nil {
			return fmt.Errorf("recover job %s: %w", id, err)
		}
	}
	return nil
}

const (
	envPrefix     = "QUORATE_"
	maxSourceURI  = 2048
	maxDigestText = 256
)

var (
	digestNameRe = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	digestRe     = regexp.MustCompile(`^[0-9a-f]+$`)
)

// CheckSource refuses a source that could not be passed on whole, or that a
// program would take for an option. It is asked before hours are spent on a
// build whose statement could not be signed.
func CheckSource(s *statement.Source) error {
	if s == nil {
		return nil
	}
	switch {
	case len(s.URI) > maxSourceURI:
		return fmt.Errorf("source uri has %d bytes, at most %d", len(s.URI), maxSourceURI)
	case !utf8.ValidString(s.URI) || strings.ContainsFunc(s.URI, unicode.IsControl):
		return errors.New("source uri has control characters or is not UTF-8")
	case strings.HasPrefix(s.URI, "-"):
		return errors.New("source uri begins with -")
	}
	for name, value := range s.Digest {
		if !digestNameRe.MatchString(name) || name == "uri" || len(value) > maxDigestText || !digestRe.MatchString(value) {
			return fmt.Errorf("source digest %.40q is not a name and lower-case hex", name)
		}
	}
	return nil
}

// jobEnv is the job as variables. Values are never interpreted by us.
func jobEnv(job *wire.Job, build string) []string {
	env := []string{
		envPrefix + "JOB=" + job.ID,
		envBuild + build,
		envPrefix + "CHANNEL=" + job.Channel,
		envPrefix + "TARGET=" + job.Target,
		envPrefix + "STAGE=" + job.Stage,
	}
	if job.Source == nil {
		return append(env, envPrefix+"SOURCE_URI=")
	}
	env = append(env, envPrefix+"SOURCE_URI="+job.Source.URI)
	for name, value := range job.Source.Digest {
		env = append(env, envPrefix+"SOURCE_"+strings.ToUpper(name)+"="+value)
	}
	return env
}
