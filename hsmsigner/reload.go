package hsmsigner

import (
	"bytes"
	"fmt"
	"log/slog"
	"time"

	"quorate/internal/ends"
)

// Reload reads the policy file and the certificates of the keys again. If one of them
// cannot be used, all that is in force stays: a half-copied file must not stop the
// signer. The configuration itself is not read again.
func (v *Service) Reload() error {
	p, err := LoadPolicy(v.config.Policy, time.Now())
	if err != nil {
		return fmt.Errorf("reload policy: %w", err)
	}
	keys, err := LoadKeys(v.config.Keys)
	if err != nil {
		return fmt.Errorf("reload certificates: %w", err)
	}
	old, were := v.signer.Policy(), v.signer.keys()
	if err := v.signer.Replace(p, keys); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	v.log.Info("policy loaded", "policy", p.Version, "policy_digest", p.Digest, "was", old.Version)
	if p.Version < old.Version {
		v.log.Warn("policy is older than the one before", "policy", p.Version, "was", old.Version)
	}
	v.warnUnnamed(p)
	for _, k := range keys {
		logChange(v.log, were[k.Label], k, time.Now())
	}
	ends.Warn(v.log, v.signer.ends(), v.signer.now())
	return nil
}

// logChange says what became of the certificates of a key.
func logChange(log *slog.Logger, was, k Key, at time.Time) {
	if k.Certificate != nil && !bytes.Equal(k.Certificate.Bytes(), was.Certificate.Bytes()) {
		logOpenPGP(log, was, k, at)
	}
	if k.X509 != nil && !k.X509.Equal(was.X509) {
		log.Info("x.509 certificate loaded", "key", k.Label, "serial", k.X509.SerialNumber, "expires", k.X509.NotAfter)
	}
}

func logOpenPGP(log *slog.Logger, was, k Key, at time.Time) {
	log = log.With("key", k.Label, "fingerprint", k.Certificate.Fingerprint())
	end := "never"
	if t, ok := k.Certificate.Expires(); ok {
		end = t.Format(time.RFC3339)
	}
	log.Info("certificate loaded", "expires", end)
	switch {
	case k.Certificate.RevokedAt(at):
		log.Warn("certificate is revoked; requests for this key are refused")
	case was.Certificate.RevokedAt(at):
		log.Warn("certificate is not revoked, and the one before was")
	}
}
