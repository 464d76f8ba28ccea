package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// LackingSubjects returns the configurations, with all their subjects, of the
// streams that a former version made: they are as they must be but for subjects
// that came later. To add these loses nothing. No user has the right to it, the
// coordinator included: who may change a stream may also empty it.
func LackingSubjects(ctx context.Context, js jetstream.JetStream, replicas int) (lacking []jetstream.StreamConfig, err error) {
	for _, want := range StreamConfigs(replicas) {
		s, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at stream %s: %w", want.Name, err)
		}
		have := s.CachedInfo().Config
		missing := slices.ContainsFunc(want.Subjects, func(s string) bool { return !slices.Contains(have.Subjects, s) })
		strange := slices.ContainsFunc(have.Subjects, func(s string) bool { return !slices.Contains(want.Subjects, s) })
		if !missing || strange {
			continue
		}
		have.Subjects = want.Subjects
		if checkStream(want, have) == nil {
			lacking = append(lacking, have)
		}
	}
	return lacking, nil
}
