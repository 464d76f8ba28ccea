package hsmsigner

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"quorate/internal/pgpsig"
)

// Key is a key of the token and its certificate.
type Key struct {
	Label       string
	Certificate *pgpsig.Certificate
}

// errOtherKey says that certificate and key are not of one piece.
var errOtherKey = errors.New("certificate belongs to another key")

// IsOtherKey reports whether err is about a certificate that belongs to another
// key than the token's.
func IsOtherKey(err error) bool { return errors.Is(err, errOtherKey) }

// LoadKey reads the certificate of a key, binary or armoured.
func LoadKey(c KeyConfig) (Key, error) {
	data, err := os.ReadFile(c.Certificate)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("key %q: %w (hint: quorate-signer key create writes it; copy it here)", c.Label, err)
	}
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", c.Label, err)
	}
	cert, err := pgpsig.ParseCertificate(data)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %s: %w", c.Label, c.Certificate, err)
	}
	return Key{c.Label, cert}, nil
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

// CheckToken compares the certificate with the key in the token.
func (k Key) CheckToken(tok Token) error {
	have, err := tok.Key(k.Label)
	if err != nil {
		return fmt.Errorf("key %q: %w", k.Label, err)
	}
	return k.checkPublic(have.Public)
}

func (k Key) checkPublic(have crypto.PublicKey) error {
	want, ok := k.Certificate.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !want.Equal(have) {
		return fmt.Errorf("key %q: %w: %s is not the certificate of the token's key (hint: was the key made anew, or the path mixed up?)",
			k.Label, errOtherKey, k.Certificate.Fingerprint())
	}
	return nil
}
