// Package api has the JSON types of the coordinator's read-only HTTP interface,
// shared by the server and the command line. Times are RFC 3339 in UTC, digests
// lower-case hex.
package api

import (
	"time"

	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// DefaultListen is where the coordinator listens when nothing is configured.
const DefaultListen = "127.0.0.1:7780"

// Error is the body of every answer that is not a success.
type Error struct {
	Code    string `json:"code"` // stable word, see the codes below
	Message string `json:"message"`
}

// Codes of errors.
const (
	CodeNotFound         = "not-found"
	CodeBadRequest       = "bad-request"
	CodeMethod           = "method-not-allowed"
	CodeNotReady         = "not-ready"
	CodeInternal         = "internal"
	CodeBadHost          = "bad-host"          // the request was not made for this server
	CodeUnknownParameter = "unknown-parameter" // the query has one that the path does not take
	CodeBadCursor        = "bad-cursor"        // "after" is not what a page of the same list had as "next"
)

// Channels answers GET /v1/channels.
type Channels struct {
	Policy   Policy    `json:"policy"`
	Channels []Channel `json:"channels"`
}

// Policy is the loaded policy.
type Policy struct {
	quorum.PolicyRef
	Expires time.Time `json:"expires"`
}

// Channel is one channel with its counts of artifacts.
type Channel struct {
	Name    string               `json:"name"`
	Targets []string             `json:"targets"`
	Quorum  string               `json:"quorum"`
	Roster  []string             `json:"roster"`
	Settle  string               `json:"settle"`
	Dissent policy.Dissent       `json:"dissent"`
	Sign    []policy.Output      `json:"sign"`
	Counts  map[quorum.State]int `json:"counts"`
}

// Target is one case in a list.
type Target struct {
	ID      string               `json:"id"` // path element of /v1/targets/{id}
	Channel string               `json:"channel"`
	Target  string               `json:"target"`
	Stage   string               `json:"stage"`
	State   quorum.State         `json:"state"` // the most pressing of its artifacts' states
	Counts  map[quorum.State]int `json:"counts"`
	Since   time.Time            `json:"since,omitzero"` // when the first statement about it arrived
	Updated time.Time            `json:"updated"`        // when the newest one did
}

// Targets answers GET /v1/targets?channel=&state=&q=&builder=&differs=&changed=&newer=&older=&order=&limit=&after=
// in the order in which the record first heard of them.
type Targets struct {
	Targets []Target `json:"targets"`
	// Next is the value of "after" for the next page; empty at the end. A page
	// with a next one may be short or empty: looking for what is rare ends after
	// a bounded amount of work and goes on with the next page.
	Next string `json:"next,omitzero"`
}

// TargetDetail answers GET /v1/targets/{id}.
type TargetDetail struct {
	Target
	Artifacts  []Artifact      `json:"artifacts"`
	Statements []StatementInfo `json:"statements"`       // in the order of the record, superseded ones included
	Alarms     []TargetAlarm   `json:"alarms,omitempty"` // newest last
	Acts       []Act           `json:"acts,omitempty"`   // of maintainers, newest first; of those on the whole channel a hold that stands
}

// Artifact is the verdict on one file and what became of it.
type Artifact struct {
	quorum.Verdict
	Channel    string      `json:"channel"`
	Target     string      `json:"target"`
	Stage      string      `json:"stage"`
	TargetID   string      `json:"targetId"`
	Requests   []Request   `json:"requests,omitempty"` // what the signer was asked
	Signatures []Signature `json:"signatures,omitempty"`
	Evidence   string      `json:"evidence,omitzero"` // path of the evidence file, once signed
}

// Request is the state of one question to the signer.
type Request struct {
	ID       statement.SHA256 `json:"id"`
	Key      string           `json:"key"`
	Attempts int              `json:"attempts"`         // times it was asked
	Asked    time.Time        `json:"asked"`            // last time
	Next     time.Time        `json:"next,omitzero"`    // when it is asked again by itself
	Refusal  *quorum.Refusal  `json:"refusal,omitzero"` // the latest no
	Answered time.Time        `json:"answered,omitzero"`
	Parts    *Parts           `json:"parts,omitzero"` // of a batch, once one is there
}

// Parts says how much of a batch of signatures is there. It is a signature of the
// artifact when all parts are.
type Parts struct {
	Have  int `json:"have"`
	Count int `json:"count"`
}

// Signature is one signature in a list; its bytes are at Path.
type Signature struct {
	policy.Output
	Fingerprint string           `json:"fingerprint"`
	SignedAt    time.Time        `json:"signedAt"`
	Request     statement.SHA256 `json:"request"`
	Count       int              `json:"count,omitzero"` // of signatures at Path, if it is a batch
	Path        string           `json:"path"`
}

// StatementInfo is one statement about a target.
type StatementInfo struct {
	ID       statement.SHA256 `json:"id"`
	Seq      uint64           `json:"seq"`
	Operator string           `json:"operator"`
	Builder  string           `json:"builder"`
	Received time.Time        `json:"received"`
	Started  time.Time        `json:"started,omitzero"`
	Finished time.Time        `json:"finished,omitzero"`
	Status   statement.Status `json:"status,omitzero"` // empty for a vote
	Reason   string           `json:"reason,omitzero"`
	Path     string           `json:"path"` // the bytes as received
	Foreign  *Foreign         `json:"foreign,omitempty"`
	Log      *Log             `json:"log,omitempty"` // of the build; of the newest 64 statements that name one
}

// Foreign is what is known of a statement that an importer brought: what others
// made, and what was found of its signatures. Its bytes are at Path; with
// ?part=body, signature, or key they are as they were found.
type Foreign struct {
	Kind     string             `json:"kind"`
	Importer string             `json:"importer"`         // who carried it; believed in nothing
	Origin   string             `json:"origin"`           // where it was found, by the importer's word
	Fetched  time.Time          `json:"fetched,omitzero"` // likewise
	Judged   time.Time          `json:"judged"`           // as of when the signatures were judged
	Verdicts []SignatureVerdict `json:"verdicts"`
}

// SignatureVerdict is the judgement on one signature of a foreign statement.
type SignatureVerdict struct {
	Status  string    `json:"status"`
	Key     string    `json:"key,omitzero"`     // the pinned key that made it
	Created time.Time `json:"created,omitzero"` // by its own word
	Reason  string    `json:"reason"`
}

// Artifacts answers GET /v1/artifacts/{digest}: every artifact for which
// somebody voted with that digest, which is given back as the one it is.
type Artifacts struct {
	SHA256    statement.SHA256 `json:"sha256,omitzero"`
	SHA512    statement.SHA512 `json:"sha512,omitzero"`
	Artifacts []Artifact       `json:"artifacts"`
}

// Rejected answers GET /v1/rejected?limit=&before=, newest first.
type Rejected struct {
	Rejected []Rejection `json:"rejected"`
	Next     uint64      `json:"next,omitzero"` // value of "before" for the next page
}

// Rejection is one message that can never be accepted.
type Rejection struct {
	Seq      uint64           `json:"seq"`
	Subject  string           `json:"subject"`
	SHA256   statement.SHA256 `json:"sha256"` // of the received bytes
	Code     statement.Code   `json:"code"`
	Message  string           `json:"message"`
	Received time.Time        `json:"received"`
}

// Event is the data of one server-sent event of GET
// /v1/events?channel=&target=&sha256=. The event's type is "verdict"; its id
// goes into Last-Event-ID to resume. An event of type "reset" says that events
// were missed and that the reader should read the state anew.
type Event struct {
	Channel  string        `json:"channel"`
	Target   string        `json:"target"`
	Stage    string        `json:"stage"`
	TargetID string        `json:"targetId"`
	Artifact string        `json:"artifact"`
	State    quorum.State  `json:"state"`
	Was      quorum.State  `json:"was,omitzero"` // before; the same when only the reasons changed
	Reason   quorum.Reason `json:"reason"`

	WasReason quorum.Reason      `json:"wasReason,omitzero"` // before
	Digests   []statement.SHA256 `json:"digests"`            // all that were voted for

	At time.Time `json:"at"` // by the clock of this coordinator

	// Of events of another type than "verdict"; see EventAct and EventAlarm.
	Act   *Act   `json:"act,omitzero"`
	Alarm *Alarm `json:"alarm,omitzero"`
}

// Ready answers GET /readyz, with status 503 unless Ready.
type Ready struct {
	Ready  bool             `json:"ready"`
	Checks map[string]Check `json:"checks"` // "bus", "database", "record", "policy"
}

// Check is one condition of readiness.
type Check struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitzero"`
}
