package coordinator_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
)

const deb = "a_1.0_amd64.deb"

// debianBuild is a .buildinfo as dpkg-genbuildinfo writes it.
func debianBuild(content, gcc, path string) string {
	return fmt.Sprintf("Format: 1.0\nSource: a\nBinary: a\nArchitecture: amd64\nVersion: 1.0\nChecksums-Sha256:\n %s %d %s\n"+
		"Build-Date: Thu, 01 Jan 2026 12:00:00 +0000\nBuild-Path: %s\nInstalled-Build-Depends:\n bash (= 5.2),\n gcc (= %s)\nEnvironment:\n LANG=\"C.UTF-8\"\n TZ=%q\n",
		digest(content), len(content), deb, path, gcc, "<b>"+gcc)
}

// newPGP makes a key of today.
func newPGP(t *testing.T, name string) (e *pgp.Entity, file []byte) {
	t.Helper()
	e = must(pgp.NewEntity(name, "", name+"@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return time.Now().Add(-time.Hour) }}))(t)
	var b bytes.Buffer
	check(t, e.Serialize(&b))
	return e, b.Bytes()
}

// What is installed and set, by the .buildinfo files that importers brought, is
// compared like what agents say.
func TestBuildinfoTakesPartInTheComparison(t *testing.T) {
	var operators, names string
	files := map[string][]byte{}
	keys := map[string]*pgp.Entity{}
	for _, name := range []string{"ann", "ben", "cid"} {
		keys[name], files[name] = newPGP(t, name)
		operators += fmt.Sprintf("[[operator]]\nname = %q\n[[operator.builder]]\nname = %q\nkey = \"openpgp:%s\"\n", name, name, must(openpgp.Identify(files[name]))(t))
		names += fmt.Sprintf("%q,", name)
	}
	w := newWorldWith(t, strings.Replace(policyText(t, 1, 5, "", nil), "members = [\"alice\"", "members = ["+names+"\"alice\"", 1)+operators)
	w.enroll("gather", bus.RoleImporter)
	w.start()
	for name, body := range map[string]string{
		"ann": debianBuild("one", "4:14.2", "/build/a"), "ben": debianBuild("one", "4:14.2", "/build/a"), "cid": debianBuild("two", "4:14.1", "/home/c"),
	} {
		var b bytes.Buffer
		c := must(clearsign.Encode(&b, keys[name].PrivateKey, nil))(t)
		must(c.Write([]byte(body)))(t)
		check(t, c.Close())
		w.bring("gather", must(wire.Encode(&wire.Foreign{Version: 1, Channel: "core", Origin: name, Fetched: time.Now().UTC(),
			Evidence: evidence.Bundle{Kind: evidence.BuildInfo, Body: b.Bytes()}.Encode(), Keys: [][]byte{files[name]}}))(t))
	}
	// An agent says the same by its own names.
	said := build{builder: "alice", target: "pkg:deb/a@1.0", files: map[string]string{deb: "one"}}.statement(t)
	w.sayWith(said, map[string]string{"path": "/build/a", "LANG": "C.UTF-8"}, "gcc:amd64", "4:14.2")
	w.sync()
	if codes := w.rejectedCodes(); len(codes) > 0 {
		t.Fatal(codes)
	}
	targets := w.targets("")
	if len(targets) != 1 {
		t.Fatalf("targets %+v", targets)
	}
	_, body := w.fetch("/v1/targets/" + targets[0].ID + "/differences")
	for _, want := range []string{"gcc: all 3 of A have 4:14.2; the one of B has 4:14.1", "path: all 3 of A have /build/a; the one of B has /home/c", "day of the build"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("lacks %q: %s", want, body)
		}
	}
	if strings.Contains(string(body), "bash") || strings.Contains(string(body), "LANG") {
		t.Errorf("what all have alike is told: %s", body)
	}
	if _, page := w.fetch("/targets/" + targets[0].ID); !strings.Contains(string(page), "gcc: all 3 of A have") || strings.Contains(string(page), "<b>4:14") {
		t.Error("the page does not say it, or has it as it came")
	}
}
