package hsmsigner

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
)

// Key is a key of the token and the certificates that some formats need.
type Key struct {
	Label       string
	Certificate *pgpsig.Certificate // nil: it makes no OpenPGP signatures
	X509        *x509.Certificate   // nil: it makes no CMS signatures

	public crypto.PublicKey // as the token had it at the start; nil before
}

// errOtherKey says that certificate and key are not of one piece.
var errOtherKey = errors.New("certificate belongs to another key")

// IsOtherKey reports whether err is about a certificate that belongs to another
// key than the token's.
func IsOtherKey(err error) bool { return errors.Is(err, errOtherKey) }

// LoadKey reads the certificates of a key, as far as it has any. The OpenPGP one
// may be binary or armoured, the X.509 one DER or PEM.
func LoadKey(c KeyConfig) (Key, error) {
	k := Key{Label: c.Label}
	if c.Certificate != "" {
		data, err := readCertificate(c.Label, c.Certificate, "quorate-signer key create writes it; copy it here")
		if err != nil {
			return Key{}, err
		}
		if k.Certificate, err = pgpsig.ParseCertificate(data); err != nil {
			return Key{}, fmt.Errorf("key %q: %s: %w", c.Label, c.Certificate, err)
		}
	}
	if c.X509 != "" {
		data, err := readCertificate(c.Label, c.X509, "quorate-signer key export --x509 makes one; copy it here")
		if err != nil {
			return Key{}, err
		}
		if k.X509, err = parseX509(data); err != nil {
			return Key{}, fmt.Errorf("key %q: %s: %w", c.Label, c.X509, err)
		}
	}
	return k, nil
}

func readCertificate(label, path, hint string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %q: %w (hint: %s)", label, err, hint)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", label, err)
	}
	return data, nil
}

func parseX509(data []byte) (*x509.Certificate, error) {
	if block, rest := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("not one X.509 certificate in PEM")
		}
		data = block.Bytes
	}
	return x509.ParseCertificate(data)
}

// LoadKeys reads the certificates of all keys.
func LoadKeys(configs []KeyConfig) ([]Key, error) {
	keys := make([]Key, len(configs))
	for i, c := range configs {
		var err error
		if keys[i], err = LoadKey(c); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// CheckToken compares what is known of the key with the key in the token.
func (k Key) CheckToken(tok Token) error {
	_, err := k.bind(tok)
	return err
}

// bind returns the key together with its public half in the token. A key without
// certificates is what the token says at the start, and stays that.
func (k Key) bind(tok Token) (Key, error) {
	have, err := tok.Key(k.Label)
	if err != nil {
		return k, fmt.Errorf("key %q: %w", k.Label, err)
	}
	if err := k.checkPublic(have.Public); err != nil {
		return k, err
	}
	k.public = have.Public
	return k, nil
}

func (k Key) checkPublic(have crypto.PublicKey) error {
	if k.Certificate != nil && !equalKeys(k.Certificate.Public(), have) {
		return fmt.Errorf("key %q: %w: %s is not the certificate of the token's key (hint: was the key made anew, or the path mixed up?)",
			k.Label, errOtherKey, k.Certificate.Fingerprint())
	}
	if k.X509 != nil && !equalKeys(k.X509.PublicKey, have) {
		return fmt.Errorf("key %q: X.509 %w: %q is not the certificate of the token's key (hint: was the key made anew, or the path mixed up?)",
			k.Label, errOtherKey, k.X509.Subject)
	}
	if k.public != nil && !equalKeys(k.public, have) {
		return fmt.Errorf("key %q: %w: the token has another key than at the start (hint: restart the signer if that is meant)", k.Label, errOtherKey)
	}
	return nil
}

func equalKeys(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// ends is when the first of its certificates ends or was revoked, if one does.
func (k Key) ends() (t time.Time, ok bool) {
	if k.X509 != nil {
		t, ok = k.X509.NotAfter, true
	}
	if k.Certificate == nil {
		return t, ok
	}
	for _, of := range []func() (time.Time, bool){k.Certificate.Expires, k.Certificate.Revoked} {
		if end, ends := of(); ends && (!ok || end.Before(t)) {
			t, ok = end, true
		}
	}
	return t, ok
}

// checker is the key as signatures are checked with it.
func (k Key) checker() *sigcheck.Key {
	return &sigcheck.Key{OpenPGP: k.Certificate, Public: k.public, X509: k.X509}
}

// handle is the key as the formats beside OpenPGP sign with it.
func (k Key) handle(ctx context.Context, tok Token) (*sigformat.Key, error) {
	return sigformat.NewKey(k.public, signer(ctx, tok, k.Label))
}
