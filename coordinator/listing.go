package coordinator

import (
	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// listing says what lists and counters need to know of a case.
func listing(verdicts []quorum.Verdict, obs []quorum.Observation, sigs []store.Signature) store.Listing {
	l := store.Listing{Builders: map[string]store.BuilderCounts{}}
	for i := range sigs { // what is signed stays listed when no statement counts any more
		if l.First == 0 || sigs[i].Seq < l.First {
			l.First, l.Since = sigs[i].Seq, sigs[i].SignedAt
		}
	}
	if len(obs) > 0 {
		l.First, l.Since = obs[0].Seq, obs[0].Received
	}
	for i := range obs {
		o := &obs[i]
		b := l.Builders[o.Builder]
		b.Statements++
		if o.Status != "" && o.Status != statement.Withdrawn {
			b.Failed++
		}
		if o.Received.After(b.Last) {
			b.Last = o.Received
		}
		l.Builders[o.Builder] = b
	}
	for i := range verdicts {
		l.Artifacts = append(l.Artifacts, verdicts[i].Artifact)
		countBuilders(l.Builders, &verdicts[i])
	}
	return l
}

// countBuilders adds what a verdict says about builders: whose digest is the one
// that was agreed on, and whose is another. Where nothing is agreed on, nobody
// is right or wrong.
func countBuilders(by map[string]store.BuilderCounts, v *quorum.Verdict) {
	count := func(builder string, f func(*store.BuilderCounts)) {
		b := by[builder]
		f(&b)
		by[builder] = b
	}
	late := map[string]bool{}
	for i := range v.Late {
		l := &v.Late[i]
		if l.Withdrawn {
			continue
		}
		late[l.Builder] = true
		count(l.Builder, func(b *store.BuilderCounts) { b.Votes++; b.Differed++ })
	}
	for i := range v.Groups {
		g := &v.Groups[i]
		for _, m := range g.Members {
			if late[m.Builder] {
				continue
			}
			count(m.Builder, func(b *store.BuilderCounts) {
				b.Votes++
				switch {
				case v.SHA256 == statement.SHA256{}:
				case v.SHA256 == g.SHA256 && m.Agrees():
					b.Agreed++
				default:
					b.Differed++
				}
			})
		}
	}
	for _, ch := range v.Changed {
		count(ch.Builder, func(b *store.BuilderCounts) { b.Changed += 1 + ch.More })
	}
}

// everyState returns counts in which every state is.
func everyState(counts map[quorum.State]int) map[quorum.State]int {
	all := make(map[quorum.State]int, len(quorum.States))
	for _, s := range quorum.States {
		all[s] = counts[s]
	}
	return all
}
