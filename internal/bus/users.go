package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

type usersFile struct {
	Users []User `toml:"user"`
}

// LoadUsers reads a users file. It is strict: an unknown key is an error, since
// a misspelt restriction must not be no restriction. A missing file is one too.
func LoadUsers(path string) ([]User, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load users: %w (hint: it is created when the coordinator is initialised; check the state directory)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("load users: %w", err)
	}
	var file usersFile
	err = toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&file)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return nil, fmt.Errorf("load users: %s: unknown key:\n%s", path, strict.String())
	}
	if err != nil {
		return nil, fmt.Errorf("load users: %s: %w", path, err)
	}
	if err := ValidateUsers(file.Users); err != nil {
		return nil, fmt.Errorf("load users: %s: %w", path, err)
	}
	return file.Users, nil
}

// SaveUsers writes a users file: after a crash there is the old one or the new
// one, never a part. It refuses users that LoadUsers would refuse.
func SaveUsers(path string, users []User) error {
	if err := ValidateUsers(users); err != nil {
		return fmt.Errorf("save users: %w", err)
	}
	data, err := toml.Marshal(usersFile{users})
	if err != nil {
		return fmt.Errorf("save users: %w", err)
	}
	if err := replaceFile(path, data); err != nil {
		return fmt.Errorf("save users: %w", err)
	}
	return nil
}

// replaceFile makes data the content of path, durably, with mode 0600.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := writeSynced(f, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeSynced writes data, waits until it is on the disk and closes f.
func writeSynced(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
