package api

import "quorate/quorum/statement"

// Log is the log of a build, as a statement names it.
type Log struct {
	SHA256 statement.SHA256 `json:"sha256"`
	State  string           `json:"state"`          // see LogKept and the others
	Path   string           `json:"path,omitzero"`  // of the log itself, while it is kept
	Bytes  int64            `json:"bytes,omitzero"` // of one that is too large, where its builder says so
}

// States of a log.
const (
	LogKept     = "kept"      // it is here
	LogExpired  = "expired"   // it was here
	LogWanted   = "wanted"    // to be asked for when its turn comes
	LogAsked    = "asked"     // its builder has not answered yet
	LogLarge    = "too-large" // than is kept here
	LogGone     = "gone"      // its builder no longer keeps it
	LogNotGiven = "not-given" // its builder lets no logs go
	LogMismatch = "mismatch"  // its builder sent something else than it signed
	LogNotAsked = "not-asked" // nobody asked for it: its builder keeps it
)
