package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

type logCmd struct {
	serverFlags
	Channel string   `placeholder:"NAME" help:"Only this channel."`
	Stage   string   `placeholder:"NAME" help:"Only this stage."`
	Builder []string `required:"" placeholder:"NAME[,NAME]" help:"Whose build; of two builders, the differences between their logs."`
	Output  string   `placeholder:"FILE" help:"Write the log as it is into this new file."`
	MaxLog  int64    `default:"64" placeholder:"MIB" help:"How large a log may be that is fetched (default ${default})."`
	Target  string   `arg:"" name:"target" help:"A target (pkg:...)."`
}

func (logCmd) Help() string {
	return `Prints the log of a builder's newest build of the target that the coordinator has, or says why it has none. A builder gives its logs with upload_logs = true in agent.toml; the coordinator asks for those of builds that failed and of builds that differ. The log has the digest that the builder's statement names.

What is printed has characters that could do something to a terminal escaped; --output writes the bytes. Of two builders it prints what differs, in the unified format of diff.

Exit codes: 0 printed; 1 no answer from the coordinator; 2 usage; 4 the log is not there, or nothing is known of the target; 6 the coordinator gave another log than the builder's statement names.`
}

func (c *logCmd) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := interrupted()
	defer stop()
	targets, err := c.casesOf(ctx, cl, caseFlags{c.Channel, c.Target, c.Stage})
	if err != nil {
		return err
	}
	var logs [][]byte
	for _, builder := range c.Builder {
		data, err := c.fetch(ctx, cl, targets, builder)
		if err != nil {
			return err
		}
		logs = append(logs, data)
	}
	if c.Output != "" {
		return writeNew(c.Output, logs[0])
	}
	text := logs[0]
	if len(logs) == 2 {
		text = diff.Diff(render.Text(c.Builder[0]), logs[0], render.Text(c.Builder[1]), logs[1])
	}
	_, err = io.WriteString(os.Stdout, render.Message(strings.ToValidUTF8(string(text), "\uFFFD")))
	return err
}

func (c *logCmd) check() error {
	switch {
	case !strings.HasPrefix(c.Target, "pkg:"):
		return usageError("quorate show FILE says of which target a file is", "%q is not a target: it does not begin with pkg:", render.Cut(c.Target, 300))
	case len(c.Builder) > 2 || len(c.Builder) == 2 && c.Builder[0] == c.Builder[1]:
		return usageError("--builder NAME, or --builder NAME,NAME", "--builder takes one name, or two different ones")
	case len(c.Builder) == 2 && c.Output != "":
		return usageError("", "--output takes the log of one builder")
	case c.MaxLog <= 0 || c.MaxLog > 2048:
		return usageError("", "--max-log is not from 1 to 2048")
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return usageError("", "--output: %s is there already", render.Text(path))
	}
	if err != nil {
		return usageError("", "--output: %v", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// fetch gets the newest log of the builder.
func (c *logCmd) fetch(ctx context.Context, cl *client.Client, targets []*api.TargetDetail, builder string) ([]byte, error) {
	var newest *api.StatementInfo
	said := false
	for _, t := range targets {
		for i := range t.Statements {
			s := &t.Statements[i]
			if s.Builder != builder {
				continue
			}
			if said = true; s.Log != nil && (newest == nil || better(s, newest)) {
				newest = s
			}
		}
	}
	switch {
	case !said:
		return nil, &exitError{exitWaiting, fmt.Errorf("builder %q has said nothing about %q", render.Cut(builder, 100), render.Cut(c.Target, 300)), "quorate show says who has"}
	case newest == nil:
		return nil, &exitError{exitWaiting, fmt.Errorf("builder %q names no log", builder), ""}
	case newest.Log.Path == "":
		return nil, &exitError{exitWaiting, fmt.Errorf("the log of builder %q (sha256 %s) is not at the coordinator: %s", builder, newest.Log.SHA256, render.LogText(newest.Log)), ""}
	}
	return c.download(ctx, cl, newest)
}

// better prefers what can be read, then what is newer.
func better(a, b *api.StatementInfo) bool {
	if here, there := a.Log.Path != "", b.Log.Path != ""; here != there {
		return here
	}
	return a.Seq > b.Seq
}

// download gets the log of a statement, whose own word for the digest counts.
func (c *logCmd) download(ctx context.Context, cl *client.Client, info *api.StatementInfo) ([]byte, error) {
	raw, err := cl.Raw(ctx, "/v1/statements/"+info.ID.String(), statement.MaxEnvelope)
	if err != nil {
		return nil, serverError(err)
	}
	s, err := statement.Parse(raw)
	if err != nil || s.ID() != info.ID || s.Builder != info.Builder {
		return nil, &exitError{exitVerify, fmt.Errorf("the coordinator gave something else than statement %s of builder %q", info.ID, info.Builder), ""}
	}
	d, ok := wire.LogOf(s)
	if !ok {
		return nil, &exitError{exitVerify, fmt.Errorf("statement %s names no log", info.ID), ""}
	}
	var data bytes.Buffer
	err = cl.DownloadLog(ctx, info.ID, d, c.MaxLog<<20, &data)
	switch {
	case errors.Is(err, client.ErrDigest):
		return nil, &exitError{exitVerify, err, ""}
	case err != nil:
		return nil, serverError(err)
	}
	return data.Bytes(), nil
}
