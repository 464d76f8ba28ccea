package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key in the token and its OpenPGP certificate."`
	List   keyListCmd   `cmd:"" help:"List the keys in the token."`
	Export keyExportCmd `cmd:"" help:"Write the certificate of a key, checked against the token."`
}

// chooseToken is either a configuration or the flags that say the same.
type chooseToken struct {
	Config string `placeholder:"FILE" help:"Configuration of the signer; or give --module, --token and --pin-file."`
	tokenFlags
}

// open opens the token, and returns the keys of the configuration if there is one.
func (c *chooseToken) open(ctx context.Context, s *streams) (*token.Token, []hsmsigner.KeyConfig, error) {
	conf := c.config()
	var keys []hsmsigner.KeyConfig
	if c.Config != "" {
		if c.tokenFlags != (tokenFlags{}) {
			return nil, nil, usage("--config excludes --module, --token, --serial and --pin-file")
		}
		file, err := hsmsigner.LoadConfig(c.Config)
		if err != nil {
			return nil, nil, err
		}
		conf, keys = file.Token, file.Keys
	} else if c.Module == "" {
		return nil, nil, usage("give --config, or --module and --token")
	}
	tok, err := hsmsigner.OpenToken(ctx, conf, s.err, logger(s, "text", slog.LevelWarn))
	return tok, keys, err
}

type keyCreateCmd struct {
	chooseToken
	Label    string        `required:"" help:"Label of the key, as the policy names it."`
	Type     string        `default:"rsa4096" help:"rsa3072, rsa4096, p256, p384 or ed25519. [${default}]"`
	UserID   string        `name:"user-id" required:"" placeholder:"\"NAME <MAIL>\"" help:"Whom the certificate names."`
	Created  time.Time     `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" help:"Creation time; part of the fingerprint. [now]"`
	Lifetime time.Duration `placeholder:"DURATION" help:"How long the key may sign, such as 17520h. [for ever]"`
	Cert     string        `placeholder:"FILE" help:"Where the certificate goes; must not exist. [as configured]"`
	Existing bool          `help:"The key is in the token already; only make its certificate."`
}

func (c *keyCreateCmd) Run(ctx context.Context, s *streams) (err error) {
	kt, err := token.ParseKeyType(c.Type)
	if err != nil {
		return usageError{err}
	}
	tok, keys, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	path := certificatePath(c.Cert, keys, c.Label)
	if path == "" {
		return usage("--cert is missing, and no configuration says where the certificate of %q goes", c.Label)
	}
	// Before the key is made: what cannot be written should not be made.
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return usage("%s exists already (hint: it may be the only certificate of a key; choose another --cert)", path)
	}
	if c.Created.IsZero() {
		c.Created = time.Now()
	}
	cert, err := hsmsigner.CreateKey(ctx, tok, hsmsigner.NewKey{Label: c.Label, Type: kt, UserID: c.UserID,
		Created: c.Created, Lifetime: c.Lifetime, Existing: c.Existing})
	if err != nil {
		return err
	}
	if err := hsmsigner.WriteNew(path, pgpsig.ArmorCertificate(cert.Bytes()), 0o644); err != nil {
		return fmt.Errorf("key %q is in the token, but its certificate could not be written: %w (hint: repeat with --existing --created %s)",
			c.Label, err, cert.Created().Format(time.RFC3339))
	}
	fmt.Fprintf(s.err, "made key %q (%s); its certificate is %s\n", c.Label, kt, path)
	_, err = fmt.Fprintln(s.out, cert.Fingerprint())
	return err
}

func certificatePath(flag string, keys []hsmsigner.KeyConfig, label string) string {
	if flag != "" {
		return flag
	}
	for _, k := range keys {
		if k.Label == label {
			return k.Certificate
		}
	}
	return ""
}

type keyListCmd struct {
	chooseToken
	JSON bool `name:"json" help:"One JSON object."`
}

// listedKey is a key as programs see it.
type listedKey struct {
	Label       string        `json:"label"`
	Type        token.KeyType `json:"type"`
	ID          string        `json:"id"`
	Fingerprint string        `json:"fingerprint,omitempty"`
	UserIDs     []string      `json:"userIDs,omitempty"`
	Created     time.Time     `json:"created,omitzero"`
	Expires     time.Time     `json:"expires,omitzero"`
	Problem     string        `json:"problem,omitempty"` // of the configured certificate
}

func (c *keyListCmd) Run(ctx context.Context, s *streams) (err error) {
	tok, configs, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	var keys []listedKey
	for _, k := range tok.Keys() {
		keys = append(keys, describe(tok, k, configs))
	}
	if c.JSON {
		return writeJSON(s.out, map[string]any{"keys": keys})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LABEL\tTYPE\tCERTIFICATE")
	for _, k := range keys {
		cert := k.Fingerprint
		switch {
		case k.Problem != "":
			cert = "problem: " + k.Problem
		case cert == "":
			cert = "not configured"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.Label, k.Type, cert)
	}
	return w.Flush()
}

func describe(tok *token.Token, k token.Key, configs []hsmsigner.KeyConfig) listedKey {
	out := listedKey{Label: k.Label, Type: k.Type, ID: fmt.Sprintf("%x", k.ID)}
	path := certificatePath("", configs, k.Label)
	if path == "" {
		return out
	}
	key, err := hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: k.Label, Certificate: path})
	if err == nil {
		err = key.CheckToken(tok)
	}
	if err != nil {
		out.Problem, _ = splitHint(err.Error())
		return out
	}
	out.Fingerprint, out.UserIDs, out.Created = key.Certificate.Fingerprint(), key.Certificate.UserIDs(), key.Certificate.Created()
	if at, ok := key.Certificate.Expires(); ok {
		out.Expires = at
	}
	return out
}

type keyExportCmd struct {
	chooseToken
	Label string `arg:"" help:"Label of the key."`
	Cert  string `placeholder:"FILE" help:"The certificate. [as configured]"`
	Armor bool   `help:"ASCII armour."`
	Out   string `short:"o" placeholder:"FILE" help:"Where to write; must not exist. [standard output]"`
}

func (c *keyExportCmd) Run(ctx context.Context, s *streams) (err error) {
	tok, configs, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	path := certificatePath(c.Cert, configs, c.Label)
	if path == "" {
		return usage("no configuration says where the certificate of %q is (hint: give --cert, or add a [[key]])", c.Label)
	}
	key, err := hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: c.Label, Certificate: path})
	if err != nil {
		return usageError{err}
	}
	if err := key.CheckToken(tok); err != nil {
		return err
	}
	data := key.Certificate.Bytes()
	if c.Armor {
		data = pgpsig.ArmorCertificate(data)
	}
	if c.Out != "" {
		return hsmsigner.WriteNew(c.Out, data, 0o644)
	}
	_, err = s.out.Write(data)
	return err
}
