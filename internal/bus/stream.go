package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrStreamDiffers says that a stream exists but does not keep what it should.
var ErrStreamDiffers = errors.New("existing stream differs from what is needed")

// StreamConfigs is how the five streams must be. Replicas below one means one.
func StreamConfigs(replicas int) []jetstream.StreamConfig {
	replicas = max(replicas, 1)
	base := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		Replicas: replicas, Duplicates: dedupWindow, MaxMsgSize: MaxPayload,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1,
	}
	record, jobs, requests, alarms, signers := base, base, base, base, base

	record.Name = StreamRecord
	record.Subjects = []string{prefixStatements + "*.*", prefixSignatures + "*", prefixControl + "*", prefixForeign + "*.*"}
	record.MaxMsgSize = MaxRecord + headerRoom
	// Should a limit ever be hit after all, the new message is refused and its
	// sender knows; an old one is never dropped.
	record.Discard = jetstream.DiscardNew
	record.DenyDelete, record.DenyPurge = true, true

	jobs.Name = StreamJobs
	jobs.Subjects = []string{prefixJobs + "*"}
	jobs.MaxAge = JobsKept

	requests.Name = StreamRequests
	requests.Subjects = []string{prefixRequests + "*"}
	requests.Retention = jetstream.WorkQueuePolicy

	alarms.Name = StreamAlarms
	alarms.Subjects = []string{prefixAlarms + "*"}
	alarms.MaxAge = alarmsKept

	signers.Name = StreamSignerAlarms
	signers.Subjects = []string{prefixAlarms + "*.*"}
	signers.MaxAge, signers.MaxMsgSize = alarmsKept, MaxAlarm+headerRoom
	signers.MaxMsgsPerSubject, signers.MaxBytes = signerAlarmsEach, signerAlarmsBytes

	return []jetstream.StreamConfig{record, jobs, requests, alarms, signers}
}

// EnsureStreams creates the streams that are missing and checks the others. It
// never changes one that exists: a stream that differs in a property that
// matters gives an error that wraps [ErrStreamDiffers] and names the property,
// because repairing it in silence would hide that something was lost already.
func EnsureStreams(ctx context.Context, js jetstream.JetStream, replicas int) error {
	for _, want := range StreamConfigs(replicas) {
		have, err := ensureStream(ctx, js, want)
		if err != nil {
			return fmt.Errorf("ensure stream %s: %w", want.Name, err)
		}
		if err := checkStream(want, have); err != nil {
			return fmt.Errorf("ensure stream %s: %w", want.Name, err)
		}
	}
	return nil
}

// ensureStream returns the configuration the server has in the end. Two
// coordinators may start at once: the loser of that race looks again.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, want)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		s, err = js.Stream(ctx, want.Name)
	}
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

func checkStream(want, have jetstream.StreamConfig) error {
	for _, p := range append(keepingProperties(want, have), writingProperties(want, have)...) {
		if !p.ok {
			return fmt.Errorf("%w: %s is %v, want %v (hint: compare with 'nats stream info', then change or replace the stream by hand)",
				ErrStreamDiffers, p.name, p.have, p.want)
		}
	}
	return nil
}

type property struct {
	name       string
	have, want any
	ok         bool
}

// same compares a property whose every difference matters.
func same[T comparable](name string, have, want T) property {
	return property{name, have, want, have == want}
}

// keepingProperties are those that decide how long and how well a message is kept.
func keepingProperties(want, have jetstream.StreamConfig) []property {
	return []property{
		same("storage", have.Storage, want.Storage),
		same("retention", have.Retention, want.Retention),
		same("discard policy", have.Discard, want.Discard),
		same("deny delete", have.DenyDelete, want.DenyDelete),
		same("deny purge", have.DenyPurge, want.DenyPurge),
		same("max age", have.MaxAge, want.MaxAge),
		same("max messages", have.MaxMsgs, want.MaxMsgs),
		same("max bytes", have.MaxBytes, want.MaxBytes),
		same("max messages per subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject),
		// A roll-up or a message with its own time to live lets a sender remove
		// what is already recorded.
		same("allow rollup", have.AllowRollup, want.AllowRollup),
		same("allow message ttl", have.AllowMsgTTL, want.AllowMsgTTL),
		{"replicas", have.Replicas, want.Replicas, have.Replicas >= want.Replicas},
	}
}

// writingProperties are those that decide what gets in, and whether the sender
// learns of it.
func writingProperties(want, have jetstream.StreamConfig) []property {
	haveSubjects, wantSubjects := slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects))
	return []property{
		{"subjects", haveSubjects, wantSubjects, slices.Equal(haveSubjects, wantSubjects)},
		{"max message size", have.MaxMsgSize, want.MaxMsgSize, have.MaxMsgSize == -1 || have.MaxMsgSize >= want.MaxMsgSize},
		{"duplicates window", have.Duplicates, want.Duplicates, have.Duplicates >= want.Duplicates},
		same("no ack", have.NoAck, want.NoAck),
		same("sealed", have.Sealed, want.Sealed),
		// A mirror, a source or a transformation puts messages in, or changes
		// subjects, past the permissions of whoever sent them.
		same("mirror", have.Mirror != nil, false),
		same("sources", len(have.Sources), 0),
		same("subject transform", have.SubjectTransform != nil, false),
		same("republish", have.RePublish != nil, false),
	}
}
