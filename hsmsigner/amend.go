package hsmsigner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"quorate/internal/pgpsig"
)

// A change of a certificate is a ceremony, like making the key: the token signs
// without a vote, and what it signs is about the key only.

// Extend gives the certificate of a key another end; zero is never. See
// [pgpsig.Extend].
func (k Key) Extend(ctx context.Context, tok Token, end, at time.Time) (*pgpsig.Certificate, error) {
	return k.amend(tok, func(c *pgpsig.Certificate) (*pgpsig.Certificate, error) {
		return pgpsig.Extend(c, end, at, signer(ctx, tok, k.Label))
	})
}

// AddUserID gives the certificate of a key one user id more. See [pgpsig.AddUserID].
func (k Key) AddUserID(ctx context.Context, tok Token, id string, at time.Time) (*pgpsig.Certificate, error) {
	return k.amend(tok, func(c *pgpsig.Certificate) (*pgpsig.Certificate, error) {
		return pgpsig.AddUserID(c, id, at, signer(ctx, tok, k.Label))
	})
}

// Revoke makes a revocation of the key, and its certificate with the revocation
// in it. See [pgpsig.MakeRevocation].
func (k Key) Revoke(ctx context.Context, tok Token, reason pgpsig.Reason, text string, at time.Time) (revocation []byte, c *pgpsig.Certificate, err error) {
	c, err = k.amend(tok, func(c *pgpsig.Certificate) (*pgpsig.Certificate, error) {
		if revocation, err = pgpsig.MakeRevocation(c, reason, text, at, signer(ctx, tok, k.Label)); err != nil {
			return nil, err
		}
		return pgpsig.MergeRevocation(c, revocation)
	})
	return revocation, c, err
}

// amend changes a certificate after a look at whose it is: signed by another key
// it would be made in vain.
func (k Key) amend(tok Token, change func(*pgpsig.Certificate) (*pgpsig.Certificate, error)) (*pgpsig.Certificate, error) {
	if err := k.CheckToken(tok); err != nil {
		return nil, err
	}
	c, err := change(k.Certificate)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.Label, err)
	}
	return c, nil
}

// Import returns the certificate that a key of the token has after a certificate
// made elsewhere was read: that one or, where the key has one already, both
// merged. It must be of the token's key and let it sign now, or be revoked: who
// revoked it elsewhere wants it to sign nothing here. A bare revocation is merged
// into the certificate that the key has.
func Import(tok Token, k Key, data []byte, now time.Time) (*pgpsig.Certificate, error) {
	rev, is, err := pgpsig.ParseRevocation(data)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.Label, err)
	}
	if is {
		return importRevocation(tok, k, rev)
	}
	c, err := pgpsig.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.Label, err)
	}
	if err := (Key{Label: k.Label, Certificate: c}).CheckToken(tok); err != nil {
		return nil, err
	}
	if k.Certificate != nil {
		if c, err = pgpsig.Merge(k.Certificate, c); err != nil {
			return nil, fmt.Errorf("key %q: %w (hint: the same key made at another time is another one to those who verify; choose another file)", k.Label, err)
		}
	}
	if _, revoked := c.Revoked(); revoked {
		return c, nil
	}
	if err := c.UsableAt(now); err != nil {
		return nil, fmt.Errorf("key %q: the certificate does not let it sign: %w", k.Label, err)
	}
	return c, nil
}

func importRevocation(tok Token, k Key, rev []byte) (*pgpsig.Certificate, error) {
	if k.Certificate == nil {
		return nil, fmt.Errorf("key %q: the file is a revocation, and there is no certificate that it could go into (hint: import the certificate first)", k.Label)
	}
	return k.amend(tok, func(c *pgpsig.Certificate) (*pgpsig.Certificate, error) { return pgpsig.MergeRevocation(c, rev) })
}

// ReplaceCertificate writes a certificate in the place of an older one, in the
// same form, so that whoever looks finds the old one or the new one whole. What the
// older one has besides is taken over: it may have been revoked since it was read.
// The bytes that were there are kept under the name that is returned.
func ReplaceCertificate(path string, c *pgpsig.Certificate) (old string, err error) {
	// The file itself is replaced, not a link that leads to it.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("replace certificate: %w", err)
	}
	was, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("replace certificate: %w", err)
	}
	before, err := pgpsig.ParseCertificate(was)
	if err == nil {
		c, err = pgpsig.Merge(c, before)
	}
	if err != nil {
		return "", fmt.Errorf("replace certificate: %s: %w", path, err)
	}
	data := c.Bytes()
	if bytes.HasPrefix(was, []byte("-----BEGIN")) {
		data = pgpsig.ArmorCertificate(data)
	}
	if old, err = keepOld(path, was); err != nil {
		return "", fmt.Errorf("replace certificate: %w", err)
	}
	if err := replaceFile(path, data); err != nil {
		return "", fmt.Errorf("replace certificate: %w", err)
	}
	return old, nil
}

// maxOld bounds the search for a free name.
const maxOld = 10_000

// keepOld writes the bytes to PATH.old-1 or the next number that is free.
func keepOld(path string, was []byte) (string, error) {
	for n := 1; n <= maxOld; n++ {
		old := fmt.Sprintf("%s.old-%d", path, n)
		err := WriteNew(old, was, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return old, err
		}
	}
	return "", fmt.Errorf("%s.old-1 to -%d all exist", path, maxOld)
}

func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".quorate-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// ReadCertificate reads a certificate that others made, as far as one may go.
func ReadCertificate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, pgpsig.MaxCertificate+1)) // what is larger is refused by its reader
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return data, nil
}
