// Package ends tells people ahead of what will stop by itself at a date: a policy
// and the certificates of keys end on a day that somebody chose a year before.
package ends

import (
	"context"
	"log/slog"
	"time"
)

// Soon is how long before an end people are told of it, each day.
const Soon = 30 * 24 * time.Hour

// Again is the pause between two warnings of the same end.
const Again = 24 * time.Hour

// What ends.
const (
	Policy         = "policy"          // nothing is signed from then on
	Key            = "key"             // nothing is signed with this key from then on
	Builder        = "builder"         // what this builder makes from then on does not count
	BusCertificate = "bus-certificate" // nobody who checks it reaches the bus from then on
)

// End is one thing that ends.
type End struct {
	What string
	Name string // of the key or of the builder; else empty
	At   time.Time
}

// Warn logs what ends soon or has ended.
func Warn(log *slog.Logger, all []End, now time.Time) {
	for _, e := range all {
		at := e.At.UTC().Format(time.RFC3339)
		switch left := e.At.Sub(now); {
		case left <= 0:
			log.Error("has ended", "what", e.What, "name", e.Name, "end", at, "hint", hints[e.What])
		case left <= Soon:
			log.Warn("ends soon", "what", e.What, "name", e.Name, "end", at, "days", int(left/(24*time.Hour)), "hint", hints[e.What])
		}
	}
}

var hints = map[string]string{
	Policy:         "nothing is signed after it: give the policy a later end and a higher version, for the coordinator and the signer",
	Key:            "nothing is signed with the key after it: quorate-signer key extend, or a new X.509 certificate",
	Builder:        "what it builds after it does not count: rotate its key in the policy",
	BusCertificate: "agents and signers elsewhere cannot connect after it: replace the files of tls_cert and tls_key",
}

// Watch warns now and once a day until ctx is done. What read returns may change.
func Watch(ctx context.Context, log *slog.Logger, read func() []End, now func() time.Time) {
	tick := time.NewTicker(Again)
	defer tick.Stop()
	for {
		Warn(log, read(), now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
