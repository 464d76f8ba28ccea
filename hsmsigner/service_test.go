package hsmsigner_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

// TestOpenRefuses opens a service whose state lacks something. All of it is found
// before the PIN is: its file is missing too, and no error says so.
func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*hsmsigner.Config)
		want  string
		is    error
	}{
		"no module":       {func(c *hsmsigner.Config) { c.Token.Module += ".gone" }, "module cannot be used", token.ErrModule},
		"no ledger":       {func(c *hsmsigner.Config) { os.Remove(c.Ledger) }, "quorate-signer init makes a new one", ledger.ErrMissing},
		"no policy":       {func(c *hsmsigner.Config) { os.Remove(c.Policy) }, "its own copy of the policy file", hsmsigner.ErrConfig},
		"bad policy":      {func(c *hsmsigner.Config) { os.WriteFile(c.Policy, []byte("version = 1"), 0o600) }, "expires is missing", hsmsigner.ErrConfig},
		"no certificate":  {func(c *hsmsigner.Config) { c.Keys[0].Certificate += ".gone" }, "quorate-signer key create writes it", hsmsigner.ErrConfig},
		"bad certificate": {func(c *hsmsigner.Config) { c.Keys[0].Certificate = c.Policy }, "parse certificate", hsmsigner.ErrConfig},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "signer")
			policyFile := writeFile(t, filepath.Join(t.TempDir(), "policy.toml"), []byte(policyText(t, 7)), 0o600)
			must(hsmsigner.Init(t.Context(), dir, hsmsigner.Config{Policy: policyFile, Token: tokenConfig(), Keys: keyConfigs()}))(t)
			config := must(hsmsigner.LoadConfig(filepath.Join(dir, hsmsigner.ConfigFile)))(t)
			config.Token.PINFile += ".gone"
			c.spoil(config)
			_, err := hsmsigner.Open(t.Context(), config, nil, quiet())
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestCertificateOfAnotherKey: what the token has and what the file says must be
// of one piece.
func TestCertificateOfAnotherKey(t *testing.T) {
	k := hsmsigner.Key{Label: "ed25519", Certificate: certificate(t, "p256")}
	if err := k.CheckToken(soft.token); !hsmsigner.IsOtherKey(err) || !strings.Contains(err.Error(), `key "ed25519"`) {
		t.Errorf("got %v", err)
	}
}

func TestSelftest(t *testing.T) {
	configs := append(keyConfigs(),
		hsmsigner.KeyConfig{Label: "ed25519", Certificate: certFile(token.P256)},
		hsmsigner.KeyConfig{Label: "p256", Certificate: certFile("gone")})
	results := hsmsigner.Selftest(t.Context(), soft.token, configs, nil)
	for _, r := range results[:len(keyTypes)] {
		if r.Err != nil || r.Fingerprint != certificate(t, r.Key).Fingerprint() {
			t.Errorf("%s: %v", r.Key, r.Err)
		}
	}
	if err := results[len(keyTypes)].Err; !hsmsigner.IsOtherKey(err) {
		t.Errorf("got %v", err)
	}
	if err := results[len(keyTypes)+1].Err; err == nil {
		t.Error("a key without a certificate passed")
	}
	broken := &watchedToken{Token: soft.token, sign: nil}
	broken.key = func(label string) (token.Key, error) { return soft.token.Key(label) }
	broken.sign = signAs("p256") // whatever it is asked for
	if r := hsmsigner.Selftest(t.Context(), broken, keyConfigs()[:1], nil); !errors.Is(r[0].Err, pgpsig.ErrSignatureCheck) {
		t.Errorf("got %v", r[0].Err)
	}
}

// TestSelftestOfAnEndedKey: where a request is refused for the certificate, the
// self-test is not good either, in whatever format.
func TestSelftestOfAnEndedKey(t *testing.T) {
	key := must(hsmsigner.LoadKey(keyConfigs()[3]))(t)
	_, dead, err := key.Revoke(t.Context(), soft.token, pgpsig.ReasonRetired, "it is over", now)
	check(t, err)
	short := must(key.Extend(t.Context(), soft.token, now, keyTime.Add(time.Hour)))(t)
	configs := []hsmsigner.KeyConfig{{Label: "ed25519", Certificate: writeFile(t, filepath.Join(t.TempDir(), "dead"), dead.Bytes(), 0o600)},
		{Label: "ed25519", Certificate: writeFile(t, filepath.Join(t.TempDir(), "short"), short.Bytes(), 0o600)},
		{Label: "ed25519", X509: x509Of(t, "ed25519")}} // which has ended too
	all := []policy.Output{{Format: format.OpenPGP, Key: "ed25519"}, {Format: format.SSHSIG, Key: "ed25519"}, {Format: format.VSA, Key: "ed25519"}}
	p := loadPolicy(t, policyText(t, 8, func(s string) string { return s + channelText("all", all...) }))
	for i, c := range []struct {
		policy *policy.Policy
		want   map[policy.Format]string // empty: it is good
	}{
		{p, map[policy.Format]string{format.OpenPGP: "revoked", format.SSHSIG: "revoked", format.VSA: "revoked"}},
		{p, map[policy.Format]string{format.OpenPGP: "expired", format.SSHSIG: "", format.VSA: ""}},
		{nil, map[policy.Format]string{format.CMS: "valid from"}},
	} {
		results := hsmsigner.Selftest(t.Context(), soft.token, configs[i:i+1], c.policy)
		if len(results) != len(c.want) {
			t.Fatalf("%d results: %+v", i, results)
		}
		for _, r := range results {
			if want := c.want[r.Format]; want == "" && r.Err != nil || want != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), want)) {
				t.Errorf("%d: %s: got %v, want %q", i, r.Format, r.Err, want)
			}
		}
	}
}

// TestCreateKeyAgain finishes what a crash left: a key without a certificate.
func TestCreateKeyAgain(t *testing.T) {
	n := hsmsigner.NewKey{Label: "ed25519", Type: token.Ed25519, UserID: archive, Created: keyTime}
	if _, err := hsmsigner.CreateKey(t.Context(), soft.token, n); !errors.Is(err, token.ErrKeyExists) || !strings.Contains(err.Error(), "--existing") {
		t.Errorf("got %v", err)
	}
	n.Existing = true
	if cert := must(hsmsigner.CreateKey(t.Context(), soft.token, n))(t); cert.Fingerprint() != certificate(t, "ed25519").Fingerprint() {
		t.Error("the same key and time give another fingerprint")
	}
	n.UserID = "line\nbreak"
	if _, err := hsmsigner.CreateKey(t.Context(), soft.token, n); err == nil || !strings.Contains(err.Error(), "user id") {
		t.Errorf("got %v", err)
	}
}

// What no certificate can have is found before there is a key.
func TestCreateKeyChecksFirst(t *testing.T) {
	for want, change := range map[string]func(*hsmsigner.NewKey){
		"user id":       func(n *hsmsigner.NewKey) { n.UserID = "line\nbreak" },
		"lifetime":      func(n *hsmsigner.NewKey) { n.Lifetime = -time.Hour },
		"expiry":        func(n *hsmsigner.NewKey) { n.Lifetime = 130 * 365 * 24 * time.Hour },
		"creation time": func(n *hsmsigner.NewKey) { n.Created = time.Unix(-1, 0) },
	} {
		n := hsmsigner.NewKey{Label: "unmade", Type: token.Ed25519, UserID: archive, Created: keyTime}
		change(&n)
		if _, err := hsmsigner.CreateKey(t.Context(), soft.token, n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
		if _, err := soft.token.Key("unmade"); !errors.Is(err, token.ErrKeyNotFound) {
			t.Fatalf("%s: the key was made: %v", want, err)
		}
	}
}
