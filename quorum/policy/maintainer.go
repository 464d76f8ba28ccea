package policy

import (
	"slices"

	"quorate/quorum/act"
	"quorate/quorum/sshsig"
	"quorate/quorum/statement"
)

// maxMaintainerKeys bounds the keys of one maintainer: each is compared with the
// key of every act.
const maxMaintainerKeys = 64

// Maintainer is a person who may act: hold, release, withdraw, ask again, note.
// None of it is a vote.
type Maintainer struct {
	Name string
	Keys []sshsig.PublicKey
}

type (
	fileMaintainer struct {
		Name string   `toml:"name"`
		Keys []string `toml:"keys"` // as in ssh-keygen's .pub files: "ssh-ed25519 AAAA... comment"
	}
	fileRights struct {
		Name   string     `toml:"name"`   // of a maintainer
		Rights []act.Kind `toml:"rights"` // "hold", "release", "withdraw", "rebuild", "note"
	}
)

// MaintainerOf returns whose key it is, or nil.
func (p *Policy) MaintainerOf(k sshsig.PublicKey) *Maintainer {
	for _, m := range p.Maintainers {
		if slices.ContainsFunc(m.Keys, func(o sshsig.PublicKey) bool { return o.String() == k.String() }) {
			return m
		}
	}
	return nil
}

// May reports whether the maintainer may do that in the channel.
func (c *Channel) May(maintainer string, k act.Kind) bool {
	return slices.Contains(c.rights[maintainer], k)
}

// Rights returns what each maintainer may do in the channel, by name.
func (c *Channel) Rights() map[string][]act.Kind { return c.rights }

func (l *loader) maintainer(f fileMaintainer) {
	if !l.claim("maintainer", f.Name) {
		return
	}
	m := &Maintainer{Name: f.Name}
	if len(f.Keys) == 0 {
		l.bad("maintainer %q has no keys", f.Name)
	}
	if len(f.Keys) > maxMaintainerKeys {
		l.bad("maintainer %q has %d keys, at most %d", f.Name, len(f.Keys), maxMaintainerKeys)
		return
	}
	for _, text := range f.Keys {
		l.maintainerKey(m, text)
	}
	l.p.Maintainers = append(l.p.Maintainers, m)
}

// maintainerKey takes a key that nobody else has. That of a builder lies on a
// machine that runs what others wrote.
func (l *loader) maintainerKey(m *Maintainer, text string) {
	k, err := sshsig.ParseAuthorizedKey(text)
	if err != nil {
		l.bad("maintainer %q: key: %w", m.Name, err)
		return
	}
	names := []string{k.String()}
	if bare, err := statement.NewPublicKey(k.Public()); err == nil {
		names = append(names, bare.String())
	}
	for _, name := range names {
		if other, twice := l.keys[name]; twice {
			l.bad("maintainer %q: its key %s is also a key of %q", m.Name, k.Fingerprint(), other)
			return
		}
	}
	l.keys[k.String()] = m.Name
	m.Keys = append(m.Keys, k)
}

func (l *loader) rights(c *Channel, list []fileRights) {
	c.rights = map[string][]act.Kind{}
	for _, f := range list {
		known := slices.ContainsFunc(l.p.Maintainers, func(m *Maintainer) bool { return m.Name == f.Name })
		switch _, twice := c.rights[f.Name]; {
		case !known:
			l.bad("channel %q: maintainers: there is no maintainer %q", c.Name, f.Name)
			continue
		case twice:
			l.bad("channel %q: maintainers: %q stands twice", c.Name, f.Name)
			continue
		case len(f.Rights) == 0:
			l.bad("channel %q: maintainers: %q has no rights", c.Name, f.Name)
		}
		for i, k := range f.Rights {
			if !k.Valid() {
				l.bad("channel %q: maintainers: %q: right %q is none of %q", c.Name, f.Name, k, act.Kinds)
			}
			if slices.Contains(f.Rights[:i], k) {
				l.bad("channel %q: maintainers: %q: right %q stands twice", c.Name, f.Name, k)
			}
		}
		c.rights[f.Name] = f.Rights
	}
}
