package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/pkcs11"
)

// maxTokenLabel is fixed by CK_TOKEN_INFO; maxKeyLabel is ours.
const (
	maxTokenLabel = 32
	maxKeyLabel   = 64
)

// InitToken makes a token out of an uninitialised one: it sets the label, the
// security officer's PIN and the user PIN. It never touches a token that is
// initialised, since that would delete its keys, and refuses a label that
// exists, since tokens are chosen by label. It is for the ceremony, not for
// the signing process: no Token may be open on the module.
func InitToken(modulePath, label string, soPIN, userPIN []byte) error {
	if err := checkLabel("token label", label, maxTokenLabel); err != nil {
		return wrap("initialise token", err)
	}
	m, err := acquire(modulePath)
	if err != nil {
		return wrap("initialise token", err)
	}
	made, err := m.initToken(label, string(soPIN), string(userPIN))
	if err = errors.Join(err, m.release()); err != nil && made {
		err = fmt.Errorf("%w: %w", ErrTokenMade, err)
	}
	return wrap("initialise token", err)
}

// initToken reports also whether the token is initialised by now.
func (m *module) initToken(label, soPIN, userPIN string) (made bool, err error) {
	tokens, _, err := m.tokens()
	if err != nil {
		return false, err
	}
	for _, t := range tokens {
		if t.info.Label == label {
			return false, fmt.Errorf("%w: %q", ErrTokenExists, label)
		}
	}
	slot, err := m.freeSlot()
	if err != nil {
		return false, err
	}
	if err := m.api.InitToken(slot, soPIN, label); err != nil {
		return false, pinError(err)
	}
	found, err := m.find(label, "") // the slot may have another number now
	if err != nil {
		return true, err
	}
	return true, m.initPIN(found.slot, soPIN, userPIN)
}

func (m *module) freeSlot() (uint, error) {
	slots, err := m.api.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("list slots: %w", err)
	}
	for _, slot := range slots {
		info, err := m.api.GetTokenInfo(slot)
		if err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			return slot, nil
		}
	}
	return 0, ErrNoFreeSlot
}

func (m *module) initPIN(slot uint, soPIN, userPIN string) error {
	s, err := m.api.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer m.api.CloseSession(s)
	if err := m.api.Login(s, pkcs11.CKU_SO, soPIN); err != nil {
		return fmt.Errorf("log in as security officer: %w", pinError(err))
	}
	defer m.api.Logout(s)
	if err := m.api.InitPIN(s, userPIN); err != nil {
		return fmt.Errorf("set user pin: %w", pinError(err))
	}
	return nil
}

// CreateKey makes a key pair in the token. The private key is sensitive, not
// extractable, and can only sign; the token is asked afterwards whether that
// is so. CKA_ID is derived from the public key. A label that exists is
// refused. It is for the ceremony: meanwhile nobody can sign.
func (t *Token) CreateKey(label string, kt KeyType) (Key, error) {
	k, err := t.createKey(label, kt)
	if err != nil {
		return Key{}, wrap(fmt.Sprintf("create key %q", label), err)
	}
	return k, nil
}

func (t *Token) createKey(label string, kt KeyType) (Key, error) {
	if err := checkLabel("key label", label, maxKeyLabel); err != nil {
		return Key{}, err
	}
	if _, err := ParseKeyType(string(kt)); err != nil {
		return Key{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.login == nil {
		if err := t.reopenLocked(); err != nil {
			return Key{}, err
		}
	}
	s, err := t.module.api.OpenSession(t.login.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return Key{}, fmt.Errorf("open session: %w", err)
	}
	defer t.module.api.CloseSession(s)
	mechanisms, err := signMechanisms(t.module.api, t.login.slot)
	if err != nil {
		return Key{}, err
	}
	k, err := reader{t.module.api, s}.create(label, kt, mechanisms)
	if err != nil {
		return Key{}, err
	}
	old := t.catalog.Load()
	t.catalog.Store(old.merge(&catalog{keys: map[string]Key{label: k}, broken: old.broken}))
	return k, nil
}

// create makes the pair and removes it again if anything about it is wrong:
// a half-made key under the label would be found by the next Open.
func (r reader) create(label string, kt KeyType, mechanisms map[uint]bool) (Key, error) {
	for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		found, err := r.findAll(pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
		if err != nil {
			return Key{}, err
		}
		if len(found) > 0 {
			return Key{}, ErrKeyExists
		}
	}
	if !mechanisms[kt.mechanism()] {
		return Key{}, fmt.Errorf("%w: 0x%x for %s", ErrMechanism, kt.mechanism(), kt)
	}
	public, private, err := r.generate(label, kt)
	if err != nil {
		return Key{}, fmt.Errorf("generate: %w", err)
	}
	k, err := r.finish(public, private, label, kt)
	if err != nil {
		return Key{}, errors.Join(err, r.api.DestroyObject(r.session, private), r.api.DestroyObject(r.session, public))
	}
	return k, nil
}

func (r reader) generate(label string, kt KeyType) (public, private pkcs11.ObjectHandle, err error) {
	// A passing id that nobody else has, until the public key is known.
	id := make([]byte, 20)
	rand.Read(id)
	for _, v := range variants(kt) {
		public, private, err = r.api.GenerateKeyPair(r.session,
			[]*pkcs11.Mechanism{pkcs11.NewMechanism(v.mechanism, nil)},
			append(publicTemplate(label, id), v.public...), privateTemplate(label, id))
		if err == nil {
			return public, private, nil
		}
	}
	return 0, 0, err
}

type variant struct {
	mechanism uint
	public    []*pkcs11.Attribute
}

// variants are the ways to ask for a key, the usual one first: tokens disagree
// about how Ed25519 is named.
func variants(kt KeyType) []variant {
	ec := func(mechanism uint, params []byte) variant {
		return variant{mechanism, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params)}}
	}
	switch kt {
	case P256:
		return []variant{ec(pkcs11.CKM_EC_KEY_PAIR_GEN, paramsP256)}
	case P384:
		return []variant{ec(pkcs11.CKM_EC_KEY_PAIR_GEN, paramsP384)}
	case Ed25519:
		return []variant{
			ec(ckmECEdwardsKeyPairGen, paramsEd25519),
			ec(ckmECEdwardsKeyPairGen, paramsEd25519O),
			ec(ckmECEdwardsKeyPairGen, paramsEd25519G),
		}
	}
	return []variant{{pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, kt.rsaBits()),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
	}}}
}

func publicTemplate(label string, id []byte) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
}

func privateTemplate(label string, id []byte) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
}

// finish checks what the token made and gives both halves their final id.
func (r reader) finish(public, private pkcs11.ObjectHandle, label string, kt KeyType) (Key, error) {
	for attribute, want := range map[uint]byte{pkcs11.CKA_SENSITIVE: 1, pkcs11.CKA_EXTRACTABLE: 0} {
		got, err := r.attribute(private, attribute)
		if err != nil {
			return Key{}, err
		}
		if !bytes.Equal(got, []byte{want}) {
			return Key{}, fmt.Errorf("the token made a key with attribute 0x%x = %x, want %d", attribute, got, want)
		}
	}
	k, err := r.key(private, label)
	if err != nil {
		return Key{}, err
	}
	if k.Type != kt {
		return Key{}, fmt.Errorf("the token made a key of type %s, want %s", k.Type, kt)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(der)
	k.ID = sum[:20] // some tokens keep no more
	id := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, k.ID)}
	return k, errors.Join(r.api.SetAttributeValue(r.session, private, id), r.api.SetAttributeValue(r.session, public, id))
}

// checkLabel refuses labels that would be cut off or could not be shown.
func checkLabel(what, label string, limit int) error {
	if label == "" || len(label) > limit {
		return fmt.Errorf("%s has %d bytes, want 1 to %d", what, len(label), limit)
	}
	if !utf8.ValidString(label) {
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	for _, r := range label {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s contains the character %q", what, r)
		}
	}
	if last := label[len(label)-1]; last == ' ' {
		return fmt.Errorf("%s ends with a space", what)
	}
	return nil
}
