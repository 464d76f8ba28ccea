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

// keyring is what signatures are verified with, by name. It does not change.
type keyring map[string]*sigcheck.Key

// key returns the key in force, or nil.
func (s *setup) key(name string) *sigcheck.Key { return (*s.keys.Load())[name] }

// loadKeys reads what signatures are verified with, and wants everything that the
// policy's outputs need.
func (s *setup) loadKeys() (keyring, error) {
	keys := keyring{}
	for _, k := range s.config.Keys {
		if !statement.ValidName(k.Name) || keys[k.Name] != nil {
			return nil, configError("each [[key]] needs a name of its own", "configuration: key %q is not a name, or stands twice", k.Name)
		}
		loaded, err := s.loadKey(k)
		if err != nil {
			return nil, err
		}
		keys[k.Name] = loaded
	}
	file := filepath.Join(s.dir, fileConfig)
	for _, ch := range s.policy.Channels {
		for _, o := range ch.Sign {
			k := keys[o.Key]
			if k == nil {
				return nil, configError("add [[key]] with name and "+keyNeed(o.Format)+" to "+file+"; 'quorate-signer key export' writes the file",
					"no certificate is configured for key %q, which the policy signs with", o.Key)
			}
			if err := k.Supports(o.Format); err != nil {
				return nil, configError("give [[key]] "+o.Key+" its "+keyNeed(o.Format)+" in "+file, "key %q, which signs %s in channel %q: %w", o.Key, o.Format, ch.Name, err)
			}
		}
	}
	return keys, nil
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

func (s *setup) loadKey(c KeyConfig) (k *sigcheck.Key, err error) {
	k = &sigcheck.Key{}
	if c.PublicKey != "" {
		if k, err = s.loadPublic(c); err != nil {
			return nil, err
		}
	}
	if c.Certificate != "" || c.PublicKey == "" {
		if k.OpenPGP, err = s.loadCertificate(c); err != nil {
			return nil, err
		}
		if k.Public == nil {
			k.Public = k.OpenPGP.Public()
		}
	}
	return k, nil
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
