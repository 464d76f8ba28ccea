package hsmsigner

import (
	"context"
	"crypto"
	"crypto/sha512"
	"fmt"
	"time"

	"quorate/internal/pgpsig"
	"quorate/quorum/policy"
)

// selftestText is what a self-test signs. It is a constant, so that the self-test
// is of no use to somebody who wants something signed, and the signature is
// thrown away.
const selftestText = "quorate-signer selftest: this signature says that the key works, and nothing else\n"

// TestResult is what came of the self-test of one key.
type TestResult struct {
	Key         string        `json:"key"`
	Format      policy.Format `json:"format"`
	Fingerprint string        `json:"fingerprint,omitzero"`
	Took        time.Duration `json:"-"`
	Err         error         `json:"-"`
}

// Selftest makes one real signature with each key, by the same code as for a
// request, and verifies it with the certificate. It needs no ledger, no policy
// and no bus.
func Selftest(ctx context.Context, tok Token, configs []KeyConfig) []TestResult {
	results := make([]TestResult, 0, len(configs))
	for _, c := range configs {
		r := TestResult{Key: c.Label, Format: policy.OpenPGP}
		start := time.Now()
		r.Fingerprint, r.Err = selftest(ctx, tok, c)
		r.Took = time.Since(start)
		results = append(results, r)
	}
	return results
}

func selftest(ctx context.Context, tok Token, c KeyConfig) (fingerprint string, err error) {
	k, err := LoadKey(c)
	if err != nil {
		return "", err
	}
	fingerprint = k.Certificate.Fingerprint()
	if err := k.CheckToken(tok); err != nil {
		return fingerprint, err
	}
	h := sha512.New()
	h.Write([]byte(selftestText))
	at := time.Now().UTC().Truncate(time.Second)
	sig, err := pgpsig.SignDetached(k.Certificate, h, crypto.SHA512, at, nil, signer(ctx, tok, k.Label))
	if err != nil {
		return fingerprint, fmt.Errorf("key %q: %w", k.Label, err)
	}
	if _, err := pgpsig.VerifyDetached(k.Certificate, h, sig); err != nil {
		return fingerprint, fmt.Errorf("key %q: %w", k.Label, err)
	}
	return fingerprint, nil
}

// signer is the token's key as package pgpsig wants it.
func signer(ctx context.Context, tok Token, label string) pgpsig.SignFunc {
	return func(hash crypto.Hash, digest []byte) ([]byte, error) { return tok.Sign(ctx, label, hash, digest) }
}
