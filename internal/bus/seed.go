package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// maxSeedFile is far more than a seed needs; a larger file is something else.
const maxSeedFile = 1024

// GenerateSeed makes a new user key and returns its seed and its public key.
// The seed is the secret: it belongs in a file nobody else can read.
func GenerateSeed() (seed []byte, public string, err error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", fmt.Errorf("generate nkey: %w", err)
	}
	if seed, err = key.Seed(); err != nil {
		return nil, "", fmt.Errorf("generate nkey: %w", err)
	}
	if public, err = key.PublicKey(); err != nil {
		return nil, "", fmt.Errorf("generate nkey: %w", err)
	}
	return seed, public, nil
}

// WriteSeedFile makes a new user key, writes its seed to path and returns its
// public key. It never overwrites: an existing file may be the only copy of a
// key that is enrolled.
func WriteSeedFile(path string) (public string, err error) {
	seed, public, err := GenerateSeed()
	if err != nil {
		return "", err
	}
	defer clear(seed)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write seed file: %w (hint: move the old key away first if you mean to replace it)", err)
	}
	if err != nil {
		return "", fmt.Errorf("write seed file: %w", err)
	}
	data := append(bytes.Clone(seed), '\n')
	defer clear(data)
	if err = writeSynced(f, data); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(path)
		return "", fmt.Errorf("write seed file: %w", err)
	}
	return public, nil
}

// PublicFromSeedFile returns the public key that belongs to the seed in path.
func PublicFromSeedFile(path string) (string, error) {
	key, public, err := readSeedFile(path)
	if err != nil {
		return "", err
	}
	key.Wipe()
	return public, nil
}

// readSeedFile never puts any of the file's content in an error.
func readSeedFile(path string) (nkeys.KeyPair, string, error) {
	data, err := ReadPrivate(path)
	if err != nil {
		return nil, "", fmt.Errorf("read seed file: %w", err)
	}
	defer clear(data)
	key, err := nkeys.FromSeed(bytes.Clone(bytes.TrimSpace(data)))
	if err != nil {
		return nil, "", fmt.Errorf("read seed file %s: not an nkey seed", path)
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, "", fmt.Errorf("read seed file %s: not the seed of a user (hint: it starts with SU)", path)
	}
	return key, public, nil
}

// ReadPrivate reads a small secret file that only its owner may read. No error has
// any of its content.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Of the open file, not of the name, which may point elsewhere by now.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if forbidden := forbiddenBits(path); info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("%s: others can read or write it, mode %04o (hint: chmod 600 %s; if others had access, replace the key)",
			path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSeedFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSeedFile {
		clear(data)
		return nil, fmt.Errorf("%s: too large for a secret", path)
	}
	return data, nil
}

// forbiddenBits are the mode bits a secret file must not have. systemd gives a
// service its credentials with an access list, which shows as the group's read
// bit although no group may read the file.
func forbiddenBits(path string) fs.FileMode {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir != "" && filepath.Clean(filepath.Dir(path)) == filepath.Clean(dir) {
		return 0o037
	}
	return 0o077
}
