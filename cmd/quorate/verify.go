package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

type verifyCmd struct {
	Policy    string `required:"" placeholder:"FILE" help:"Policy to judge by: yours, not the one that comes with the evidence."`
	Cert      string `env:"QUORATE_CERT" placeholder:"FILE" help:"OpenPGP certificate that the signature must be by."`
	Public    string `name:"public-key" env:"QUORATE_PUBLIC_KEY" placeholder:"FILE" help:"Public key for the other formats: PEM, SSH, or X.509 in PEM."`
	Signature string `placeholder:"FILE" help:"The signature; without it FILE.sig, FILE.asc, or the first other that the key made."`
	Format    string `placeholder:"NAME" help:"Format of the signature; without it what the name of its file says, else openpgp."`
	Evidence  string `placeholder:"FILE" help:"The evidence; without it FILE.evidence.json, or the FILE.KEY.evidence.json that has the signature."`
	JSON      bool   `name:"json" help:"One JSON object."`
	File      string `arg:"" help:"File that was signed."`
}

// Help is shown by --help.
func (verifyCmd) Help() string {
	return `One of --cert and --public-key is needed. Works offline and believes nothing in the evidence: statements are verified and the quorum is counted
again, by your policy, as of the time of the signature. Of FILE.ima and FILE.files.sshsig every line is verified, over the digests that the quorum agreed on.

What maintainers said about the file is in the evidence, too, unless somebody left it out. A withdrawal stops the file, and so does a hold that was said before
the signature and that nobody released.

Exit codes: 0 everything holds; 2 usage, or an input that cannot be read; 3 a maintainer withdrew it; 5 it was signed although a maintainer
held it; 6 a check failed.`
}

func (c *verifyCmd) Run() error {
	k, err := c.load()
	if err != nil {
		return err
	}
	k.checkSignature()
	if err := c.loadPolicy(k); err != nil {
		return err
	}
	k.checkEvidence()
	return c.report(k)
}

// load reads the inputs. What is in them is judged later. A key can have made any of
// several signatures beside the file, of which keys of its type made some: the first is
// taken that is its own. If none is, the checks say what is wrong with the first.
func (c *verifyCmd) load() (*checker, error) {
	keys, err := needKeys(some(c.Cert), some(c.Public))
	if err != nil {
		return nil, err
	}
	opened, err := openRegular(c.File)
	if err != nil { // else its signature would be said to be missing
		return nil, err
	}
	_ = opened.Close()
	paths, err := c.signaturePaths(keys)
	if err != nil {
		return nil, err
	}
	file, err := hashFile(c.File)
	if err != nil {
		return nil, err
	}
	if len(paths) > 1 {
		for _, path := range paths {
			k, err := c.open(file, keys, path)
			if err != nil {
				return nil, err
			}
			if _, _, err := k.verifySignature(); err == nil && k.message == nil {
				return k, nil
			}
		}
	}
	return c.open(file, keys, paths[0])
}

// open reads one signature and the evidence that has it.
func (c *verifyCmd) open(file *hashedFile, keys []*sigcheck.Key, sigPath string) (*checker, error) {
	sig, err := readInput(sigPath, maxMessage+maxSignature)
	if err != nil {
		return nil, err
	}
	f, err := c.formatOf(sigPath, sig)
	if err != nil {
		return nil, err
	}
	k := &checker{file: file, keys: keys, format: f, sig: sig}
	if isMessage(sig) {
		k.sig, k.message = file.cutMessage(sig)
	}
	if c.Evidence == "" {
		k.evidence, err = k.findEvidence(c.File)
	} else {
		k.evidence, err = readEvidence(c.Evidence)
	}
	file.agreed = func(set statement.DigestSet) error { return file.agreedIn(k.evidence, statement.SHA256{}, set) }
	return k, err
}

func some(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

// signaturePaths looks for the signatures that the keys can have made, in the order
// of the table of formats: at least one, and of OpenPGP one alone.
func (c *verifyCmd) signaturePaths(keys []*sigcheck.Key) ([]string, error) {
	if c.Signature != "" {
		return some(c.Signature), nil
	}
	var paths, there, missing []string
	list := suffixes(keys, policy.Format(c.Format))
	for _, suffix := range list {
		if paths = append(paths, c.File+suffix); suffix == ".asc" {
			paths = append(paths, messagePath(c.File, ""))
		}
	}
	for _, path := range slices.Compact(paths) {
		if _, err := os.Stat(path); err == nil {
			there = append(there, path)
		} else if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, render.Text(path))
		} else {
			return nil, unreadable(path, err)
		}
	}
	switch {
	case len(there) > 0 && slices.Contains(list, ".asc"):
		return there[:1], nil
	case len(there) > 0:
		return there, nil
	case len(missing) == 0:
		return nil, usageError("quorate verify --help", "the key makes no signatures of format %q", c.Format)
	}
	return nil, usageError("quorate wait fetches it; --signature names it", "there is neither %s", strings.Join(missing, " nor "))
}

// suffixes are those of the formats that one of the keys can have made, or of the
// one format if it is not empty.
func suffixes(keys []*sigcheck.Key, only policy.Format) (list []string) {
	for _, f := range format.All() {
		able := slices.ContainsFunc(keys, func(k *sigcheck.Key) bool { return k.Supports(f.Name) == nil })
		if !able || only != "" && only != f.Name {
			continue
		}
		if list = append(list, f.Suffix); f.Name == policy.OpenPGP {
			list = append(list, ".asc") // armoured, or a message
			if only == "" {
				return list // a certificate is for OpenPGP, unless something else is said
			}
		}
	}
	return list
}

// formatOf tells the format from the name of the signature's file, whose longest
// suffix counts: .sha256.sig is not .sig. A cleartext message is told by its first line.
func (c *verifyCmd) formatOf(path string, sig []byte) (policy.Format, error) {
	if isMessage(sig) && (c.Format == "" || policy.Format(c.Format) == format.Cleartext) {
		return format.Cleartext, nil
	}
	if c.Format != "" {
		if _, err := format.Lookup(policy.Format(c.Format)); err != nil {
			return "", usageError("quorate verify --help", "--format: %w", err)
		}
		return policy.Format(c.Format), nil
	}
	best := format.Format{Name: policy.OpenPGP}
	for _, f := range format.All() {
		if f.Name != format.Cleartext && strings.HasSuffix(path, f.Suffix) && len(f.Suffix) > len(best.Suffix) {
			best = f
		}
	}
	return best.Name, nil
}

// loadPolicy loads the policy as of the time of the signature, so that an old
// signature can be checked under a policy that has expired since.
func (c *verifyCmd) loadPolicy(k *checker) error {
	data, err := readInput(c.Policy, policy.MaxSize)
	if err != nil {
		return err
	}
	k.policy, err = policy.Load(data, k.at())
	if errors.Is(err, policy.ErrExpired) {
		k.policyErr = err
		return nil
	}
	if err != nil {
		return usageError("quorate policy check "+render.Text(c.Policy), "%s: %w", render.Text(c.Policy), err)
	}
	return nil
}

// verifyResult is what --json prints. It is part of the interface.
type verifyResult struct {
	File        string    `json:"file"`
	OK          bool      `json:"ok"`
	Fingerprint string    `json:"fingerprint,omitzero"`
	SignedAt    time.Time `json:"signedAt,omitzero"`
	Checks      []check   `json:"checks"`
}

func (c *verifyCmd) report(k *checker) error {
	failed := k.failures()
	if c.JSON {
		r := verifyResult{File: c.File, OK: failed == 0 && k.stopped == nil, Checks: k.checks}
		if k.signature != nil {
			r.Fingerprint, r.SignedAt = k.signature.Fingerprint, k.signature.Time
		}
		if err := printJSON(os.Stdout, r); err != nil {
			return err
		}
	} else {
		for _, ck := range k.checks {
			fmt.Println(ck.line())
		}
	}
	if failed > 0 {
		return &exitError{exitVerify, fmt.Errorf("%d of %d checks failed for %s", failed, len(k.checks), render.Text(c.File)),
			"do not use the file until you know why"}
	}
	if k.stopped != nil {
		return stoppedError(k.stopped, c.File)
	}
	return nil
}

// checker collects the outcome of checks on one file.
type checker struct {
	file     *hashedFile
	keys     []*sigcheck.Key // empty: the signature is not checked
	format   policy.Format   // of sig
	sig      []byte          // FILE.sig; nil: none is given
	message  error           // of a message that is not of the file
	evidence []byte

	policy    *policy.Policy // nil when it was expired at the time of the signature
	policyErr error

	signature *sigcheck.Result // of sig, once it verified
	bundle    *quorum.Bundle
	checks    []check
	stopped   *quorum.BundleAct // the gravest act against the file; nil: none
}

// check is one line of the outcome.
type check struct {
	Result result `json:"result"`
	Name   string `json:"check"`
	Detail string `json:"detail"`
}

type result string

const (
	passed result = "ok"
	fails  result = "FAIL"
	note   result = "note" // true, and no reason to refuse; a person may want to know
	stop   result = "STOP" // true, and somebody who may says not to use the file
)

func (c check) line() string {
	return fmt.Sprintf("%-4s  %-10s  %s", c.Result, c.Name, render.Message(c.Detail))
}

func (k *checker) add(r result, name, format string, args ...any) {
	k.checks = append(k.checks, check{r, name, fmt.Sprintf(format, args...)})
}

// test adds ok or FAIL.
func (k *checker) test(name string, ok bool, good, bad string) bool {
	if ok {
		k.add(passed, name, "%s", good)
	} else {
		k.add(fails, name, "%s", bad)
	}
	return ok
}

func (k *checker) failures() (n int) {
	for _, c := range k.checks {
		if c.Result == fails {
			n++
		}
	}
	return n
}

// at is the time as of which everything is judged: the signature's. Without a
// good signature it is what the answer claims; the outcome is FAIL then anyway.
// So it is for formats without a time, and the outcome says so.
func (k *checker) at() time.Time {
	if k.signature != nil && !k.signature.Time.IsZero() {
		return k.signature.Time
	}
	if b, err := quorum.ParseBundle(k.evidence); err == nil && len(b.Answer.Signatures) > 0 {
		return b.Answer.Signatures[0].SignedAt
	}
	return time.Time{}
}
