package hsmsigner_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

// TestReload puts another policy in place while a service runs, and then one
// that cannot be used.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "policy.toml"), []byte(policyText(t, 8)), 0o600)
	var log bytes.Buffer
	w := newWorld(t)
	v := hsmsigner.ServiceOf(&hsmsigner.Config{Policy: path, Keys: keyConfigs()}, w.signer, slog.New(slog.NewTextHandler(&log, nil)))
	check(t, v.Reload())
	if got := w.signer.Policy().Version; got != 8 {
		t.Errorf("version %d is in force", got)
	}
	writeFile(t, path, []byte("version = 9"), 0o600)
	if err := v.Reload(); err == nil {
		t.Error("half a policy was loaded")
	}
	if got := w.signer.Policy().Version; got != 8 {
		t.Errorf("version %d is in force", got)
	}
	writeFile(t, path, []byte(policyText(t, 7, func(s string) string { return strings.ReplaceAll(s, `key = "p256"`, `key = "other"`) })), 0o600)
	check(t, v.Reload())
	for _, want := range []string{"older than the one before", "does not name this key"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

// reloading is a service around the signer of a world, with files of its own that a
// test puts in their places.
type reloading struct {
	*world
	dir     string
	cms     policy.Output
	service *hsmsigner.Service
	log     bytes.Buffer
	asks    int
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{dir: t.TempDir(), cms: policy.Output{Format: format.CMS, Key: cmsKey(token.P256)}}
	r.world = newFormatWorld(t, map[string][]policy.Output{"cms": {r.cms}})
	configs := keyConfigs()
	for i, c := range configs {
		r.put(c.Label, must(os.ReadFile(c.Certificate))(t))
		configs[i].Certificate = r.path(c.Label)
	}
	for _, k := range r.more {
		r.put(k.Label, k.X509.Raw)
		configs = append(configs, hsmsigner.KeyConfig{Label: k.Label, X509: r.path(k.Label)})
	}
	r.version(9)
	r.service = hsmsigner.ServiceOf(&hsmsigner.Config{Policy: r.path("policy.toml"), Keys: configs}, r.signer, slog.New(slog.NewTextHandler(&r.log, nil)))
	r.reload("policy loaded")
	return r
}

func (r *reloading) path(name string) string { return filepath.Join(r.dir, name) }

func (r *reloading) put(name string, data []byte) {
	r.t.Helper()
	check(r.t, os.WriteFile(r.path(name), data, 0o600))
}

func (r *reloading) version(v int) {
	r.put("policy.toml", []byte(policyText(r.t, v)+channelText("cms", r.cms)))
}

// reload wants it to succeed, and the log to say so.
func (r *reloading) reload(want string) {
	r.t.Helper()
	check(r.t, r.service.Reload())
	if !strings.Contains(r.log.String(), want) {
		r.t.Fatalf("no %q in\n%s", want, r.log.String())
	}
	r.log.Reset()
	r.policy = r.signer.Policy()
}

// request is each time another one.
func (r *reloading) request(channel string) []byte {
	a := r.ask(channel)
	if channel == "cms" {
		a.outputs = []policy.Output{r.cms}
	}
	r.asks++
	a.artifact = fmt.Sprint("hello", r.asks)
	return encode(r.t, a.request(r.t))
}

// expired is the certificate of the key with an end that is over.
func expired(t *testing.T, label string) []byte {
	t.Helper()
	key := hsmsigner.Key{Label: label, Certificate: certificate(t, label)}
	return must(key.Extend(t.Context(), soft.token, now.Add(-time.Hour), keyTime.Add(time.Hour)))(t).Bytes()
}

// TestReloadCertificates changes a certificate while a service runs, as the commands
// do, there and back.
func TestReloadCertificates(t *testing.T) {
	r := newReloading(t)
	r.signed(r.request("ed25519"))
	r.put("ed25519", expired(t, "ed25519"))
	r.token.key = func(string) (token.Key, error) { return token.Key{}, unavailable() } // and is not needed for it
	r.reload("certificate loaded")
	r.token.key = nil
	r.refused(r.request("ed25519"), quorum.RefuseKeyNotUsable)
	r.signed(r.request("p256"))

	good := certificate(t, "ed25519")
	r.put("ed25519", good.Bytes())
	r.reload("certificate loaded")
	r.signed(r.request("ed25519"))
	_, dead, err := hsmsigner.Key{Label: "ed25519", Certificate: good}.Revoke(t.Context(), soft.token, pgpsig.ReasonRetired, "it is over", now.Add(-time.Hour))
	check(t, err)
	r.put("ed25519", dead.Bytes())
	r.reload("certificate is revoked")
	r.refused(r.request("ed25519"), quorum.RefuseKeyNotUsable)
	r.put("ed25519", good.Bytes())
	r.reload("certificate is not revoked, and the one before was")

	r.put(r.cms.Key, must(os.ReadFile(x509Of(t, r.cms.Key)))(t))
	r.reload("x.509 certificate loaded")
	r.now = keyTime.AddDate(2, 0, 0)
	r.refused(r.request("cms"), quorum.RefuseKeyNotUsable)
}

// TestReloadAllOrNothing: with one bad file, the good policy and the good certificate
// beside it are not taken either.
func TestReloadAllOrNothing(t *testing.T) {
	r := newReloading(t)
	r.put("ed25519", expired(t, "ed25519"))
	r.reload("certificate loaded")
	r.put("ed25519", certificate(t, "ed25519").Bytes())
	good := certificate(t, "p256").Bytes()
	for name, c := range map[string]struct {
		file string
		data []byte
		want string
	}{
		"cut":           {"p256", good[:len(good)-5], "parse certificate"},
		"another key's": {"p256", certificate(t, "p384").Bytes(), "is not the certificate of the token's key"},
		"no x.509":      {r.cms.Key, good, "x509"},
		"another x.509": {r.cms.Key, must(os.ReadFile(x509File(cmsKey(token.P384))))(t), "X.509 certificate belongs to another key"},
		"bad policy":    {"policy.toml", []byte("version = 11"), "expires is missing"},
	} {
		r.version(10)
		was := must(os.ReadFile(r.path(c.file)))(t)
		r.put(c.file, c.data)
		if err := r.service.Reload(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := r.signer.Policy().Version; got != 9 {
			t.Fatalf("%s: policy %d is in force", name, got)
		}
		r.refused(r.request("ed25519"), quorum.RefuseKeyNotUsable)
		r.signed(r.request("p256"))
		r.signed(r.request("cms"))
		r.put(c.file, was)
	}
	r.reload("certificate loaded")
	r.signed(r.request("ed25519"))
}
