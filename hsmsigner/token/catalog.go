package token

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"fmt"

	"github.com/miekg/pkcs11"
)

// catalog is what the token holds, by label. It is never changed once it is
// visible to others. What is not usable is kept with its reason, so that one
// foreign object does not keep the token from opening.
type catalog struct {
	keys   map[string]Key
	broken map[string]error
}

// key returns the key, or why there is none.
func (c *catalog) key(label string) (Key, error) {
	if k, ok := c.keys[label]; ok {
		return k, nil
	}
	if err, ok := c.broken[label]; ok {
		return Key{}, fmt.Errorf("key %q: %w", label, err)
	}
	return Key{}, fmt.Errorf("%w: %q", ErrKeyNotFound, label)
}

// merge returns c with what is new in next. A key that is known already stays
// as it was first seen: its public half is what signatures are checked with.
func (c *catalog) merge(next *catalog) *catalog {
	out := &catalog{keys: map[string]Key{}, broken: next.broken}
	for label, k := range next.keys {
		out.keys[label] = k
	}
	for label, k := range c.keys {
		out.keys[label] = k
	}
	return out
}

// missing returns the labels of c that next has not.
func (c *catalog) missing(next *catalog) map[string]bool {
	gone := map[string]bool{}
	for label := range c.keys {
		if _, ok := next.keys[label]; !ok && next.broken[label] == nil {
			gone[label] = true
		}
	}
	return gone
}

// reader reads objects in one session.
type reader struct {
	api     cryptoki
	session pkcs11.SessionHandle
}

// load reads every labelled private key that the session can see. An error is
// one of the session; what is wrong with one key is recorded in the catalog.
func (r reader) load(mechanisms map[uint]bool) (*catalog, error) {
	handles, err := r.findAll(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	c := &catalog{keys: map[string]Key{}, broken: map[string]error{}}
	for _, h := range handles {
		label, err := r.attribute(h, pkcs11.CKA_LABEL)
		if err != nil {
			return nil, fmt.Errorf("read key label: %w", err)
		}
		if len(label) > 0 {
			if err := r.add(c, h, string(label), mechanisms); err != nil {
				return nil, fmt.Errorf("read key %q: %w", label, err)
			}
		}
	}
	return c, nil
}

func (r reader) add(c *catalog, h pkcs11.ObjectHandle, label string, mechanisms map[uint]bool) error {
	if _, ok := c.keys[label]; ok || c.broken[label] != nil {
		delete(c.keys, label)
		c.broken[label] = ErrKeyAmbiguous
		return nil
	}
	k, err := r.key(h, label)
	if lostSession(err) {
		return err
	}
	if err == nil && !mechanisms[k.Type.mechanism()] {
		err = fmt.Errorf("%w: 0x%x for %s", ErrMechanism, k.Type.mechanism(), k.Type)
	}
	if err != nil {
		c.broken[label] = err
		return nil
	}
	c.keys[label] = k
	return nil
}

func (r reader) key(h pkcs11.ObjectHandle, label string) (Key, error) {
	id, err := r.attribute(h, pkcs11.CKA_ID)
	if err != nil {
		return Key{}, err
	}
	may, err := r.attribute(h, pkcs11.CKA_SIGN)
	if err != nil {
		return Key{}, err
	}
	if bytes.Equal(may, []byte{0}) {
		return Key{}, fmt.Errorf("%w: its attributes do not allow signing", ErrKeyUnsupported)
	}
	kind, err := r.attribute(h, pkcs11.CKA_KEY_TYPE)
	if err != nil {
		return Key{}, err
	}
	source, err := r.publicHalf(h, id, label)
	if err != nil {
		return Key{}, err
	}
	t, pub, err := r.public(source, ulong(kind))
	if err != nil {
		return Key{}, err
	}
	return Key{Label: label, ID: id, Type: t, Public: pub}, nil
}

// publicHalf finds the public key object that belongs to a private key, by
// CKA_ID (PKCS#11 v3.1 section 4.9). Without one the private key object is
// used: for RSA it has the public attributes as well.
func (r reader) publicHalf(private pkcs11.ObjectHandle, id []byte, label string) (pkcs11.ObjectHandle, error) {
	match := pkcs11.NewAttribute(pkcs11.CKA_ID, id)
	if len(id) == 0 {
		match = pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)
	}
	found, err := r.findAll(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), match)
	switch {
	case err != nil:
		return 0, err
	case len(found) > 1:
		return 0, fmt.Errorf("%w: %d public key objects for one private key", ErrKeyUnsupported, len(found))
	case len(found) == 1:
		return found[0], nil
	}
	return private, nil
}

func (r reader) public(h pkcs11.ObjectHandle, kind uint) (KeyType, crypto.PublicKey, error) {
	first, second := uint(pkcs11.CKA_EC_PARAMS), uint(pkcs11.CKA_EC_POINT)
	parse := ecKey
	switch kind {
	case pkcs11.CKK_RSA:
		first, second, parse = pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, rsaKey
	case pkcs11.CKK_EC, ckkECEdwards:
	default:
		return "", nil, fmt.Errorf("%w: CKA_KEY_TYPE 0x%x", ErrKeyUnsupported, kind)
	}
	a, err := r.attribute(h, first)
	if err != nil {
		return "", nil, err
	}
	b, err := r.attribute(h, second)
	if err != nil {
		return "", nil, err
	}
	if a == nil || b == nil {
		return "", nil, fmt.Errorf("%w: no public key object", ErrKeyUnsupported)
	}
	t, pub, err := parse(a, b)
	if err != nil {
		return "", nil, err
	}
	// A curve under the wrong key type would be signed with the wrong
	// mechanism, and modules notice that late or never.
	if (kind == ckkECEdwards) != (t == Ed25519) {
		return "", nil, fmt.Errorf("%w: CKA_KEY_TYPE 0x%x with a key on %s", ErrKeyUnsupported, kind, t)
	}
	return t, pub, nil
}

// attribute reads one attribute; nil if the object has none such or hides it.
// One at a time, because a single missing one fails the whole call.
func (r reader) attribute(h pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	got, err := r.api.GetAttributeValue(r.session, h, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if isCode(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) || isCode(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read attribute 0x%x: %w", kind, err)
	}
	return got[0].Value, nil
}

// ulong reads a CK_ULONG: the machine's word size and byte order.
func ulong(b []byte) uint {
	switch len(b) {
	case 8:
		return uint(binary.NativeEndian.Uint64(b))
	case 4:
		return uint(binary.NativeEndian.Uint32(b))
	}
	return ^uint(0)
}

func (r reader) findAll(template ...*pkcs11.Attribute) (all []pkcs11.ObjectHandle, err error) {
	if err := r.api.FindObjectsInit(r.session, template); err != nil {
		return nil, err
	}
	for {
		some, _, err := r.api.FindObjects(r.session, 64)
		if err != nil {
			// Leaving the search open would block the session for others.
			_ = r.api.FindObjectsFinal(r.session)
			return nil, err
		}
		if len(some) == 0 {
			return all, r.api.FindObjectsFinal(r.session)
		}
		all = append(all, some...)
	}
}

// private finds the one private key object of k.
func (r reader) private(k Key) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label),
	}
	if len(k.ID) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, k.ID))
	}
	found, err := r.findAll(template...)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find key: %w", err)
	case len(found) == 0:
		return 0, errObjectGone
	case len(found) > 1:
		return 0, ErrKeyAmbiguous
	}
	return found[0], nil
}

// signMechanisms lists what the token can sign with. Signing with a mechanism
// that is not listed fails late, with a code that says nothing.
func signMechanisms(api cryptoki, slot uint) (map[uint]bool, error) {
	list, err := api.GetMechanismList(slot)
	if err != nil {
		return nil, fmt.Errorf("list mechanisms: %w", err)
	}
	can := map[uint]bool{}
	for _, m := range list {
		switch m.Mechanism {
		case pkcs11.CKM_RSA_PKCS, pkcs11.CKM_ECDSA, ckmEDDSA:
			info, err := api.GetMechanismInfo(slot, []*pkcs11.Mechanism{m})
			if err != nil {
				return nil, fmt.Errorf("read mechanism 0x%x: %w", m.Mechanism, err)
			}
			can[m.Mechanism] = info.Flags&pkcs11.CKF_SIGN != 0
		}
	}
	return can, nil
}
