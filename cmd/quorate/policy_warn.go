package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"quorate/internal/ends"
	"quorate/quorum/policy"
)

// soon is how long before its end a key or a policy is warned about.
const soon = ends.Soon

// blockers is the least number of builders whose loss makes the rule impossible:
// an operator is lost with the last of its builders.
func blockers(r *policy.Rule, builders map[string]int) int {
	if r.IsOperator() {
		return builders[r.Name]
	}
	sizes := make([]int, len(r.Members))
	for i, m := range r.Members {
		sizes[i] = blockers(m, builders)
	}
	slices.Sort(sizes)
	sum := 0
	for _, s := range sizes[:len(sizes)-r.Need+1] {
		sum += s
	}
	return sum
}

// warnings names what loads and may still surprise.
func warnings(p *policy.Policy, at time.Time) []string {
	w := &warner{at: at, out: []string{}}
	if p.Expires.Before(at.Add(soon)) {
		w.add("the policy expires on %s; nothing is signed from then on", stamp(p.Expires))
	}
	for _, ch := range p.Channels {
		w.channel(ch)
	}
	w.sharedTargets(p)
	for _, o := range p.Operators {
		w.operator(p, o)
	}
	for _, ch := range p.Channels {
		w.usable(p, ch)
		w.foreign(p, ch)
	}
	return w.out
}

type warner struct {
	at  time.Time
	out []string
}

func (w *warner) add(format string, args ...any) { w.out = append(w.out, fmt.Sprintf(format, args...)) }

func (w *warner) channel(ch *policy.Channel) {
	if ch.Rule.CanSplit() {
		w.add("channel %s: two different digests could both pass (allow_split)", ch.Name)
	}
	if ch.Rule.MinPass() == 1 {
		w.add("channel %s: one operator alone is enough", ch.Name)
	}
	w.needsAll(ch, ch.Rule)
	if names := policy.Signables(ch.Sign); len(names) > 0 {
		w.add("channel %s: signs only files of which builders say %s, also in its other formats", ch.Name, strings.Join(names, ", "))
	}
	if ch.Dissent == policy.DissentReport && ch.Settle == 0 {
		w.add("channel %s: nobody who differs can stop a signature (dissent = \"report\" and no settle time)", ch.Name)
	}
}

// sharedTargets warns of each key with which several channels can sign one target. A
// digest is the only one for ever within its channel, and readers of a signature mostly
// do not see by which channel it was made.
func (w *warner) sharedTargets(p *policy.Policy) {
	byKey, keys := map[string][]*policy.Channel{}, []string{}
	for _, ch := range p.Channels {
		for _, o := range ch.Sign {
			if byKey[o.Key] == nil {
				keys = append(keys, o.Key)
			}
			if !slices.Contains(byKey[o.Key], ch) {
				byKey[o.Key] = append(byKey[o.Key], ch)
			}
		}
	}
	for _, key := range keys {
		if names, example := overlapping(byKey[key]); len(names) > 0 {
			w.add("key %s: channels %s can sign one target with it (%s): two digests of one file, and the easiest of their quorums is enough; give each a key of its own, or targets that do not overlap",
				key, strings.Join(names, ", "), example)
		}
	}
}

// overlapping names the channels whose targets overlap with those of another one, and
// patterns of the first two.
func overlapping(list []*policy.Channel) (names []string, example string) {
	for _, a := range list {
		for _, b := range list {
			x, y, overlap := a.Overlap(b)
			if a == b || !overlap {
				continue
			}
			if names = append(names, a.Name); len(names) == 1 {
				example = x + " and " + y
			}
			break
		}
	}
	return names, example
}

// needsAll warns where every member of a group is needed: one that is away stops
// everything that depends on the group.
func (w *warner) needsAll(ch *policy.Channel, r *policy.Rule) {
	if len(r.Members) > 1 && r.Need == len(r.Members) {
		w.add("channel %s: group %s needs all %d of its members; one that is lost stops it", ch.Name, r.Name, r.Need)
	}
	for _, m := range r.Members {
		w.needsAll(ch, m)
	}
}

func (w *warner) operator(p *policy.Policy, o *policy.Operator) {
	if !slices.ContainsFunc(p.Channels, func(ch *policy.Channel) bool { return ch.Index(o.Name) >= 0 }) {
		w.add("operator %s is in the quorum of no channel: its statements count nowhere", o.Name)
	}
	for _, b := range o.Builders {
		for i, k := range b.Keys {
			w.key(b, i, k)
		}
	}
}

// key warns about one key. That a rotated key has come to its end is as it
// should be.
func (w *warner) key(b *policy.Builder, i int, k policy.Key) {
	which := "the key"
	if i > 0 {
		which = fmt.Sprintf("rotated key %d", i)
	}
	switch {
	case !k.Revoked.IsZero() && w.at.Before(k.Revoked):
		w.add("builder %s: %s is revoked from %s on", b.Name, which, stamp(k.Revoked))
	case !k.Revoked.IsZero():
		w.add("builder %s: %s is revoked since %s", b.Name, which, stamp(k.Revoked))
	case i > 0 || k.NotAfter.IsZero():
	case k.NotAfter.Before(w.at):
		w.add("builder %s: %s expired on %s", b.Name, which, stamp(k.NotAfter))
	case k.NotAfter.Before(w.at.Add(soon)):
		w.add("builder %s: %s expires on %s", b.Name, which, stamp(k.NotAfter))
	}
	if i == 0 && w.at.Before(k.NotBefore) {
		w.add("builder %s: %s is valid from %s on", b.Name, which, stamp(k.NotBefore))
	}
}

// usable warns when the operators that have a key that counts at the time cannot
// meet the quorum together.
func (w *warner) usable(p *policy.Policy, ch *policy.Channel) {
	can := make([]bool, len(ch.Roster))
	var without []string
	for _, o := range p.Operators {
		i := ch.Index(o.Name)
		if i < 0 {
			continue
		}
		if can[i] = slices.ContainsFunc(o.Builders, w.works); !can[i] {
			without = append(without, o.Name)
		}
	}
	if ch.Rule.Missing(make([]bool, len(can)), can) < 0 {
		w.add("channel %s: the quorum cannot be met at %s: no key counts for %s", ch.Name, stamp(w.at), strings.Join(without, ", "))
	}
}

func (w *warner) works(b *policy.Builder) bool {
	return slices.ContainsFunc(b.Keys, func(k policy.Key) bool {
		return !w.at.Before(k.NotBefore) && (k.NotAfter.IsZero() || !w.at.After(k.NotAfter)) && (k.Revoked.IsZero() || w.at.Before(k.Revoked))
	})
}

// foreign warns of operators that an importer alone can speak for, where a channel
// is not made for what others state.
func (w *warner) foreign(p *policy.Policy, ch *policy.Channel) {
	var names []string
	for _, o := range p.Operators {
		if ch.Index(o.Name) >= 0 && !slices.ContainsFunc(o.Builders, hasBareKey) {
			names = append(names, o.Name)
		}
	}
	if len(names) == 0 || !ch.NeedsSHA512() {
		return
	}
	w.add("channel %s signs what is made from SHA-512, and statements signed with OpenPGP keys mostly have SHA-256 alone: %s", ch.Name, strings.Join(names, ", "))
}

func hasBareKey(b *policy.Builder) bool {
	return slices.ContainsFunc(b.Keys, func(k policy.Key) bool { return k.OpenPGP == "" })
}
