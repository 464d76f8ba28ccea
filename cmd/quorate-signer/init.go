package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
)

type initCmd struct {
	State  string   `required:"" placeholder:"DIR" help:"Folder for configuration, ledger and nkey; made if missing."`
	Name   string   `default:"signer" help:"Name of this signer among the users of the bus."`
	Nats   string   `placeholder:"URL" help:"URL of the bus. [nats://127.0.0.1:7422]"`
	CA     string   `name:"ca" placeholder:"FILE" help:"Root certificate of the bus."`
	Policy string   `placeholder:"FILE" help:"The signer's own copy of the policy. [policy.toml in the folder]"`
	Key    []string `placeholder:"LABEL[=CERT]" help:"A key to answer for, and its OpenPGP certificate file if it signs OpenPGP. Can be repeated."`
	X509   []string `name:"x509" placeholder:"LABEL=FILE" help:"X.509 certificate of one of the keys, if it signs CMS. Can be repeated."`
	tokenFlags
}

func (c *initCmd) Run(ctx context.Context, s *streams) error {
	conf := hsmsigner.Config{Name: c.Name, NATS: c.Nats, CAFile: absolute(c.CA), Policy: absolute(c.Policy), Token: c.config()}
	var err error
	if conf.Keys, err = c.keys(); err != nil {
		return err
	}
	nkey, err := hsmsigner.Init(ctx, c.State, conf)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "wrote %s\nthe coordinator must enrol this nkey as %q with role signer:\n  %s\n",
		filepath.Join(c.State, hsmsigner.ConfigFile), c.Name, c.enrol(nkey))
	_, err = fmt.Fprintln(s.out, nkey)
	return err
}

// enrol is the command for the coordinator's keeper, complete but for the state
// directory, which is on another machine.
func (c *initCmd) enrol(nkey string) string {
	keys := ""
	for _, k := range c.Key {
		label, _, _ := strings.Cut(k, "=")
		keys += " --key " + label
	}
	if keys == "" {
		keys = " --key LABEL"
	}
	return fmt.Sprintf("quorate coordinator enroll --state DIR --role signer%s %s %s", keys, c.Name, nkey)
}

// keys reads --key and --x509. What a key lacks is found out with the policy.
func (c *initCmd) keys() (keys []hsmsigner.KeyConfig, err error) {
	for _, k := range c.Key {
		label, cert, _ := strings.Cut(k, "=")
		keys = append(keys, hsmsigner.KeyConfig{Label: label, Certificate: absolute(cert)})
	}
	for _, x := range c.X509 {
		label, file, ok := strings.Cut(x, "=")
		i := slices.IndexFunc(keys, func(k hsmsigner.KeyConfig) bool { return k.Label == label })
		if !ok || i < 0 {
			return nil, usage("--x509 %q is not LABEL=FILE with the label of a --key", x)
		}
		keys[i].X509 = absolute(file)
	}
	return keys, nil
}

// absolute keeps a path of the command line meaning the same file when it is
// written to a configuration somewhere else.
func absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// tokenFlags choose a token without a configuration.
type tokenFlags struct {
	Module  string `placeholder:"FILE" help:"PKCS#11 library."`
	Token   string `name:"token" placeholder:"LABEL" help:"Label of the token."`
	Serial  string `placeholder:"SERIAL" help:"Serial number of the token."`
	PinFile string `placeholder:"FILE" help:"File with the PIN, mode 0600. Without it the PIN is asked for."`
}

func (f *tokenFlags) config() hsmsigner.TokenConfig {
	return hsmsigner.TokenConfig{Module: modulePath(f.Module), Label: f.Token, Serial: f.Serial, PINFile: absolute(f.PinFile)}
}

// modulePath is absolute for --module. A name without a slash is a file here, if there
// is one; else it is left to the dynamic linker, which does not look here.
func modulePath(module string) string {
	if filepath.Base(module) != module {
		return absolute(module)
	}
	if info, err := os.Stat(module); err == nil && info.Mode().IsRegular() {
		return absolute(module)
	}
	return module
}

type tokenCmd struct {
	Init tokenInitCmd `cmd:"" help:"Initialise a new token. A token that is in use is never touched."`
}

type tokenInitCmd struct {
	Module       string `required:"" placeholder:"FILE" help:"PKCS#11 library."`
	Label        string `required:"" help:"Label for the token."`
	SoPinFile    string `placeholder:"FILE" help:"File with the security officer's PIN. Without it the PIN is asked for."`
	PinFile      string `placeholder:"FILE" help:"File with the user PIN. Without it the PIN is asked for."`
	GeneratePins bool   `help:"Write random PINs to the two files, which must not exist."`
}

func (c *tokenInitCmd) Run(s *streams) (err error) {
	if c.GeneratePins {
		if c.SoPinFile == "" || c.PinFile == "" {
			return usage("--generate-pins needs --so-pin-file and --pin-file")
		}
		for _, path := range []string{c.SoPinFile, c.PinFile} {
			if err := generatePIN(path); err != nil {
				return err
			}
			// Else the next try would take them for the PINs of a token.
			defer func() { err = dropPIN(path, err) }()
		}
	}
	so, err := readPIN(s, c.SoPinFile, "security officer's PIN")
	if err != nil {
		return err
	}
	defer clear(so)
	pin, err := readPIN(s, c.PinFile, "user PIN")
	if err != nil {
		return err
	}
	defer clear(pin)
	if err := token.InitToken(modulePath(c.Module), c.Label, so, pin); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "initialised token %q\n", c.Label)
	return nil
}

// generatePIN writes a PIN of 26 letters and digits. Sixteen fit every token
// known to us, but then they would be less than a key is worth.
func generatePIN(path string) error {
	err := hsmsigner.WriteNew(path, []byte(rand.Text()+"\n"), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usage("generate pin: %w (hint: it may be the PIN of a token; leave out --generate-pins to use it)", err)
	}
	return err
}

// dropPIN removes a PIN that this run wrote, when the run failed. A token that is
// initialised already has it.
func dropPIN(path string, err error) error {
	if err == nil || errors.Is(err, token.ErrTokenMade) {
		return err
	}
	if e := os.Remove(path); e != nil {
		return errors.Join(err, e)
	}
	return err
}

// readPIN takes a new PIN from a file, or asks for it twice.
func readPIN(s *streams, path, what string) ([]byte, error) {
	if path != "" {
		pin, err := hsmsigner.ReadPINFile(path)
		if err != nil {
			return nil, usageError{err}
		}
		return pin, nil
	}
	pin, err := hsmsigner.AskPIN(s.err, "New "+what+": ")
	if err != nil {
		return nil, err
	}
	again, err := hsmsigner.AskPIN(s.err, "The same again: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !slices.Equal(pin, again) {
		return nil, usage("the two entries of the %s differ", what)
	}
	return pin, nil
}
