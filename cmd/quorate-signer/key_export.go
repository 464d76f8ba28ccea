package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
)

type keyExportCmd struct {
	chooseToken
	Label    string        `arg:"" help:"Label of the key."`
	Cert     string        `placeholder:"FILE" help:"The OpenPGP certificate. [as configured]"`
	Armor    bool          `help:"ASCII armour, for the OpenPGP certificate."`
	Pem      bool          `name:"pem" xor:"form" help:"The public key alone, in PEM: for openssl, cosign and --public-key."`
	SSH      bool          `name:"ssh" xor:"form" help:"The public key as a line of authorized_keys, for ssh-keygen."`
	X509     bool          `name:"x509" xor:"form" help:"A self-signed X.509 certificate in PEM, made with the token."`
	CSR      bool          `name:"csr" xor:"form" help:"A certification request in PEM, made with the token."`
	VOA      string        `name:"voa" xor:"form" placeholder:"DIR" help:"Into this tree of the Verification of OS Artifacts; needs --os."`
	OS       string        `name:"os" placeholder:"ID" help:"Operating system, such as arch or debian:13, for --voa."`
	Purpose  string        `default:"package" placeholder:"NAME" help:"package, repository-metadata, image or trust-anchor-..., for --voa. [package]"`
	Context  string        `default:"default" placeholder:"NAME" help:"Such as a repository's name, for --voa. [default]"`
	CN       string        `name:"cn" placeholder:"NAME" help:"Common name, for --x509 and --csr. [the label]"`
	Created  time.Time     `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" help:"Begin of the validity, for --x509. [now]"`
	Lifetime time.Duration `default:"175200h" placeholder:"DURATION" help:"How long the certificate is valid, for --x509. [20 years]"`
	Out      string        `short:"o" placeholder:"FILE" help:"Where to write; must not exist. [standard output]"`
}

// Help is shown by --help.
func (keyExportCmd) Help() string {
	return `Without a form it is the OpenPGP certificate. Keep what --x509 wrote: made again it is another certificate, and CMS
signatures name theirs by its serial number.

With --voa it goes to DIR/OS/PURPOSE/CONTEXT/openpgp/FINGERPRINT.openpgp, as "File Hierarchy for the Verification of OS
Artifacts" of the UAPI group has it; what is there of the same certificate is merged.`
}

func (c *keyExportCmd) Run(ctx context.Context, s *streams) (err error) {
	if form := c.form(); form != hsmsigner.FormX509 && form != hsmsigner.FormCSR && c.CN != "" {
		return usage("--cn goes with --x509 and --csr")
	} else if form != "" && c.Armor {
		return usage("--armor is for the OpenPGP certificate; the other forms are text already")
	}
	if err := c.checkVOA(); err != nil {
		return err
	}
	tok, configs, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	if c.VOA != "" {
		return c.writeVOA(s, tok, configs)
	}
	data, err := c.export(ctx, tok, configs)
	if err != nil {
		return err
	}
	if c.Out != "" {
		return writeExport(c.Out, data)
	}
	_, err = s.out.Write(data)
	return err
}

func writeExport(path string, data []byte) error {
	err := hsmsigner.WriteNew(path, data, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("%w (hint: nothing is overwritten; choose another file, or remove this one if nobody needs it)", err)
	}
	return err
}

func (c *keyExportCmd) form() hsmsigner.Form {
	switch {
	case c.Pem:
		return hsmsigner.FormPEM
	case c.SSH:
		return hsmsigner.FormSSH
	case c.X509:
		return hsmsigner.FormX509
	case c.CSR:
		return hsmsigner.FormCSR
	}
	return ""
}

// voa is the place in the tree that the flags name.
func (c *keyExportCmd) voa() hsmsigner.VOA {
	return hsmsigner.VOA{OS: c.OS, Purpose: c.Purpose, Context: c.Context}
}

func (c *keyExportCmd) checkVOA() error {
	switch {
	case c.VOA == "" && (c.OS != "" || c.Purpose != "package" || c.Context != "default"):
		return usage("--os, --purpose and --context go with --voa")
	case c.VOA == "":
		return nil
	case c.Out != "" || c.Armor:
		return usage("--voa excludes --out and --armor: the tree says where the certificate goes, and in which form")
	case c.OS == "":
		return usage("--os is missing: the ID of os-release, such as arch or debian:13")
	}
	if err := c.voa().Check(); err != nil {
		return usage("--%w", err)
	}
	return nil
}

// writeVOA says where the certificate is: the path is data for scripts.
func (c *keyExportCmd) writeVOA(s *streams, tok *token.Token, configs []hsmsigner.KeyConfig) error {
	key, err := c.key(configs)
	if err != nil {
		return err
	}
	if err := key.CheckToken(tok); err != nil {
		return err
	}
	path, err := c.voa().Write(c.VOA, key.Certificate)
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintln(s.out, path)
	return err
}

// key reads what is known of the key beside the token.
func (c *keyExportCmd) key(configs []hsmsigner.KeyConfig) (hsmsigner.Key, error) {
	conf := hsmsigner.KeyConfig{Label: c.Label, Certificate: certificatePath(c.Cert, configs, c.Label)}
	if c.form() == "" && conf.Certificate == "" {
		return hsmsigner.Key{}, usage("no configuration says where the certificate of %q is (hint: give --cert, add a [[key]], or choose another form)", c.Label)
	}
	key, err := hsmsigner.LoadKey(conf)
	if err != nil {
		return key, usageError{err}
	}
	return key, nil
}

func (c *keyExportCmd) export(ctx context.Context, tok *token.Token, configs []hsmsigner.KeyConfig) ([]byte, error) {
	key, err := c.key(configs)
	if err != nil {
		return nil, err
	}
	form := c.form()
	if form != "" {
		return hsmsigner.ExportPublic(ctx, tok, key, form, c.subject())
	}
	if err := key.CheckToken(tok); err != nil {
		return nil, err
	}
	data := key.Certificate.Bytes()
	if c.Armor {
		data = pgpsig.ArmorCertificate(data)
	}
	return data, nil
}

func (c *keyExportCmd) subject() hsmsigner.Subject {
	from := c.Created
	if from.IsZero() {
		from = time.Now()
	}
	name := c.CN
	if name == "" {
		name = c.Label
	}
	return hsmsigner.Subject{CommonName: name, NotBefore: from, NotAfter: from.Add(c.Lifetime)}
}
