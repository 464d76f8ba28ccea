package hsmsigner

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/rawsig"
	"quorate/internal/sigformat/sshsig"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

// reasons is why something is signed, for the formats that can say so.
type reasons struct {
	notations []pgpsig.Notation
	summary   func() *vsa.Summary // made for the one format that has it
}

// makeFrom is the maker of a format that is made from digests alone.
func makeFrom(f policy.Format) makeFunc {
	return func(ctx context.Context, tok access, a *quorum.Approval, k Key, at time.Time, why reasons) ([]byte, error) {
		h, err := tok.handle(ctx, k)
		if err != nil {
			return nil, err
		}
		var s *vsa.Summary
		if f == format.VSA {
			s = why.summary()
		}
		return signDigests(f, h, k.X509, a.Request().Digest, at, s)
	}
}

// signDigests makes a signature over the file with those digests. What the key
// answers is verified in there, unless it is a key's without, and the whole read
// back by other code than wrote it.
func signDigests(f policy.Format, k *sigformat.Key, cert *x509.Certificate, d quorum.Digests, at time.Time, s *vsa.Summary) ([]byte, error) {
	switch f {
	case format.SSHSIG:
		return sshsig.Sign(k, sigcheck.Namespace, d.SHA512)
	case format.CMS, format.CMSSHA256, format.CMSPlain:
		return cms.Sign(k, cert, sigcheck.CMSDigest(f, d), sigcheck.CMSOptions(f, at))
	case format.RawSHA256:
		return rawsig.Sign(k, crypto.SHA256, d.SHA256[:])
	case format.RawSHA512:
		return rawsig.Sign(k, crypto.SHA512, d.SHA512[:])
	case format.VSA:
		return vsa.Sign(k, s)
	}
	return nil, fmt.Errorf("format %q is not made from digests", f)
}

// PolicyURN names a policy inside of a verification summary.
func PolicyURN(version uint64) string { return fmt.Sprintf("urn:quorate:policy:%d", version) }

// summary is the permit as a verification summary. Every statement of the
// evidence is an input, also one that differs: all were looked at, and their set
// is the evidence that the answer names.
func summary(p *permit) *vsa.Summary {
	r := p.approval.Request()
	return &vsa.Summary{Signer: p.signer, Time: p.at, Artifact: r.Artifact, SHA256: r.Digest.SHA256, SHA512: r.Digest.SHA512,
		Target: r.Target, Channel: r.Channel, PolicyURI: PolicyURN(p.policy.Version), PolicyDigest: p.policy.Digest,
		Agreed: agreeing(r, p.approval.Verdict()), Operators: len(p.channel.Roster), Inputs: p.evidence}
}

// checkDigests verifies a signature against the digests in the request.
func checkDigests(p *permit, k Key, o quorum.SignedOutput) error {
	_, err := verifyDigests(p, k, o)
	return err
}

func verifyDigests(p *permit, k Key, o quorum.SignedOutput) (*sigcheck.Result, error) {
	r, err := k.checker().Verify(o.Format, sigcheck.File{Digests: p.approval.Request().Digest}, o.Signature)
	if err != nil {
		return nil, err
	}
	if r.Fingerprint != o.Fingerprint || !r.Time.IsZero() && !r.Time.Equal(o.SignedAt) {
		return nil, errors.New("the answer says another key or time than the signature")
	}
	return r, nil
}

// checkSummary also wants the summary to say what was permitted, and no more.
func checkSummary(p *permit, k Key, o quorum.SignedOutput) error {
	r, err := verifyDigests(p, k, o)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(r.Summary, summary(p)) {
		return errors.New("the verification summary says something else than what was permitted")
	}
	return nil
}
