package sigcheck

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"quorate/internal/sigformat"
)

// errForm is for files that hold no public key in a form that is read here.
var errForm = errors.New("is none of: PEM with PUBLIC KEY, PEM with CERTIFICATE, one line of an SSH public key")

// ParsePublic reads a public key as quorate-signer exports it: PEM with a
// SubjectPublicKeyInfo, PEM with an X.509 certificate, or one line of an SSH
// public key. There must be one key and nothing else.
func ParsePublic(data []byte) (*Key, error) {
	k, err := parsePublic(bytes.TrimSpace(data))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if err := sigformat.CheckPublic(k.Public); err != nil {
		return nil, err
	}
	return k, nil
}

func parsePublic(data []byte) (*Key, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return parseSSH(data)
	}
	if len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return nil, errors.New("more than one PEM block, or text around it")
	}
	switch block.Type {
	case "PUBLIC KEY":
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		return &Key{Public: pub}, err
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return &Key{Public: cert.PublicKey, X509: cert}, nil
	}
	return nil, fmt.Errorf("PEM block %q %w", block.Type, errForm)
}

func parseSSH(data []byte) (*Key, error) {
	if bytes.ContainsAny(data, "\r\n") {
		return nil, errForm
	}
	pub, _, options, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil || len(options) > 0 {
		return nil, errForm
	}
	k, ok := pub.(ssh.CryptoPublicKey)
	if !ok {
		return nil, errForm
	}
	return &Key{Public: k.CryptoPublicKey()}, nil
}
