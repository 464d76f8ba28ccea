package api

import (
	"time"

	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// Types of events besides "verdict".
const (
	EventAct   = "act"   // a maintainer acted
	EventAlarm = "alarm" // the coordinator or a signer raised an alarm
)

// Type is the type under which the event is sent.
func (e *Event) Type() string {
	switch {
	case e.Act != nil:
		return EventAct
	case e.Alarm != nil:
		return EventAlarm
	}
	return "verdict"
}

// Act is an act of a maintainer that the coordinator took.
type Act struct {
	ID   statement.SHA256 `json:"id"` // of what was signed; the next hold or release names it
	Seq  uint64           `json:"seq"`
	Kind act.Kind         `json:"kind"`
	act.Subject
	Builder string `json:"builder,omitzero"` // of a rebuild; empty: all
	By      string `json:"by"`               // the maintainer
	Key     string `json:"key"`              // fingerprint, as ssh-keygen -l shows it
	Reason  string `json:"reason"`
	// Attachment is text that a note carries. Events leave it out: it may be long.
	Attachment string           `json:"attachment,omitzero"`
	Time       time.Time        `json:"time"` // by the maintainer's clock
	Received   time.Time        `json:"received"`
	After      statement.SHA256 `json:"after,omitzero"`
	Stands     bool             `json:"stands"` // a hold that is not released, or a withdrawal
	Path       string           `json:"path"`   // the bytes as received
}

// Acts answers GET /v1/acts?channel=&target=&stage=&artifact=&limit=&before=,
// newest first.
type Acts struct {
	Acts []Act  `json:"acts"`
	Next uint64 `json:"next,omitzero"` // value of "before" for the next page
}

// Subject answers GET /v1/subject?channel=&target=&stage=&artifact=: what the next
// act on exactly this subject has to follow. An empty target is the whole channel.
type Subject struct {
	act.Subject
	Known     bool             `json:"known"`         // there is a statement about the target, or the channel is meant
	Head      statement.SHA256 `json:"head,omitzero"` // newest hold or release; absent: none
	Held      bool             `json:"held"`
	Withdrawn bool             `json:"withdrawn"`
}

// Receipt answers GET /v1/receipts/{sha256}: what became of a message with those
// bytes. One that is not recorded yet is not found.
type Receipt struct {
	Message  statement.SHA256 `json:"message"`
	Accepted bool             `json:"accepted"`
	Code     statement.Code   `json:"code,omitzero"` // why not
	Reason   string           `json:"reason,omitzero"`
}

// Alarm is what must not happen silently.
type Alarm struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	From    string `json:"from"` // who raised it: [FromCoordinator], or the name of a signer on the bus
}

// FromCoordinator is who raises the alarms that are a coordinator's own.
const FromCoordinator = "coordinator"

// TargetAlarm is an alarm about a target.
type TargetAlarm struct {
	Alarm
	Artifact string    `json:"artifact"`
	At       time.Time `json:"at"`
}

// Alarms answers GET /v1/alarms?limit=&before=, newest first.
type Alarms struct {
	Alarms []ListedAlarm `json:"alarms"`
	Next   int64         `json:"next,omitzero"` // value of "before" for the next page
}

// ListedAlarm is an alarm with what it is about.
type ListedAlarm struct {
	TargetAlarm
	Channel  string `json:"channel"`
	Target   string `json:"target"`
	Stage    string `json:"stage"`
	TargetID string `json:"targetId,omitzero"` // absent: nobody made a statement about the target
}
