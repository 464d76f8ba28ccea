package coordinator

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"quorate/coordinator/store"
	"quorate/quorum/statement"
)

// changedKeys are certificates and public keys on the way to the loop that applies
// and decides, which alone puts others in force.
type changedKeys struct {
	keys  keyring
	basis statement.SHA256
	taken chan struct{} // closed when the record is projected by them
}

// ReloadKeys reads the certificates and public keys of the configuration again, and
// returns when the record is judged by them. If one cannot be used, all that is in
// force stays. Configuration and policy are not read again.
func (c *Coordinator) ReloadKeys(ctx context.Context) error {
	keys, err := c.loadKeys()
	if err != nil {
		return fmt.Errorf("reload certificates: %w", err)
	}
	if raw, err := os.ReadFile(c.path(c.config.Policy)); err != nil || !bytes.Equal(raw, c.policyRaw) {
		c.log.Warn("the policy file is not the one in force; the coordinator takes it when it is started again", "policy", c.policy.Version)
	}
	change := changedKeys{keys, c.computeBasis(keys), make(chan struct{})}
	select {
	case c.newKeys <- change:
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-change.taken:
	case <-c.done:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// takeKeys puts other keys in force and projects the record anew: what was refused
// for the old ones is judged again. A crash on the way is the same as a start with
// other certificates.
func (c *Coordinator) takeKeys(ctx context.Context, change changedKeys) error {
	defer close(change.taken)
	if change.basis == c.basis {
		c.log.Info("certificates are as they were")
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(change.keys)) {
		if !slices.Equal(keyIDs(change.keys[name]), keyIDs(c.key(name))) {
			c.log.Info("certificate loaded", "key", name)
		}
	}
	c.keys.Store(&change.keys)
	c.basis = change.basis
	c.caughtUp.Store(false)
	if err := c.db.Update(func(tx *store.Tx) error { return tx.ClearProjection(c.basis) }); err != nil {
		return err
	}
	c.log.Info("the record is projected anew", "messages", c.progress.recorded())
	if err := c.project(ctx); err != nil {
		return err
	}
	c.wakeAsk()
	return nil
}
