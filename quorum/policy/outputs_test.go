package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"quorate/quorum/format"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// signing is a policy with two channels that sign that.
func signing(first, second string) string {
	const one = `sign = [{ format = "openpgp", key = "core-2026" }]`
	base := corekit.Head + corekit.Operators("berlin", "osaka", "reading") + corekit.Group("distro", "2", "berlin", "osaka", "reading")
	a := strings.Replace(corekit.Channel("distro"), one, "sign = ["+first+"]", 1)
	b := strings.Replace(corekit.Channel("distro"), one, "sign = ["+second+"]", 1)
	return base + a + "\n" + strings.Replace(b, `name = "core"`, `name = "extra"`, 1)
}

func out(f format.Name, key string) string {
	return `{ format = "` + string(f) + `", key = "` + key + `" }`
}

// TestEveryFormatLoads: with what each needs votes on.
func TestEveryFormatLoads(t *testing.T) {
	for _, f := range format.All() {
		p, err := policy.Load([]byte(signing(out(f.Name, "k"), out(format.OpenPGP, "other"))), now)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		needs := map[format.Name]bool{format.Cleartext: false, format.CMSSHA256: false, format.RawSHA256: false, format.VSA: false,
			format.IMA: false, format.SSHFiles: false}
		want, listed := needs[f.Name]
		if c := p.Channel("core"); c.NeedsSHA512() != (want || !listed) || policy.NeedsState(c.Sign) != (f.Name == format.OpenPGP) {
			t.Errorf("%s: SHA-512 %t, state %t", f.Name, c.NeedsSHA512(), policy.NeedsState(c.Sign))
		}
		signables := map[format.Name][]string{format.Cleartext: {statement.TextState}, format.IMA: {statement.FileDigests},
			format.SSHFiles: {statement.FileDigests}}
		if got := policy.Signables(p.Channel("core").Sign); !slices.Equal(got, signables[f.Name]) {
			t.Errorf("%s: signables %q", f.Name, got)
		}
		if got := policy.IsBatch(p.Channel("core").Sign); got != format.IsBatch(f.Name) {
			t.Errorf("%s: batch %t", f.Name, got)
		}
	}
}

// TestKeysThatMustNotBeShared holds every pair of formats to the one table, within
// a channel and across two.
func TestKeysThatMustNotBeShared(t *testing.T) {
	for _, a := range format.All() {
		for _, b := range format.All() {
			if a.Name == b.Name {
				continue
			}
			other := out(format.VSA, "unrelated")
			for where, text := range map[string]string{
				"one channel":  signing(out(a.Name, "k")+", "+out(b.Name, "k"), other),
				"two channels": signing(out(a.Name, "k"), out(b.Name, "k")),
			} {
				_, err := policy.Load([]byte(text), now)
				if format.SameKey(a.Name, b.Name) == nil {
					if err != nil {
						t.Errorf("%s, %s and %s: %v", where, a.Name, b.Name, err)
					}
					continue
				}
				if !errors.Is(err, format.ErrSharedKey) || !strings.Contains(err.Error(), `key "k" signs `+string(a.Name)+` in channel "core"`) {
					t.Errorf("%s, %s and %s: %v", where, a.Name, b.Name, err)
				}
			}
			if _, err := policy.Load([]byte(signing(out(a.Name, "k1"), out(b.Name, "k2"))), now); err != nil {
				t.Errorf("with two keys, %s and %s: %v", a.Name, b.Name, err)
			}
		}
	}
}
