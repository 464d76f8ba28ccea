package openpgp

import (
	"slices"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp/frame"
	"quorate/quorum/statement"
)

// MaxKeyFile bounds a key file, in bytes.
const MaxKeyFile = 4 << 20

// Key is a pinned certificate: a primary key, and what it says about itself and
// its subkeys. It is immutable and safe for concurrent use.
type Key struct {
	fingerprint Fingerprint
	primary     *component
	users       []*user
	subkeys     []*component
	userIDs     []string
	bare        bool // from a document that vouches for the key itself
	claims      int  // signatures that name the primary key as their issuer
}

// maxClaims bounds how many signatures of one certificate are verified: what
// claims to be by the key costs work, whoever wrote it.
const maxClaims = 2048

// component is the primary key or one subkey, with what the primary key says
// about it. Most keys in a file are never asked for, so the signatures are
// verified on first use, and that happens once: see [Key.evaluate].
type component struct {
	key        *packet.PublicKey
	statements []*packet.Signature // claimed: bindings, or direct-key signatures
	taken      []*packet.Signature // claimed revocations

	once        sync.Once
	bindings    []selfSig // verified, newest first
	revocations []revocation
}

// user is a user id with what the primary key claims about it, verified with
// the primary key's own statements.
type user struct {
	id         string
	statements []*packet.Signature
	taken      []*packet.Signature

	certs   []selfSig // verified, newest first
	revoked time.Time // newest revocation; zero: none
}

// selfSig is a verified signature of a key about itself.
type selfSig struct {
	created time.Time
	ends    time.Time // of the signature; zero: never
	expires time.Time // of the key; zero: never
	flags   bool      // there are key flags
	sign    bool      // and they allow to sign
	problem string    // subkey binding: why the subkey may not sign all the same
}

type revocation struct {
	at   time.Time
	soft bool // retired or superseded: earlier signatures stay good
}

// Fingerprint returns the fingerprint of the primary key.
func (k *Key) Fingerprint() Fingerprint { return k.fingerprint }

// UserIDs returns the user ids in the order of the file, for display. They are
// not checked.
func (k *Key) UserIDs() []string { return slices.Clone(k.userIDs) }

// Identify returns the fingerprint of the primary key in a key file, for writing
// a first policy. To use the key, pin it: [ParseKey].
func Identify(file []byte) (Fingerprint, error) {
	packets, err := openKeyFile(file)
	if err != nil {
		return Fingerprint{}, err
	}
	key, err := readKey(packets[0])
	if err != nil {
		return Fingerprint{}, evidence.Refuse("", evidence.CodeBadKey, "key file", "primary key: %v", err)
	}
	return Fingerprint(key.Fingerprint), nil
}

// ParseKey reads the certificate whose primary key has the pinned fingerprint.
// Several files are several copies of one certificate, such as an older and a
// renewed one: what they say is taken together, as GnuPG does on import. A file
// that holds another key, two keys or a secret key is refused.
func ParseKey(pin Fingerprint, files ...[]byte) (*Key, error) {
	k := &Key{fingerprint: pin}
	if len(files) == 0 {
		return nil, badKey("there is none for %s", pin)
	}
	for _, file := range files {
		packets, err := openKeyFile(file)
		if err != nil {
			return nil, err
		}
		key, err := readKey(packets[0])
		if err != nil {
			return nil, badKey("primary key: %v", err)
		}
		if got := Fingerprint(key.Fingerprint); got != pin {
			return nil, badKey("holds %s, pinned is %s", got, pin)
		}
		if k.primary == nil {
			k.primary = &component{key: key}
		}
		if err := k.add(packets[1:]); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func badKey(format string, args ...any) error {
	return evidence.Refuse("", evidence.CodeBadKey, "key file", format, args...)
}

func openKeyFile(file []byte) ([]frame.Packet, error) {
	if len(file) > MaxKeyFile {
		return nil, evidence.Refuse("", statement.CodeTooLarge, "key file", "%d bytes, at most %d", len(file), MaxKeyFile)
	}
	raw, err := dearmor("key file", armorPublicKey, file)
	if err != nil {
		return nil, err
	}
	packets, err := frame.Split(raw, maxPackets)
	if err != nil {
		return nil, badKey("%v", err)
	}
	keys := 0
	for _, p := range packets {
		switch p.Tag {
		case frame.PublicKey:
			keys++
		case frame.SecretKey, frame.SecretSubkey:
			return nil, badKey("holds a secret key; give the public one")
		}
	}
	if len(packets) == 0 || packets[0].Tag != frame.PublicKey {
		return nil, badKey("does not begin with a public key")
	}
	if keys > 1 {
		return nil, badKey("holds %d keys; give one file for each", keys)
	}
	return packets, nil
}

// add walks the packets behind the primary key: signatures belong to the
// component before them (RFC 9580 section 10.1).
func (k *Key) add(packets []frame.Packet) error {
	head := frame.Packet{Tag: frame.PublicKey}
	for len(packets) > 0 {
		if packets[0].Tag != frame.Signature {
			head, packets = packets[0], packets[1:]
		}
		n := 0
		for n < len(packets) && packets[n].Tag == frame.Signature {
			n++
		}
		if err := k.addComponent(head, packets[:n]); err != nil {
			return err
		}
		packets = packets[n:]
	}
	if k.claims > maxClaims {
		return badKey("holds more than %d signatures by the key itself", maxClaims)
	}
	return nil
}

func (k *Key) addComponent(head frame.Packet, sigs []frame.Packet) error {
	switch head.Tag {
	case frame.PublicKey:
		return k.addDirect(sigs)
	case frame.UserID:
		k.addUser(string(head.Body), sigs)
	case frame.PublicSubkey:
		k.addSubkey(head, sigs)
	}
	return nil // user attributes, trust packets and newer things say nothing that is used
}

// addDirect reads the signatures that stand directly behind the primary key.
func (k *Key) addDirect(sigs []frame.Packet) error {
	for _, p := range sigs {
		switch packet.SignatureType(p.SignatureType()) {
		case packet.SigTypeDirectSignature:
			k.primary.statements = k.own(k.primary.statements, p)
		case packet.SigTypeKeyRevocation:
			if _, err := readSignature(p); err != nil {
				// A revocation that cannot be read may be a true one.
				return badKey("key revocation: %v", err)
			}
			k.primary.taken = k.own(k.primary.taken, p)
		}
	}
	return nil
}

func (k *Key) addUser(id string, sigs []frame.Packet) {
	at := slices.IndexFunc(k.users, func(u *user) bool { return u.id == id })
	if at < 0 {
		at = len(k.users)
		k.users = append(k.users, &user{id: id})
		k.userIDs = append(k.userIDs, id)
	}
	u := k.users[at]
	for _, p := range sigs {
		switch kind := packet.SignatureType(p.SignatureType()); {
		case kind == packet.SigTypeCertificationRevocation:
			u.taken = k.own(u.taken, p)
		case kind >= packet.SigTypeGenericCert && kind <= packet.SigTypePositiveCert:
			u.statements = k.own(u.statements, p)
		}
	}
}

func (k *Key) addSubkey(head frame.Packet, sigs []frame.Packet) {
	key, err := readKey(head)
	if err != nil || !key.CanSign() {
		return // by a key that cannot be read or cannot sign there is no signature
	}
	at := slices.IndexFunc(k.subkeys, func(c *component) bool { return slices.Equal(c.key.Fingerprint, key.Fingerprint) })
	if at < 0 {
		at = len(k.subkeys)
		k.subkeys = append(k.subkeys, &component{key: key})
	}
	c := k.subkeys[at]
	for _, p := range sigs {
		switch packet.SignatureType(p.SignatureType()) {
		case packet.SigTypeSubkeyBinding:
			c.statements = k.own(c.statements, p)
		case packet.SigTypeSubkeyRevocation:
			c.taken = k.own(c.taken, p)
		}
	}
}

// own appends p if it names the primary key as its issuer. What go-crypto does
// not understand is passed over. Nothing is verified here.
func (k *Key) own(list []*packet.Signature, p frame.Packet) []*packet.Signature {
	sig, err := readSignature(p)
	if err != nil || !sig.CheckKeyIdOrFingerprint(k.primary.key) {
		return list
	}
	if k.claims++; k.claims > maxClaims {
		return list // add refuses the file
	}
	return append(list, sig)
}
