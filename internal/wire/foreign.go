package wire

import (
	"fmt"
	"time"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// Limits of what one message of an importer holds. Base64 inside of JSON is a
// third longer, and the whole must fit into a message of the record.
const (
	MaxForeign     = 1 << 20   // bytes of JSON
	MaxForeignData = 750 << 10 // evidence and keys together
	MaxForeignKeys = 8
	MaxOrigin      = 2048
)

// Foreign carries a statement that somebody else made, as an importer found it.
// The importer is believed in nothing: origin and time are for people, and a key
// counts for the fingerprint that a policy pins.
type Foreign struct {
	Version  int       `json:"version"`
	Channel  string    `json:"channel"` // in which it is to count; that of the subject
	Origin   string    `json:"origin"`  // where it was found: a path or an address
	Fetched  time.Time `json:"fetched"` // when
	Evidence []byte    `json:"evidence"`
	Keys     [][]byte  `json:"keys,omitempty"`
}

// ID is the identity of what is carried, whoever carries it.
func (f *Foreign) ID() statement.SHA256 { return statement.ID(f.Evidence) }

// ParseForeign reads and checks the message of an importer.
func ParseForeign(data []byte) (*Foreign, error) {
	f := new(Foreign)
	if err := decode("foreign statement", data, MaxForeign, f); err != nil {
		return nil, err
	}
	return f, f.Check()
}

// Check refuses what no importer may send.
func (f *Foreign) Check() error {
	size := len(f.Evidence)
	for _, k := range f.Keys {
		size += len(k)
	}
	switch {
	case f.Version != quorum.Version:
		return fmt.Errorf("foreign statement: version %d, want %d", f.Version, quorum.Version)
	case !statement.ValidName(f.Channel):
		return fmt.Errorf("foreign statement: channel %.80q is not a name", f.Channel)
	case len(f.Evidence) == 0:
		return fmt.Errorf("foreign statement: evidence is empty")
	case len(f.Origin) > MaxOrigin:
		return fmt.Errorf("foreign statement: origin has %d bytes, at most %d", len(f.Origin), MaxOrigin)
	case len(f.Keys) > MaxForeignKeys:
		return fmt.Errorf("foreign statement: %d keys, at most %d", len(f.Keys), MaxForeignKeys)
	case size > MaxForeignData:
		return fmt.Errorf("foreign statement: %d bytes of evidence and keys, at most %d", size, MaxForeignData)
	}
	return nil
}
