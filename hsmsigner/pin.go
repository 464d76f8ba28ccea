package hsmsigner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"
)

// maxPIN is more than any token takes.
const maxPIN = 256

// PIN returns the source of the token's PIN as package token wants it: it gives
// the same answer for each login without asking a person. A file is read each
// time; a person is asked at once, on prompt, and the answer is kept in memory.
func (t *TokenConfig) PIN(prompt io.Writer) (func() ([]byte, error), error) {
	switch {
	case t.PINFile != "":
		return func() ([]byte, error) { return ReadPINFile(t.PINFile) }, nil
	case t.PINCredential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fmt.Errorf("%w: pin_credential %q: CREDENTIALS_DIRECTORY is not set (hint: start it as a systemd service with LoadCredentialEncrypted=)", ErrConfig, t.PINCredential)
		}
		path := filepath.Join(dir, t.PINCredential)
		return func() ([]byte, error) { return ReadPINFile(path) }, nil
	}
	pin, err := AskPIN(prompt, "PIN of the token: ")
	if err != nil {
		return nil, err
	}
	// Whoever gets a PIN overwrites it after use.
	return func() ([]byte, error) { return bytes.Clone(pin), nil }, nil
}

// AskPIN asks for a PIN on the terminal, without echo.
func AskPIN(prompt io.Writer, question string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, fmt.Errorf("%w: no pin is configured and there is no terminal to ask on (hint: set pin_file or pin_credential under [token], or give --pin-file)", ErrConfig)
	}
	fmt.Fprint(prompt, question)
	pin, err := term.ReadPassword(fd)
	fmt.Fprintln(prompt)
	if err != nil {
		return nil, fmt.Errorf("read pin: %w", err)
	}
	return pin, checkPIN(pin, "")
}

// ReadPINFile reads a PIN from a file that only its owner can read. One line
// break at the end is not part of the PIN. No error shows anything of it.
func ReadPINFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read pin file: %w (hint: write the pin to it, mode 0600)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read pin file: %w", err)
	}
	defer f.Close()
	// Of the open file, not of the name, which may point elsewhere by now.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read pin file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read pin file: %s is not a regular file", path)
	}
	if info.Mode().Perm()&forbiddenBits(path) != 0 {
		return nil, fmt.Errorf("read pin file: %s: others can read or write it, mode %04o (hint: chmod 600 %s; if others had access, change the pin)",
			path, info.Mode().Perm(), path)
	}
	pin, err := io.ReadAll(io.LimitReader(f, maxPIN+2))
	if err != nil {
		return nil, fmt.Errorf("read pin file: %w", err)
	}
	pin = bytes.TrimSuffix(bytes.TrimSuffix(pin, []byte("\n")), []byte("\r"))
	return pin, checkPIN(pin, path)
}

// forbiddenBits are the mode bits a file with a PIN must not have. systemd gives
// credentials by an access list, which shows as the group's read bit.
func forbiddenBits(path string) fs.FileMode {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir != "" && filepath.Clean(filepath.Dir(path)) == filepath.Clean(dir) {
		return 0o037
	}
	return 0o077
}

func checkPIN(pin []byte, path string) error {
	what := "pin"
	if path != "" {
		what = "pin file " + path
	}
	switch {
	case len(pin) == 0:
		return fmt.Errorf("%s: the pin is empty", what)
	case len(pin) > maxPIN:
		return fmt.Errorf("%s: the pin is longer than %d bytes", what, maxPIN)
	case bytes.ContainsAny(pin, "\x00\r\n"):
		return fmt.Errorf("%s: the pin has a line break or a zero byte in it", what)
	}
	return nil
}
