package evidence

import (
	"strings"
	"time"

	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Why a statement that was read well counts for nobody. Where a signature is the
// reason, the code is its [Status].
const (
	CodeUnsigned    = statement.Code("unsigned")     // it carries no signature
	CodeUnknownName = statement.Code("unknown-name") // guix.sigs: filed under a name of no builder
	CodeOtherName   = statement.Code("other-name")   // guix.sigs: filed under the name of somebody who did not sign it
)

// pgpScheme begins the text form of OpenPGP keys in a [Verdict].
const pgpScheme = "openpgp4fpr:"

// Roll knows which pinned key is whose. It is immutable.
type Roll struct {
	policy *policy.Policy
	byKey  map[string]holder
}

type holder struct {
	builder *policy.Builder
	key     policy.Key
}

// NewRoll reads the keys out of a policy.
func NewRoll(p *policy.Policy) *Roll {
	r := &Roll{policy: p, byKey: map[string]holder{}}
	for _, o := range p.Operators {
		for _, b := range o.Builders {
			for _, k := range b.Keys {
				r.byKey[verdictText(k)] = holder{b, k}
			}
		}
	}
	return r
}

// Holds reports whether the key, as a [Verdict] names it, is a builder's.
func (r *Roll) Holds(key string) bool {
	_, ok := r.byKey[key]
	return ok
}

// verdictText is how a [Verdict] names the key.
func verdictText(k policy.Key) string {
	if k.OpenPGP != "" {
		return pgpScheme + k.OpenPGP
	}
	return k.String()
}

// Pins returns the pinned keys: bare ones, and the fingerprints of OpenPGP keys
// in the order of the policy.
func (r *Roll) Pins() (plain []Key, fingerprints []string, err error) {
	for _, o := range r.policy.Operators {
		for _, b := range o.Builders {
			for _, k := range b.Keys {
				if k.OpenPGP != "" {
					fingerprints = append(fingerprints, k.OpenPGP)
					continue
				}
				key, err := NewKey(k.Public)
				if err != nil {
					return nil, nil, err
				}
				plain = append(plain, key)
			}
		}
	}
	return plain, fingerprints, nil
}

// Vote is a statement with the builder whose vote it is.
type Vote struct {
	Builder *policy.Builder
	Key     policy.Key
	Verdict Verdict   // on the signature that makes it the builder's
	Made    time.Time // when it was signed, else built, as it says itself; zero: not said
}

// Attribute finds the builder that stands behind a statement as of the time. One
// statement is one vote, whoever else signed it: the first signature that counts
// decides. The error is always an [*Error] and says why it is nobody's vote.
func (r *Roll) Attribute(s *Statement, at time.Time) (Vote, error) {
	if s.Built.After(at.Add(MaxSkew)) {
		return Vote{}, Refuse(s.Kind, quorum.CodeTimeInFuture, "built", "%s is ahead of the time of judgement", s.Built.Format(time.RFC3339))
	}
	var filed *policy.Builder
	if s.Kind == GuixSigs {
		if filed = r.policy.FiledAs(s.Claim.Name); filed == nil {
			return Vote{}, r.unknownName(s)
		}
	}
	err := Refuse(s.Kind, CodeUnsigned, "signature", "it is not signed")
	for i := range s.Verdicts {
		v, problem := r.judge(s, s.Verdicts[i], filed, at)
		if problem == nil {
			return v, nil
		}
		if i == 0 || s.Verdicts[i].Status != NoKey {
			err = problem // what a pinned key did wrong tells more than an unknown one
		}
	}
	return Vote{}, err
}

// unknownName says that the policy has no builder for the name in the path, and
// what else is known about it.
func (r *Roll) unknownName(s *Statement) error {
	msg := "no builder of the policy files under this name"
	for _, known := range r.policy.FiledNames() {
		if len(LookAlikes([]string{known, s.Claim.Name})) > 0 {
			msg += "; " + quoteAll([]string{known}) + " differs in letter case or Unicode form only"
		}
	}
	for _, v := range s.Verdicts {
		if h, ok := r.byKey[v.Key]; ok && v.Status != Bad {
			msg += "; the signature is by builder " + h.builder.Name
		}
	}
	return Refuse(s.Kind, CodeUnknownName, "path: "+quoteAll([]string{s.Claim.Name}), "%s", msg)
}

// judge says whether one signature makes the statement a builder's vote.
func (r *Roll) judge(s *Statement, v Verdict, filed *policy.Builder, at time.Time) (Vote, error) {
	h, known := r.byKey[v.Key]
	if !known {
		return Vote{}, Refuse(s.Kind, statement.Code(v.Status), "signature", "%s%s", v.Reason, hinted(v))
	}
	if filed != nil && h.builder != filed {
		return Vote{}, Refuse(s.Kind, CodeOtherName, "path: "+quoteAll([]string{s.Claim.Name}),
			"filed under the name of builder %s, signed by builder %s", filed.Name, h.builder.Name)
	}
	if !v.Counts(Accept{ExpiredSince: h.builder.ExpiredSince == policy.ExpiredAccept}) {
		return Vote{}, Refuse(s.Kind, statement.Code(v.Status), "signature", "by builder %s: %s", h.builder.Name, v.Reason)
	}
	made := v.Created
	if made.IsZero() {
		made = s.Built
	}
	if err := checkDates(s.Kind, h, made, at); err != nil {
		return Vote{}, err
	}
	return Vote{h.builder, h.key, v, made}, nil
}

func hinted(v Verdict) string {
	if v.Hint == "" {
		return ""
	}
	return "; it names key " + quoteAll([]string{v.Hint})
}

// checkDates holds the statement's own date against the policy's dates for the
// key. Where a format has no date, the time of judgement stands for it.
func checkDates(k Kind, h holder, made, at time.Time) error {
	if made.IsZero() {
		made = at
	}
	switch {
	case !h.key.NotBefore.IsZero() && made.Before(h.key.NotBefore):
		return Refuse(k, quorum.CodeKeyNotYetValid, "signature", "the policy lets the key of builder %s count from %s on", h.builder.Name, h.key.NotBefore.Format(time.RFC3339))
	case !h.key.NotAfter.IsZero() && made.After(h.key.NotAfter):
		return Refuse(k, quorum.CodeKeyExpired, "signature", "the policy lets the key of builder %s count until %s", h.builder.Name, h.key.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Naming says how statements whose format names no target are filed.
type Naming struct {
	Name   string // of what is released, for guix.sigs: pkg:generic/NAME@RELEASE
	Target string // for the formats that name nothing; empty: each artifact is a target of its own
}

// Case is what a statement says about one target.
type Case struct {
	Target, Stage string
	Files         []quorum.File
}

// Cases sorts the artifacts of a statement by what they belong to. Names are
// escaped as package URLs ask for and never changed otherwise.
func (n Naming) Cases(s *Statement) []Case {
	files := make([]quorum.File, len(s.Artifacts))
	for i, a := range s.Artifacts {
		files[i] = quorum.File{Name: a.Name, SHA256: a.SHA256, SHA512: a.SHA512}
	}
	target, stage := n.Target, ""
	switch {
	case s.Kind == GuixSigs:
		target, stage = "pkg:generic/"+purl(n.Name)+"@"+purl(s.Claim.Release), s.Claim.Stage
	case target != "":
	case s.Kind == BuildInfo:
		target = "pkg:deb/" + debian(s.Subject)
	case s.Kind == NarInfo:
		target = "pkg:nix/" + purl(s.Subject)
	default:
		return eachItsOwn(files)
	}
	return []Case{{target, stage, files}}
}

func eachItsOwn(files []quorum.File) []Case {
	cases := make([]Case, len(files))
	for i := range files {
		cases[i] = Case{Target: "pkg:generic/" + purl(files[i].Name), Files: files[i : i+1 : i+1]}
	}
	return cases
}

// debian writes "SOURCE [(SOURCE VERSION)] VERSION ARCHITECTURE..." as name@version.
func debian(subject string) string {
	parts := strings.Fields(subject)
	if len(parts) > 1 && strings.HasPrefix(parts[1], "(") {
		parts = append(parts[:1:1], parts[2:]...)
	}
	if len(parts) < 2 {
		return purl(subject)
	}
	return purl(parts[0]) + "@" + purl(parts[1])
}

// purl escapes one part of a package URL.
func purl(s string) string {
	const plain, digits = "-._~:", "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(plain, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// Observe makes the observation that [quorum.Decide] counts. The place in the
// record and the time of arrival are the caller's to know.
func (v Vote) Observe(s *Statement, c Case) quorum.Observation {
	return quorum.Observation{ID: s.ID, Operator: v.Builder.Operator, Builder: v.Builder.Name, Revoked: v.Key.Revoked, Files: c.Files}
}
