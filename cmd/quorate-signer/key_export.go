package main

import (
	"context"
	"errors"
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
	CN       string        `name:"cn" placeholder:"NAME" help:"Common name, for --x509 and --csr. [the label]"`
	Created  time.Time     `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" help:"Begin of the validity, for --x509. [now]"`
	Lifetime time.Duration `default:"175200h" placeholder:"DURATION" help:"How long the certificate is valid, for --x509. [20 years]"`
	Out      string        `short:"o" placeholder:"FILE" help:"Where to write; must not exist. [standard output]"`
}

// Help is shown by --help.
func (keyExportCmd) Help() string {
	return `Without a form it is the OpenPGP certificate. Keep what --x509 wrote: made again it is another certificate, and CMS
signatures name theirs by its serial number.`
}

func (c *keyExportCmd) Run(ctx context.Context, s *streams) (err error) {
	if form := c.form(); form != hsmsigner.FormX509 && form != hsmsigner.FormCSR && c.CN != "" {
		return usage("--cn goes with --x509 and --csr")
	} else if form != "" && c.Armor {
		return usage("--armor is for the OpenPGP certificate; the other forms are text already")
	}
	tok, configs, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
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

func (c *keyExportCmd) export(ctx context.Context, tok *token.Token, configs []hsmsigner.KeyConfig) ([]byte, error) {
	conf := hsmsigner.KeyConfig{Label: c.Label, Certificate: certificatePath(c.Cert, configs, c.Label)}
	form := c.form()
	if form == "" && conf.Certificate == "" {
		return nil, usage("no configuration says where the certificate of %q is (hint: give --cert, add a [[key]], or choose another form)", c.Label)
	}
	key, err := hsmsigner.LoadKey(conf)
	if err != nil {
		return nil, usageError{err}
	}
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
