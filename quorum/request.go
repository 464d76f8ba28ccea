package quorum

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Limits of a sign request and of an answer, in bytes of their JSON.
const (
	MaxRequest  = 8<<20 - 64<<10 // what fits into a bus message of 8 MiB: the evidence of some dozen operators
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
}

// Case returns what the request is about.
func (r *Request) Case() statement.Case {
	return statement.Case{Channel: r.Channel, Target: r.Target, Stage: r.Stage}
}

// ComputeID hashes what is to be signed: version, channel, target, stage,
// artifact, digests, states and outputs, each behind its length in eight bytes.
// Policy and evidence stay out, so that one more vote is not another request.
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
// of the file only if an output is made from it.
func NewRequest(p *policy.Policy, c statement.Case, v *Verdict, outputs []policy.Output, stmts []*statement.Statement) (*Request, error) {
	r := &Request{Version: Version, Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: v.Artifact,
		Digest: agreedDigests(p.Channel(c.Channel), v), Signables: map[string]jsontext.Value{}, Outputs: outputs,
		Policy: PolicyRef{p.Version, p.Digest}}
	var file *statement.Artifact
	for _, s := range stmts {
		r.Evidence = append(r.Evidence, Evidence{KindDSSE, s.Raw()})
		for i := range s.Artifacts {
			a := &s.Artifacts[i]
			if a.Name == v.Artifact && r.Digest.In(a) {
				file = a
			}
		}
	}
	if file == nil {
		return nil, fmt.Errorf("make request: no statement carries the agreed digest of %q", v.Artifact)
	}
	if policy.NeedsState(outputs) {
		value, err := json.Marshal(file.State512)
		if err != nil {
			return nil, fmt.Errorf("make request: %w", err)
		}
		r.Signables[StateSHA512] = value
	}
	r.ID = r.ComputeID()
	return r, nil
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

// RefusalCode is a stable word for why a signer refuses.
type RefusalCode string

// valid tells codes from what would pass for no refusal, or for a page of text,
// where codes are kept and shown. Those of a later version are valid, too.
func (c RefusalCode) valid() bool {
	return len(c) > 0 && len(c) <= maxRefusalCode && strings.Trim(string(c), "abcdefghijklmnopqrstuvwxyz-") == "" && c[0] != '-'
}

const maxRefusalCode = 64

// MaxRefusalMessage bounds the text of a refusal, in bytes.
const MaxRefusalMessage = 4 << 10

// Why a signer refuses.
const (
	RefuseBadRequest     RefusalCode = "bad-request"
	RefuseTooLarge       RefusalCode = "too-large"
	RefusePolicyMismatch RefusalCode = "policy-mismatch"
	RefusePolicyExpired  RefusalCode = "policy-expired"
	RefuseEvidence       RefusalCode = "evidence-invalid"
	RefuseQuorum         RefusalCode = "quorum-not-met"
	RefuseHeld           RefusalCode = "held"
	RefuseState          RefusalCode = "state-digest-mismatch"
	RefuseOtherDigest    RefusalCode = "already-signed-other-digest"
	RefuseUnknownKey     RefusalCode = "unknown-key"
	RefuseKeyNotUsable   RefusalCode = "key-not-usable" // its certificate expired or is revoked, or the clock is behind it
	RefuseFormat         RefusalCode = "format-not-allowed"
	RefuseToken          RefusalCode = "token-unavailable"
	RefuseSignatureCheck RefusalCode = "signature-check-failed"
	RefuseLedger         RefusalCode = "ledger-unavailable"
)

// Refusal is a signer's no. Retryable means that the same request may succeed
// later without a person changing the evidence.
type Refusal struct {
	Code      RefusalCode `json:"code"`
	Message   string      `json:"message"`
	Retryable bool        `json:"retryable"`
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

func refuseRequest(c RefusalCode, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Answer is what a signer publishes for a request: signatures or a refusal.
type Answer struct {
	Version  int              `json:"version"`
	ID       statement.SHA256 `json:"id"`
	Channel  string           `json:"channel"`
	Target   string           `json:"target"`
	Stage    string           `json:"stage"`
	Artifact string           `json:"artifact"`
	Digest   Digests          `json:"digest"`
	Policy   PolicyRef        `json:"policy"`
	Evidence statement.SHA256 `json:"evidence,omitzero"` // SHA-256 of the evidence set
	// Statements names the evidence, so that everybody who has the record can
	// put together what the signer saw.
	Statements []statement.SHA256 `json:"statements,omitempty"`
	Signatures []SignedOutput     `json:"signatures,omitempty"`
	Refusal    *Refusal           `json:"refusal,omitzero"`
	// At is when the signer refused. It makes two refusals of one request two
	// messages, which the record would otherwise take for one. Answers with
	// signatures have none: they are the same bytes each time.
	At time.Time `json:"at,omitzero"`
}

// SignedOutput is one signature.
type SignedOutput struct {
	policy.Output
	Fingerprint string    `json:"fingerprint"` // of the key's certificate
	Signature   []byte    `json:"signature"`
	SignedAt    time.Time `json:"signedAt"`
}

// ParseAnswer reads an answer from the record.
func ParseAnswer(data []byte) (*Answer, error) {
	if len(data) > MaxAnswer {
		return nil, fmt.Errorf("answer: %d bytes, at most %d", len(data), MaxAnswer)
	}
	if err := bounded(data); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	a := new(Answer)
	if err := json.Unmarshal(data, a, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	switch {
	case a.Version != Version:
		return nil, fmt.Errorf("answer: version %d, want %d", a.Version, Version)
	case (a.Refusal == nil) == (len(a.Signatures) == 0):
		return nil, fmt.Errorf("answer: want either signatures or a refusal")
	case len(a.Signatures) > MaxOutputs:
		return nil, fmt.Errorf("answer: %d signatures, at most %d", len(a.Signatures), MaxOutputs)
	case a.Refusal != nil && !a.Refusal.Code.valid():
		return nil, fmt.Errorf("answer: the code of the refusal is no word of a-z and -")
	case a.Refusal != nil && len(a.Refusal.Message) > MaxRefusalMessage:
		return nil, fmt.Errorf("answer: the refusal's message has %d bytes, at most %d", len(a.Refusal.Message), MaxRefusalMessage)
	}
	return a, nil
}

// Bundle is what stands beside a signed file so that anyone can check offline why
// it was signed: the policy file, the request with the statements as they were
// received, and the signer's answer.
type Bundle struct {
	Version int      `json:"version"`
	Policy  []byte   `json:"policy"` // the file that the request names
	Request *Request `json:"request"`
	Answer  *Answer  `json:"answer"`
}

// MaxBundle bounds an evidence file, in bytes.
const MaxBundle = 2*MaxRequest + 2*policy.MaxSize

// ParseBundle reads an evidence file. What it holds still has to be checked.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, fmt.Errorf("evidence file: %d bytes, at most %d", len(data), MaxBundle)
	}
	if err := bounded(data); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	b := new(Bundle)
	if err := json.Unmarshal(data, b, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	switch {
	case b.Version != Version:
		return nil, fmt.Errorf("evidence file: version %d, want %d", b.Version, Version)
	case b.Request == nil || b.Answer == nil:
		return nil, fmt.Errorf("evidence file: request or answer is missing")
	case len(b.Request.Outputs) > MaxOutputs || len(b.Answer.Signatures) > MaxOutputs:
		return nil, fmt.Errorf("evidence file: %d outputs and %d signatures, at most %d", len(b.Request.Outputs), len(b.Answer.Signatures), MaxOutputs)
	}
	if err := b.Request.compact(); err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	return b, nil
}

// EvidenceDigest is the SHA-256 of a set of statements: of their ids, sorted and
// joined. Order and repetition do not change it.
func EvidenceDigest(evidence []Evidence) statement.SHA256 {
	ids := make([]statement.SHA256, len(evidence))
	for i, e := range evidence {
		ids[i] = statement.ID(e.Raw)
	}
	slices.SortFunc(ids, func(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, id := range slices.Compact(ids) {
		h.Write(id[:])
	}
	return statement.SHA256(h.Sum(nil))
}

// Approval is the proof that [Check] said yes. It can only be made there, so a
// function that asks for one cannot be called without the check.
type Approval struct {
	request  *Request
	verdict  Verdict
	state    hashstate.State
	evidence statement.SHA256
}

// Request returns what was approved.
func (a *Approval) Request() *Request { return a.request }

// Verdict returns the decision, for the record of why it was signed.
func (a *Approval) Verdict() Verdict { return a.verdict }

// State returns the SHA-512 state of the file, which finalises to the agreed
// digest; or one that cannot be resumed, if no output is made from the state.
func (a *Approval) State() hashstate.State { return a.state }

// EvidenceDigest returns the digest of the evidence set.
func (a *Approval) EvidenceDigest() statement.SHA256 { return a.evidence }

// Check is the gate in front of the key: it believes nothing in the request,
// verifies each statement against its own policy and decides again. Decisions of
// any other process play no part.
func Check(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	if r.Policy.Version != p.Version || r.Policy.Digest != p.Digest {
		// Retryable: the two files are replaced one after the other.
		return nil, &Refusal{RefusePolicyMismatch, fmt.Sprintf("request was decided by policy version %d (sha256 %s), the signer has version %d (sha256 %s)",
			r.Policy.Version, r.Policy.Digest, p.Version, p.Digest), true}
	}
	a, ref := Recheck(p, r, at)
	if ref == nil && r.Digest != agreedDigests(p.Channel(r.Channel), &a.verdict) {
		// A second spelling of the digests would be a second request for the
		// same signature.
		return nil, refuseRequest(RefuseQuorum, "the evidence agrees on another digest than the request asks for")
	}
	return a, ref
}

// Recheck is [Check] under a policy that need not be the one the request names:
// for somebody who holds an old request and asks whether it would pass by their
// own policy, as of the time of the signature.
func Recheck(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	ch := p.Channel(r.Channel)
	switch {
	case r.Version != Version:
		return nil, refuseRequest(RefuseBadRequest, "request: version %d, want %d", r.Version, Version)
	case r.ID != r.ComputeID():
		return nil, refuseRequest(RefuseBadRequest, "request: id is not the hash of what is asked")
	case p.Expired(at):
		return nil, &Refusal{RefusePolicyExpired, "policy expired on " + p.Expires.Format(time.RFC3339), true}
	case ch == nil:
		return nil, refuseRequest(RefuseBadRequest, "request: the policy has no channel %q", r.Channel)
	}
	if ref := checkOutputs(ch, r); ref != nil {
		return nil, ref
	}
	v, ref := checkEvidence(p, ch, r, at)
	if ref != nil {
		return nil, ref
	}
	st, ref := checkState(r)
	if ref != nil {
		return nil, ref
	}
	return &Approval{r.clone(), v, st, EvidenceDigest(r.Evidence)}, nil
}

// clone makes the approval stand for what was checked, whatever becomes of the
// request in the caller's hands. Bytes are shared: nothing signs them.
func (r *Request) clone() *Request {
	c := *r
	c.Outputs, c.Signables = slices.Clone(r.Outputs), maps.Clone(r.Signables)
	return &c
}

func checkOutputs(ch *policy.Channel, r *Request) *Refusal {
	if len(r.Outputs) == 0 {
		return refuseRequest(RefuseBadRequest, "request: outputs is empty")
	}
	for i, o := range r.Outputs {
		if !slices.Contains(ch.Sign, o) {
			return refuseRequest(RefuseFormat, "channel %q does not sign %s with key %q", ch.Name, o.Format, o.Key)
		}
		if slices.Contains(r.Outputs[:i], o) {
			return refuseRequest(RefuseBadRequest, "request: output %s with key %q stands twice", o.Format, o.Key)
		}
	}
	return nil
}

// checkEvidence verifies the statements and decides.
func checkEvidence(p *policy.Policy, ch *policy.Channel, r *Request, at time.Time) (Verdict, *Refusal) {
	if len(r.Evidence) > MaxEvidence {
		return Verdict{}, refuseRequest(RefuseTooLarge, "request: %d statements, at most %d", len(r.Evidence), MaxEvidence)
	}
	obs := make([]Observation, 0, len(r.Evidence))
	voted := map[string]bool{}
	for i, e := range r.Evidence {
		o, err := admitEvidence(p, r, e, at)
		if err != nil {
			return Verdict{}, refuseRequest(RefuseEvidence, "evidence[%d]: %v", i, err)
		}
		if voted[o.Operator] {
			return Verdict{}, refuseRequest(RefuseEvidence, "evidence[%d]: operator %q stands in it twice", i, o.Operator)
		}
		voted[o.Operator] = true
		// The signer does not know when the record took a statement in; the
		// settle time is the coordinator's to keep.
		o.Received, o.Seq = time.Time{}, uint64(i)+1
		obs = append(obs, o)
	}
	for _, v := range Decide(ch, obs, nil, at) {
		if v.Artifact == r.Artifact {
			return v, judgeRequest(ch, r, v)
		}
	}
	return Verdict{}, refuseRequest(RefuseQuorum, "no statement votes on %q", r.Artifact)
}

func admitEvidence(p *policy.Policy, r *Request, e Evidence, at time.Time) (Observation, error) {
	if e.Kind != KindDSSE {
		return Observation{}, fmt.Errorf("kind %q is not known", e.Kind)
	}
	s, err := statement.Parse(e.Raw)
	if err != nil {
		return Observation{}, err
	}
	if s.Case != r.Case() {
		return Observation{}, fmt.Errorf("statement %s is about another channel, target or stage", s.ID())
	}
	return Admit(p, s, at)
}

func judgeRequest(ch *policy.Channel, r *Request, v Verdict) *Refusal {
	switch {
	case v.State == Held:
		return refuseRequest(RefuseHeld, "an operator of the quorum differs on %q, and channel %q holds on dissent", r.Artifact, ch.Name)
	case v.State != Agreed:
		return refuseRequest(RefuseQuorum, "%q is %s (%s) by the evidence in the request", r.Artifact, v.State, v.Reason)
	case !carries(r, v):
		return refuseRequest(RefuseQuorum, "the evidence agrees on another digest than the request asks for")
	}
	return nil
}

// carries reports whether the verdict is for the digests of the request. Another
// policy than that of the request may ask for a SHA-512 where the request had no
// need of one, or the other way round; what an output is made from must have had
// its quorum.
func carries(r *Request, v Verdict) bool {
	if policy.NeedsSHA512(r.Outputs) {
		return r.Digest == Digests{v.SHA256, v.SHA512}
	}
	return r.Digest.Agree(Digests{v.SHA256, v.SHA512})
}

// checkState wants the state exactly if an output is made from it. It finalises a
// clone of the state and compares: a signature made from a state is good for
// exactly the file whose digest the state gives.
func checkState(r *Request) (hashstate.State, *Refusal) {
	if !policy.NeedsState(r.Outputs) {
		if len(r.Signables) > 0 {
			return hashstate.State{}, refuseRequest(RefuseBadRequest, "request: signables must be empty, no output is made from any")
		}
		return hashstate.State{}, nil
	}
	value, ok := r.Signables[StateSHA512]
	if !ok || len(r.Signables) != 1 {
		return hashstate.State{}, refuseRequest(RefuseBadRequest, "request: signables must be exactly %q", StateSHA512)
	}
	st, err := hashstate.Decode(hashstate.SHA512, value)
	if err != nil {
		return st, refuseRequest(RefuseState, "%s: %v", StateSHA512, err)
	}
	// The id covers these bytes, so a second spelling of the state would be a
	// second request for the same signature.
	if canonical, err := st.MarshalJSON(); err != nil || !bytes.Equal(canonical, value) {
		return st, refuseRequest(RefuseBadRequest, "%s is not in its one form", StateSHA512)
	}
	sum, err := st.Sum()
	if err != nil || !bytes.Equal(sum, r.Digest.SHA512[:]) {
		return st, refuseRequest(RefuseState, "%s does not finalise to the requested digest", StateSHA512)
	}
	return st, nil
}
