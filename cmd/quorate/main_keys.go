package main

import (
	"crypto"
	"errors"
	"fmt"
	"hash"

	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

const (
	maxCertificate = 1 << 20
	maxSignature   = 128 << 10
)

// loadKeys reads what signatures are checked against: OpenPGP certificates, and
// public keys for the other formats.
func loadKeys(certs, publics []string) ([]*sigcheck.Key, error) {
	var keys []*sigcheck.Key
	for _, path := range certs {
		data, err := readInput(path, maxCertificate)
		if err != nil {
			return nil, err
		}
		c, err := pgpsig.ParseCertificate(data)
		if err != nil {
			return nil, usageError("give one public certificate a file: quorate-signer key export",
				"%s: %w", render.Text(path), err)
		}
		keys = append(keys, &sigcheck.Key{OpenPGP: c, Public: c.Public()})
	}
	for _, path := range publics {
		data, err := readInput(path, maxCertificate)
		if err != nil {
			return nil, err
		}
		k, err := sigcheck.ParsePublic(data)
		if err != nil {
			return nil, usageError("quorate-signer key export --pem writes one, and --x509 one for CMS",
				"%s: %w", render.Text(path), err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// needKeys is loadKeys for a command that cannot do without.
func needKeys(certs, publics []string) ([]*sigcheck.Key, error) {
	if len(certs)+len(publics) == 0 {
		return nil, usageError("--cert CERTIFICATE for OpenPGP, --public-key FILE for other formats", "give --cert or --public-key: what signatures must be by")
	}
	return loadKeys(certs, publics)
}

// verify checks a signature over the file by the key.
func (h *hashedFile) verify(k *sigcheck.Key, f policy.Format, sig []byte) (*sigcheck.Result, error) {
	file := sigcheck.File{Digests: quorum.Digests{SHA256: h.sha256, SHA512: h.sha512}, State: func(c crypto.Hash) (hash.Hash, error) {
		if c == crypto.SHA256 {
			return h.state256, nil
		}
		return h.state512, nil
	}, Text: h.text, Agreed: h.agreed}
	return k.Verify(f, file, sig)
}

// errNoKey says that none of the keys at hand is the one of a signature.
var errNoKey = errors.New("by none of the keys that were given")

// verifyAny verifies by whichever key fits. What is said about the signature's
// fingerprint only chooses which of the errors is shown: [errNoKey] if that is
// nobody's.
func (h *hashedFile) verifyAny(keys []*sigcheck.Key, f policy.Format, fingerprint string, sig []byte) (*sigcheck.Result, error) {
	shown := fmt.Errorf("%w", errNoKey)
	for _, k := range keys {
		r, err := h.verify(k, f, sig)
		if err == nil {
			return r, nil
		}
		if isNamed(k, f, fingerprint) {
			shown = err
		}
	}
	return nil, shown
}

// isNamed reports whether the fingerprint is the key's, also if it lacks what the
// format needs besides.
func isNamed(k *sigcheck.Key, f policy.Format, fingerprint string) bool {
	if format.IsOpenPGP(f) && k.OpenPGP == nil {
		return false
	}
	own, err := k.Fingerprint(f)
	return err == nil && own == fingerprint
}

// flagFor is the flag that a key for the format is given with.
func flagFor(f policy.Format) string {
	if format.IsOpenPGP(f) {
		return "--cert"
	}
	return "--public-key"
}
