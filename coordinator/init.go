package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/quorum/policy"
)

// InitOptions say how a new state directory is to be.
type InitOptions struct {
	State      string // the directory to make
	Policy     string // path of the policy file
	NATS       string // URL of a server of your own; empty: embedded
	Listen     string // of the HTTP interface; empty: the default
	BusListen  string // of the embedded server; empty: the default
	Now        time.Time
	CertFolder string // where the certificates will be; empty: the state directory
}

// seeds are the users that init makes, and the files of their secrets. Builders
// and signers make their own: a secret should not travel.
var seeds = []struct {
	file string
	role bus.Role
}{
	{fileSeed, bus.RoleCoordinator},
	{"tooling.nk", bus.RoleTooling},
}

// Init makes a state directory. It is built beside its place and moved there when
// it is whole, so a crash leaves nothing that looks like one. A directory that is
// there and empty is kept, because it may be a volume, or the one that a package
// made for a user who can make none beside it. One that holds anything is never
// touched: it may have the only copy of keys and of the record.
func Init(o InitOptions) (err error) {
	if o.NATS != "" {
		if err := bus.CheckAddress(o.NATS); err != nil {
			return configError("without --nats the coordinator runs a server itself", "init: --nats: %w", err)
		}
	}
	exists, err := checkVacant(o.State)
	if err != nil {
		return err
	}
	policyPath, err := filepath.Abs(o.Policy)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	raw, err := os.ReadFile(policyPath)
	if err != nil {
		return configError("name the policy file with --policy", "init: %w", err)
	}
	p, err := policy.Load(raw, o.Now)
	if err != nil {
		return configError("quorate policy check "+policyPath, "init: %w", err)
	}
	place := o.State
	if !exists {
		place = filepath.Dir(filepath.Clean(o.State))
		err = os.MkdirAll(place, 0o755)
	} else {
		err = os.Chmod(place, 0o700)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	tmp, err := os.MkdirTemp(place, ".quorate-init-")
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp)
		}
	}()
	o.Policy = policyPath
	if err := fill(tmp, o, p); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if exists {
		err = moveInto(tmp, o.State)
	} else {
		err = os.Rename(tmp, o.State)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// lostFound is what a new volume is made with; it is nobody's.
const lostFound = "lost+found"

// checkVacant says whether the directory is there, and wants it empty if it is.
func checkVacant(dir string) (exists bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("init: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lostFound || !e.IsDir() {
			return true, configError("choose another directory, or move what is in it away", "init: %s is not empty", dir)
		}
	}
	return true, nil
}

// moveInto moves everything from tmp, the configuration last: without it nothing
// starts, so a crash before leaves what nobody takes for a coordinator.
func moveInto(tmp, dir string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == fileConfig {
			continue
		}
		if err := os.Rename(filepath.Join(tmp, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(tmp, fileConfig), filepath.Join(dir, fileConfig)); err != nil {
		return err
	}
	return os.Remove(tmp)
}

func fill(dir string, o InitOptions, p *policy.Policy) error {
	var users []bus.User
	for _, s := range seeds {
		public, err := bus.WriteSeedFile(filepath.Join(dir, s.file))
		if err != nil {
			return err
		}
		users = append(users, bus.User{Name: strings.TrimSuffix(s.file, ".nk"), Role: s.role, NKey: public})
	}
	if err := bus.SaveUsers(filepath.Join(dir, fileUsers), users); err != nil {
		return err
	}
	db, err := store.Create(filepath.Join(dir, fileDB))
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fileConfig), []byte(configText(o, p)), 0o600)
}

// configText writes the configuration with its reference as comments.
func configText(o InitOptions, p *policy.Policy) string {
	var b strings.Builder
	q := strconv.Quote
	fmt.Fprintf(&b, `# The coordinator's configuration. Unknown keys are refused. Relative paths are
# relative to this file. Every key may be left out but policy and the certificates.

# The HTTP interface. It has no users and no TLS: open it beyond this machine only
# behind a proxy.
listen = %s

# Who counts, and what is signed. The signer reads its own copy.
policy = %s
# Policies that were in force before this coordinator first ran, for an old record.
former_policies = []

# "text" for people, "json" for machines.
log = "text"

[nats]
# URL of a NATS server of your own, with the configuration that
# 'quorate coordinator nats-config' prints. Empty: the coordinator runs one itself.
url = %s
# The only root certificate that your server's certificate is checked against.
ca = ""
# Where the embedded server listens. Builders on other machines need an address
# they can reach, and tls. With port 0 a free one is taken; the file bus-url has it.
listen = %s
# Certificate and key of the embedded server, PEM. Without them it speaks plain
# NATS: whoever is on the way can read everything, and can forge what is not signed:
# jobs, refusals and receipts. Votes and signatures nobody can forge there either.
tls_cert = ""
tls_key = ""
# Copies of each stream, in a cluster of your own.
replicas = 1

[limits]
# How many bytes a builder or importer may put into the record on one day in UTC, with
# the embedded server. Who has sent them may publish nothing more until the day is
# over, and keeps what it has to say. 0: no limit.
bytes_per_builder_day = 1073741824

[retry]
# Pause before a refused question is asked again; it doubles each time. One whose
# refusal waits for a person is asked again after max: nobody can verify a refusal.
first = "10s"
max = "30m"
# After this time without an answer a question counts as lost.
answer = "2m"

# Who is told of verdicts, alarms and acts by HTTP; see "Webhooks" in docs/operating.md.
# [[webhook]]
# name = "ops"
# url = "https://example.org/quorate"
# channels = []   # all
# events = ["conflicting", "unreachable", "dissent", "disputed", "signed", "alarm", "act"]
# secret_file = "webhook-ops.secret"

[files]
# How long the files on which builders differ are kept, for quorate diff. Builders
# are asked for one file of each digest. "0s": nothing is asked for.
keep = "0s"
# Bytes of one file (at most 2 GiB) and of all, and how many.
max_file = 268435456
max_total = 4294967296
# The same of the logs of builds that differ or failed, of builders that give them.
max_log = 33554432
max_logs = 1073741824
max_count = 1000

# What signatures are verified with: 'certificate', the OpenPGP certificate of a key,
# or 'public_key', PEM with the public key, or for CMS the X.509 certificate. Keep
# those of former keys: what cannot be verified is not shown.
`, q(or(o.Listen, api.DefaultListen)), q(o.Policy), q(o.NATS), q(or(o.BusListen, defaultBusListen)))
	for _, key := range policyKeys(p) {
		b.WriteString(keyText(p, key, o.CertFolder))
	}
	return b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
