package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"quorate/internal/bus"
)

// UpdateStreams changes streams that exist. No user has the right to that; so for
// as long as it takes there is one more, whose key never leaves this function.
func (s *Server) UpdateStreams(ctx context.Context, configs []jetstream.StreamConfig) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("update streams: %w", err)
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("update streams: %w", err)
	}
	if err := s.reloadWith(public); err != nil {
		return fmt.Errorf("update streams: %w", err)
	}
	defer func() { err = errors.Join(err, s.reloadWith("")) }()
	nc, err := nats.Connect("", nats.InProcessServer(s.ns), nats.Nkey(public, key.Sign))
	if err != nil {
		return fmt.Errorf("update streams: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("update streams: %w", err)
	}
	for _, c := range configs {
		if _, err := js.UpdateStream(ctx, c); err != nil {
			return fmt.Errorf("update stream %s: %w", c.Name, err)
		}
	}
	return nil
}

// reloadWith has the server know one more user with every right in the account of
// the streams; "" is nobody more. The caller holds mu.
func (s *Server) reloadWith(nkey string) error {
	opts, err := serverOptions(s.opts)
	if err != nil {
		return err
	}
	for _, a := range opts.Accounts {
		if nkey != "" && a.Name == bus.CoreAccount {
			opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: nkey, Account: a})
		}
	}
	return s.ns.ReloadOptions(opts)
}
