package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/policy"
)

// evidenceSuffix is what the evidence file adds to the name of the file.
const evidenceSuffix = ".evidence.json"

type evidenceCmd struct {
	serverFlags
	caseFlags
	Cert   []string `sep:"none" env:"QUORATE_CERT" placeholder:"FILE" help:"OpenPGP certificate that the signature must be by; may be repeated."`
	Public []string `name:"public-key" sep:"none" env:"QUORATE_PUBLIC_KEY" placeholder:"FILE" help:"Public key for the other formats: PEM, SSH, or X.509 in PEM; may be repeated."`
	Key    string   `placeholder:"NAME" help:"Only the evidence of this key of the policy."`
	Out    string   `placeholder:"DIR" help:"Folder for the evidence; beside the file without it."`
	File   string   `arg:"" help:"File that was signed."`
}

// Help is shown by --help.
func (evidenceCmd) Help() string {
	return `FILE.evidence.json has the statements as received, the policy, the request, the signer's answer and what maintainers said. Before it
is written it is checked that all of it is about this file and holds under the enclosed policy, and with --cert
or --public-key that the signature is good. Whether the policy is one to trust is for quorate verify, which takes yours.

Where a channel signs with several keys each has evidence of its own: that of the first is FILE.evidence.json and
the others are FILE.KEY.evidence.json. With --cert or --public-key only the evidence of these keys is written.

Exit codes: 0 written; 1 no answer from the coordinator; 2 usage; 3, 4, 5 not signed, as for quorate show;
6 the evidence does not hold.`
}

func (c *evidenceCmd) Run() error {
	if err := checkOut(c.Out); err != nil {
		return err
	}
	keys, err := loadKeys(c.Cert, c.Public)
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	file, err := hashFile(c.File)
	if err != nil {
		return err
	}
	ctx := context.Background()
	a, err := c.find(ctx, cl, file)
	if err != nil {
		return err
	}
	list, err := c.fetchAll(ctx, cl, a)
	if err != nil {
		return err
	}
	if list, err = checkAll(file, keys, list); err != nil {
		return err
	}
	for _, e := range list {
		path := beside(c.File, c.Out, e.suffix)
		if err := writeFile(path, e.data); err != nil {
			return err
		}
		fmt.Println(path)
	}
	if a.State == quorum.Disputed {
		// The evidence holds and the signature stays; of what came after it has only acts.
		say("warning: %s is disputed: somebody differed after the signature, which the evidence does not show, or a maintainer withdrew it; quorate show %s says who",
			render.Text(c.File), render.Text(c.File))
	}
	return nil
}

func (c *evidenceCmd) find(ctx context.Context, cl *client.Client, file *hashedFile) (*api.Artifact, error) {
	known, err := cl.Artifacts(ctx, file.sha256, c.place(file.name))
	if err != nil {
		return nil, serverError(err)
	}
	return c.choose(known.Artifacts, file)
}

// choose finds the one artifact that the file is.
func (c *evidenceCmd) choose(list []api.Artifact, file *hashedFile) (*api.Artifact, error) {
	var found, unsigned *api.Artifact
	for i := range list {
		a := &list[i]
		switch {
		case a.Artifact != file.name || !c.matches(a.Channel, a.Target, a.Stage):
		case a.Evidence == "" || a.SHA256 != file.sha256:
			unsigned = a
		case found != nil:
			return nil, usageError("say which with --channel, --target or --stage", "%s is signed more than once: for %s in channel %s and for %s in channel %s",
				render.Text(c.File), render.Text(found.Target), render.Text(found.Channel), render.Text(a.Target), render.Text(a.Channel))
		default:
			found = a
		}
	}
	switch {
	case found != nil:
		return found, nil
	case unsigned != nil:
		code := exitOf(unsigned)
		if unsigned.SHA256 != file.sha256 && settled(unsigned) {
			code = exitDisagree
		}
		if code == exitOK {
			code = exitWaiting
		}
		return nil, &exitError{code, fmt.Errorf("%s is not signed. %s", render.Text(c.File), explain(unsigned)), "quorate show FILE says more; quorate wait FILE waits"}
	}
	return nil, &exitError{exitWaiting, fmt.Errorf("nobody has built %s", render.Text(c.File)), "quorate list shows what there is"}
}

// checkBundle refuses evidence that does not hold. Nothing is written that a
// later quorate verify would find to be about another file.
func checkBundle(file *hashedFile, keys []*sigcheck.Key, data []byte) error {
	k := &checker{file: file, keys: keys, evidence: data}
	b, err := quorum.ParseBundle(data)
	if err != nil {
		return doesNotHold(err)
	}
	if len(b.Answer.Signatures) == 0 {
		return doesNotHold(errors.New("the answer has no signature"))
	}
	if len(keys) > 0 {
		if err := k.useGood(b); err != nil {
			return doesNotHold(err)
		}
	}
	if k.policy, err = policy.Load(b.Policy, k.at()); err != nil {
		return doesNotHold(fmt.Errorf("the enclosed policy: %w", err))
	}
	k.checkEvidence()
	var problems []string
	for _, ck := range k.checks {
		if ck.Result == fails {
			problems = append(problems, ck.Name+": "+ck.Detail)
		}
	}
	if len(problems) > 0 {
		return doesNotHold(errors.New(strings.Join(problems, "; ")))
	}
	return nil
}

// useGood takes the first signature of the answer that one of the keys made over
// the file. Of a batch there is a part, in which all have to be good.
func (k *checker) useGood(b *quorum.Bundle) (last error) {
	if b.Answer.IsBatch() {
		if k.signature, last = k.verifyPart(b); last != nil {
			return fmt.Errorf("the signatures in it: %w", last)
		}
		return nil
	}
	for _, s := range b.Answer.Signatures {
		sig, err := k.file.verifyAny(k.keys, s.Format, s.Fingerprint, s.Signature)
		if err == nil {
			k.sig, k.format, k.signature = s.Signature, s.Format, sig
			return nil
		}
		last = err
	}
	return fmt.Errorf("no signature in it is by the certificate or key over this file: %w", last)
}

func doesNotHold(err error) error {
	return &exitError{exitVerify, fmt.Errorf("the coordinator's evidence does not hold, nothing is written: %w", err),
		"is the file the one that was signed, and --cert or --public-key the right one? quorate show FILE"}
}
