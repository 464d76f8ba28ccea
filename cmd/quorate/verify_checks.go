package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// notationEvidence names the digest of the evidence inside of the signature. It
// ties the two together: other evidence cannot be put beside the signature later.
const notationEvidence = "evidence@quorate.invalid"

func (k *checker) checkSignature() {
	k.add(passed, "file", "%s, sha256 %s", plural(int(k.file.size), "byte"), k.file.sha256)
	sig, by, err := k.verifySignature()
	if k.message != nil {
		err = k.message
	}
	if err != nil {
		k.add(fails, "signature", "is not by %s over this file: %v", by, err)
		return
	}
	k.signature = sig
	at := "at " + stamp(sig.Time)
	if sig.Time.IsZero() {
		at = "at a time that this format does not say"
	}
	what := "over this file"
	if sig.Count > 0 {
		what = fmt.Sprintf("over each of the %s inside of this file that were agreed on", plural(sig.Count, "digest"))
	}
	k.add(passed, "signature", "%s by %s %s", what, by, at)
	if sig.Time.IsZero() {
		k.add(note, "time", "%s says when in nothing that is signed; judged as of %s, as the answer has it", k.format, stamp(k.at()))
	}
}

// verifySignature takes the first key that made the signature, and names it; or
// the last that can have.
func (k *checker) verifySignature() (sig *sigcheck.Result, by string, err error) {
	by = "any of the keys given"
	for _, key := range k.keys {
		if unable := key.Supports(k.format); unable != nil {
			err = cmp.Or(err, unable)
			continue
		}
		by, _ = key.Fingerprint(k.format)
		if format.IsOpenPGP(k.format) {
			by += " (" + userIDs(key.OpenPGP) + ")"
		} else {
			by += " (" + string(k.format) + ")"
		}
		if sig, err = k.file.verify(key, k.format, k.sig); err == nil {
			break
		}
	}
	return sig, by, err
}

func userIDs(c *pgpsig.Certificate) string {
	var ids []string
	for _, id := range c.UserIDs() {
		ids = append(ids, render.Text(id))
	}
	return strings.Join(ids, ", ")
}

// checkEvidence makes every check that needs no signature, and those that tie
// evidence and signature together.
func (k *checker) checkEvidence() {
	b, err := quorum.ParseBundle(k.evidence)
	if err != nil {
		k.add(fails, "evidence", "cannot be read: %v", err)
		return
	}
	k.bundle = b
	k.add(passed, "evidence", "%s about %s of %s in channel %s", plural(len(b.Request.Evidence), "statement"),
		render.Text(b.Request.Artifact), render.Text(b.Request.Target), render.Text(b.Request.Channel))
	k.checkRequest(b.Request)
	k.checkPolicy(b)
	if k.policy != nil {
		k.checkStatements(b.Request)
		k.checkQuorum(b.Request)
		k.checkActs(b)
	}
	k.checkAnswer(b)
}

func (k *checker) checkRequest(r *quorum.Request) {
	k.test("request", r.ID == r.ComputeID(), "id "+r.ID.String()+" is the hash of what was asked",
		"id "+r.ID.String()+" is not the hash of what was asked")
	k.test("digest", r.Digest.Agree(quorum.Digests{SHA256: k.file.sha256, SHA512: k.file.sha512}),
		"the request is for this file", "the request is for another file, sha256 "+r.Digest.SHA256.String())
	if r.Artifact != k.file.name {
		k.add(note, "name", "builders call the file %s", render.Text(r.Artifact))
	}
}

// checkPolicy says by which policy is judged. That the policies differ is no
// fault: yours may be newer or stricter.
func (k *checker) checkPolicy(b *quorum.Bundle) {
	ref := b.Request.Policy
	k.test("enclosed", sha256.Sum256(b.Policy) == ref.Digest, fmt.Sprintf("the policy file in the evidence is version %d, which the request names", ref.Version),
		"the policy file in the evidence is not the one that the request names")
	switch {
	case k.policyErr != nil:
		reason, _, _ := strings.Cut(k.policyErr.Error(), "; hint")
		k.add(fails, "policy", "yours ended before the signature was made: %s", reason)
	case k.policy.Digest == ref.Digest:
		k.add(passed, "policy", "yours is the one that the request names, version %d", k.policy.Version)
	default:
		k.add(note, "policy", "yours (version %d, sha256 %s) is not the one that the request names (version %d): judged by yours",
			k.policy.Version, k.policy.Digest.String()[:12], ref.Version)
	}
}

func (k *checker) checkStatements(r *quorum.Request) {
	for i, e := range r.Evidence {
		text, err := k.statement(r, e)
		if err != nil {
			k.add(fails, "statement", "%d: %v", i+1, err)
			continue
		}
		k.add(passed, "statement", "%d: %s", i+1, text)
	}
}

// statement verifies one piece of evidence and says what it says.
func (k *checker) statement(r *quorum.Request, e quorum.Evidence) (string, error) {
	o, err := quorum.AdmitEvidence(k.policy, r.Case(), e, k.at())
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("by %s of operator %s: %s", o.Builder, o.Operator, k.says(r.Artifact, &o))
	if e.Kind != quorum.KindDSSE {
		text += "; in the form " + e.Kind
	}
	if !o.Revoked.IsZero() {
		text += "; its key was revoked on " + stamp(o.Revoked) + ", after the signature"
	}
	return text, nil
}

func (k *checker) says(artifact string, o *quorum.Observation) string {
	if o.Status != "" {
		return "no vote (" + string(o.Status) + ")"
	}
	i := slices.IndexFunc(o.Files, func(f quorum.File) bool { return f.Name == artifact })
	switch {
	case i < 0:
		return "does not list the file"
	case o.Files[i].SHA256 == k.file.sha256 && (o.Files[i].SHA512 == k.file.sha512 || o.Files[i].SHA512 == statement.SHA512{}):
		return "these bytes"
	}
	return "other bytes, sha256 " + o.Files[i].SHA256.String()
}

func (k *checker) checkQuorum(r *quorum.Request) {
	approval, refused := quorum.Recheck(k.policy, r, k.at())
	if refused != nil {
		k.add(fails, "quorum", "by this policy, as of %s: %v", stamp(k.at()), refused)
		return
	}
	v := approval.Verdict()
	var who []string
	for _, m := range v.Groups[0].Members {
		who = append(who, m.Operator)
	}
	k.add(passed, "quorum", "%s is met: %s (as of %s)", v.Quorum, strings.Join(who, ", "), stamp(k.at()))
}

func (k *checker) checkAnswer(b *quorum.Bundle) {
	r, a := b.Request, b.Answer
	k.test("answer", a.ID == r.ID && a.Digest == r.Digest && a.Channel == r.Channel && a.Target == r.Target && a.Stage == r.Stage && a.Artifact == r.Artifact,
		"is to this request", "is to another request")
	digest := quorum.EvidenceDigest(r.Evidence)
	k.test("set", a.Evidence == digest, "the statements are those that the signer saw, "+digest.String()[:12],
		"the statements are not those that the signer saw")
	if k.sig == nil {
		return
	}
	k.test("same", k.inAnswer(a), sameAs(a), "the signature is not the one in the evidence, which has "+outputsOf(a))
	if k.signature != nil {
		k.checkReason(r, digest)
	}
}

// sameAs is said of a signature that the answer has. Of a batch the evidence has one
// part: the other signatures are good by the key alone, over what was agreed on.
func sameAs(a *quorum.Answer) string {
	if a.Part == nil {
		return "the signature is the one in the evidence"
	}
	return fmt.Sprintf("%s of them are those in the evidence, part %d of %d", plural(len(a.Signatures[0].Values), "signature"), a.Part.Index+1, a.Part.Count)
}

// checkReason ties the signature to this evidence, as far as its format can say
// why it was made.
func (k *checker) checkReason(r *quorum.Request, digest statement.SHA256) {
	switch {
	case k.signature.OpenPGP != nil:
		k.test("notation", k.notes(digest), "the signature names this evidence", "the signature does not name this evidence in "+notationEvidence)
	case k.signature.Summary != nil:
		k.test("summary", summarises(k.signature.Summary, r), "the summary names this request, its policy and this evidence",
			"the summary is about something else than this request, its policy and this evidence")
	default:
		k.add(note, "reason", "%s does not say why it was made: that it belongs to this evidence is the answer's word", k.format)
	}
}

func summarises(s *vsa.Summary, r *quorum.Request) bool {
	var evidence []statement.SHA256
	for _, e := range r.Evidence {
		evidence = append(evidence, statement.ID(e.Raw))
	}
	return s.Channel == r.Channel && s.Target == r.Target && s.Artifact == r.Artifact && s.PolicyDigest == r.Policy.Digest &&
		slices.Equal(s.Inputs, evidence)
}

func (k *checker) inAnswer(a *quorum.Answer) bool {
	if format.IsBatch(k.format) {
		return len(a.Signatures) == 1 && a.Signatures[0].Format == k.format && partInFile(a, k.sig)
	}
	return slices.ContainsFunc(a.Signatures, func(s quorum.SignedOutput) bool {
		return s.Format == k.format && bytes.Equal(plain(k.format, k.sig), plain(k.format, s.Signature))
	})
}

// plain takes the armour off an OpenPGP signature, so that both forms are one.
func plain(f policy.Format, sig []byte) []byte {
	if binary, err := pgpsig.Dearmor(sig); format.IsOpenPGP(f) && err == nil {
		return binary
	}
	return sig
}

// notes reports whether the signature names the evidence, and no other.
func (k *checker) notes(digest statement.SHA256) bool {
	found := 0
	for _, n := range k.signature.OpenPGP.Notations {
		if n.Name == notationEvidence {
			if found++; n.Value != digest.String() {
				return false
			}
		}
	}
	return found == 1
}
