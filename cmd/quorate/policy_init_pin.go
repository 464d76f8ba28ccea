package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// pinner collects which key signed under which name.
type pinner struct {
	keys    []*pinned
	unknown map[string]int // names whose statements no key at hand verifies -> how many
}

func newPinner(files []keyFile) *pinner {
	p := &pinner{unknown: map[string]int{}}
	for _, f := range files {
		if f.err != nil {
			continue
		}
		at := slices.IndexFunc(p.keys, func(k *pinned) bool { return k.fingerprint == f.fingerprint })
		if at < 0 {
			at = len(p.keys)
			p.keys = append(p.keys, &pinned{fingerprint: f.fingerprint, signed: map[string]int{}})
		}
		p.keys[at].files = append(p.keys[at].files, f.name)
		p.keys[at].stems = append(p.keys[at].stems, f.stem)
	}
	return p
}

// take notes who signed one statement. Expired keys are noted too: the policy
// says what they are worth.
func (p *pinner) take(f *found) error {
	if f.statement == nil || f.statement.Kind != evidence.GuixSigs {
		return nil
	}
	name, by := f.statement.Claim.Name, (*pinned)(nil)
	for _, v := range f.statement.Verdicts {
		if k := p.key(v); k != nil {
			by = k
			if k.signed[name]++; v.Created.After(k.latest) {
				k.latest = v.Created
			}
		}
	}
	if by == nil {
		p.unknown[name]++
	}
	return nil
}

func (p *pinner) key(v evidence.Verdict) *pinned {
	if !v.Counts(evidence.Accept{ExpiredSince: true}) {
		return nil
	}
	fpr, err := openpgp.ParseFingerprint(v.Key)
	if err != nil {
		return nil
	}
	for _, k := range p.keys {
		if k.fingerprint == fpr {
			return k
		}
	}
	return nil
}

// operators gives each key a name that is free, and says what a person should
// look at.
func (p *pinner) operators() (list []*pinned, notes []string) {
	taken := map[string]*pinned{} // folded name -> whose
	for _, k := range p.keys {
		for _, name := range k.names() {
			folded := strings.ToLower(name)
			switch other := taken[folded]; {
			case !policy.ValidFiledAs(name):
				k.odd = append(k.odd, name)
			case other == nil || other == k: // or in another letter case
				taken[folded] = k
				k.claim(name)
			default:
				notes = append(notes, fmt.Sprintf("%+q is a name of openpgp:%s too; it was given to openpgp:%s.", name, k.fingerprint, other.fingerprint))
			}
		}
	}
	for _, k := range p.keys {
		if names := slices.Concat(k.filed, k.odd); k.name == "" && len(names) > 0 {
			k.name = free(taken, toName(names[0]))
			taken[strings.ToLower(k.name)] = k
		}
		for _, name := range k.odd {
			if k.signed[name] > 0 {
				notes = append(notes, fmt.Sprintf("%+q cannot stand in a policy, so what operator %s files under it counts for nobody.", name, k.name))
			}
		}
		if k.name != "" {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b *pinned) int { return cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	for _, name := range slices.Sorted(maps.Keys(p.unknown)) {
		notes = append(notes, fmt.Sprintf("No key at hand verifies %s filed under %+q.", plural(p.unknown[name], "statement"), name))
	}
	return list, notes
}

// names are the key's, that with most statements first; names of key files are
// last.
func (k *pinned) names() []string {
	names := slices.SortedFunc(maps.Keys(k.signed), func(a, b string) int {
		return cmp.Or(cmp.Compare(k.signed[b], k.signed[a]), cmp.Compare(a, b))
	})
	for _, s := range k.stems {
		if !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return names
}

// claim takes a name: the first that can be one is the operator's and the builder's.
func (k *pinned) claim(name string) {
	if k.name == "" && statement.ValidName(name) {
		k.name = name
		return
	}
	k.filed = append(k.filed, name)
}

// free makes a name one that nobody has.
func free(taken map[string]*pinned, name string) string {
	out := name
	for n := 2; taken[strings.ToLower(out)] != nil; n++ {
		end := fmt.Sprintf("-%d", n)
		out = name[:min(len(name), maxName-len(end))] + end
	}
	return out
}
