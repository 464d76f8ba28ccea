package hsmsigner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"quorate/internal/pgpsig"
)

// VOA is a place in a tree of the UAPI group's "File Hierarchy for the Verification
// of OS Artifacts", version 1, where the verifiers of a distribution look for
// certificates.
type VOA struct {
	OS      string // ID[:VERSION_ID[:VARIANT_ID[:IMAGE_ID[:IMAGE_VERSION]]]] of os-release
	Purpose string // such as package, repository-metadata, image; trust-anchor-ROLE
	Context string // such as the name of a repository; "default" where there is none
}

// Check reports which of the names a verifier would pass over.
func (v VOA) Check() error {
	parts := strings.Split(v.OS, ":")
	switch {
	case len(parts) > 5:
		return fmt.Errorf("os: %q has %d parts, at most 5", v.OS, len(parts))
	case parts[0] == "" || parts[len(parts)-1] == "":
		return fmt.Errorf("os: %q: the first part must be set, and no colon may stand at the end", v.OS)
	}
	for _, part := range parts {
		if part != "" {
			if err := checkVOAName("os", part); err != nil {
				return err
			}
		}
	}
	return errors.Join(checkVOAName("purpose", v.Purpose), checkVOAName("context", v.Context))
}

// checkVOAName holds a name to what the hierarchy allows. It becomes a folder's name.
func checkVOAName(what, name string) error {
	if strings.Trim(name, ".") == "" || len(name) > 255 {
		return fmt.Errorf("%s: %q is not a name", what, name)
	}
	for _, r := range name {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && r != '.' && r != '_' && r != '-' {
			return fmt.Errorf("%s: %q has the character %q, allowed are 0-9 a-z . _ -", what, name, r)
		}
	}
	return nil
}

// Write puts a certificate into the tree at dir, which must exist, armoured and under
// its fingerprint as the hierarchy wants it, and returns its path. What is there
// of the same certificate is merged, so that no revocation is lost.
func (v VOA) Write(dir string, c *pgpsig.Certificate) (path string, err error) {
	if err := v.Check(); err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("voa: %w (hint: the tree's root must exist, such as /etc/voa or /usr/share/voa)", err)
	} else if !info.IsDir() {
		return "", fmt.Errorf("voa: %s is not a folder", dir)
	}
	folder := filepath.Join(dir, v.OS, v.Purpose, v.Context, "openpgp")
	path = filepath.Join(folder, strings.ToLower(c.Fingerprint())+".openpgp")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("voa: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = WriteNew(path, pgpsig.ArmorCertificate(c.Bytes()), 0o644)
	case err == nil && !info.Mode().IsRegular():
		// A link to /dev/null is how an administrator says: never this one.
		err = fmt.Errorf("%s is not a regular file: a link stands for another file, or masks the certificate", path)
	case err == nil:
		err = mergeInto(path, c)
	}
	if err != nil {
		return "", fmt.Errorf("voa: %w", err)
	}
	return path, nil
}

func mergeInto(path string, c *pgpsig.Certificate) error {
	data, err := ReadCertificate(path)
	if err != nil {
		return err
	}
	was, err := pgpsig.ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if c, err = pgpsig.Merge(was, c); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if bytes.Equal(c.Bytes(), was.Bytes()) {
		return nil
	}
	return replaceFile(path, pgpsig.ArmorCertificate(c.Bytes()))
}
