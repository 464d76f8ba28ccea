package openpgp_test

import (
	"bytes"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence/openpgp"
)

var (
	born    = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	signed  = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	later   = time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
	now     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	message = []byte("0123 a.tar.gz\n")
)

// config makes keys and signatures at a time.
func config(at time.Time) *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return at }}
}

func until(at, end time.Time) *packet.Config {
	c := config(at)
	c.KeyLifetimeSecs = uint32(end.Sub(at) / time.Second)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newEntity(t testing.TB, c *packet.Config) *pgp.Entity {
	t.Helper()
	e, err := pgp.NewEntity("A Builder", "", "builder@example.org", c)
	must(t, err)
	return e
}

func withSubkey(t testing.TB, e *pgp.Entity, c *packet.Config) *pgp.Entity {
	t.Helper()
	must(t, e.AddSigningSubkey(c))
	return e
}

// publicKey returns the key file of an entity.
func publicKey(t testing.TB, e *pgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, e.Serialize(&b))
	return b.Bytes()
}

func armored(t testing.TB, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return append(b.Bytes(), '\n')
}

// signWith signs with the key of that id, 0 for whichever go-crypto picks.
func signWith(t testing.TB, e *pgp.Entity, id uint64, c *packet.Config) []byte {
	t.Helper()
	var b bytes.Buffer
	c.SigningKeyId = id
	must(t, pgp.DetachSign(&b, e, bytes.NewReader(message), c))
	return b.Bytes()
}

// rawSign signs whatever go-crypto would not: with an expired or revoked key.
func rawSign(t testing.TB, key *packet.PrivateKey, at time.Time, change func(*packet.Signature)) []byte {
	t.Helper()
	id := key.KeyId
	sig := &packet.Signature{Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo,
		Hash: (&packet.Config{}).Hash(), CreationTime: at, IssuerKeyId: &id, IssuerFingerprint: key.Fingerprint}
	if change != nil {
		change(sig)
	}
	h := sig.Hash.New()
	h.Write(message)
	c, salt := config(at), false // a salt of the hash's size: go-crypto has none for SHA-1
	c.NonDeterministicSignaturesViaNotation = &salt
	must(t, sig.Sign(h, key, c))
	var b bytes.Buffer
	must(t, sig.Serialize(&b))
	return b.Bytes()
}

// renew writes a new self-signature with another lifetime into the entity, as
// people do to a key that is about to expire.
func renew(t testing.TB, e *pgp.Entity, at, end time.Time) {
	t.Helper()
	for _, id := range e.Identities {
		s := *id.SelfSignature
		s.CreationTime = at
		secs := uint32(end.Sub(e.PrimaryKey.CreationTime) / time.Second)
		s.KeyLifetimeSecs = &secs
		must(t, s.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config(at)))
		id.SelfSignature = &s
		id.Signatures = []*packet.Signature{&s} // the old one is gone
	}
}

func pinned(t testing.TB, files ...[]byte) *openpgp.Ring {
	t.Helper()
	fpr, err := openpgp.Identify(files[0])
	must(t, err)
	key, err := openpgp.ParseKey(fpr, files...)
	must(t, err)
	ring, err := openpgp.NewRing(key)
	must(t, err)
	return ring
}
