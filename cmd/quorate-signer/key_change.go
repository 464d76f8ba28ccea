package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
)

// changedHelp is what follows every change of a certificate.
const changedHelp = `The certificate that was there is kept beside it as FILE.old-1, -2, and so on, and all of its packets are in
the new one. Send a running signer SIGHUP: it reads certificates at its start and then. Give the new one to the coordinator and to whoever verifies.`

// changeFlags choose a key and its certificate.
type changeFlags struct {
	chooseToken
	Label string    `arg:"" help:"Label of the key."`
	Cert  string    `placeholder:"FILE" help:"The OpenPGP certificate. [as configured]"`
	At    time.Time `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" help:"Time of the new signature. [now]"`
}

func (c *changeFlags) at() time.Time {
	if c.At.IsZero() {
		return time.Now()
	}
	return c.At
}

// checkPast refuses a time to come: a self-signature counts from its time on, and none
// that is older can replace it until then.
func checkPast(flag string, at time.Time) error {
	if at.After(time.Now()) {
		return usage("%s: %s is in the future, and nothing that is signed counts before (hint: is it a slip, or is this machine's clock behind?)",
			flag, at.Format(time.RFC3339))
	}
	return nil
}

// certificate finds the file and reads it, before the token is touched.
func (c *changeFlags) certificate() (conf hsmsigner.TokenConfig, key hsmsigner.Key, path string, err error) {
	if err := checkPast("--at", c.At); err != nil {
		return conf, key, "", err
	}
	conf, keys, err := c.settings()
	if err != nil {
		return conf, key, "", err
	}
	if path = certificatePath(c.Cert, keys, c.Label); path == "" {
		return conf, key, "", usage("--cert is missing, and no configuration says where the certificate of %q is", c.Label)
	}
	if key, err = hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: c.Label, Certificate: path}); err != nil {
		return conf, key, "", usageError{err}
	}
	return conf, key, path, checkFolder(filepath.Dir(path), "--cert")
}

// change has the token make another certificate, and puts it in the place of the
// one that was there.
func (c *changeFlags) change(ctx context.Context, s *streams, make func(*token.Token, hsmsigner.Key) (*pgpsig.Certificate, error)) (err error) {
	conf, key, path, err := c.certificate()
	if err != nil {
		return err
	}
	tok, err := openToken(ctx, s, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	cert, err := make(tok, key)
	if err != nil {
		return refusedByHand(err)
	}
	return replace(s, path, cert)
}

// refusedByHand makes what only another command line can mend a matter of usage. What
// the token says, and what does not verify, keeps its own code.
func refusedByHand(err error) error {
	var t *token.Error
	if errors.As(err, &t) || errors.Is(err, pgpsig.ErrSignatureCheck) || hsmsigner.IsOtherKey(err) {
		return err
	}
	return usageError{err}
}

func replace(s *streams, path string, cert *pgpsig.Certificate) error {
	old, err := hsmsigner.ReplaceCertificate(path, cert)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "changed %s; what was there is %s\n", path, old)
	_, err = fmt.Fprintln(s.out, cert.Fingerprint())
	return err
}

type keyExtendCmd struct {
	changeFlags
	Expires time.Time     `format:"2006-01-02T15:04:05Z07:00" placeholder:"RFC3339" xor:"end" help:"When the key's life ends."`
	For     time.Duration `placeholder:"DURATION" xor:"end" help:"How long it lives from now on, such as 17520h."`
	Never   bool          `xor:"end" help:"It never ends."`
}

// Help is shown by --help.
func (keyExtendCmd) Help() string {
	return "The token signs the certificate anew, with another end. " + changedHelp
}

func (c *keyExtendCmd) Run(ctx context.Context, s *streams) error {
	if c.Expires.IsZero() && c.For == 0 && !c.Never {
		return usage("one of --expires, --for and --never is missing: when the key's life ends")
	}
	end := c.Expires
	if c.For != 0 {
		end = c.at().Add(c.For)
	}
	return c.change(ctx, s, func(tok *token.Token, key hsmsigner.Key) (*pgpsig.Certificate, error) {
		return key.Extend(ctx, tok, end, c.at())
	})
}

type keyAddUIDCmd struct {
	changeFlags
	UserID string `name:"user-id" required:"" placeholder:"\"NAME <MAIL>\"" help:"Whom the certificate names besides."`
}

// Help is shown by --help.
func (keyAddUIDCmd) Help() string { return "The token certifies one user id more. " + changedHelp }

func (c *keyAddUIDCmd) Run(ctx context.Context, s *streams) error {
	return c.change(ctx, s, func(tok *token.Token, key hsmsigner.Key) (*pgpsig.Certificate, error) {
		return key.AddUserID(ctx, tok, c.UserID, c.at())
	})
}

// reasons by the names that --reason takes.
var reasons = map[string]pgpsig.Reason{
	"unspecified": pgpsig.ReasonNone, "superseded": pgpsig.ReasonSuperseded,
	"compromised": pgpsig.ReasonCompromised, "retired": pgpsig.ReasonRetired,
}

type keyRevokeCmd struct {
	changeFlags
	Reason string `required:"" enum:"unspecified,superseded,compromised,retired" help:"compromised and unspecified end all signatures of the key, superseded and retired only later ones."`
	Text   string `placeholder:"WORDS" help:"What to tell those who see the revocation."`
	Out    string `short:"o" required:"" placeholder:"FILE" help:"Where the revocation certificate goes; must not exist."`
	Apply  bool   `help:"Put it into the key's certificate, too: the key is revoked from then on."`
	Yes    bool   `help:"Do not ask."`
}

// Help is shown by --help.
func (keyRevokeCmd) Help() string {
	return `The token makes a revocation certificate. Without --apply nothing else changes: keep the file where few can get it,
whoever publishes it ends the key. With --apply the signer refuses with key-not-usable, once it has read it. ` + changedHelp
}

func (c *keyRevokeCmd) Run(ctx context.Context, s *streams) (err error) {
	reason := reasons[c.Reason]
	if err := pgpsig.CheckRevocation(reason, c.Text); err != nil {
		return usage("--text: %w", err)
	}
	conf, key, path, err := c.certificate()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.Out); !errors.Is(err, fs.ErrNotExist) {
		return usage("%s exists already (hint: choose another --out)", c.Out)
	}
	if err := checkFolder(filepath.Dir(c.Out), "--out"); err != nil {
		return err
	}
	if err := c.confirm(s, key); err != nil {
		return err
	}
	tok, err := openToken(ctx, s, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	revocation, cert, err := key.Revoke(ctx, tok, reason, c.Text, c.at())
	if err != nil {
		return refusedByHand(err)
	}
	// Readable by its owner only: the file is all that it takes.
	if err := hsmsigner.WriteNew(c.Out, pgpsig.ArmorRevocation(revocation), 0o600); err != nil {
		return fmt.Errorf("write revocation: %w", err)
	}
	fmt.Fprintf(s.err, "wrote the revocation of key %q to %s\n", c.Label, c.Out)
	if !c.Apply {
		_, err = fmt.Fprintln(s.out, cert.Fingerprint())
		return err
	}
	return replace(s, path, cert)
}

// confirm asks a person to type the label. Nothing takes a revocation back.
func (c *keyRevokeCmd) confirm(s *streams, key hsmsigner.Key) error {
	if c.Yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usage("--yes is missing, and there is no terminal to ask on (hint: nothing takes back a revocation that was applied or published)")
	}
	fmt.Fprintf(s.err, "This revokes key %q, %s. Type its label to go on: ", c.Label, key.Certificate.Fingerprint())
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) != c.Label {
		return usage("the key was not revoked: that is not its label")
	}
	return err
}

type keyImportCmd struct {
	chooseToken
	Label string `arg:"" help:"Label of the key, which is in the token already."`
	From  string `arg:"" name:"file" help:"The OpenPGP certificate, or a revocation of it; binary or armoured."`
	Cert  string `placeholder:"FILE" help:"Where it goes. [as configured]"`
}

// Help is shown by --help.
func (keyImportCmd) Help() string {
	return `The certificate must be of the token's own key and let that key sign, or be revoked: then the signer refuses with key-not-usable,
once it has read it. If there is one already, both are merged, and a revocation alone is put into it. ` + changedHelp
}

func (c *keyImportCmd) Run(ctx context.Context, s *streams) (err error) {
	conf, keys, err := c.settings()
	if err != nil {
		return err
	}
	path := certificatePath(c.Cert, keys, c.Label)
	if path == "" {
		return usage("--cert is missing, and no configuration says where the certificate of %q goes", c.Label)
	}
	if err := checkFolder(filepath.Dir(path), "--cert"); err != nil {
		return err
	}
	key := hsmsigner.Key{Label: c.Label}
	_, missing := os.Lstat(path)
	if missing == nil {
		if key, err = hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: c.Label, Certificate: path}); err != nil {
			return usageError{err}
		}
	}
	data, err := hsmsigner.ReadCertificate(c.From)
	if err != nil {
		return usageError{err}
	}
	tok, err := openToken(ctx, s, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	cert, err := hsmsigner.Import(tok, key, data, time.Now())
	if err != nil {
		return refusedByHand(err)
	}
	if _, revoked := cert.Revoked(); revoked {
		fmt.Fprintf(s.err, "key %q is revoked: the signer refuses with key-not-usable\n", c.Label)
	}
	if missing == nil {
		return replace(s, path, cert)
	}
	if err := hsmsigner.WriteNew(path, pgpsig.ArmorCertificate(cert.Bytes()), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "the certificate of key %q is %s\n", c.Label, path)
	_, err = fmt.Fprintln(s.out, cert.Fingerprint())
	return err
}
