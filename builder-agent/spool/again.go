package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"quorate/builder-agent/durable"
	"quorate/quorum/statement"
)

// Confirmed is a statement that a coordinator has confirmed.
type Confirmed struct {
	Entry
	At time.Time // of the receipt
}

// Confirmed lists what was confirmed at since or later and is still kept, in the
// order in which it was confirmed, which for one target is that in which it was
// sent. Files whose bytes are not what their name says are left out, as damaged.
func (s *Spool) Confirmed(since time.Time) (list []Confirmed, damaged []string, err error) {
	ids, err := s.Settled(Sent)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		path := s.sentPath(id)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its time was over
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list spool: %w", err)
		}
		if info.ModTime().Before(since) {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("list spool: %w", err)
		}
		st, err := s.read(raw)
		if err != nil || statement.ID(raw) != id {
			damaged = append(damaged, path)
			continue
		}
		list = append(list, Confirmed{Entry{id, raw, st}, info.ModTime()})
	}
	return list, damaged, nil
}

func (s *Spool) sentPath(id statement.SHA256) string {
	return filepath.Join(s.dir, sentDir, id.String()+ext)
}

// Return puts confirmed statements back among those that wait, in the given order
// and before all that wait already: what was added later is still sent later.
//
// The last one goes first: after a crash in the middle the same call brings the
// rest to the places before it. Each is in both places for a moment, and counts
// as waiting then.
func (s *Spool) Return(list []Confirmed) error {
	unlock, err := durable.Lock(filepath.Join(s.dir, orderLock), true)
	if err != nil {
		return fmt.Errorf("send again: %w", err)
	}
	defer unlock()
	names, err := s.names()
	if err != nil {
		return fmt.Errorf("send again: %w", err)
	}
	order := s.now().UnixNano()
	if len(names) > 0 {
		order = min(order, names[0].order)
	}
	for _, c := range slices.Backward(list) {
		if slices.ContainsFunc(names, func(n name) bool { return n.id == c.ID }) {
			continue
		}
		order--
		err := durable.WriteFile(filepath.Join(s.dir, name{order, c.ID}.String()), c.Raw)
		if err == nil {
			err = os.Remove(s.sentPath(c.ID))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("send %s again: %w", c.ID, err)
		}
	}
	return nil
}
