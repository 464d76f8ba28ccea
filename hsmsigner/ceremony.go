package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
)

// NewKey says what key to make.
type NewKey struct {
	Label    string
	Type     token.KeyType
	UserID   string        // such as "Example Archive <archive@example.org>"
	Created  time.Time     // goes into the fingerprint; whole seconds; zero: now
	Lifetime time.Duration // zero: the key never expires
	Existing bool          // the key is in the token already; only its certificate is missing
}

// Check finds what no certificate can have, before a key is made that would be
// left without one.
func (n *NewKey) Check() error {
	if err := pgpsig.CheckCertificate(n.created(), n.UserID, n.options()...); err != nil {
		return fmt.Errorf("key %q: %w", n.Label, err)
	}
	return nil
}

func (n *NewKey) created() time.Time {
	if n.Created.IsZero() {
		return time.Now().UTC().Truncate(time.Second)
	}
	return n.Created.UTC().Truncate(time.Second)
}

func (n *NewKey) options() (opts []pgpsig.CertificateOption) {
	if n.Lifetime != 0 {
		opts = append(opts, pgpsig.ExpiresAfter(n.Lifetime))
	}
	return opts
}

// existing says how to make the certificate of a key that is in the token. The
// time is part of its name, so it must be the same again.
func (n *NewKey) existing() string {
	return "--existing --created " + n.created().Format(time.RFC3339)
}

// CreateKey makes a key in the token and has the token certify it. A crash
// between the two leaves a key without a certificate, for which a second call
// with Existing makes one.
func CreateKey(ctx context.Context, tok *token.Token, n NewKey) (*pgpsig.Certificate, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	k, err := takeKey(tok, n)
	if err != nil {
		return nil, err
	}
	n.Created = n.created() // from here on it is one moment
	raw, err := pgpsig.MakeCertificate(k.Public, n.created(), n.UserID, signer(ctx, tok, n.Label), n.options()...)
	if err != nil {
		return nil, fmt.Errorf("key %q is in the token, but has no certificate: %w (hint: repeat with %s)", n.Label, err, n.existing())
	}
	cert, err := pgpsig.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", n.Label, err)
	}
	return cert, Key{Label: n.Label, Certificate: cert}.checkPublic(k.Public)
}

func takeKey(tok *token.Token, n NewKey) (token.Key, error) {
	if n.Existing {
		return tok.Key(n.Label)
	}
	k, err := tok.CreateKey(n.Label, n.Type)
	if errors.Is(err, token.ErrKeyExists) {
		again := "--existing"
		if !n.Created.IsZero() {
			again = n.existing()
		}
		return k, fmt.Errorf("%w (hint: choose another label, or make the certificate of the existing key with %s)", err, again)
	}
	return k, err
}
