package coordinator

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"quorate/internal/bus"
)

// usersPoll is how often the file of users is looked at.
const usersPoll = time.Second

// userFile is what tells one version of the file of users from another.
type userFile struct {
	modified time.Time
	size     int64
	inode    fs.FileInfo
}

func (f userFile) same(o userFile) bool {
	return f.modified.Equal(o.modified) && f.size == o.size && os.SameFile(f.inode, o.inode)
}

// readUsers reads the users and the mark of the file they stand in. The mark is
// taken first: a file that is replaced in between is read once more.
func readUsers(dir string) (userFile, []bus.User, error) {
	info, err := os.Stat(filepath.Join(dir, fileUsers))
	if err != nil {
		return userFile{}, nil, configError(hintInit, "read users: %w", err)
	}
	users, err := loadUsers(dir)
	return userFile{info.ModTime(), info.Size(), info}, users, err
}

// watchUsers lets in who is enrolled while the coordinator runs.
func (c *Coordinator) watchUsers(ctx context.Context) error {
	if c.server == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		if err := sleep(ctx, usersPoll); err != nil {
			return err
		}
		if err := c.ReloadUsers(ctx); err != nil {
			c.log.Error("users not reloaded", "error", err)
		}
	}
}

// ReloadUsers lets the embedded bus know of a changed list of users. It is called
// every second.
func (c *Coordinator) ReloadUsers(ctx context.Context) error {
	if c.server == nil {
		return nil
	}
	info, err := os.Stat(filepath.Join(c.dir, fileUsers))
	if err != nil {
		return fmt.Errorf("look at users: %w", err)
	}
	if seen, ok := c.usersSeen.Load().(userFile); ok && seen.same(userFile{info.ModTime(), info.Size(), info}) {
		return nil
	}
	seen, users, err := readUsers(c.dir)
	if err != nil {
		return err
	}
	// Stored before it is tried: a file that cannot be used is complained
	// about once.
	c.usersSeen.Store(seen)
	if err := c.server.Reload(users); err != nil {
		return err
	}
	c.log.Info("users reloaded", "users", len(users))
	return c.ensureConsumers(ctx)
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
