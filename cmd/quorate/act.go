package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/sshkeygen"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// actFlags are the flags of every command by which a maintainer acts.
type actFlags struct {
	serverFlags
	busFlags
	Key     string        `required:"" env:"QUORATE_SSH_KEY" placeholder:"FILE" help:"Your SSH key as the policy names it: the private key, or the public one of a key in your agent."`
	Channel string        `required:"" placeholder:"NAME" help:"Channel of the target."`
	Reason  string        `short:"m" required:"" placeholder:"TEXT" help:"Why. Everybody can read it."`
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"How long to wait for the coordinator to record it (default ${default}); 0: do not wait."`
}

// aheadFlag is for acts that may come before the first build.
type aheadFlag struct {
	Ahead bool `help:"Also about a target of which nothing is known yet."`
}

// fileFlags name a part of a target.
type fileFlags struct {
	Stage    string `placeholder:"NAME" help:"Stage of the target, where it has several."`
	Artifact string `placeholder:"NAME" help:"Only this file of the target."`
}

// wholeFlags name a target, or a whole channel.
type wholeFlags struct {
	fileFlags
	WholeChannel bool   `help:"The whole channel instead of one target."`
	Target       string `arg:"" optional:"" help:"The target, such as pkg:generic/hello@1.0."`
}

func (f wholeFlags) subject(channel string) (act.Subject, error) {
	s := act.Subject{Channel: channel, Target: f.Target, Stage: f.Stage, Artifact: f.Artifact}
	switch {
	case f.WholeChannel && s != act.Subject{Channel: channel}:
		return s, usageError("leave out the target, --stage and --artifact, or --whole-channel", "--whole-channel is about no target")
	case !f.WholeChannel && f.Target == "":
		return s, usageError("or --whole-channel", "a target is missing")
	}
	return s, nil
}

const actHelp = `

The statement is signed by "ssh-keygen -Y sign" with your own key, so keys in an agent, behind a passphrase and in a security token work. It is sent with the seed of the bus user tooling, which gives no right to act: the policy says whose key may do what. Prints the act's id.

Exit codes: 0 recorded and in effect; 1 no answer from bus or coordinator, or ssh-keygen failed; 2 usage, an unknown channel or target; 4 sent, but not recorded in time; 5 refused, with the code on standard error.`

type holdCmd struct {
	actFlags
	aheadFlag
	wholeFlags
}

// Help is shown by --help.
func (holdCmd) Help() string {
	return `From then on nothing of the target, file or channel is signed until a release. What is signed already stays signed; what a signer is being asked at this moment may still be.` + actHelp
}

func (c *holdCmd) Run() error {
	s, err := c.subject(c.Channel)
	if err != nil {
		return err
	}
	return c.act(act.Act{Kind: act.Hold, Subject: s}, c.Ahead, "")
}

type releaseCmd struct {
	actFlags
	wholeFlags
	After string `placeholder:"ID" help:"Release only if this hold is still the newest one; without it, the one that the coordinator shows."`
}

// Help is shown by --help.
func (releaseCmd) Help() string {
	return `Takes the hold on exactly this target, file or channel away. A hold on the channel is not released by a release of a target.` + actHelp
}

func (c *releaseCmd) Run() error {
	s, err := c.subject(c.Channel)
	if err != nil {
		return err
	}
	return c.act(act.Act{Kind: act.Release, Subject: s}, true, c.After)
}

type withdrawCmd struct {
	actFlags
	aheadFlag
	fileFlags
	Target string `arg:"" help:"The target, such as pkg:generic/hello@1.0."`
}

// Help is shown by --help.
func (withdrawCmd) Help() string {
	return `Says for ever that the target or file is not to be used. What is not signed will not be. What is signed becomes disputed and raises an alarm: no signature can be taken back. Nothing undoes a withdrawal; build a new version.` + actHelp
}

func (c *withdrawCmd) Run() error {
	return c.act(act.Act{Kind: act.Withdraw, Subject: act.Subject{Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: c.Artifact}}, c.Ahead, "")
}

type rebuildCmd struct {
	actFlags
	Stage   string `placeholder:"NAME" help:"Stage of the target, where it has several."`
	Builder string `placeholder:"NAME" help:"Only this builder; otherwise every builder of the channel."`
	Target  string `arg:"" help:"The target, such as pkg:generic/hello@1.0."`
}

// Help is shown by --help.
func (rebuildCmd) Help() string {
	return `Asks one or all builders to build the target again, before any other job. They build it although they have built it before; a statement with the same digests changes nothing, another one replaces that operator's vote. The source is that of the newest statement which names one.` + actHelp
}

func (c *rebuildCmd) Run() error {
	return c.act(act.Act{Kind: act.Rebuild, Subject: act.Subject{Channel: c.Channel, Target: c.Target, Stage: c.Stage}, Builder: c.Builder}, false, "")
}

type noteCmd struct {
	actFlags
	aheadFlag
	Attach string `placeholder:"FILE" help:"Text file to show with the note, for example what a tool printed; cut at 16 KiB. Not for a whole channel."`
	wholeFlags
}

// Help is shown by --help.
func (noteCmd) Help() string {
	return `Puts a remark beside the target, file or channel. It decides nothing. With --attach it carries a text, such as the output of a tool; "quorate diff --attach" does that with its own.` + actHelp
}

func (c *noteCmd) Run() error {
	s, err := c.subject(c.Channel)
	if err != nil {
		return err
	}
	a := act.Act{Kind: act.Note, Subject: s}
	if c.Attach != "" {
		if a.Attachment, err = readAttachment(c.Attach); err != nil {
			return err
		}
	}
	return c.act(a, c.Ahead, "")
}

// act records the act and prints its id.
func (f *actFlags) act(a act.Act, ahead bool, after string) error {
	ctx, stop := interrupted()
	defer stop()
	signed, err := f.record(ctx, a, ahead, after)
	if err != nil {
		return err
	}
	_, err = fmt.Println(signed.ID())
	return err
}

// record signs, sends, and waits until the act is recorded.
func (f *actFlags) record(ctx context.Context, a act.Act, ahead bool, after string) (*act.Signed, error) {
	cl, err := f.client()
	if err != nil {
		return nil, err
	}
	a.Version, a.Reason, a.Time, a.Nonce = act.Version, f.Reason, time.Now().UTC().Truncate(time.Second), newNonce()
	// A mistake should show before anybody has to touch a token.
	if err := a.Check(); err != nil {
		return nil, usageError("quorate "+string(a.Kind)+" --help", "%w", err)
	}
	if err := f.follow(ctx, cl, &a, ahead, after); err != nil {
		return nil, err
	}
	signed, err := f.sign(ctx, &a)
	if err != nil {
		return nil, err
	}
	if err := f.send(ctx, signed); err != nil {
		return nil, err
	}
	return signed, f.await(ctx, cl, signed)
}

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// follow finds out which act this one follows, and refuses what could have no
// effect. Somebody else may act at the same moment; then the coordinator refuses.
func (f *actFlags) follow(ctx context.Context, cl *client.Client, a *act.Act, ahead bool, after string) error {
	s, err := cl.Subject(ctx, a.Subject)
	if err != nil {
		if client.Temporary(err) {
			return serverError(err)
		}
		return usageError("quorate list shows channels and targets", "%w", err)
	}
	switch {
	case !s.Known && !ahead:
		return usageError("quorate list shows what there is; --ahead acts on what nobody has built yet (not for a rebuild)",
			"nothing is known of %s in channel %q", render.Subject(a.Subject), a.Channel)
	case s.Withdrawn && (a.Kind.Chained() || a.Kind == act.Withdraw):
		return &exitError{exitRefused, fmt.Errorf("%s was withdrawn, which is for ever (%s)", render.Subject(a.Subject), act.CodeWithdrawn), "build a new version"}
	case a.Kind == act.Release && !s.Held:
		return &exitError{exitRefused, fmt.Errorf("%s is not held (%s)", render.Subject(a.Subject), act.CodeNotHeld),
			"a hold is released for exactly the target, file or channel that it names; quorate show lists them"}
	case !a.Kind.Chained():
		return nil
	}
	if a.After = s.Head; after != "" {
		if a.After, err = statement.ParseSHA256(after); err != nil {
			return usageError("it is printed by quorate hold and quorate show", "--after is not the id of an act: %w", err)
		}
	}
	if a.Kind == act.Release {
		f.tellHold(ctx, cl, a)
	}
	return nil
}

// tellHold says what is about to be released: the coordinator chose it.
func (f *actFlags) tellHold(ctx context.Context, cl *client.Client, a *act.Act) {
	list, err := cl.Acts(ctx, a.Subject)
	if err != nil {
		return
	}
	for _, h := range list.Acts {
		if h.ID == a.After {
			say("releasing %s", render.Act(&h))
		}
	}
}

func (f *actFlags) sign(ctx context.Context, a *act.Act) (*act.Signed, error) {
	payload, err := act.Encode(a)
	if err != nil {
		return nil, usageError("", "%w", err)
	}
	sig, err := sshkeygen.Sign(ctx, f.Key, act.Namespace, payload, os.Stderr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("--key takes your private key, or the public one of a key in your SSH agent", "--key: %w", err)
	}
	if err != nil {
		return nil, &exitError{exitFailure, err, "--key takes your private key, or the public one of a key in your SSH agent"}
	}
	return act.Seal(payload, sig)
}

func (f *actFlags) send(ctx context.Context, s *act.Signed) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	subject, err := bus.ControlSubject(s.Channel)
	if err != nil {
		return err
	}
	return f.busError(conn.PublishForCertain(ctx, subject, bus.MsgID(s.Raw()), s.Raw()))
}

// awaitPause is between two looks at whether the act is recorded.
const awaitPause = 200 * time.Millisecond

// await waits for the coordinator's word.
func (f *actFlags) await(ctx context.Context, cl *client.Client, s *act.Signed) error {
	if f.Timeout <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	ticker := time.NewTicker(awaitPause)
	defer ticker.Stop()
	for {
		r, err := cl.Receipt(ctx, statement.ID(s.Raw()))
		switch {
		case err == nil && r != nil && r.Accepted:
			return nil
		case err == nil && r != nil:
			return refusedAct(r)
		case err != nil && !client.Temporary(err) && ctx.Err() == nil:
			return serverError(err)
		}
		select {
		case <-ctx.Done():
			return &exitError{exitWaiting, fmt.Errorf("act %s is sent, and was not recorded within %s", s.ID(), f.Timeout),
				"it will have its effect when a coordinator reads it; do not send another one, quorate show says when it is there"}
		case <-ticker.C:
		}
	}
}

func refusedAct(r *api.Receipt) error {
	hints := map[statement.Code]string{
		act.CodeOutOfDate:            "look at quorate show, and do it again if it is still what you want",
		act.CodeNotHeld:              "somebody released it before you",
		quorum.CodeUnknownMaintainer: "the policy names the keys of maintainers; did you take the right --key?",
		quorum.CodeNoRight:           "the channel's list of maintainers in the policy gives the rights",
		quorum.CodeTimeInFuture:      "set the clock of this machine",
		quorum.CodeUnknownBuilder:    "quorate show names the builders",
		quorum.CodeTargetChannel:     "quorate list shows which targets are in which channel",
	}
	return &exitError{exitRefused, fmt.Errorf("refused: %s: %s", render.Text(string(r.Code)), strings.TrimPrefix(render.Cut(r.Reason, 500), "act: ")), hints[r.Code]}
}
