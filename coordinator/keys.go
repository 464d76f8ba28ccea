package coordinator

import (
	"fmt"
	"os"
	"path/filepath"

	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// loadKeys reads what signatures are verified with, and wants everything that the
// policy's outputs need.
func (s *setup) loadKeys() error {
	for _, k := range s.config.Keys {
		if err := s.loadKey(k); err != nil {
			return err
		}
	}
	file := filepath.Join(s.dir, fileConfig)
	for _, ch := range s.policy.Channels {
		for _, o := range ch.Sign {
			k := s.keys[o.Key]
			if k == nil {
				return configError("add [[key]] with name and "+keyNeed(o.Format)+" to "+file+"; 'quorate-signer key export' writes the file",
					"no certificate is configured for key %q, which the policy signs with", o.Key)
			}
			if err := k.Supports(o.Format); err != nil {
				return configError("give [[key]] "+o.Key+" its "+keyNeed(o.Format)+" in "+file, "key %q, which signs %s in channel %q: %w", o.Key, o.Format, ch.Name, err)
			}
		}
	}
	return nil
}

// keyNeed says what of [[key]] a format needs.
func keyNeed(f policy.Format) string {
	switch {
	case format.IsOpenPGP(f):
		return "certificate"
	case sigcheck.NeedsX509(f):
		return "public_key, with the X.509 certificate"
	}
	return "public_key"
}

func (s *setup) loadKey(c KeyConfig) (err error) {
	if !statement.ValidName(c.Name) || s.keys[c.Name] != nil {
		return configError("each [[key]] needs a name of its own", "configuration: key %q is not a name, or stands twice", c.Name)
	}
	k := &sigcheck.Key{}
	if c.PublicKey != "" {
		if k, err = s.loadPublic(c); err != nil {
			return err
		}
	}
	if c.Certificate != "" || c.PublicKey == "" {
		if k.OpenPGP, err = s.loadCertificate(c); err != nil {
			return err
		}
		if k.Public == nil {
			k.Public = k.OpenPGP.Public()
		}
	}
	s.keys[c.Name] = k
	return nil
}

func (s *setup) loadCertificate(c KeyConfig) (*pgpsig.Certificate, error) {
	path := s.path(c.Certificate)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, configError("put the key's OpenPGP certificate there; 'quorate-signer key export' writes it", "certificate of key %q: %w", c.Name, err)
	}
	cert, err := pgpsig.ParseCertificate(data)
	if err != nil {
		return nil, configError("it must be one OpenPGP certificate, without secret parts", "certificate of key %q: %s: %w", c.Name, path, err)
	}
	return cert, nil
}

func (s *setup) loadPublic(c KeyConfig) (*sigcheck.Key, error) {
	path := s.path(c.PublicKey)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, configError("put the public key there; 'quorate-signer key export --pem', or --x509 for CMS, writes it", "public key of key %q: %w", c.Name, err)
	}
	k, err := sigcheck.ParsePublic(data)
	if err != nil {
		return nil, configError("'quorate-signer key export --pem', or --x509 for CMS, writes it", "public key of key %q: %s: %w", c.Name, path, err)
	}
	return k, nil
}

// keyText writes the [[key]] of the configuration for a key of the policy.
func keyText(p *policy.Policy, key, folder string) string {
	for _, ch := range p.Channels {
		for _, o := range ch.Sign {
			if o.Key == key && format.IsOpenPGP(o.Format) {
				return fmt.Sprintf("[[key]]\nname = %q\ncertificate = %q\n", key, filepath.Join(folder, key+".asc"))
			}
		}
	}
	return fmt.Sprintf("[[key]]\nname = %q\npublic_key = %q\n", key, filepath.Join(folder, key+".pem"))
}
