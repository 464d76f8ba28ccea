package builderagent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quorate/internal/bus"
	"quorate/quorum/statement"
)

// ErrConfig says that the configuration, or the state directory as a whole, has
// to be put right by a person.
var ErrConfig = errors.New("configuration")

// Duration is a time span in TOML, such as "90m".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText writes the span.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Config is agent.toml. Unknown keys are refused; every field but Name has a
// usable default.
type Config struct {
	// Name of this builder, exactly as in the policy and in the coordinator's
	// users. It becomes part of bus subjects.
	Name string `toml:"name"`

	// NATS is where the bus is: nats://HOST:PORT or tls://HOST:PORT.
	// Default nats://127.0.0.1:7422.
	NATS string `toml:"nats"`

	// CAFile, if set, is the only certificate authority that the bus's
	// certificate is checked against, and makes TLS mandatory. A relative path
	// starts at the state directory.
	CAFile string `toml:"ca_file"`

	// Channels whose jobs are built. A job of another channel is refused. Needed
	// by `quorate agent run` only.
	Channels []string `toml:"channels"`

	// Command is the build command and its arguments. It is not given to a
	// shell. It runs in an empty directory and finds the job in its environment.
	// A relative path with a slash starts at the state directory; a name without
	// one is looked up in PATH. Needed by `quorate agent run` only.
	Command []string `toml:"command"`

	// Outputs are patterns (as in Go's path.Match: * does not cross a slash) of
	// the files to vote on, relative to the build's directory. A pattern that
	// matches no file makes the build count as failed.
	Outputs []string `toml:"outputs"`

	// Texts are patterns of the names of outputs (without their directory) that are
	// texts and may be clear-signed, such as ["Release"]. Of those the vote says the
	// state of the text, too. An output that matches and is no text makes the build
	// count as failed. Default none.
	Texts []string `toml:"texts"`

	// InnerDigests are patterns of the names of outputs (without their directory) that
	// are packages whose files are to be signed one by one, such as ["*.rpm"]. Of those
	// the vote says the SHA-256 of each regular file inside, too: of tar, zip, deb and
	// rpm. An output that matches and cannot be read to its end, or has no file or more
	// than 10,000 different ones, makes the build count as failed. Default none.
	InnerDigests []string `toml:"inner_digests"`

	// Timeout is how long a build may take, and then the reading of its outputs. Default 2h.
	Timeout Duration `toml:"timeout"`

	// Grace is how long a build that is stopped has between SIGTERM and SIGKILL.
	// Default 10s.
	Grace Duration `toml:"grace"`

	// Retention is how long logs, outputs and confirmed statements are kept.
	// Default 720h, thirty days.
	Retention Duration `toml:"retention"`

	// LogLimit is how many bytes of a build's output are kept, from its beginning; of
	// a longer one the last 4 KiB are kept, too (if that is not over LogLimit).
	// Default 16 MiB.
	LogLimit int64 `toml:"log_limit"`

	// PublishLogTail puts the last lines of the output of a build that failed into its
	// statement, which everybody can read and nobody can take back. A hostile build
	// prints whatever it can read. Default false: the log's digest is published,
	// and the log stays here.
	PublishLogTail bool `toml:"publish_log_tail"`

	// PlainBus allows a bus on another machine without TLS. Whoever is on the way
	// then reads everything, and can send jobs of their own and make the agent
	// believe that its statements were received. Default false. It concerns
	// `quorate agent run` only.
	PlainBus bool `toml:"plain_bus"`

	// Dependencies says where the list of what the build used comes from: "auto"
	// asks dpkg-query or pacman if there is one, "none" leaves it out. Default
	// "auto".
	Dependencies string `toml:"dependencies"`

	// DependenciesCommand, if set, is run instead, in the build's directory
	// after the build, and prints lines of: name version [sha256].
	DependenciesCommand []string `toml:"dependencies_command"`

	// Manifest "auto" puts into the statement what is inside each output that is an
	// archive or an ELF file: names, sizes, digests, modes, owners and times of its
	// members. Everybody can read it. "none" leaves it out. Default "auto".
	Manifest string `toml:"manifest"`

	// Environment "auto" puts into the statement what the build ran on, see
	// [Facts]. Everybody can read it. "none" leaves it out. Default "auto".
	Environment string `toml:"environment"`

	// EnvironmentExcept lists facts that are left out, such as "path", which may
	// name a person.
	EnvironmentExcept []string `toml:"environment_except"`

	// Uploads "auto" gives a kept output to the coordinator when it asks because
	// builders differ on it; who can reach the coordinator can then read the file.
	// "none" gives nothing. Default "auto".
	Uploads string `toml:"uploads"`

	// UploadLogs gives the whole output of a build to the coordinator when it asks
	// because builders differ or the build failed; who can reach the coordinator can
	// then read it. A hostile build prints whatever it can read. Default false: the
	// log stays here.
	UploadLogs bool `toml:"upload_logs"`

	// Parallel is how many builds run at once. Default 1.
	Parallel int `toml:"parallel"`

	// Spool is the directory of unconfirmed statements. Default: spool in the
	// state directory. One in another place must be made by hand.
	Spool string `toml:"spool"`

	// Env are further variables for the build command. Without them it sees
	// PATH (the agent's), HOME (its directory), TMPDIR, LANG=C.UTF-8, TZ=UTC and
	// the job: QUORATE_JOB, QUORATE_BUILD, QUORATE_CHANNEL, QUORATE_TARGET,
	// QUORATE_STAGE, QUORATE_SOURCE_URI, and QUORATE_SOURCE_SHA256 or other
	// digests of the source. They are data from the network: quote them, and put
	// -- before them where a program takes options.
	Env map[string]string `toml:"env"`
}

const maxParallel = 64

// DefaultConfig is what an agent.toml with nothing but a name means.
func DefaultConfig(name string) Config {
	return Config{
		Name: name, NATS: bus.DefaultURL,
		Timeout: Duration(2 * time.Hour), Grace: Duration(10 * time.Second), Retention: Duration(720 * time.Hour),
		LogLimit: 16 << 20, Dependencies: "auto", Manifest: "auto", Environment: "auto", Uploads: "auto", Parallel: 1, Spool: "spool",
	}
}

// loadConfig reads agent.toml of the state directory and makes its paths
// absolute.
func loadConfig(dir string) (Config, error) {
	file := filepath.Join(dir, configFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%w: %w (hint: make a state directory with: quorate agent keygen --state %s --name NAME)", ErrConfig, err, dir)
	}
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := DefaultConfig("")
	err = toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&c)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return c, fmt.Errorf("%w: %s: unknown key:\n%s", ErrConfig, file, strict.String())
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		return c, fmt.Errorf("%w: %s: %w\n%s", ErrConfig, file, err, bad.String())
	}
	if err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrConfig, file, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrConfig, file, err)
	}
	c.resolve(dir)
	return c, nil
}

func (c *Config) resolve(dir string) {
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	c.CAFile, c.Spool = abs(c.CAFile), abs(c.Spool)
	for _, argv := range [][]string{c.Command, c.DependenciesCommand} {
		if len(argv) > 0 && strings.ContainsRune(argv[0], '/') {
			argv[0] = abs(argv[0])
		}
	}
}

// check is what holds for every use of the state directory.
func (c *Config) check() error {
	switch {
	case !bus.ValidName(c.Name):
		return fmt.Errorf("name %q: %w", c.Name, bus.ErrInvalidName)
	case c.NATS == "":
		return errors.New("nats is empty")
	case bus.CheckAddress(c.NATS) != nil:
		return fmt.Errorf("nats: %w", bus.CheckAddress(c.NATS))
	case c.Timeout <= 0 || c.Grace < 0 || c.Retention < 0:
		return errors.New("timeout must be more than nothing, grace and retention at least nothing")
	case c.LogLimit < 0:
		return errors.New("log_limit is negative")
	case c.Parallel < 1 || c.Parallel > maxParallel:
		return fmt.Errorf("parallel is %d, want 1 to %d", c.Parallel, maxParallel)
	case c.Spool == "":
		return errors.New("spool is empty")
	}
	for name, value := range map[string]string{"dependencies": c.Dependencies, "manifest": c.Manifest, "environment": c.Environment, "uploads": c.Uploads} {
		if value != "auto" && value != "none" {
			return fmt.Errorf(`%s is %q, want "auto" or "none"`, name, value)
		}
	}
	for _, name := range c.EnvironmentExcept {
		if !slices.Contains(Facts, name) {
			return fmt.Errorf("environment_except: %q is not known, want some of %q", name, Facts)
		}
	}
	for _, name := range c.Channels {
		if !statement.ValidName(name) {
			return fmt.Errorf("channel %q is not a name", name)
		}
	}
	for _, pattern := range c.Outputs {
		if err := checkPattern(pattern); err != nil {
			return err
		}
	}
	if err := CheckNames(c.Texts); err != nil {
		return fmt.Errorf("texts: %w", err)
	}
	if err := CheckNames(c.InnerDigests); err != nil {
		return fmt.Errorf("inner_digests: %w", err)
	}
	return c.checkEnv()
}

// CheckNames refuses patterns that match no file name.
func CheckNames(patterns []string) error {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.Contains(pattern, "/") {
			return fmt.Errorf("pattern %q: want a file name without its directory, in which * and ? may stand", pattern)
		}
	}
	return nil
}

// checkPattern refuses what could match outside of the build's directory.
func checkPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("output pattern %q: %w", pattern, err)
	}
	if !fs.ValidPath(pattern) || pattern == "." {
		return fmt.Errorf("output pattern %q: want a path relative to the build's directory, without . or .. parts", pattern)
	}
	return nil
}

func (c *Config) checkEnv() error {
	for name, value := range c.Env {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0):
			return fmt.Errorf("env %q is not a variable", name)
		case strings.HasPrefix(name, envPrefix):
			return fmt.Errorf("env %s: names that begin with %s are the job's", name, envPrefix)
		}
	}
	return nil
}

// checkRun is what only the daemon needs.
func (c *Config) checkRun() error {
	switch {
	case len(c.Channels) == 0:
		return fmt.Errorf("%w: no channels (hint: list in agent.toml which channels' jobs are built)", ErrConfig)
	case len(c.Command) == 0 || c.Command[0] == "":
		return fmt.Errorf("%w: no command (hint: set the build command in agent.toml)", ErrConfig)
	case len(c.Outputs) == 0:
		return fmt.Errorf("%w: no outputs (hint: say in agent.toml which files a build gives)", ErrConfig)
	case !c.PlainBus && !bus.Guarded(c.NATS, c.CAFile):
		return fmt.Errorf("%w: the bus %q is on another machine and has no TLS: whoever is on the way could send jobs "+
			"(hint: use tls:// or ca_file; or, where the network itself is trusted, plain_bus = true)", ErrConfig, c.NATS)
	}
	return nil
}
