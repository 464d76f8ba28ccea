package policy_test

import (
	"slices"
	"strings"
	"testing"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
)

const fingerprint = "9EDAFF80E080659604F4A76B2EBB056FD847F8A7"

// foreign is a policy with one builder whose lines are given.
func foreign(lines ...string) string {
	return corekit.Head + "[[operator]]\nname = \"emzy\"\n  [[operator.builder]]\n  name = \"Emzy\"\n  " +
		strings.Join(lines, "\n  ") + "\n" + corekit.Channel("emzy")
}

func TestForeignKeys(t *testing.T) {
	p := mustLoad(t, "keys = \"builder-keys\"\n"+foreign(`key = "openpgp:`+strings.ToLower(fingerprint)+`"`, `filed_as = ["emzy", "old.name"]`, `expired_since = "reject"`))
	b := p.Builder("Emzy")
	if p.KeyFiles != "builder-keys" || len(b.Keys) != 1 || b.Keys[0].OpenPGP != fingerprint || b.Keys[0].String() != "openpgp:"+fingerprint || b.ExpiredSince != policy.ExpiredReject {
		t.Errorf("read as %+v", b)
	}
	if got := p.FiledNames(); !slices.Equal(got, []string{"Emzy", "emzy", "old.name"}) {
		t.Errorf("filed names %q", got)
	}
	for _, name := range []string{"Emzy", "emzy", "old.name"} {
		if p.FiledAs(name) != b {
			t.Errorf("%q is not the builder's", name)
		}
	}
	if p.FiledAs("EMZY") != nil || p.Builder("emzy") != nil {
		t.Error("names are not compared byte for byte")
	}
}

func TestForeignDefaults(t *testing.T) {
	p := mustLoad(t, good())
	if b := p.Builder("hetzner"); b.ExpiredSince != policy.ExpiredAccept || p.FiledAs("hetzner") != b || b.Keys[0].OpenPGP != "" || p.KeyFiles != "" {
		t.Errorf("read as %+v", b)
	}
}

func TestForeignRefused(t *testing.T) {
	key := `key = "openpgp:` + fingerprint + `"`
	other := "\n[[operator]]\nname = \"other\"\n  [[operator.builder]]\n  name = \"other\"\n  "
	for want, text := range map[string]string{
		"2EBB056FD847F8A7 is a key id, which is not unique; give all 40 digits": foreign(`key = "openpgp:2ebb056fd847f8a7"`),
		"D847F8A7 is a key id":                                     foreign(`key = "openpgp:D847F8A7"`),
		"has 38 hex digits, want the 40":                           foreign(`key = "openpgp:` + fingerprint[:38] + `"`),
		"is not hex":                                               foreign(`key = "openpgp:9EDA FF80"`),
		"its key is also the key of builder \"Emzy\"":              foreign(key) + other + `key = "openpgp:` + strings.ToLower(fingerprint) + `"`,
		"expired_since \"maybe\" is neither":                       foreign(key, `expired_since = "maybe"`),
		"filed_as: \"a/b\" is not the name of a folder":            foreign(key, `filed_as = ["a/b"]`),
		"filed_as: \"..\" is not the name of a folder":             foreign(key, `filed_as = [".."]`),
		"filed_as: \"x\" stands twice":                             foreign(key, `filed_as = ["x", "x"]`),
		"filed_as: \"Emzy\" stands twice":                          foreign(key, `filed_as = ["Emzy"]`),
		"the name \"eMZY\" is taken by builder \"Emzy\"":           foreign(key) + other + "key = \"" + corekit.Text(corekit.Ed25519("other")) + "\"\n  filed_as = [\"eMZY\"]",
		"builder \"other\": the name is taken by builder \"Emzy\"": foreign(key, `filed_as = ["OTHER"]`) + other + "key = \"" + corekit.Text(corekit.Ed25519("other")) + `"`,
	} {
		if _, err := policy.Load([]byte(text), now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
