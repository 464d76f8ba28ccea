package hsmsigner

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"time"

	"quorate/internal/sigformat/cms"
	"quorate/internal/sigformat/sshsig"
)

// Form is a form in which the public half of a key is handed out.
type Form string

// The forms beside the OpenPGP certificate. The last two are signed by the key
// itself, so the token is asked for them: a ceremony, like making the key.
const (
	FormPEM  Form = "pem"  // SubjectPublicKeyInfo
	FormSSH  Form = "ssh"  // a line of authorized_keys
	FormX509 Form = "x509" // self-signed X.509 certificate
	FormCSR  Form = "csr"  // PKCS#10 certification request
)

// Subject is whom an X.509 certificate or request names.
type Subject struct {
	CommonName          string
	NotBefore, NotAfter time.Time // of the certificate
}

// ExportPublic writes the public half of a key. The certificates of the
// configuration play a part only in that they must be of the same key.
func ExportPublic(ctx context.Context, tok Token, k Key, f Form, s Subject) ([]byte, error) {
	k, err := k.bind(tok)
	if err != nil {
		return nil, err
	}
	switch f {
	case FormPEM:
		der, err := x509.MarshalPKIXPublicKey(k.public)
		return encodePEM("PUBLIC KEY", der), err
	case FormSSH:
		return sshsig.AuthorizedKey(k.public, k.Label)
	}
	h, err := k.handle(ctx, tok)
	if err != nil {
		return nil, err
	}
	name := pkix.Name{CommonName: s.CommonName}
	var der []byte
	kind := "CERTIFICATE"
	if f == FormX509 {
		der, err = cms.SelfSigned(h, name, s.NotBefore, s.NotAfter)
	} else {
		kind = "CERTIFICATE REQUEST"
		der, err = cms.Request(h, name)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.Label, err)
	}
	return encodePEM(kind, der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
