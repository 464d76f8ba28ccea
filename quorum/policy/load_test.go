package policy_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
)

func TestAWholePolicyIsRead(t *testing.T) {
	text := good()
	p := mustLoad(t, text)
	c := p.Channel("core")
	if p.Version != 7 || p.Digest != sha256.Sum256([]byte(text)) || !p.Expires.Equal(time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("read version %d, expires %s, digest %s", p.Version, p.Expires, p.Digest)
	}
	if !slices.Equal(c.Roster, []string{"berlin", "osaka", "reading", "hetzner"}) || c.Rule.Name != "release" || c.Rule.Need != 2 || c.Rule.Members[0].Need != 2 {
		t.Errorf("roster %q, rule %+v", c.Roster, c.Rule)
	}
	if c.Settle != 10*time.Minute || c.Dissent != policy.DissentReport || !slices.Equal(c.Sign, []policy.Output{{Format: policy.OpenPGP, Key: "core-2026"}}) || !c.NeedsSHA512() {
		t.Errorf("settle %s, dissent %s, sign %v", c.Settle, c.Dissent, c.Sign)
	}
	if c.Index("reading") != 2 || c.Index("nobody") != -1 || p.Channel("nobody") != nil || p.Builder("nobody") != nil {
		t.Error("a name is found wrongly")
	}
	b := p.Builder("hetzner")
	if len(b.Keys) != 2 || !b.Keys[0].Public.Equal(corekit.Public(corekit.Ed25519("hetzner"))) || b.Operator != "hetzner" {
		t.Fatalf("builder %+v", b)
	}
	old := b.Keys[1]
	if old.NotBefore.Year() != 2025 || old.NotAfter.Year() != 2026 || !old.Revoked.Equal(time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("rotated key %+v", old)
	}
	if got := p.ChannelsOf(b); !slices.Equal(got, []string{"core"}) {
		t.Errorf("channels of the builder: %q", got)
	}
}

func TestWhatIsNotSaidIsTheSafeChoice(t *testing.T) {
	text := replace(t, replace(t, good(), "settle = \"10m\"\n", ""), "dissent = \"report\"\n", "")
	if c := mustLoad(t, text).Channel("core"); c.Dissent != policy.DissentHold || c.Settle != 0 {
		t.Errorf("dissent %q, settle %s", c.Dissent, c.Settle)
	}
}

func TestOneOperatorCanBeTheQuorum(t *testing.T) {
	c := mustLoad(t, corekit.Head+corekit.Operators("berlin")+corekit.Channel("berlin")).Channel("core")
	if !c.Rule.IsOperator() || !c.Rule.Passes([]bool{true}) || c.Rule.Passes([]bool{false}) || c.Rule.CanSplit() {
		t.Errorf("rule %+v", c.Rule)
	}
}

func TestPoliciesThatCouldSurpriseAreRefused(t *testing.T) {
	berlin := corekit.Text(corekit.Ed25519("berlin"))
	osaka := corekit.Text(corekit.Ed25519("osaka"))
	distro := `members = ["berlin", "osaka", "reading"]`
	cases := []struct{ name, old, with, want string }{
		{"a key of the file that is misspelt", "settle =", "setle =", "unknown key"},
		{"an unknown key at the top", "version = 7", "version = 7\nowner = \"me\"", "unknown key"},
		{"an unknown key in an output", `key = "core-2026"`, `key = "core-2026", hash = "sha1"`, "unknown key"},
		{"need written Need", "need = 2", "Need = 2", "unknown key group[0].Need"},
		{"need and Need", "need = 2", "need = 2\nNeed = 1", "unknown key group[0].Need"},
		{"not TOML", "version = 7", "version 7", "policy:"},
		{"no version", "version = 7", "", "version is missing"},
		{"version 0", "version = 7", "version = 0", "version is missing"},
		{"a negative version", "version = 7", "version = -1", "policy:"},
		{"no expiry", "expires = 2036-01-01T00:00:00Z", "", "expires is missing"},
		{"an expiry that is a day somewhere", "expires = 2036-01-01T00:00:00Z", "expires = 2036-01-01", "expires: 2036-01-01 has no time zone"},
		{"an expiry without a zone", "expires = 2036-01-01T00:00:00Z", "expires = 2036-01-01T00:00:00", "has no time zone"},
		{"a revocation without a zone", "revoked = 2026-02-01T00:00:00+01:00", "revoked = 2026-02-01", "operator[3].builder[0].rotated[0].revoked: 2026-02-01 has no time zone"},
		{"past its expiry", "expires = 2036-01-01T00:00:00Z", "expires = 2026-03-01T12:00:00Z", "policy has expired on 2026-03-01T12:00:00Z"},

		{"an operator without a name", "[[operator]]\nname = \"osaka\"", "[[operator]]\nname = \"\"", `operator "": a name is`},
		{"an operator with a dot in its name", "[[operator]]\nname = \"osaka\"", "[[operator]]\nname = \"a.b\"", `operator "a.b": a name is`},
		{"two operators of one name", "[[operator]]\nname = \"osaka\"", "[[operator]]\nname = \"berlin\"", `operator "berlin": the name is taken by operator "berlin"`},
		{"two operators that differ in case", "[[operator]]\nname = \"osaka\"", "[[operator]]\nname = \"Berlin\"", `operator "Berlin": the name is taken by operator "berlin"`},
		{"a group named as an operator", "name = \"distro\"", "name = \"BERLIN\"", `group "BERLIN": the name is taken by operator "berlin"`},
		{"two builders of one name", "  name = \"osaka\"", "  name = \"Berlin\"", `builder "Berlin": the name is taken by builder "berlin"`},
		{"an operator without a builder", "[[operator]]\nname = \"osaka\"", "[[operator]]\nname = \"empty\"\n[[operator]]\nname = \"osaka\"", `operator "empty" has no builder`},
		{"one key under two names", osaka, berlin, `builder "osaka": its key is also the key of builder "berlin"`},
		{"a rotated key under another name", corekit.Text(corekit.P256("old")), osaka, `builder "hetzner": its key is also the key of builder "osaka"`},
		{"a key that is none", osaka, "ed25519:AAAA", `builder "osaka": key: statement key`},
		{"a key that a template left", osaka, "ed25519:" + strings.Repeat("A", 43) + "=", "small order"},
		{"a key that ends before it begins", "not_after = 2026-01-01", "not_after = 2024-01-01", "not_after is not later than not_before"},

		{"no need", "need = 2\n", "", "need is missing"},
		{"need 0", "need = 2", "need = 0", "need 0 is less than one"},
		{"a negative need", "need = 2", "need = -1", "need -1 is less than one"},
		{"need as a share", "need = 2", "need = 0.67", "neither a count"},
		{"need as a word", "need = 2", `need = "most"`, `need "most" is neither`},
		{"need as a number in quotes", "need = 2", `need = "2"`, `need "2" is neither`},
		{"need is true", "need = 2", "need = true", "neither a count"},
		{"need beyond counting", "need = 2", "need = 4294967296", "too large"},
		{"need of more than there are", "need = 2", "need = 4", `group "distro" needs 4 of 3 members`},
		{"no members", distro, "members = []", `group "distro" has no members`},
		{"a member that nobody knows", distro, `members = ["berlin", "osaka", "nobody"]`, `member "nobody" is neither`},
		{"a member in another case", distro, `members = ["berlin", "osaka", "READING"]`, `member "READING" is neither`},
		{"a member twice", distro, `members = ["berlin", "osaka", "osaka"]`, `member "osaka" is already a member of group "distro"`},
		{"a member of two groups", distro, `members = ["berlin", "osaka", "hetzner"]`, `member "hetzner" is already a member of group "distro"`},
		{"a group in itself", distro, `members = ["berlin", "osaka", "distro"]`, "is already a member"},
		{"a group in a group in itself", distro, `members = ["berlin", "osaka", "release"]`, `group "distro" contains itself`},

		{"a quorum that nobody knows", `quorum = "release"`, `quorum = "nobody"`, `quorum "nobody" is neither`},
		{"a channel without outputs", `sign = [{ format = "openpgp", key = "core-2026" }]`, "sign = []", `channel "core" has no outputs`},
		{"a channel that says nothing of outputs", `sign = [{ format = "openpgp", key = "core-2026" }]`, "", `channel "core" has no outputs`},
		{"an unknown format", `format = "openpgp"`, `format = "pgp"`, `format "pgp" is not known`},
		{"a key with a slash", `key = "core-2026"`, `key = "../core"`, `key "../core" is not a name`},
		{"an output twice", `key = "core-2026" }`, `key = "core-2026" }, { format = "openpgp", key = "core-2026" }`, "stands twice"},
		{"a settle time without a unit", `settle = "10m"`, `settle = "10"`, `settle "10" is not a duration`},
		{"a negative settle time", `settle = "10m"`, `settle = "-10m"`, `settle "-10m" is not a duration`},
		{"settle is a number", `settle = "10m"`, `settle = 600`, "policy:"},
		{"a dissent rule that nobody knows", `dissent = "report"`, `dissent = "ignore"`, `dissent "ignore" is neither`},
		{"no targets", `targets = ["pkg:alpm/arch/*"]`, "targets = []", `channel "core" has no targets`},
		{"a target that is no package URL", `"pkg:alpm/arch/*"`, `"zlib*"`, `"zlib*" does not begin with pkg:`},
		{"a target that cannot match", `"pkg:alpm/arch/*"`, `"pkg:alpm"`, `"pkg:alpm" can match no package URL`},
		{"a target with a space", `"pkg:alpm/arch/*"`, `"pkg:alpm/arch/* "`, "can match no package URL"},
		{"an empty target", `"pkg:alpm/arch/*"`, `""`, "does not begin with pkg:"},
		{"no channel", good()[strings.Index(good(), "[[channel]]"):], "", "there is no channel"},
		{"two channels that differ in case", `[[channel]]`, corekit.Channel("distro") + "[[channel]]", `channel "core": the name is taken`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := policy.Load([]byte(replace(t, good(), c.old, c.with)), now)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// A value of the wrong type is told in the words of the file, with its key.
func TestWrongTypesAreToldInWords(t *testing.T) {
	for _, c := range []struct{ old, with, want string }{
		{`settle = "10m"`, `settle = 10`, "settle is of the wrong type (integer): want text in quotes"},
		{`quorum = "release"`, `quorum = ["release"]`, "quorum is of the wrong type (array): want text in quotes"},
		{`version = `, `version = "1" #`, "version is of the wrong type (string): want a whole number"},
		{`expires = `, `expires = "2027-06-01" #`, `expires "2027-06-01" is not a time; write one such as 2027-06-01T00:00:00Z, without quotes`},
	} {
		_, err := policy.Load([]byte(replace(t, good(), c.old, c.with)), now)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "struct") || strings.Contains(err.Error(), "2006") {
			t.Errorf("%s: %v", c.with, err)
		}
	}
}

func TestACycleThatNoChannelUsesIsRefused(t *testing.T) {
	text := good() + corekit.Group("x", "1", "y") + corekit.Group("y", "1", "x")
	if _, err := policy.Load([]byte(text), now); err == nil || !strings.Contains(err.Error(), `group "x" contains itself`) {
		t.Errorf("got %v", err)
	}
	text = good() + corekit.Group("x", "1", "x")
	if _, err := policy.Load([]byte(text), now); err == nil || !strings.Contains(err.Error(), `group "x" contains itself`) {
		t.Errorf("got %v", err)
	}
}

func TestEveryProblemIsNamedAtOnce(t *testing.T) {
	text := replace(t, replace(t, good(), "version = 7", "version = 0"), "need = 2", "need = 9")
	_, err := policy.Load([]byte(text), now)
	if err == nil || !strings.Contains(err.Error(), "version is missing") || !strings.Contains(err.Error(), "needs 9 of 3") {
		t.Errorf("got %v", err)
	}
}

func TestExpiryIsRecognised(t *testing.T) {
	end := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := policy.Load([]byte(good()), end.Add(-time.Nanosecond)); err != nil {
		t.Errorf("just before its expiry: %v", err)
	}
	if _, err := policy.Load([]byte(good()), end); !errors.Is(err, policy.ErrExpired) {
		t.Errorf("at its expiry: %v", err)
	}
	p := mustLoad(t, good())
	if p.Expired(end.Add(-1)) || !p.Expired(end) {
		t.Error("Expired is off by one")
	}
}

func TestAQuorumThatTwoDigestsPassNeedsAWord(t *testing.T) {
	text := replace(t, replace(t, good(), "need = 2", `need = "any"`), `need = "all"`, `need = "any"`)
	if _, err := policy.Load([]byte(text), now); err == nil || !strings.Contains(err.Error(), "allow_split") {
		t.Errorf("got %v", err)
	}
	if !mustLoad(t, text+"allow_split = true\n").Channel("core").Rule.CanSplit() {
		t.Error("the rule says that it cannot split")
	}
}

func TestSizeLimits(t *testing.T) {
	if _, err := policy.Load(make([]byte, policy.MaxSize+1), now); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a policy of many bytes: %v", err)
	}
	var groups strings.Builder
	for i := range 1025 {
		groups.WriteString(corekit.Group(fmt.Sprintf("g%d", i), "1", "berlin"))
	}
	if _, err := policy.Load([]byte(good()+groups.String()), now); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Errorf("a policy of many groups: %v", err)
	}
}

func TestTargetPatterns(t *testing.T) {
	cases := []struct {
		pattern, target string
		want            bool
	}{
		{"*", corekit.Target, true},
		{"pkg:*", corekit.Target, true},
		{"pkg:alpm/arch/*", corekit.Target, true},
		{"pkg:alpm/arch/*", "pkg:alpm/arch/", true}, // the run may be empty
		{"pkg:alpm/arch/*", "pkg:alpm/arch32/zlib", false},
		{"pkg:alpm/arch/*", "xpkg:alpm/arch/zlib", false},
		{"pkg:alpm/arch/zlib@1", "pkg:alpm/arch/zlib@1", true},
		{"pkg:alpm/arch/zlib@1", "pkg:alpm/arch/zlib@1.2", false},
		{"pkg:alpm/arch/zlib@1", "pkg:alpm/arch/zlib@", false},
		{"pkg:*/zlib@*?arch=x86_64", corekit.Target, true},
		{"pkg:*/zlib@*?arch=x86_64", "pkg:alpm/arch/zlib@1.3.1-2?arch=aarch64", false},
		{"pkg:*/zlib@*?arch=x86_64", "pkg:alpm/arch/zlib@1.3.1-2xarch=x86_64", false}, // "?" is itself
		{"pkg:*/zlib@*?arch=x86_64", corekit.Target + "&distro=x", false},             // the end is the end
		{"pkg:a/*b*b", "pkg:a/b", false},
		{"pkg:a/*b*b", "pkg:a/bb", true},
		{"pkg:a/*bc*c", "pkg:a/bc", false},
		{"pkg:a/**", "pkg:a/b", true},
		{"pkg:a/b*a/b", "pkg:a/b", false}, // head and end may not overlap
		{"pkg:A/*", "pkg:a/b", false},
	}
	for _, c := range cases {
		ch := &policy.Channel{Targets: []string{"pkg:other/x", c.pattern}}
		if got := ch.Matches(c.target); got != c.want {
			t.Errorf("%s on %s: %t", c.pattern, c.target, got)
		}
	}
	if (&policy.Channel{}).Matches(corekit.Target) {
		t.Error("a channel without patterns matches")
	}
}
