package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/quorum/statement"
)

type ledgerCmd struct {
	List ledgerListCmd `cmd:"" help:"List what was signed, or with --refusals what was refused."`
	Show ledgerShowCmd `cmd:"" help:"Print the stored answer to a request; that to a batch in its parts, each on a line."`

	Backup ledgerBackupCmd `cmd:"" help:"Copy the ledger to a new file, also while the signer runs."`
}

// chooseLedger is a configuration, or the file itself.
type chooseLedger struct {
	Config string `xor:"ledger" placeholder:"FILE" help:"Configuration of the signer; or give --ledger."`
	Ledger string `xor:"ledger" placeholder:"FILE" help:"The ledger itself; or give --config."`
}

func (c *chooseLedger) open(ctx context.Context) (*ledger.Ledger, error) {
	path := c.Ledger
	if path == "" && c.Config == "" {
		return nil, usage("give --config or --ledger")
	}
	if c.Config != "" {
		conf, err := hsmsigner.LoadConfig(c.Config)
		if err != nil {
			return nil, err
		}
		path = conf.Ledger
	}
	return ledger.Open(ctx, path)
}

type ledgerListCmd struct {
	chooseLedger
	Refusals bool `help:"What was refused, instead of what was signed."`
	JSON     bool `name:"json" help:"One JSON object a line."`
}

// signedRow and refusedRow are entries as programs see them.
type (
	signedRow struct {
		At         time.Time          `json:"at"`
		Request    statement.SHA256   `json:"request"`
		Channel    string             `json:"channel"`
		Target     string             `json:"target"`
		Stage      string             `json:"stage"`
		Artifact   string             `json:"artifact"`
		SHA256     statement.SHA256   `json:"sha256"`
		Policy     uint64             `json:"policyVersion"`
		PolicySHA  statement.SHA256   `json:"policyDigest"`
		Evidence   statement.SHA256   `json:"evidence"`
		Statements []statement.SHA256 `json:"statements"`
		Signatures []signatureRow     `json:"signatures"`
		Batch      *batchRow          `json:"batch,omitzero"` // in the place of signatures
	}
	batchRow struct {
		Format      string `json:"format"`
		Key         string `json:"key"`
		Fingerprint string `json:"fingerprint"`
		Signatures  int    `json:"signatures"` // that were asked for
		Parts       int    `json:"parts"`
		Stored      int    `json:"storedSignatures"`
		StoredParts int    `json:"storedParts"`
	}
	signatureRow struct {
		Format      string    `json:"format"`
		Key         string    `json:"key"`
		Fingerprint string    `json:"fingerprint"`
		SignedAt    time.Time `json:"signedAt"`
		Signature   []byte    `json:"signature"`
	}
	refusedRow struct {
		At       time.Time        `json:"at"`
		Request  statement.SHA256 `json:"request"`
		Channel  string           `json:"channel"`
		Target   string           `json:"target"`
		Artifact string           `json:"artifact"`
		SHA256   statement.SHA256 `json:"sha256"`
		Code     string           `json:"code"`
		Message  string           `json:"message"`
	}
)

func (c *ledgerListCmd) Run(ctx context.Context, s *streams) error {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	if c.Refusals {
		return c.refusals(ctx, l, s.out)
	}
	return c.signed(ctx, l, s.out)
}

func (c *ledgerListCmd) signed(ctx context.Context, l *ledger.Ledger, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(w, "AT\tCHANNEL\tTARGET\tARTIFACT\tSHA256\tFORMAT\tKEY\tSIGNATURES\tREQUEST")
	}
	err := l.Records(ctx, func(r ledger.Record) error {
		if c.JSON {
			return writeLine(out, signed(r))
		}
		line := func(at time.Time, format, key, count string) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%q\t%.8s…\t%s\t%s\t%s\t%.8s…\n",
				at.Format(time.RFC3339), r.Channel, r.Target, r.Artifact, r.SHA256, format, key, count, r.Request)
		}
		for _, sig := range r.Signatures {
			line(sig.SignedAt, sig.Format, sig.Key, "1")
		}
		if b := r.Batch; b != nil {
			line(r.At, b.Format, b.Key, storedOf(b.Stored, b.Signatures))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// storedOf is how many there are, and of how many if some are missing.
func storedOf(stored, all int) string {
	if stored < all {
		return fmt.Sprintf("%d of %d", stored, all)
	}
	return fmt.Sprint(all)
}

func signed(r ledger.Record) signedRow {
	row := signedRow{r.At, r.Request, r.Channel, r.Target, r.Stage, r.Artifact, r.SHA256, r.PolicyVersion, r.PolicyDigest,
		r.Evidence, r.Statements, []signatureRow{}, nil}
	if b := r.Batch; b != nil {
		row.Batch = &batchRow{b.Format, b.Key, b.Fingerprint, b.Signatures, b.Parts, b.Stored, b.StoredParts}
	}
	for _, s := range r.Signatures {
		row.Signatures = append(row.Signatures, signatureRow{s.Format, s.Key, s.Fingerprint, s.SignedAt, s.Bytes})
	}
	return row
}

func (c *ledgerListCmd) refusals(ctx context.Context, l *ledger.Ledger, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(w, "AT\tCODE\tCHANNEL\tTARGET\tARTIFACT\tMESSAGE")
	}
	err := l.Refusals(ctx, func(r ledger.Refusal) error {
		if c.JSON {
			return writeLine(out, refusedRow{r.At, r.Request, r.Channel, r.Target, r.Artifact, r.SHA256, r.Code, r.Message})
		}
		// Quoted where the text is the sender's: a terminal believes control characters.
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%q\t%q\t%q\n", r.At.Format(time.RFC3339), r.Code, r.Channel, r.Target, r.Artifact, r.Message)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

type ledgerBackupCmd struct {
	chooseLedger
	File string `arg:"" help:"New file to write."`
}

func (ledgerBackupCmd) Help() string {
	return `Do not copy the file with other tools while the signer runs, or after it was killed: what is newest then stands beside it, in the file that ends in -wal.

What is signed after the copy is not in it. A signer that runs on an old copy would sign a second digest of those files; see "Backup" in docs/operating.md before you put one in place.`
}

func (c *ledgerBackupCmd) Run(ctx context.Context, s *streams) error {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(l.Backup(ctx, c.File), l.Close())
}

type ledgerShowCmd struct {
	chooseLedger
	Request string `arg:"" help:"Id of the request, 64 hex digits."`
}

func (c *ledgerShowCmd) Run(ctx context.Context, s *streams) error {
	id, err := statement.ParseSHA256(c.Request)
	if err != nil {
		return usage("request id: %w (hint: ledger list --json has ids whole)", err)
	}
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	data, found, err := l.Answer(ctx, id)
	if err != nil {
		return err
	}
	if !found {
		found, err = showParts(ctx, l, id, s)
		if err != nil || found {
			return err
		}
		return fmt.Errorf("the ledger has no answer to request %s (hint: ledger list --refusals shows what was refused)", id)
	}
	_, err = s.out.Write(append(data, '\n'))
	return err
}

// showParts prints those of the answer to a batch, each on a line.
func showParts(ctx context.Context, l *ledger.Ledger, id statement.SHA256, s *streams) (found bool, err error) {
	stored, count, err := l.StoredParts(ctx, id)
	if err != nil || count == 0 {
		return false, err
	}
	for _, i := range stored {
		data, _, err := l.AnswerPart(ctx, id, i)
		if err != nil {
			return false, err
		}
		if _, err := s.out.Write(append(data, '\n')); err != nil {
			return false, err
		}
	}
	if len(stored) < count {
		fmt.Fprintf(s.err, "note: %d of %d parts are stored; the batch goes on when it is asked for again\n", len(stored), count)
	}
	return true, nil
}
