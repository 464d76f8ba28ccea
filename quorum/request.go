package quorum

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Limits of a sign request and of an answer, in bytes of their JSON.
const (
	MaxRequest  = 8<<20 - 64<<10 // what fits into a bus message of 8 MiB: the evidence of some dozen operators, of up to ten for the largest batch
	MaxAnswer   = 1 << 20
	MaxEvidence = 256 // statements
	MaxOutputs  = 64  // signatures of one request
)

// Version is the version of requests and answers.
const Version = 1

// KindDSSE is evidence in the form of package statement.
const KindDSSE = "dsse"

// StateSHA512 is the name under which a request carries the file's SHA-512 state.
const StateSHA512 = "file:sha512-state"

// Digests identify a file. The SHA-512 is zero where the channel signs nothing
// that is made from it: then nobody had to agree on one.
type Digests struct {
	SHA256 statement.SHA256 `json:"sha256"`
	SHA512 statement.SHA512 `json:"sha512,omitzero"`
}

// Agree reports whether both can be of one file: what both of them say is alike.
func (d Digests) Agree(o Digests) bool {
	none := statement.SHA512{}
	return d.SHA256 == o.SHA256 && (d.SHA512 == o.SHA512 || d.SHA512 == none || o.SHA512 == none)
}

// In reports whether a vote on the file carries everything that the digests say.
func (d Digests) In(a *statement.Artifact) bool {
	return d.SHA256 == a.SHA256 && (d.SHA512 == a.SHA512 || d.SHA512 == statement.SHA512{})
}

// agreedDigests is what a request under the channel is about. Without a format
// that needs it the SHA-512 stays out: it would be one that a single operator may
// have made up, and one more vote could change it and with it the request.
func agreedDigests(ch *policy.Channel, v *Verdict) Digests {
	if ch != nil && !ch.NeedsSHA512() {
		return Digests{SHA256: v.SHA256}
	}
	return Digests{v.SHA256, v.SHA512}
}

// PolicyRef names the policy that was decided by.
type PolicyRef struct {
	Version uint64           `json:"version"`
	Digest  statement.SHA256 `json:"digest"` // of the policy file's bytes
}

// Evidence is one statement as it was received.
type Evidence struct {
	Kind string `json:"kind"`
	Raw  []byte `json:"raw"`
	// Keys are key files that came with foreign evidence. Each is believed for the
	// fingerprint that the policy pins, and for nothing else.
	Keys [][]byte `json:"keys,omitempty"`
}

// Request asks a signer for signatures over one artifact.
type Request struct {
	Version   int                       `json:"version"`
	ID        statement.SHA256          `json:"id"`
	Channel   string                    `json:"channel"`
	Target    string                    `json:"target"`
	Stage     string                    `json:"stage"`
	Artifact  string                    `json:"artifact"`
	Digest    Digests                   `json:"digest"`
	Signables map[string]jsontext.Value `json:"signables"`
	Outputs   []policy.Output           `json:"outputs"`
	Policy    PolicyRef                 `json:"policy"`
	Evidence  []Evidence                `json:"evidence"`
	Acts      [][]byte                  `json:"acts,omitempty"` // of maintainers, as they were received
}

// Case returns what the request is about.
func (r *Request) Case() statement.Case {
	return statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}
}

// ComputeID hashes what is to be signed: version, channel, target, stage,
// artifact, digests, states and outputs, each behind its length in eight bytes.
// Policy, evidence and acts stay out, so that one more vote is not another request.
func (r *Request) ComputeID() statement.SHA256 {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put([]byte(fmt.Sprintf("quorate-request-v%d", r.Version)))
	for _, s := range []string{r.Channel, r.Target, r.Stage, r.Artifact} {
		put([]byte(s))
	}
	put(r.Digest.SHA256[:])
	put(r.Digest.SHA512[:])
	names := make([]string, 0, len(r.Signables))
	for name := range r.Signables {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		put([]byte(name))
		put(r.Signables[name])
	}
	for _, o := range r.Outputs {
		put([]byte(o.Format))
		put([]byte(o.Key))
	}
	return statement.SHA256(h.Sum(nil))
}

// NewRequest makes the request for an agreed artifact. The statements are those
// that count, one an operator, in the order of the record. It carries the state
// of the file, and signables, only if an output is made from it.
func NewRequest(p *policy.Policy, c statement.Case, v *Verdict, outputs []policy.Output, stmts []*statement.Statement) (*Request, error) {
	r := &Request{Version: Version, Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: v.Artifact,
		Digest: agreedDigests(p.Channel(c.Channel), v), Signables: map[string]jsontext.Value{}, Outputs: outputs,
		Policy: PolicyRef{p.Version, p.Digest}}
	if ref := checkBatch(r); ref != nil {
		return nil, fmt.Errorf("make request: %w", ref)
	}
	var file *statement.Artifact
	for _, s := range stmts {
		r.Evidence = append(r.Evidence, Evidence{s.Kind(), s.Raw(), s.Keys()})
		for i := range s.Artifacts {
			a := &s.Artifacts[i]
			// Other kinds of evidence have digests and no state.
			if a.Name == v.Artifact && r.Digest.In(a) && gives(a, v.Signables) && (file == nil || a.State512.Algorithm != "") {
				file = a
			}
		}
	}
	if file == nil {
		return nil, fmt.Errorf("make request: no statement carries the agreed digest of %q", v.Artifact)
	}
	if policy.NeedsState(outputs) && file.State512.Algorithm == "" {
		return nil, fmt.Errorf("make request: no statement carries the hash state of %q: an output is made from it, and statements of other kinds have none; one vote by an agent is needed", v.Artifact)
	}
	if policy.NeedsState(outputs) {
		value, err := json.Marshal(file.State512)
		if err != nil {
			return nil, fmt.Errorf("make request: %w", err)
		}
		r.Signables[StateSHA512] = value
	}
	for _, name := range policy.Signables(outputs) {
		s := file.Signable(name)
		if s == nil {
			return nil, fmt.Errorf("make request: the statements do not give %q of %q", name, v.Artifact)
		}
		r.Signables[name] = s.Value
	}
	r.ID = r.ComputeID()
	return r, nil
}

// gives reports whether a vote on the file carries the agreed signables.
func gives(a *statement.Artifact, agreed []SignableDigest) bool {
	for _, want := range agreed {
		if s := a.Signable(want.Name); s == nil || s.Digest() != want.SHA256 {
			return false
		}
	}
	return true
}

// ParseRequest reads a request. It is strict: an unknown field could change what
// a later version means by it.
func ParseRequest(data []byte) (*Request, *Refusal) {
	if len(data) > MaxRequest {
		return nil, &Refusal{Code: RefuseTooLarge, Message: fmt.Sprintf("request has %d bytes, at most %d", len(data), MaxRequest)}
	}
	if err := bounded(data); err != nil {
		return nil, refuseRequest(RefuseTooLarge, "request: %v", err)
	}
	r := new(Request)
	if err := json.Unmarshal(data, r, json.RejectUnknownMembers(true)); err != nil {
		return nil, &Refusal{Code: RefuseBadRequest, Message: fmt.Sprintf("request: %v", err)}
	}
	if len(r.Outputs) > MaxOutputs {
		return nil, refuseRequest(RefuseTooLarge, "request: %d outputs, at most %d", len(r.Outputs), MaxOutputs)
	}
	if err := r.compact(); err != nil {
		return nil, &Refusal{Code: RefuseBadRequest, Message: err.Error()}
	}
	return r, nil
}

// maxMembers bounds an object in a request, an answer or an evidence file.
const maxMembers = 64

// bounded counts what is in the JSON before anything is made of it: millions of
// empty statements fit into the bytes of a request, and each takes many times its
// bytes when it is decoded. What is no JSON is left to whoever decodes.
func bounded(data []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	for {
		if _, err := d.ReadToken(); err != nil {
			return nil
		}
		kind, n := d.StackIndex(d.StackDepth())
		switch {
		case kind == '[' && n > MaxEvidence:
			return fmt.Errorf("%.100q has more than %d elements", d.StackPointer().Parent(), MaxEvidence)
		case kind == '{' && n > 2*maxMembers: // names and values
			return fmt.Errorf("%.100q has more than %d members", d.StackPointer().Parent(), maxMembers)
		}
	}
}

// compact takes white space out of the states, which the id covers as bytes.
func (r *Request) compact() error {
	for name, value := range r.Signables {
		if err := value.Compact(); err != nil {
			return fmt.Errorf("request: signables: %w", err)
		}
		r.Signables[name] = value
	}
	return nil
}

// EvidenceDigest is the SHA-256 of a set of statements: of their ids, sorted and
// joined. Order and repetition do not change it.
func EvidenceDigest(evidence []Evidence) statement.SHA256 {
	ids := make([]statement.SHA256, len(evidence))
	for i, e := range evidence {
		ids[i] = statement.ID(e.Raw)
	}
	return EvidenceDigestOf(ids)
}

// EvidenceDigestOf is [EvidenceDigest] of the statements with these ids.
func EvidenceDigestOf(ids []statement.SHA256) statement.SHA256 {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, id := range slices.Compact(ids) {
		h.Write(id[:])
	}
	return statement.SHA256(h.Sum(nil))
}
