package policy_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"quorate/internal/acttest"
	"quorate/quorum/act"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/sshsig"
	"quorate/quorum/statement"
)

func maintainer(name string, keys ...string) string {
	return fmt.Sprintf("[[maintainer]]\nname = %q\nkeys = [\"%s\"]\n", name, strings.Join(keys, `", "`))
}

// withMaintainers is a policy with maintainers, who have rights in channel core.
func withMaintainers(maintainers, rights string) string {
	return corekit.Head + corekit.Operators("berlin", "osaka", "reading") + maintainers +
		corekit.Group("distro", "2", "berlin", "osaka", "reading") + corekit.Channel("distro", "maintainers = ["+rights+"]")
}

func TestMaintainers(t *testing.T) {
	anna, ben := acttest.NewKey(t), acttest.NewKey(t, "-t", "ecdsa")
	p := mustLoad(t, withMaintainers(maintainer("anna", anna.Line)+maintainer("ben", ben.Line),
		`{ name = "anna", rights = ["hold", "release"] }, { name = "ben", rights = ["note"] }`))
	k, err := sshsig.ParseAuthorizedKey(ben.Line)
	if err != nil {
		t.Fatal(err)
	}
	if m := p.MaintainerOf(k); m == nil || m.Name != "ben" {
		t.Errorf("%+v", m)
	}
	ch := p.Channel("core")
	for _, x := range []struct {
		name string
		k    act.Kind
		want bool
	}{{"anna", act.Hold, true}, {"anna", act.Note, false}, {"ben", act.Note, true}, {"ben", act.Hold, false}, {"carl", act.Hold, false}} {
		if ch.May(x.name, x.k) != x.want {
			t.Errorf("%s, %s", x.name, x.k)
		}
	}
}

func TestMaintainersThatAreRefused(t *testing.T) {
	line := acttest.NewKey(t).Line
	all := `{ name = "anna", rights = ["hold"] }`
	for want, text := range map[string]string{
		"has no keys":                       withMaintainers("[[maintainer]]\nname = \"anna\"\nkeys = []\n", all),
		"ssh public key":                    withMaintainers(maintainer("anna", "ssh-ed25519"), all),
		"is also a key of \"anna\"":         withMaintainers(maintainer("anna", line)+maintainer("ben", line), all),
		"is taken by":                       withMaintainers(maintainer("anna", line)+maintainer("Anna", acttest.NewKey(t).Line), all),
		"there is no maintainer \"ben\"":    withMaintainers(maintainer("anna", line), `{ name = "ben", rights = ["hold"] }`),
		"\"anna\" stands twice":             withMaintainers(maintainer("anna", line), all+", "+all),
		"has no rights":                     withMaintainers(maintainer("anna", line), `{ name = "anna", rights = [] }`),
		"right \"sign\" is none of":         withMaintainers(maintainer("anna", line), `{ name = "anna", rights = ["sign"] }`),
		"right \"hold\" stands twice":       withMaintainers(maintainer("anna", line), `{ name = "anna", rights = ["hold", "hold"] }`),
		"unknown key":                       withMaintainers(maintainer("anna", line)+"mail = \"x\"\n", all),
		"a name is 1 to 64":                 withMaintainers(maintainer("an na", line), all),
		"is also a key of \"berlin\"":       withMaintainers(maintainer("anna", builderKey(t, "berlin")), all),
		"is also a key of \"anna\"\npolicy": withMaintainers(maintainer("anna", line, line), all),
	} {
		_, err := policy.Load([]byte(text), now)
		if err == nil || !strings.Contains(err.Error(), strings.Split(want, "\n")[0]) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// builderKey is a builder's statement key in the form of SSH.
func builderKey(t *testing.T, name string) string {
	t.Helper()
	text := mustLoad(t, good()).Builder(name).Keys[0].String()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "ed25519:"))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := statement.NewPublicKey(ed25519.PublicKey(raw)); err != nil {
		t.Fatal(err)
	}
	blob := "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + string(raw)
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte(blob))
}
