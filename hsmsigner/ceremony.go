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
	Created  time.Time     // goes into the fingerprint; whole seconds
	Lifetime time.Duration // zero: the key never expires
	Existing bool          // the key is in the token already; only its certificate is missing
}

// CreateKey makes a key in the token and has the token certify it. A crash
// between the two leaves a key without a certificate, for which a second call
// with Existing makes one.
func CreateKey(ctx context.Context, tok *token.Token, n NewKey) (*pgpsig.Certificate, error) {
	k, err := takeKey(tok, n)
	if err != nil {
		return nil, err
	}
	var opts []pgpsig.CertificateOption
	if n.Lifetime != 0 {
		opts = append(opts, pgpsig.ExpiresAfter(n.Lifetime))
	}
	raw, err := pgpsig.MakeCertificate(k.Public, n.Created.UTC().Truncate(time.Second), n.UserID, signer(ctx, tok, n.Label), opts...)
	if err != nil {
		return nil, fmt.Errorf("key %q is in the token, but has no certificate: %w (hint: repeat with --existing)", n.Label, err)
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
		return k, fmt.Errorf("%w (hint: choose another label, or make the certificate of the existing key with --existing)", err)
	}
	return k, err
}
