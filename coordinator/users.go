package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"quorate/internal/bus"
	"quorate/internal/rest"
)

// usersPoll is how often the file of users is looked at.
const usersPoll = 200 * time.Millisecond

// sameVersion tells one version of a file from another. Nil stands for a file that is
// not there.
func sameVersion(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// mark is the version of the file of users, as [Coordinator.ReloadUsers] leaves it in a
// file for [AwaitAdmission]. Everybody who enrols makes the file longer, so time and
// size are enough.
func mark(users fs.FileInfo) string {
	return fmt.Sprintf("%d %d\n", users.ModTime().UnixNano(), users.Size())
}

func lookAtUsers(dir string) (fs.FileInfo, error) {
	info, err := os.Stat(filepath.Join(dir, fileUsers))
	if err != nil {
		return nil, fmt.Errorf("look at users: %w", err)
	}
	return info, nil
}

// readUsers reads the users and the mark of the file they stand in. The mark is
// taken first: a file that is replaced in between is read once more.
func readUsers(dir string) (fs.FileInfo, []bus.User, error) {
	seen, err := lookAtUsers(dir)
	if err != nil {
		return nil, nil, configError(hintInit, "%w", err)
	}
	users, err := loadUsers(dir)
	return seen, users, err
}

// usersState is how far the users that stand in the file are let in.
type usersState struct {
	mu   sync.Mutex  // held for a whole reload
	seen fs.FileInfo // the version that was tried last
	due  bool        // it was taken, but not all consumers could be made
	bad  bool        // it could not be used
	told string      // the mark that was left last
	cert certFiles   // the version that was tried last

	muted map[string]bool // who had sent its bytes of the day when that was tried last
}

// watchUsers lets in who is enrolled while the coordinator runs.
func (c *Coordinator) watchUsers(ctx context.Context) error {
	// The first attempt to attach must not fail, and a reload would disturb it.
	select {
	case <-c.attached:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.server == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		if err := c.ReloadUsers(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("users not reloaded", "error", err)
		}
		if err := rest.For(ctx, usersPoll); err != nil {
			return err
		}
	}
}

// ReloadUsers lets the embedded bus know of a changed list of users, and of a new
// certificate, and leaves word of it. It is called several times a second.
func (c *Coordinator) ReloadUsers(ctx context.Context) error {
	if c.server == nil {
		return nil
	}
	u := &c.users
	u.mu.Lock()
	defer u.mu.Unlock()
	now, err := lookAtUsers(c.dir)
	if err != nil {
		return err
	}
	cert := c.lookAtCertificate()
	renewed := !u.cert.same(cert)
	muted := c.quota.over(c.now())
	if !sameVersion(u.seen, now) || renewed || !maps.Equal(u.muted, muted) {
		u.cert, u.muted = cert, muted
		if err := c.takeUsers(u); err != nil {
			return err
		}
		if renewed {
			c.log.Info("certificate of the bus reloaded")
		}
	}
	if u.due {
		if err := c.ensureConsumers(ctx); err != nil {
			return err // made the next time
		}
		u.due = false
	}
	if seen := mark(u.seen); !u.bad && u.told != seen {
		if err := replaceFile(c.path(fileUsersIn), seen); err != nil {
			return fmt.Errorf("leave word of the users: %w", err)
		}
		u.told = seen
	}
	return nil
}

func (c *Coordinator) takeUsers(u *usersState) error {
	seen, users, err := readUsers(c.dir)
	if err != nil {
		return err
	}
	// Stored before it is tried: a file that cannot be used is complained
	// about once.
	u.seen, u.bad = seen, true
	for i := range users {
		users[i].Muted = u.muted[users[i].Name]
	}
	if err := c.server.Reload(users); err != nil {
		return err
	}
	u.bad, u.due = false, true
	c.log.Info("users reloaded", "users", len(users))
	return nil
}

// admitLimit is how long [AwaitAdmission] waits for the running coordinator.
const admitLimit = 10 * time.Second

// admitTries is how often it looks before it doubts that one runs.
const admitTries = 20

// ErrNotAdmitted says that a coordinator runs and has not let in who was enrolled.
var ErrNotAdmitted = errors.New("the running coordinator has not taken the new users in yet (hint: see its log)")

// AwaitAdmission returns when the embedded bus of the coordinator that runs on the
// state directory answers everybody in the file of users; at once if none runs.
func AwaitAdmission(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, admitLimit)
	defer cancel()
	for tries := 0; ; tries++ {
		now, err := lookAtUsers(state)
		if err != nil {
			return err
		}
		in, err := os.ReadFile(filepath.Join(state, fileUsersIn))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look whether the users are let in: %w", err)
		}
		address, err := os.ReadFile(filepath.Join(state, fileBusURL))
		if string(in) == mark(now) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		// Not asked at once: a bus with TLS complains of who hangs up.
		if tries == admitTries && !listens(string(address)) {
			return nil
		}
		if rest.For(ctx, usersPoll/4) != nil {
			return ErrNotAdmitted
		}
	}
}

// listens reports whether there is anybody at the address of a bus. A coordinator
// that was killed leaves it behind.
func listens(address string) bool {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return false
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ensureConsumers makes the consumers that builders and signers bind to. With a
// bus elsewhere the policy says which builders there are, otherwise the users do
// as well.
func (c *Coordinator) ensureConsumers(ctx context.Context) error {
	builders, keys, err := c.served()
	if err != nil {
		return err
	}
	for name, channels := range builders {
		if err := bus.EnsureAgentConsumer(ctx, c.conn.JS(), name, channels); err != nil {
			return err
		}
	}
	for key := range keys {
		if err := bus.EnsureSignerConsumer(ctx, c.conn.JS(), key); err != nil {
			return err
		}
	}
	return nil
}

// served lists the builders with their channels, and the keys.
func (c *Coordinator) served() (builders map[string][]string, keys map[string]bool, err error) {
	builders, keys = map[string][]string{}, map[string]bool{}
	for _, o := range c.policy.Operators {
		for _, b := range o.Builders {
			if channels := c.policy.ChannelsOf(b); len(channels) > 0 {
				builders[b.Name] = channels
			}
		}
	}
	for _, key := range policyKeys(c.policy) {
		keys[key] = true
	}
	_, users, err := readUsers(c.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range users {
		if u.Role == bus.RoleBuilder && builders[u.Name] == nil {
			c.log.Warn("an enrolled builder is in no channel of the policy", "builder", u.Name)
		}
		for _, key := range u.Keys {
			keys[key] = true
		}
	}
	return builders, keys, nil
}
