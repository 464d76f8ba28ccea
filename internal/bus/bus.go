// Package bus names what travels over NATS, says who may send and read what,
// and connects to it.
//
// It holds the stream and subject names, the table of roles and permissions,
// the file of users, and a connection whose failures can be told apart. Agents
// and the command line link it, so it must never import nats-server; the
// server lives in the package embedded.
//
// # Guarantees
//
//   - A publish that returns nil was stored: the acknowledgement of the right
//     stream was received.
//   - A publish that the server's permissions deny fails at once with a
//     [DeniedError]. (To a bare client such a denial looks like a timeout.)
//   - [ErrUnavailable] means that trying again later may help; every other
//     error means that it will not, unless somebody changes something.
//   - One table ([Permissions]) feeds the embedded server and the
//     configuration written for an external one.
//   - [EnsureStreams] never changes an existing stream. A stream that keeps
//     less than it should is an error.
//   - A seed never appears in an error or a log line.
//
// # Non-guarantees
//
//   - NATS is believed by nobody. It may drop, delay, repeat, reorder and lose
//     acknowledged messages. Readers must verify what they receive, and senders
//     must keep what they sent until it is confirmed end to end.
//   - Rights keep users off each other's subjects; they do not make what is on
//     a subject true. A user can have the server write the text of its answers
//     to any subject that the user may publish to.
//   - Whoever controls a coordinator, or the machine of the server, can remove
//     streams. What they held must be kept elsewhere too.
//   - [ErrUnavailable] after a timeout does not say that nothing was stored. A
//     message id ([MsgID]) makes a repetition within two minutes harmless;
//     after that only the reader's own idempotence does.
package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// The streams. RECORD is the one that decides: everything that changes what is
// true has one total order in it.
const (
	StreamRecord   = "QUORATE_RECORD"
	StreamJobs     = "QUORATE_JOBS"
	StreamRequests = "QUORATE_REQUESTS"
	StreamAlarms   = "QUORATE_ALARMS"

	// StreamSignerAlarms is what signers raise, under their names. Coordinators read
	// it and raise it again on [StreamAlarms].
	StreamSignerAlarms = "QUORATE_SIGNER_ALARMS"
)

const (
	// MaxPayload is the server's limit for one message, headers included. It
	// is the largest value for which nats-server does not warn; a sign request
	// with its evidence is the only message that comes near it.
	MaxPayload = 8 << 20

	// MaxRecord is the largest payload of a message in the record stream: the
	// protocol's limit for one envelope.
	MaxRecord = 1 << 20

	// headerRoom is left for headers, which NATS counts as part of the message.
	headerRoom = 64 << 10

	// MaxAlarm is the largest payload of an alarm.
	MaxAlarm = 64 << 10

	// MaxRequest is the largest payload of a sign request. Evidence is base64
	// inside JSON, so about five envelopes of the largest legal size fit. A
	// request that is too large must carry fewer statements: a quorum is
	// enough, the evidence need not be everything that is known.
	MaxRequest = MaxPayload - headerRoom
)

// DefaultListen and DefaultURL are where the bus is when nothing is configured:
// not NATS's own port, on which another server may well run.
const (
	DefaultListen = "127.0.0.1:7422"
	DefaultURL    = "nats://" + DefaultListen
)

// JobsKept is how long a job waits for builders that are away.
const JobsKept = 7 * 24 * time.Hour

const (
	alarmsKept = 90 * 24 * time.Hour

	// Signers raise few alarms. One that is not to be trusted must not fill the disk,
	// nor push what another one says out before coordinators have read it.
	signerAlarmsEach  = 10_000 // of one signer in one channel
	signerAlarmsBytes = 256 << 20

	dedupWindow = 2 * time.Minute
	ackWait     = time.Minute
)

// MsgID is the Nats-Msg-Id of a payload: its SHA-256 in hex. Equal bytes are
// one message.
func MsgID(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
