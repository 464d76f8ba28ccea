package policy

import (
	"errors"
	"slices"

	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// Format is a signature format. Package format has the table of them.
type Format = format.Name

// OpenPGP is a detached OpenPGP v4 signature over a binary document (RFC 9580,
// section 5.2.1.1), made from the SHA-512 state of the file.
const OpenPGP = format.OpenPGP

// Output is one signature that a channel asks for.
type Output struct {
	Format Format `json:"format" toml:"format"`
	Key    string `json:"key" toml:"key"` // label of the key in the signer's token
}

// needs512 is what takes a quorum for a SHA-512 digest beside the one for SHA-256.
const needs512 = format.SHA512 | format.State512

// Needs returns what the votes must carry for all of the outputs together. An
// unknown format needs nothing here; [Load] lets none pass.
func Needs(outputs []Output) (n format.Need) {
	for _, o := range outputs {
		if f, err := format.Lookup(o.Format); err == nil {
			n |= f.Needs
		}
	}
	return n
}

// NeedsSHA512 reports whether one of the outputs is made from SHA-512.
func NeedsSHA512(outputs []Output) bool { return Needs(outputs)&needs512 != 0 }

// NeedsSHA512 reports whether an output of the channel is made from SHA-512.
func (c *Channel) NeedsSHA512() bool { return NeedsSHA512(c.Sign) }

// NeedsState reports whether one of the outputs is made from the SHA-512 state.
func NeedsState(outputs []Output) bool { return Needs(outputs)&format.State512 != 0 }

// signables are the names under which statements carry what a format is made
// from besides digests and states, in the order of the names.
var signables = []struct {
	need format.Need
	name string
}{
	{format.Digests256, statement.FileDigests},
	{format.TextState512, statement.TextState},
}

// Signables returns the signables that the outputs are made from, in the order of
// their names.
func Signables(outputs []Output) (names []string) {
	need := Needs(outputs)
	for _, s := range signables {
		if need&s.need != 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// IsBatch reports whether one of the outputs is a batch (see [format.IsBatch]). Its key
// makes nothing else, so what a channel has of one key is either a batch or has none.
func IsBatch(outputs []Output) bool {
	return slices.ContainsFunc(outputs, func(o Output) bool { return format.IsBatch(o.Format) })
}

func (l *loader) outputs(c *Channel) {
	if len(c.Sign) == 0 {
		l.bad("channel %q has no outputs: sign is missing or empty", c.Name)
	}
	seen := map[Output]bool{}
	for _, o := range c.Sign {
		if _, err := format.Lookup(o.Format); err != nil {
			l.bad("channel %q: %w", c.Name, err)
		}
		if !statement.ValidName(o.Key) {
			l.bad("channel %q: key %q is not a name", c.Name, o.Key)
		}
		if seen[o] {
			l.bad("channel %q: output %s with key %q stands twice", c.Name, o.Format, o.Key)
		}
		seen[o] = true
	}
}

// use is a format that a key signs, and the channel that says so first.
type use struct {
	format  Format
	channel string
}

// sharedKeys refuses a key that makes two formats of which one signature can be
// read as the other. Channels play no part: the key is the same everywhere.
func (l *loader) sharedKeys() {
	uses := map[string][]use{}
	for _, c := range l.p.Channels {
		for _, o := range c.Sign {
			l.useKey(uses, c.Name, o)
		}
	}
}

func (l *loader) useKey(uses map[string][]use, channel string, o Output) {
	for _, u := range uses[o.Key] {
		if u.format == o.Format {
			return // has been compared with all others
		}
	}
	for _, u := range uses[o.Key] {
		if err := format.SameKey(u.format, o.Format); errors.Is(err, format.ErrSharedKey) {
			l.bad("key %q signs %s in channel %q and %s in channel %q: %w", o.Key, u.format, u.channel, o.Format, channel, err)
		}
	}
	uses[o.Key] = append(uses[o.Key], use{o.Format, channel})
}
