package main

import (
	"bytes"
	"log"
	"os"
	"slices"
	"strconv"

	"github.com/miekg/pkcs11"
)

// foreignKey is a program for scripts: foreign-key MODULE TOKEN PINFILE LABEL makes a
// P-256 key by the module alone, which asks nobody whether the label is taken. The label
// may have Go's escapes.
func foreignKey() {
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	pin, err := os.ReadFile(os.Args[3])
	must(err)
	label, err := strconv.Unquote(`"` + os.Args[4] + `"`)
	must(err)
	m := pkcs11.New(os.Args[1])
	must(m.Initialize())
	slots, err := m.GetSlotList(true)
	must(err)
	i := slices.IndexFunc(slots, func(s uint) bool { t, err := m.GetTokenInfo(s); return err == nil && t.Label == os.Args[2] })
	s, err := m.OpenSession(slots[i], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(err)
	must(m.Login(s, pkcs11.CKU_USER, string(bytes.TrimSpace(pin))))
	common := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}
	p256 := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})
	_, _, err = m.GenerateKeyPair(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		append([]*pkcs11.Attribute{p256}, common...), append([]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)}, common...))
	must(err)
	must(m.Finalize())
}
