package hsmsigner

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// selftestText is what a self-test signs. It is a constant, so that the self-test
// is of no use to somebody who wants something signed, and the signature is
// thrown away.
const selftestText = "quorate-signer selftest: this signature says that the key works, and nothing else\n"

// TestResult is what came of the self-test of one key in one format.
type TestResult struct {
	Key         string        `json:"key"`
	Format      policy.Format `json:"format"`
	Fingerprint string        `json:"fingerprint,omitzero"`
	Took        time.Duration `json:"-"`
	Err         error         `json:"-"`
}

// Selftest makes one real signature with each key in each format that the policy
// asks of it, by the same code as for a request, and verifies it. A key that a
// request would be refused for, because its certificate is revoked or has ended,
// fails. It needs no ledger and no bus. Without a policy, or for a key that it does not name, the
// format is the one that the key's certificate is for.
func Selftest(ctx context.Context, tok Token, configs []KeyConfig, p *policy.Policy) []TestResult {
	var results []TestResult
	for _, c := range configs {
		for _, f := range formatsOf(p, c) {
			r := TestResult{Key: c.Label, Format: f}
			start := time.Now()
			r.Fingerprint, r.Err = selftest(ctx, tok, c, f)
			r.Took = time.Since(start)
			results = append(results, r)
		}
	}
	return results
}

// formatsOf lists what the policy has the key sign, or else what it is for.
func formatsOf(p *policy.Policy, c KeyConfig) (list []policy.Format) {
	if p != nil {
		list = formatsIn(p, c.Label)
	}
	switch {
	case len(list) > 0:
		return list
	case c.Certificate != "":
		return []policy.Format{format.OpenPGP}
	case c.X509 != "":
		return []policy.Format{format.CMS}
	}
	return []policy.Format{format.SSHSIG} // every key can
}

// formatsIn lists what the policy has the key sign, each once.
func formatsIn(p *policy.Policy, label string) (list []policy.Format) {
	for _, ch := range p.Channels {
		for _, o := range ch.Sign {
			if o.Key == label && !slices.Contains(list, o.Format) {
				list = append(list, o.Format)
			}
		}
	}
	return list
}

func selftest(ctx context.Context, tok Token, c KeyConfig, f policy.Format) (fingerprint string, err error) {
	k, err := LoadKey(c)
	if err != nil {
		return "", err
	}
	if k.Certificate != nil {
		fingerprint = k.Certificate.Fingerprint() // known also if it is another key's
	}
	if k, err = k.bind(tok); err != nil {
		return fingerprint, err
	}
	if err := canMake(k, f); err != nil {
		return fingerprint, fmt.Errorf("key %q: %w", k.Label, err)
	}
	if fingerprint, err = k.checker().Fingerprint(f); err != nil {
		return "", fmt.Errorf("key %q: %w", k.Label, err)
	}
	at := time.Now().UTC().Truncate(time.Second)
	// Asked of every format: verifiers of most do not see the certificate.
	if den := usable(k, f, at); den != nil {
		return fingerprint, errors.New(den.Message)
	}
	if err := selftestSign(ctx, tok, k, f, at); err != nil {
		return fingerprint, fmt.Errorf("key %q: %s: %w", k.Label, f, err)
	}
	return fingerprint, nil
}

// selftestSign signs the constant text, verifies, and forgets the signature.
func selftestSign(ctx context.Context, tok Token, k Key, f policy.Format, at time.Time) error {
	if format.IsBatch(f) {
		return selftestValue(ctx, tok, k, f)
	}
	running, text := sha512.New(), sha512.New()
	running.Write([]byte(selftestText))
	text.Write([]byte(strings.TrimSuffix(selftestText, "\n")))
	file := sigcheck.File{Digests: quorum.Digests{SHA256: sha256.Sum256([]byte(selftestText)), SHA512: sha512.Sum512([]byte(selftestText))},
		State: func(crypto.Hash) (hash.Hash, error) { return running, nil },
		Text:  func() (hash.Hash, error) { return text, nil }}
	sig, err := selftestMake(ctx, tok, k, f, file.Digests, running, text, at)
	if err != nil {
		return err
	}
	_, err = k.checker().Verify(f, file, sig)
	return err
}

// selftestValue is selftestSign for one signature of a batch.
func selftestValue(ctx context.Context, tok Token, k Key, f policy.Format) error {
	if batchFormats[f] == nil {
		return errors.New("this signer does not make the format")
	}
	make, err := batchFormats[f](k)
	if err != nil {
		return err
	}
	h, err := k.handle(ctx, tok)
	if err != nil {
		return err
	}
	digest := statement.SHA256(sha256.Sum256([]byte(selftestText)))
	value, err := make(h, digest)
	if err != nil {
		return err
	}
	return k.checker().VerifyValue(f, digest, value)
}

func selftestMake(ctx context.Context, tok Token, k Key, f policy.Format, d quorum.Digests, running, text hash.Hash, at time.Time) ([]byte, error) {
	switch f {
	case format.Cleartext: // the text is the constant without its last line ending
		return pgpsig.SignText(k.Certificate, text, crypto.SHA512, at, nil, signer(ctx, tok, k.Label))
	case format.OpenPGP:
		return pgpsig.SignDetached(k.Certificate, running, crypto.SHA512, at, nil, signer(ctx, tok, k.Label))
	}
	h, err := k.handle(ctx, tok)
	if err != nil {
		return nil, err
	}
	// A summary about nothing that exists: nobody can ask for a file by it.
	return signDigests(f, h, k.X509, d, at, &vsa.Summary{Signer: "selftest", Time: at, Artifact: "selftest", SHA256: d.SHA256,
		Target: "pkg:generic/quorate-selftest@0", Channel: "selftest", PolicyURI: PolicyURN(0), PolicyDigest: d.SHA256,
		Agreed: 1, Operators: 1, Inputs: []statement.SHA256{d.SHA256}})
}

// signer is the token's key as package pgpsig wants it.
func signer(ctx context.Context, tok Token, label string) pgpsig.SignFunc {
	return func(hash crypto.Hash, digest []byte) ([]byte, error) { return tok.Sign(ctx, label, hash, digest) }
}
