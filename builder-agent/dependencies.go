package builderagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"quorate/quorum/statement"
)

const (
	dependenciesTime  = 5 * time.Minute
	dependenciesBytes = 8 << 20
)

// dependenciesCommand is how to list what a build used; nil means not at all.
func dependenciesCommand(c *Config) []string {
	if len(c.DependenciesCommand) > 0 {
		return c.DependenciesCommand
	}
	if c.Dependencies == "none" {
		return nil
	}
	for _, argv := range [][]string{
		{"dpkg-query", "-W", "-f=${binary:Package} ${Version}\n"},
		{"pacman", "-Q"},
	} {
		if _, err := exec.LookPath(argv[0]); err == nil {
			return argv
		}
	}
	return nil
}

// listDependencies runs the command like a build: same variables, same end. What
// it says on standard error is no part of the list.
func listDependencies(ctx context.Context, c command) ([]statement.Dependency, error) {
	var out, errs limitedBuffer
	c.out, c.errs, c.timeout = &out, &errs, dependenciesTime
	e, err := c.run(ctx)
	switch {
	case err != nil:
		return nil, err
	case e.startErr != nil:
		return nil, fmt.Errorf("list dependencies: %w", e.startErr)
	case e.timedOut:
		return nil, errors.New("list dependencies: it took too long")
	case e.status != "":
		return nil, fmt.Errorf("list dependencies: %s%s", e.status, errs.said())
	case out.full:
		return nil, fmt.Errorf("list dependencies: more than %d bytes", dependenciesBytes)
	}
	return parseDependencies(out.kept.String())
}

func parseDependencies(text string) ([]statement.Dependency, error) {
	var list []statement.Dependency
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 2 || len(f) > 3 || printable(line) != line {
			return nil, fmt.Errorf("list dependencies: line %.80q is not: name version [sha256]", line)
		}
		d := statement.Dependency{Name: f[0], Annotations: map[string]string{"version": f[1]}}
		if len(f) == 3 {
			if _, err := statement.ParseSHA256(f[2]); err != nil {
				return nil, fmt.Errorf("list dependencies: line %.80q: %w", line, err)
			}
			d.Digest = map[string]string{"sha256": f[2]}
		}
		list = append(list, d)
	}
	return list, nil
}

// dependenciesText is the list in the form it was read in, to be kept.
func dependenciesText(list []statement.Dependency) []byte {
	var b bytes.Buffer
	for _, d := range list {
		fmt.Fprintf(&b, "%s %s %s\n", d.Name, d.Annotations["version"], d.Digest["sha256"])
	}
	return b.Bytes()
}

// said is the beginning of what a command said, for an error.
func (b *limitedBuffer) said() string {
	text := strings.TrimSpace(printable(string(b.kept.Bytes()[:min(b.kept.Len(), 256)])))
	if text == "" {
		return ""
	}
	return ": " + text
}

// limitedBuffer keeps the first bytes and takes the rest without an error. The
// buffer is not embedded: its ReadFrom would be found and used past Write.
type limitedBuffer struct {
	kept bytes.Buffer
	full bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), dependenciesBytes-b.kept.Len())
	b.full = b.full || n < len(p)
	b.kept.Write(p[:n])
	return len(p), nil
}
