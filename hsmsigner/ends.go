package hsmsigner

import (
	"context"
	"slices"

	"quorate/internal/ends"
)

// ends lists what ends by itself: the policy, and the keys that it signs with.
func (s *Signer) ends() []ends.End {
	p := s.Policy()
	all := []ends.End{{What: ends.Policy, At: p.Expires}}
	for label, k := range s.keys() {
		if at, ok := k.checker().Expires(); ok && names(p, label) {
			all = append(all, ends.End{What: ends.Key, Name: label, At: at})
		}
	}
	slices.SortFunc(all, func(a, b ends.End) int { return a.At.Compare(b.At) })
	return all
}

// watchEnds warns of them each day. What it returns stops that.
func (v *Service) watchEnds(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ends.Watch(ctx, v.log, v.signer.ends, v.signer.now)
	}()
	return func() {
		cancel()
		<-ended
	}
}
