package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"quorate/quorum/statement"
)

// otherPolicy pins the keys of the real files that are no guix.sigs.
const otherPolicy = `version = 1
expires = 2036-01-01T00:00:00Z
[[operator]]
name = "arch"
  [[operator.builder]]
  name = "arch"
  key = "ed25519:SzXBHIBK0Na2c/aCJFJ83N3z7qiRAC69tqzW6wSu4qk="
[[operator]]
name = "ab"
  [[operator.builder]]
  name = "a"
  key = "ed25519:DthOiEZdTW8xbjUPLQ3oovORpJ574mwY/gJkA0omFZI="
  [[operator.builder]]
  name = "b"
  key = "ed25519:vrpXbX+hfaSOSGGN6dCM80Ep4f7kWUvHNTZsVt/8z/4="
[[operator]]
name = "google"
  [[operator.builder]]
  name = "google"
  key = "ecdsa-p256:BHTHCVMim5mq3+ncnYX5gI4JiunONqAgjUUdbHtwYt1TuuSnBpOqsnIuv27LtrOLvnSylq7FEKJhMOL9xbVXLaA="
[[operator]]
name = "nixos"
  [[operator.builder]]
  name = "nixos"
  key = "ed25519:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
[[operator]]
name = "qubes"
  [[operator.builder]]
  name = "qubes"
  key = "openpgp:a55dc100ffd712adb92b5b1043b760f197ca1bf5"
[[operator]]
name = "deb-1"
  [[operator.builder]]
  name = "deb-1"
  key = "openpgp:5863835e5ec8e640fa24410f069edc1d59b58507"
[[operator]]
name = "deb-2"
  [[operator.builder]]
  name = "deb-2"
  key = "openpgp:e946fc6076d683584e6803dbd35bad6a79a3c6b3"
[[group]]
name = "one"
need = 1
members = ["arch", "google", "nixos", "qubes", "ab"]
[[group]]
name = "two"
need = "all"
members = ["deb-1", "deb-2"]
[[channel]]
name = "all"
targets = ["*"]
quorum = "one"
allow_split = true
sign = [ { format = "openpgp", key = "none" } ]
[[channel]]
name = "debian"
targets = ["*"]
quorum = "two"
sign = [ { format = "openpgp", key = "none" } ]
`

// born is when everything in the scripts was made.
var born = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func pgpConfig(at time.Time) *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return at }}
}

// person is a builder of the scripts with an OpenPGP key.
type person struct {
	name   string
	entity *pgp.Entity
}

func newPerson(name string, change func(*pgp.Entity) error) (person, error) {
	e, err := pgp.NewEntity(name, "", "", pgpConfig(born))
	if err == nil && change != nil {
		err = change(e)
	}
	return person{name, e}, err
}

// key writes the certificate.
func (p person) key() ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, "PGP PUBLIC KEY BLOCK", nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.entity.Serialize(w), w.Close()); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}

// file writes a list under the folder of that name, signed by the person.
func (p person) file(root, release, name, list string, at time.Time) error {
	dir := filepath.Join(root, release, name)
	var sig bytes.Buffer
	err := pgp.DetachSign(&sig, []*pgp.Entity{p.entity}, strings.NewReader(list), pgpConfig(at))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "all.SHA256SUMS"), []byte(list), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "all.SHA256SUMS.asc"), sig.Bytes(), 0o644)
	}
	return err
}

func sums(files ...string) string {
	var b strings.Builder
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256([]byte(content)), name)
	}
	return b.String()
}

// writeForeign makes what the scripts use: tree, a small guix.sigs with people
// whose keys are odd, and dsse, two provenances by two bare keys.
func writeForeign(dir string) error {
	tree := filepath.Join(dir, "tree")
	people := map[string]person{}
	for name, change := range map[string]func(*pgp.Entity) error{
		"alice": nil, "bob": func(e *pgp.Entity) error { return e.AddSigningSubkey(pgpConfig(born)) }, "dave": nil,
		"carol": func(e *pgp.Entity) error { return e.Revoke(packet.KeyCompromised, "lost", pgpConfig(born)) },
	} {
		p, err := newPerson(name, nil)
		if err != nil {
			return err
		}
		later := born.Add(time.Hour)
		if people[name] = p; name == "carol" {
			err = p.file(tree, "1.0", name, sums("a.zip=a", "b.zip=b"), later)
		}
		if err == nil && change != nil {
			err = change(p.entity)
		}
		if err == nil && name != "carol" {
			err = p.file(tree, "1.0", name, sums("a.zip=a", "b.zip=b"), later)
		}
		if err != nil {
			return err
		}
		key, err := p.key()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(tree, "builder-keys"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, "builder-keys", name+".gpg"), key, 0o644); err != nil {
			return err
		}
	}
	odd := filepath.Join(dir, "odd")
	for _, err := range []error{
		people["alice"].file(odd, "2.0", "alice", sums("a.zip=a", "A.zip=other", "same.zip=same"), born),
		people["bob"].file(odd, "2.0", "bob", sums("a.zip=x", "renamed.zip=same"), born),
		people["bob"].file(odd, "2.0", "Alice", sums("a.zip=a"), born), // in another letter case
		people["dave"].file(odd, "2.0", "bob-2", sums("a.zip=a"), born),
		people["alice"].file(odd, "2.1", "bob", sums("a.zip=a"), born), // not his
		people["alice"].file(odd, "2.2", "alice", sums("a.zip=a", "a.zip=a"), born),
		people["alice"].file(odd, "2.3", "alice", sums("a.zip=a"), born.AddDate(5, 0, 0)), // in the future
		people["alice"].file(odd, "2.4", "alice", sums("../a.zip=a"), born),
	} {
		if err != nil {
			return err
		}
	}
	return writeDSSE(filepath.Join(dir, "dsse"), 2, 2)
}

func bareKey(i int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "decide test key %d", i))
	return ed25519.NewKeyFromSeed(seed[:])
}

// writeDSSE makes a tree of provenances, thousand files a folder, in which each
// artifact has a statement by each of the operators, and a policy beside it.
func writeDSSE(dir string, statements, operators int) error {
	for i := range statements {
		at := filepath.Join(dir, fmt.Sprintf("%04d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
		}
		body := provenance(bareKey(i%operators), fmt.Sprintf("file-%07d.tar", i/operators), fmt.Sprint(i/operators))
		if err := os.WriteFile(filepath.Join(at, fmt.Sprintf("%07d.json", i)), body, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(dir+".toml", []byte(dssePolicy(operators)), 0o644)
}

func provenance(key ed25519.PrivateKey, name, content string) []byte {
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":"%x"}}],`+
		`"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{}},`+
		`"runDetails":{"builder":{"id":"https://example.org/builder"},"metadata":{"finishedOn":"2026-05-01T12:00:00Z"}}}}`, name, sha256.Sum256([]byte(content)))
	sig := ed25519.Sign(key, statement.PAE(statement.PayloadType, payload))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}`, b64(payload), statement.PayloadType, b64(sig))
}

func dssePolicy(operators int) string {
	var b strings.Builder
	b.WriteString("version = 1\nexpires = 2036-01-01T00:00:00Z\n")
	var names []string
	for i := range operators {
		names = append(names, fmt.Sprintf(`"op-%d"`, i))
		fmt.Fprintf(&b, "[[operator]]\nname = \"op-%d\"\n  [[operator.builder]]\n  name = \"op-%d\"\n  key = \"ed25519:%s\"\n", i, i,
			base64.StdEncoding.EncodeToString(bareKey(i).Public().(ed25519.PublicKey)))
	}
	fmt.Fprintf(&b, "[[group]]\nname = \"all\"\nneed = \"all\"\nmembers = [%s]\n", strings.Join(names, ", "))
	b.WriteString("[[channel]]\nname = \"bench\"\ntargets = [\"pkg:generic/*\"]\nquorum = \"all\"\nsign = [ { format = \"openpgp\", key = \"none\" } ]\n")
	return b.String()
}

func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }
