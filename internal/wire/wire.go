// Package wire holds the bus messages that decide nothing: jobs, the receipt
// exchange, the request to ask again, and alarms. What decides is in package
// quorum. Every parser is strict and bounded.
package wire

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Limits, in bytes of JSON and in entries.
const (
	MaxJob  = 64 << 10
	MaxHave = 32 << 10
	// MaxHaveIDs is how many statements one receipt question may list. Each costs
	// the coordinator a look-up, and asking again is cheap.
	MaxHaveIDs = 256

	maxHaveAnswer = 2 << 20 // with the reasons of what was rejected
)

// Job asks builders to build a target. Its id makes a redelivered job
// recognisable: an agent builds each id once.
type Job struct {
	Version   int               `json:"version"`
	ID        string            `json:"id"` // a name, see [statement.ValidName]
	Channel   string            `json:"channel"`
	Target    string            `json:"target"`
	Stage     string            `json:"stage"`
	Builder   string            `json:"builder,omitzero"` // this one alone; empty: all of the channel
	Source    *statement.Source `json:"source,omitzero"`
	Requested time.Time         `json:"requested"`
}

// Case returns what is to be built.
func (j *Job) Case() statement.Case {
	return statement.Case{Channel: j.Channel, Target: j.Target, Stage: j.Stage}
}

// ParseJob reads and checks a job.
func ParseJob(data []byte) (*Job, error) {
	j := new(Job)
	if err := decode("job", data, MaxJob, j); err != nil {
		return nil, err
	}
	if j.Version != quorum.Version {
		return nil, fmt.Errorf("job: version %d, want %d", j.Version, quorum.Version)
	}
	if !statement.ValidName(j.ID) {
		return nil, fmt.Errorf("job: id %.80q is not a name", j.ID)
	}
	if j.Builder != "" && !statement.ValidName(j.Builder) {
		return nil, fmt.Errorf("job: builder %.80q is not a name", j.Builder)
	}
	if err := j.Case().Check(); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return j, nil
}

// HaveRequest asks which of these statements are recorded.
type HaveRequest struct {
	Version    int                `json:"version"`
	Statements []statement.SHA256 `json:"statements"`
}

// HaveAnswer splits the asked statements. One in neither list is not recorded
// yet and should be published again.
type HaveAnswer struct {
	Version  int                `json:"version"`
	Recorded []statement.SHA256 `json:"recorded"` // committed to the coordinator's disk
	Rejected []Rejection        `json:"rejected"` // committed as rejected; sending again is of no use
}

// Rejection says why a statement was refused.
type Rejection struct {
	Statement statement.SHA256 `json:"statement"`
	Code      statement.Code   `json:"code"`
	Message   string           `json:"message"`
}

// ParseHaveRequest reads and checks a receipt question.
func ParseHaveRequest(data []byte) (*HaveRequest, error) {
	r := new(HaveRequest)
	if err := decode("receipt question", data, MaxHave, r); err != nil {
		return nil, err
	}
	if len(r.Statements) > MaxHaveIDs {
		return nil, fmt.Errorf("receipt question: %d statements, at most %d", len(r.Statements), MaxHaveIDs)
	}
	return r, nil
}

// ParseHaveAnswer reads a receipt answer.
func ParseHaveAnswer(data []byte) (*HaveAnswer, error) {
	a := new(HaveAnswer)
	return a, decode("receipt answer", data, maxHaveAnswer, a)
}

// Redrive asks a coordinator to ask the signer again for an artifact whose
// request was refused or got no answer. It changes nothing that is true.
type Redrive struct {
	Version  int    `json:"version"`
	Channel  string `json:"channel"`
	Target   string `json:"target"`
	Stage    string `json:"stage"`
	Artifact string `json:"artifact"` // empty: every artifact of the target
}

// RedriveAnswer says what happened.
type RedriveAnswer struct {
	Asked int    `json:"asked"` // requests published
	Error string `json:"error,omitzero"`
}

// ParseRedrive reads and checks a request to ask again.
func ParseRedrive(data []byte) (*Redrive, error) {
	r := new(Redrive)
	if err := decode("redrive", data, MaxJob, r); err != nil {
		return nil, err
	}
	c := statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("redrive: %w", err)
	}
	return r, nil
}

// Alarm tells people about something that must not happen silently.
type Alarm struct {
	Version  int       `json:"version"`
	Code     string    `json:"code"` // "late-dissent", "second-digest", ...
	Channel  string    `json:"channel"`
	Target   string    `json:"target,omitzero"`
	Stage    string    `json:"stage,omitzero"`
	Artifact string    `json:"artifact,omitzero"`
	Message  string    `json:"message"`
	From     string    `json:"from"` // the process that raises it
	At       time.Time `json:"at"`
}

// ParseAlarm reads an alarm.
func ParseAlarm(data []byte) (*Alarm, error) {
	a := new(Alarm)
	return a, decode("alarm", data, bus.MaxAlarm, a)
}

// maxAlarmText is how much of an alarm's message is kept of those that others raise.
const maxAlarmText = 4096

var alarmCodeRe = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// ParseSignerAlarm reads and checks an alarm that a signer raised, under the name and
// on the channel that the bus vouches for. What the message itself says of its sender
// counts for nothing. A long text is cut: no alarm is lost because it says too much.
func ParseSignerAlarm(data []byte, channel, signer string) (*Alarm, error) {
	a, err := ParseAlarm(data)
	if err != nil {
		return nil, err
	}
	about := statement.Case{Channel: a.Channel, Target: a.Target, Stage: a.Stage}
	switch {
	case a.Version != quorum.Version:
		return nil, fmt.Errorf("alarm: version %d, want %d", a.Version, quorum.Version)
	case !alarmCodeRe.MatchString(a.Code):
		return nil, fmt.Errorf("alarm: code %.80q is not a word", a.Code)
	case a.Channel != channel:
		return nil, fmt.Errorf("alarm: it is about channel %.80q and came for channel %q", a.Channel, channel)
	case a.Artifact != "" && !statement.ValidArtifactName(a.Artifact):
		return nil, fmt.Errorf("alarm: artifact %.80q is not a file name", a.Artifact)
	case a.Message == "":
		return nil, errors.New("alarm: message is missing")
	}
	if err := about.Check(); err != nil {
		return nil, fmt.Errorf("alarm: %w", err)
	}
	if a.From = signer; len(a.Message) > maxAlarmText {
		a.Message = strings.ToValidUTF8(a.Message[:maxAlarmText], "") + "..."
	}
	return a, nil
}

// Encode writes any message of this package.
func Encode(message any) ([]byte, error) {
	data, err := json.Marshal(message, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", message, err)
	}
	return data, nil
}

func decode(what string, data []byte, limit int, into any) error {
	if len(data) > limit {
		return fmt.Errorf("%s: %d bytes, at most %d", what, len(data), limit)
	}
	if err := json.Unmarshal(data, into, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
