package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/internal/render"
	"quorate/internal/tomltext"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/policy"
)

type policyInitCmd struct {
	From    string `required:"" enum:"guix.sigs" placeholder:"guix.sigs" help:"Kind of the tree: guix.sigs."`
	Keys    string `placeholder:"DIR" help:"OpenPGP key files; builder-keys beside the statements without it."`
	Name    string `placeholder:"NAME" help:"What is released, for pkg:generic/NAME@RELEASE; the folder's name without it."`
	Channel string `placeholder:"NAME" help:"Name of the channel; that of what is released without it."`
	Need    int    `placeholder:"N" help:"How many operators must agree; more than half of them without it."`
	At      string `placeholder:"TIME" help:"Judge as of this time; now without it. The policy expires a year later."`
	Path    string `arg:"" name:"path" help:"Folder with RELEASE/NAME/STAGE.SHA256SUMS."`
}

// Help is shown by --help.
func (policyInitCmd) Help() string {
	return `Writes a first policy to standard output: one operator for each key that it found, pinned by its whole
fingerprint, with the names under which that key signed. It believes the key files, which you must not: compare each
fingerprint with its owner before you use the policy.

Exit codes: 0 written; 2 usage, or nothing to make a policy of.`
}

func (c *policyInitCmd) Run() error { return c.run(os.Stdout) }

func (c *policyInitCmd) run(w io.Writer) error {
	flags := evidenceFlags{Keys: c.Keys, Name: c.Name, At: c.At}
	dir := flags.keyDir(&juror{}, []string{c.Path})
	if dir == "" {
		return usageError("--keys DIR names the folder", "there is no folder %s beside %s", keyFolder, render.Text(c.Path))
	}
	j, err := flags.juror([]string{c.Path}, formatFlags{})
	if err != nil {
		return err
	}
	found := newPinner(j.keyFiles)
	if err := j.walk(c.Path, found.take); err != nil {
		return err
	}
	text, err := c.write(found, j, dir)
	if err != nil {
		return err
	}
	if _, err := policy.Load([]byte(text), j.at); err != nil {
		return usageError("--name, --channel and --need are what can be changed here", "what was found makes no policy:\n%w", err)
	}
	_, err = io.WriteString(w, text)
	return err
}

func (c *policyInitCmd) write(found *pinner, j *juror, dir string) (string, error) {
	name := c.Name
	if name == "" {
		name = filepath.Base(absolute(c.Path))
	}
	channel := c.Channel
	if channel == "" {
		channel = toName(name)
	}
	people, notes := found.operators()
	if len(people) == 0 {
		return "", usageError("are there key files in "+render.Text(dir)+"?", "no key was found")
	}
	need := c.Need
	if need == 0 {
		need = len(people)/2 + 1
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by quorate policy init on %s, for a person to edit.", j.at.Format(time.DateOnly))
	line("# The fingerprints are those of the key files that were found. Whether they are their owners' nobody has")
	line("# checked, nor whether two operators are one person: both are up to you.")
	line("version = 1")
	line("expires = %s", j.at.AddDate(1, 0, 0).Truncate(24*time.Hour).Format(time.RFC3339))
	line("keys    = %s # folder of key files, relative to this file", tomltext.Quote(dir))
	for _, p := range people {
		p.write(line)
	}
	for i, n := range notes {
		line("%s# %s", map[bool]string{true: "\n"}[i == 0], n)
	}
	writeChannel(line, people, need, channel, name)
	return b.String(), nil
}

func writeChannel(line func(string, ...any), people []*pinned, need int, channel, name string) {
	names := make([]string, len(people))
	for i, p := range people {
		names[i] = tomltext.Quote(p.name)
	}
	group := "builders"
	for known(people, group) {
		group += "-all"
	}
	line("\n[[group]]\nname    = %s\nneed    = %d", tomltext.Quote(group), need)
	line("members = [\n  %s,\n]", strings.Join(names, ",\n  "))
	line("\n[[channel]]\nname    = %s\ntargets = [%s]", tomltext.Quote(channel), tomltext.Quote(releases(name)))
	line("quorum  = %s\ndissent = \"hold\" # \"report\": agreed although somebody differs", tomltext.Quote(group))
	if 2*need <= len(people) && len(people) > 1 {
		line("# Half of the operators or fewer are enough, so two different digests could both pass. Then neither is agreed.")
		line("allow_split = true")
	}
	line("# Nothing is signed by quorate decide. Before a coordinator uses this policy, name the key in its token. Lists in\n# guix.sigs have SHA-256 alone, so a format must be made from that: raw-sha256, cms-sha256 or vsa.")
	line("sign    = [ { format = \"raw-sha256\", key = \"change-me\" } ]")
}

// releases is the pattern for every release of that name.
func releases(name string) string {
	c := evidence.Naming{Name: name}.Cases(&evidence.Statement{Kind: evidence.GuixSigs})
	return c[0].Target + "*"
}

func known(people []*pinned, name string) bool {
	for _, p := range people {
		if strings.EqualFold(p.name, name) {
			return true
		}
	}
	return false
}

// maxName is the length of a name in a policy, in bytes.
const maxName = 64

// toName makes a name of the policy out of a name that others chose.
func toName(s string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, s)
	if out = strings.TrimLeft(out, "-_"); out == "" {
		return "unnamed"
	}
	return out[:min(len(out), maxName)]
}

// pinned is one key with the names that it goes under.
type pinned struct {
	fingerprint openpgp.Fingerprint
	name        string
	files       []string       // names of its key files
	stems       []string       // the same without their ends
	signed      map[string]int // names that its statements are filed under -> how many
	filed       []string       // names besides name
	odd         []string       // names that no policy takes
	latest      time.Time
}

func (p *pinned) write(line func(string, ...any)) {
	line("\n[[operator]]\nname = %s", tomltext.Quote(p.name))
	if len(p.filed) > 0 {
		line("# One key under several names. If they are not one person, the key is not theirs.")
	}
	line("  [[operator.builder]]\n  name = %s\n  key  = \"openpgp:%s\"", tomltext.Quote(p.name), p.fingerprint)
	if len(p.filed) > 0 {
		quoted := make([]string, len(p.filed))
		for i, f := range p.filed {
			quoted[i] = tomltext.Quote(f)
		}
		line("  filed_as = [%s]", strings.Join(quoted, ", "))
	}
	n := 0
	for _, k := range p.signed {
		n += k
	}
	if n == 0 {
		line("  # nothing in the tree is signed with it")
	} else {
		line("  # signed %s, the last on %s", plural(n, "statement"), p.latest.Format(time.DateOnly))
	}
}
