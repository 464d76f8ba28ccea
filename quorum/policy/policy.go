// Package policy says whose builds count: operators with their builders' keys,
// groups of operators with a threshold, and channels that name a group as their
// quorum and the signatures that follow from it.
//
// Guarantees: [Load] refuses a policy whose meaning could surprise: a key or a
// name that stands twice, a member of two groups, a cycle, a threshold that
// cannot be met, an unknown key in the file, an expiry in the past, and a quorum
// that two different digests could both pass. Counts are integers over a fixed
// roster, never percentages. Not guaranteed: that the operators really are
// independent of each other; only people can know that.
package policy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// MaxSize bounds a policy file, in bytes.
const MaxSize = 4 << 20

// maxEntries bounds the operators, groups and channels of a policy. A policy may
// come with foreign evidence, and every channel holds a roster of its own.
const maxEntries = 1024

// Policy is a loaded policy file. It is immutable after [Load].
type Policy struct {
	Version   uint64
	Expires   time.Time
	Operators []*Operator
	Channels  []*Channel
	Digest    statement.SHA256 // of the file's bytes
	KeyFiles  string           // folder of OpenPGP key files, relative to the policy file; may be empty

	Maintainers []*Maintainer

	builders map[string]*Builder
	filed    map[string]*Builder // every name that foreign statements are filed under
	channels map[string]*Channel
}

// Operator is a person or an organisation: the unit that has one vote.
type Operator struct {
	Name     string
	Builders []*Builder
}

// Builder is one machine or service of an operator.
type Builder struct {
	Name     string
	Operator string
	Platform string // for people, such as "linux/amd64"
	Keys     []Key  // the current key first, then rotated ones

	// For foreign statements alone; a statement of Quorate's own names its builder.
	FiledAs      []string // names that its statements are filed under besides its own
	ExpiredSince Expired  // what a key is worth that has expired since it signed
}

// Expired says whether an OpenPGP signature counts whose key has expired since.
type Expired string

// The rules for keys that have expired since.
const (
	ExpiredAccept Expired = "accept" // the signature was good when it was made, as far as its own date is true
	ExpiredReject Expired = "reject"
)

// Key is a statement key with the time in which it may be used. Exactly one of
// Public and OpenPGP is set.
type Key struct {
	Public    statement.PublicKey
	OpenPGP   string    // fingerprint of the primary key, 40 upper-case hex digits: for foreign statements only
	NotBefore time.Time // zero: no limit
	NotAfter  time.Time // zero: no limit
	Revoked   time.Time // zero: not revoked
}

// Dissent says what one differing operator does to an artifact that has its quorum.
type Dissent string

// The dissent rules.
const (
	DissentHold   Dissent = "hold"   // no signature while any operator of the quorum differs
	DissentReport Dissent = "report" // sign, and show who differs
)

// Channel is a policy namespace: which targets, whose quorum, what is signed.
type Channel struct {
	Name    string
	Targets []string      // patterns; "*" stands for any run of characters
	Rule    *Rule         // the quorum
	Roster  []string      // the operators in Rule, in the order of their index
	Settle  time.Duration // wait this long after agreement for dissent
	Dissent Dissent
	Sign    []Output

	rights map[string][]act.Kind // by maintainer
}

// Matches reports whether the channel is for the target.
func (c *Channel) Matches(target string) bool {
	for _, pattern := range c.Targets {
		if match(pattern, target) {
			return true
		}
	}
	return false
}

// Index returns the operator's place in the roster, or -1.
func (c *Channel) Index(operator string) int {
	for i, name := range c.Roster {
		if name == operator {
			return i
		}
	}
	return -1
}

// Channel returns the channel of that name, or nil.
func (p *Policy) Channel(name string) *Channel { return p.channels[name] }

// Builder returns the builder of that name, or nil.
func (p *Policy) Builder(name string) *Builder { return p.builders[name] }

// FiledAs returns the builder whose foreign statements are filed under the name,
// its own or one of FiledAs, or nil.
func (p *Policy) FiledAs(name string) *Builder { return p.filed[name] }

// FiledNames returns every name that [Policy.FiledAs] knows, sorted.
func (p *Policy) FiledNames() []string { return slices.Sorted(maps.Keys(p.filed)) }

// Channels reports the names of the channels in whose quorum the builder's
// operator is.
func (p *Policy) ChannelsOf(b *Builder) []string {
	var names []string
	for _, c := range p.Channels {
		if c.Index(b.Operator) >= 0 {
			names = append(names, c.Name)
		}
	}
	return names
}

// Expired reports whether the policy may no longer be used at the time.
func (p *Policy) Expired(at time.Time) bool { return !at.Before(p.Expires) }

// ErrExpired is returned by [Load] for a policy that is past its expiry.
var ErrExpired = errors.New("policy has expired")

// The file, as it is written. It is the reference of the policy's keys.
type (
	file struct {
		Version     uint64           `toml:"version"`    // raised by one with every change
		Expires     time.Time        `toml:"expires"`    // RFC 3339; nothing is signed from then on
		Keys        string           `toml:"keys"`       // folder of OpenPGP key files, relative to this file
		Operators   []fileOperator   `toml:"operator"`   // who has a vote
		Maintainers []fileMaintainer `toml:"maintainer"` // who may hold, release, withdraw, ask again
		Groups      []fileGroup      `toml:"group"`      // thresholds over operators and other groups
		Channels    []fileChannel    `toml:"channel"`    // what is signed, and on whose word
	}
	fileOperator struct {
		Name     string        `toml:"name"`
		Builders []fileBuilder `toml:"builder"`
	}
	fileBuilder struct {
		Name     string `toml:"name"`
		Platform string `toml:"platform"`
		fileKey
		Rotated      []fileKey `toml:"rotated"`       // keys it had before
		FiledAs      []string  `toml:"filed_as"`      // other names that its foreign statements are filed under
		ExpiredSince Expired   `toml:"expired_since"` // "accept" (default) or "reject": an OpenPGP key that expired after it signed
	}
	fileKey struct {
		Key       string    `toml:"key"`        // ed25519:BASE64, ecdsa-p256:BASE64 or openpgp:FINGERPRINT
		NotBefore time.Time `toml:"not_before"` // statements finished earlier do not count
		NotAfter  time.Time `toml:"not_after"`  // statements finished later do not count
		Revoked   time.Time `toml:"revoked"`    // from then on nothing by this key counts, whatever its date
	}
	fileGroup struct {
		Name    string   `toml:"name"`
		Need    any      `toml:"need"` // a count, "all" or "any"
		Members []string `toml:"members"`
	}
	fileChannel struct {
		Name        string       `toml:"name"`
		Targets     []string     `toml:"targets"`
		Quorum      string       `toml:"quorum"`      // a group, or one operator
		Settle      string       `toml:"settle"`      // such as "10m"; empty: sign at once
		Dissent     Dissent      `toml:"dissent"`     // "hold" (default) or "report"
		AllowSplit  bool         `toml:"allow_split"` // accept a quorum that two digests could pass
		Sign        []Output     `toml:"sign"`
		Maintainers []fileRights `toml:"maintainers"` // who may do what here
	}
)

// Load reads a policy file and checks it as of the time. The error names every
// problem found, one a line.
func Load(data []byte, at time.Time) (*Policy, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("policy: %d bytes, at most %d", len(data), MaxSize)
	}
	var f file
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("policy: %w", explain(err))
	}
	l := loader{f: f, p: &Policy{Version: f.Version, Expires: f.Expires.UTC(), Digest: sha256.Sum256(data), KeyFiles: f.Keys,
		builders: map[string]*Builder{}, filed: map[string]*Builder{}, channels: map[string]*Channel{}}}
	l.run()
	if len(l.problems) == 0 {
		l.checkText(data)
	}
	if len(l.problems) > 0 {
		return nil, fmt.Errorf("policy: %w", errors.Join(l.problems...))
	}
	if l.p.Expired(at) {
		return nil, fmt.Errorf("%w on %s; hint: raise version and expires, and give the new file to coordinator and signer",
			ErrExpired, l.p.Expires.Format(time.RFC3339))
	}
	return l.p, nil
}

// explain adds the offending line to an error of the TOML decoder.
func explain(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return fmt.Errorf("unknown key:\n%s", strict.String())
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		at := ""
		if key := dec.Key(); len(key) > 0 {
			at = key[len(key)-1] + " "
		}
		return fmt.Errorf("%s%s:\n%s", at, inWords(err.Error()), inWords(dec.String()))
	}
	return errors.New(inWords(err.Error()))
}

// What the decoder says of values of the wrong type is in terms of Go.
var (
	wrongType = regexp.MustCompile(`(?:toml: )?cannot decode TOML (\w+) into .* of type ([^\s:]+)`)
	wrongTime = regexp.MustCompile(`(?:toml: )?parsing time ("[^"]*") as [^\n]*?: cannot parse .*`)
)

// inWords says the same to people who write policies.
func inWords(text string) string {
	text = wrongTime.ReplaceAllString(text, "$1 is not a time; write one such as 2027-06-01T00:00:00Z, without quotes")
	return wrongType.ReplaceAllStringFunc(text, func(s string) string {
		m := wrongType.FindStringSubmatch(s)
		want := map[byte]string{'s': "text in quotes", '[': "a list in brackets", 'u': "a whole number", 'i': "a whole number", 'b': "true or false"}[m[2][0]]
		if want == "" {
			want = "something else"
		}
		return "is of the wrong type (" + m[1] + "): want " + want
	})
}

// match compares with a pattern in which "*" stands for any run of characters,
// slashes included; every other character, "?" too, stands for itself.
func match(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		middle, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, middle)
		}
		i := strings.Index(s, middle)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(middle):], more
	}
}

// toCount turns "all", "any" or an integer into a count of members.
func toCount(need any, members int) (int, error) {
	switch n := need.(type) {
	case nil:
		return 0, errors.New("need is missing: a count, \"all\" or \"any\"")
	case string:
		if n == "all" {
			return members, nil
		}
		if n == "any" {
			return 1, nil
		}
		return 0, fmt.Errorf("need %q is neither a count nor \"all\" nor \"any\"", n)
	case int64:
		if n < 1 || n > math.MaxInt32 {
			return 0, fmt.Errorf("need %d is less than one or too large", n)
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("need %v is neither a count nor \"all\" nor \"any\"", need)
}
