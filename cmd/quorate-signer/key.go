package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/hint"
	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key in the token and its OpenPGP certificate."`
	List   keyListCmd   `cmd:"" help:"List the keys in the token."`
	Export keyExportCmd `cmd:"" help:"Write the public half of a key in the form that others need, checked against the token."`
	Extend keyExtendCmd `cmd:"" help:"Change when the life of a key ends."`
	AddUID keyAddUIDCmd `cmd:"" name:"add-uid" help:"Add a user id to the certificate of a key."`
	Revoke keyRevokeCmd `cmd:"" help:"Make a revocation certificate, and revoke the key with it."`
	Import keyImportCmd `cmd:"" help:"Take a certificate, made elsewhere, of a key that is in the token."`
}

// chooseToken is either a configuration or the flags that say the same.
type chooseToken struct {
	Config string `placeholder:"FILE" help:"Configuration of the signer; or give --module, --token and --pin-file."`
	tokenFlags
}

// settings are where the token is, and the keys of the configuration if there is
// one. The token is not touched.
func (c *chooseToken) settings() (conf hsmsigner.TokenConfig, keys []hsmsigner.KeyConfig, err error) {
	if c.Config == "" {
		if c.Module == "" {
			return conf, nil, usage("give --config, or --module and --token")
		}
		return c.config(), nil, nil
	}
	if c.tokenFlags != (tokenFlags{}) {
		return conf, nil, usage("--config excludes --module, --token, --serial and --pin-file")
	}
	file, err := hsmsigner.LoadConfig(c.Config)
	if err != nil {
		return conf, nil, err
	}
	return file.Token, file.Keys, nil
}

// open opens the token, and returns the keys of the configuration if there is one.
func (c *chooseToken) open(ctx context.Context, s *streams) (*token.Token, []hsmsigner.KeyConfig, error) {
	conf, keys, err := c.settings()
	if err != nil {
		return nil, nil, err
	}
	tok, err := openToken(ctx, s, conf)
	return tok, keys, err
}

func openToken(ctx context.Context, s *streams, conf hsmsigner.TokenConfig) (*token.Token, error) {
	return hsmsigner.OpenToken(ctx, conf, s.err, logger(s, "text", slog.LevelWarn))
}

type keyCreateCmd struct {
	chooseToken
	Label    string        `required:"" help:"Label of the key, as the policy names it."`
	Type     string        `default:"rsa4096" help:"rsa3072, rsa4096, p256, p384 or ed25519. [${default}]"`
	UserID   string        `name:"user-id" placeholder:"\"NAME <MAIL>\"" help:"Whom the certificate names."`
	Created  time.Time     `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" help:"Creation time; part of the fingerprint. [now]"`
	Lifetime time.Duration `placeholder:"DURATION" help:"How long the key may sign, such as 17520h. [for ever]"`
	Cert     string        `placeholder:"FILE" help:"Where the certificate goes; must not exist. [as configured]"`
	Existing bool          `help:"The key is in the token already, of whichever type; only make its certificate."`
	Bare     bool          `name:"no-certificate" help:"Make no OpenPGP certificate: for a key that signs bare files or CMS, which must have none."`
}

func (c *keyCreateCmd) Run(ctx context.Context, s *streams) (err error) {
	kt, err := token.ParseKeyType(c.Type)
	if err != nil {
		return usageError{err}
	}
	if given := c.UserID != "" || c.Cert != "" || c.Existing || c.Lifetime != 0 || !c.Created.IsZero(); c.Bare && given {
		return usage("--no-certificate excludes --user-id, --created, --lifetime, --cert and --existing")
	}
	if !statement.ValidName(c.Label) {
		return usage("--label: %q is not a name that a policy can use (hint: 1 to 64 of A-Z a-z 0-9 _ -, the first a letter or digit)", c.Label)
	}
	if !c.Bare && c.UserID == "" {
		return usage("--user-id is missing: whom the certificate names (hint: --no-certificate makes a key without one)")
	}
	conf, keys, err := c.settings()
	if err != nil {
		return err
	}
	path := certificatePath(c.Cert, keys, c.Label)
	n := c.newKey(kt)
	if !c.Bare {
		// Before the token is touched: what cannot be written should not be made.
		if err := c.check(n, path); err != nil {
			return err
		}
	}
	tok, err := openToken(ctx, s, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	if c.Bare {
		return c.bare(tok, s, kt)
	}
	cert, err := hsmsigner.CreateKey(ctx, tok, n)
	if err != nil {
		return err
	}
	made, err := tok.Key(c.Label) // one that existed may be of any type
	if err != nil {
		return err
	}
	if err := hsmsigner.WriteNew(path, pgpsig.ArmorCertificate(cert.Bytes()), 0o644); err != nil {
		return fmt.Errorf("key %q is in the token, but its certificate could not be written: %w (hint: repeat with --existing --created %s)",
			c.Label, err, cert.Created().Format(time.RFC3339))
	}
	what := "made key"
	if c.Existing {
		what = "made a certificate for key"
	}
	fmt.Fprintf(s.err, "%s %q (%s); its certificate is %s\n", what, c.Label, made.Type, path)
	_, err = fmt.Fprintln(s.out, cert.Fingerprint())
	return err
}

func (c *keyCreateCmd) newKey(kt token.KeyType) hsmsigner.NewKey {
	return hsmsigner.NewKey{Label: c.Label, Type: kt, UserID: c.UserID, Created: c.Created, Lifetime: c.Lifetime, Existing: c.Existing}
}

// check finds what would leave a key without its certificate.
func (c *keyCreateCmd) check(n hsmsigner.NewKey, path string) error {
	if path == "" {
		return usage("--cert is missing, and no configuration says where the certificate of %q goes", c.Label)
	}
	if err := checkPast("--created", c.Created); err != nil {
		return err
	}
	if err := n.Check(); err != nil {
		return usageError{err}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return usage("%s exists already (hint: it may be the only certificate of a key; choose another --cert)", path)
	}
	return checkFolder(filepath.Dir(path), "--cert")
}

// checkFolder tries whether a file can be made there: no look at the mode says so
// for sure. The flag is the one that chooses it.
func checkFolder(dir, flag string) error {
	f, err := os.CreateTemp(dir, ".quorate-*")
	if err != nil {
		return usage("the certificate cannot be written: %w (hint: make the folder %s, or choose another with %s)", err, dir, flag)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// bare makes a key and nothing that could be read with it. Its name is the SHA-256
// of its public key, as it stands beside its signatures.
func (c *keyCreateCmd) bare(tok *token.Token, s *streams, kt token.KeyType) error {
	k, err := tok.CreateKey(c.Label, kt)
	if err != nil {
		return err
	}
	fingerprint, err := (&sigcheck.Key{Public: k.Public}).Fingerprint(format.RawSHA256)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "made key %q (%s), without a certificate\n", c.Label, kt)
	_, err = fmt.Fprintln(s.out, fingerprint)
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
	Type        token.KeyType `json:"type,omitempty"` // none, nor an id: the key cannot be used
	ID          string        `json:"id,omitempty"`
	Fingerprint string        `json:"fingerprint,omitempty"`
	UserIDs     []string      `json:"userIDs,omitempty"`
	Created     time.Time     `json:"created,omitzero"`
	Expires     time.Time     `json:"expires,omitzero"`
	Problem     string        `json:"problem,omitempty"` // of the key, or of the configured certificate
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
	for label, err := range tok.Unusable() {
		keys = append(keys, listedKey{Label: label, Problem: err.Error()})
	}
	slices.SortFunc(keys, func(a, b listedKey) int { return strings.Compare(a.Label, b.Label) })
	if c.JSON {
		for i := range keys {
			keys[i].Label = strings.ToValidUTF8(keys[i].Label, "\uFFFD") // JSON has no other text
		}
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
		fmt.Fprintf(w, "%s\t%s\t%s\n", render.Text(k.Label), cmp.Or(k.Type, "-"), cert)
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
		out.Problem, _ = hint.Split(err.Error())
		return out
	}
	out.Fingerprint, out.UserIDs, out.Created = key.Certificate.Fingerprint(), key.Certificate.UserIDs(), key.Certificate.Created()
	if at, ok := key.Certificate.Expires(); ok {
		out.Expires = at
	}
	return out
}
