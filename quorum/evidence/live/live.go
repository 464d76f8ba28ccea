// Package live decides whose vote a foreign statement is while builds go on: at
// the coordinator when it is received, and again at the signer and at whoever
// checks a signature, from the same bytes. Importing it lets package quorum admit
// such evidence.
//
// Guarantees: the verdict follows from policy, bytes, keys and time alone. Nobody
// who carried the bytes is believed: a key counts for the fingerprint that the
// policy pins; the builder's name in a path must be that of the builder whose key
// signed; and what no signature covers never chooses what a vote is for:
//
//   - the name of what is released, which guix.sigs writes nowhere, is that of the
//     channel's one target pkg:generic/NAME@...;
//   - the release, which stands in the path only, must stand in the name of each
//     file, which is signed. Files whose names do not have it are left out.
//
// Not guaranteed: the stage of a guix.sigs list. It is the carrier's word, and the
// same file at another stage is the same file for the signer's ledger. Nor that a
// key is the newest copy of itself: a carrier can bring one without its
// revocation, which then has to be written into the policy.
package live

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/kinds"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Why a statement that is somebody's does not count in a channel.
const (
	CodeRelease = statement.Code("release-not-signed") // no file name has the release that the path claims
	CodeName    = statement.Code("no-release-name")    // the channel does not say what its lists release
)

// MaxFiles bounds the files of one statement, as it is for agents' statements.
const MaxFiles = 4096

// kindSLSA is what a request calls foreign envelopes: "dsse" is the word for the
// statements of agents, which are envelopes too.
const kindSLSA = "slsa"

func init() { quorum.RegisterForeign(admit) }

// KindOf is the word for a kind of evidence in requests, lists and commands.
func KindOf(k evidence.Kind) string {
	if k == evidence.DSSE {
		return kindSLSA
	}
	return string(k)
}

// ParseKind is the other way round. It accepts the usual short names besides.
func ParseKind(word string) (evidence.Kind, error) {
	switch word {
	case kindSLSA, string(evidence.DSSE):
		return evidence.DSSE, nil
	case "link":
		return evidence.Link, nil
	}
	if k := evidence.Kind(word); slices.Contains(evidence.Kinds, k) {
		return k, nil
	}
	return "", fmt.Errorf("kind %.64q is not known", word)
}

// Reader judges under one policy. It is immutable.
type Reader struct {
	policy *policy.Policy
	roll   *evidence.Roll
	plain  []evidence.Key
	pins   map[string]bool // fingerprints
}

// NewReader prepares the keys that the policy pins.
func NewReader(p *policy.Policy) (*Reader, error) {
	r := &Reader{policy: p, roll: evidence.NewRoll(p), pins: map[string]bool{}}
	plain, pins, err := r.roll.Pins()
	if err != nil {
		return nil, fmt.Errorf("keys of the policy: %w", err)
	}
	r.plain = plain
	for _, f := range pins {
		r.pins[f] = true
	}
	return r, nil
}

// Read reads an encoded [evidence.Bundle] and judges its signatures as of the
// time, with the key files that came along and the keys that the policy has.
func (r *Reader) Read(raw []byte, keys [][]byte, at time.Time) (*evidence.Statement, error) {
	b, err := evidence.DecodeBundle(raw)
	if err != nil {
		return nil, err
	}
	ring, problem := r.ring(keys)
	s, err := kinds.Read(b, kinds.Keys{OpenPGP: ring, Plain: r.plain}, at)
	if err == nil && problem != nil {
		s.Warn("keys", problem.Error())
	}
	return s, err
}

// ring makes keys out of the files that came along. What is not pinned is passed
// over, and so is what cannot be read: it must not make a statement worse that is
// good without it.
func (r *Reader) ring(files [][]byte) (*openpgp.Ring, error) {
	var order []openpgp.Fingerprint
	copies := map[openpgp.Fingerprint][][]byte{}
	var problem error
	for _, file := range files {
		f, err := openpgp.Identify(file)
		if err != nil {
			problem = err
			continue
		}
		if !r.pins[f.String()] {
			continue
		}
		if copies[f] == nil {
			order = append(order, f)
		}
		copies[f] = append(copies[f], file)
	}
	var list []*openpgp.Key
	for _, f := range order {
		k, err := openpgp.ParseKey(f, copies[f]...)
		if err != nil {
			problem = err
			continue
		}
		list = append(list, k)
	}
	ring, err := openpgp.NewRing(list...)
	if err != nil {
		return nil, err
	}
	return ring, problem
}

// Ballot is a vote of one statement on one case.
type Ballot struct {
	Case        statement.Case
	Observation quorum.Observation // Seq and Received are the caller's to set
	Made        time.Time          // when it was signed, else built, by its own word; zero: not said
	Key         string             // the pinned key that counts
}

// Ballots says whose vote a statement is and what it is for in the channel, as of
// the time. The error is always an [*evidence.Error] and says why it counts for
// nobody.
func (r *Reader) Ballots(channel string, s *evidence.Statement, at time.Time) ([]Ballot, error) {
	ch := r.policy.Channel(channel)
	if ch == nil {
		return nil, evidence.Refuse(s.Kind, quorum.CodeUnknownChannel, "channel", "the policy has no channel %.64q", channel)
	}
	if len(s.Artifacts) > MaxFiles {
		return nil, evidence.Refuse(s.Kind, statement.CodeTooLarge, "artifacts", "%d files, at most %d", len(s.Artifacts), MaxFiles)
	}
	vote, err := r.roll.Attribute(s, at)
	if err != nil {
		return nil, err
	}
	b := vote.Builder
	switch {
	case ch.Index(b.Operator) < 0:
		return nil, evidence.Refuse(s.Kind, quorum.CodeBuilderChannel, "signature", "operator %q of builder %q is not in the quorum of channel %q", b.Operator, b.Name, ch.Name)
	case !vote.Key.Revoked.IsZero() && !at.Before(vote.Key.Revoked):
		return nil, evidence.Refuse(s.Kind, quorum.CodeKeyRevoked, "signature", "the key of builder %q is revoked since %s", b.Name, vote.Key.Revoked.Format(time.RFC3339))
	}
	cases, err := casesOf(ch, s)
	if err != nil {
		return nil, err
	}
	return ballots(ch, s, vote, cases)
}

func ballots(ch *policy.Channel, s *evidence.Statement, vote evidence.Vote, cases []evidence.Case) (list []Ballot, err error) {
	payload := payloadOf(s, vote)
	for _, c := range cases {
		full := statement.Case{Channel: ch.Name, Target: c.Target, Stage: c.Stage}
		if !ch.Matches(c.Target) {
			err = evidence.Refuse(s.Kind, quorum.CodeTargetChannel, "target", "%q matches no target of channel %q", c.Target, ch.Name)
			continue
		}
		if bad := full.Check(); bad != nil {
			err = evidence.Refuse(s.Kind, evidence.CodeBadField, "target", "%v", bad)
			continue
		}
		o := vote.Observe(s, c)
		o.Payload = payload
		list = append(list, Ballot{Case: full, Observation: o, Made: vote.Made, Key: vote.Key.String()})
	}
	if len(list) > 0 {
		err = nil
	}
	return list, err
}

// casesOf sorts the files by what they belong to, by what is signed.
func casesOf(ch *policy.Channel, s *evidence.Statement) ([]evidence.Case, error) {
	if s.Kind != evidence.GuixSigs {
		return evidence.Naming{}.Cases(s), nil
	}
	name, err := releaseName(ch)
	if err != nil {
		return nil, err
	}
	cases := evidence.Naming{Name: name}.Cases(s)
	for i := range cases {
		cases[i].Files = slices.DeleteFunc(cases[i].Files, func(f quorum.File) bool { return !names(f.Name, s.Claim.Release) })
		if len(cases[i].Files) == 0 {
			return nil, evidence.Refuse(s.Kind, CodeRelease, "path: release", "no file name in the list has %.64q, and the path, which has it, is not signed", s.Claim.Release)
		}
	}
	return cases, nil
}

// releaseName is NAME of the channel's target pkg:generic/NAME@..., of which there
// must be exactly one: a key may sign for two projects, and whoever carries a list
// must not choose between them.
func releaseName(ch *policy.Channel) (string, error) {
	const prefix = "pkg:generic/"
	var found []string
	for _, t := range ch.Targets {
		rest, ok := strings.CutPrefix(t, prefix)
		name, _, versioned := strings.Cut(rest, "@")
		if ok && versioned && name != "" && !strings.Contains(name, "*") && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return "", evidence.Refuse(evidence.GuixSigs, CodeName, "channel", "channel %q has %d targets of the form %sNAME@*, and exactly one says what a list releases", ch.Name, len(found), prefix)
	}
	return found[0], nil
}

// names reports whether a file name has the release as a word of its own:
// bitcoin-22.0-x.tar.gz is of 22.0, and neither of 2.0 nor of 22.0rc1.
func names(file, release string) bool {
	version := strings.TrimPrefix(release, "v")
	if version == "" {
		return false
	}
	for at := 0; ; {
		i := strings.Index(file[at:], version)
		if i < 0 {
			return false
		}
		from, to := at+i, at+i+len(version)
		if beginsWord(file[:from]) && endsWord(file[to:]) {
			return true
		}
		at = from + 1
	}
}

// beginsWord allows a "v" before the release, as in name-v22.0.tar.gz.
func beginsWord(before string) bool {
	if rest, ok := strings.CutSuffix(before, "v"); ok {
		before = rest
	}
	return before == "" || strings.ContainsRune("-_/", rune(before[len(before)-1]))
}

// endsWord takes ".1" and "rc1" for more of a version, ".tar" for an ending.
func endsWord(after string) bool {
	switch {
	case after == "" || strings.ContainsRune("-_/", rune(after[0])):
		return true
	case after[0] == '.':
		return len(after) > 1 && (after[1] < '0' || after[1] > '9')
	}
	return false
}

// payloadOf hashes what is said, without the envelope: a carrier can wrap the same
// words anew, and must not bring back a vote by that which has changed since.
func payloadOf(s *evidence.Statement, v evidence.Vote) statement.SHA256 {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, word := range []string{"quorate-foreign-payload-v1", string(s.Kind), v.Builder.Name, s.Claim.Release, s.Claim.Stage, s.Subject,
		s.Built.UTC().Format(time.RFC3339Nano), v.Verdict.Created.UTC().Format(time.RFC3339Nano)} {
		put([]byte(word))
	}
	for i := range s.Artifacts {
		a := &s.Artifacts[i]
		put([]byte(a.Name))
		put(a.SHA256[:])
		put(a.SHA512[:])
	}
	return statement.SHA256(h.Sum(nil))
}

// admit is the [quorum.ForeignReader].
func admit(p *policy.Policy, e quorum.Evidence, c statement.Case, at time.Time) (quorum.Observation, error) {
	var none quorum.Observation
	r, err := NewReader(p)
	if err != nil {
		return none, err
	}
	s, err := r.Read(e.Raw, e.Keys, at)
	if err != nil {
		return none, err
	}
	if KindOf(s.Kind) != e.Kind {
		return none, evidence.Refuse(s.Kind, evidence.CodeWrongKind, "kind", "the request calls it %.64q", e.Kind)
	}
	list, err := r.Ballots(c.Channel, s, at)
	if err != nil {
		return none, err
	}
	i := slices.IndexFunc(list, func(b Ballot) bool { return b.Case == c })
	if i < 0 {
		return none, evidence.Refuse(s.Kind, evidence.CodeBadField, "target", "statement %s is about another target or stage", s.ID)
	}
	o := list[i].Observation
	o.Received = at
	return o, nil
}

// Claims returns what evidence says about a case, for a request that carries it. It
// does not ask whose word that is: whoever checks the request does.
func Claims(p *policy.Policy, c statement.Case, raw []byte, keys [][]byte) (*statement.Statement, error) {
	ch := p.Channel(c.Channel)
	if ch == nil {
		return nil, evidence.Refuse("", quorum.CodeUnknownChannel, "channel", "the policy has no channel %.64q", c.Channel)
	}
	b, err := evidence.DecodeBundle(raw)
	if err != nil {
		return nil, err
	}
	s, err := kinds.Read(b, kinds.Keys{}, time.Time{})
	if err != nil {
		return nil, err
	}
	cases, err := casesOf(ch, s)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cases, func(o evidence.Case) bool { return o.Target == c.Target && o.Stage == c.Stage })
	if i < 0 {
		return nil, evidence.Refuse(s.Kind, evidence.CodeBadField, "target", "statement %s is about another target or stage", s.ID)
	}
	files := make([]statement.Artifact, len(cases[i].Files))
	for n, f := range cases[i].Files {
		files[n] = statement.Artifact{Name: f.Name, SHA256: f.SHA256, SHA512: f.SHA512}
	}
	return statement.Foreign(KindOf(s.Kind), c, raw, keys, files), nil
}

// Pinned reports whether the policy pins a key that one of the verdicts names.
func (r *Reader) Pinned(verdicts []evidence.Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v evidence.Verdict) bool { return v.Key != "" && r.roll.Holds(v.Key) })
}
