package store

import (
	"errors"
	"slices"
	"time"

	"database/sql"
)

// Webhook says how far a webhook has come.
type Webhook struct {
	Name     string
	Cursor   int64     // last event that is done with
	Attempts int       // to deliver the next one, so far
	Next     time.Time // when that is tried again; zero: now
}

// KeepWebhooks makes the rows those of the named webhooks: a new one begins behind
// the newest event, and one that is gone is forgotten.
func (tx *Tx) KeepWebhooks(names []string) error {
	var have []string
	err := each(tx, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		have = append(have, name)
		return err
	}, "SELECT name FROM webhook")
	if err != nil {
		return err
	}
	for _, name := range have {
		if slices.Contains(names, name) {
			continue
		}
		if err := tx.exec("DELETE FROM webhook WHERE name = ?", name); err != nil {
			return err
		}
	}
	for _, name := range names {
		err := tx.exec("INSERT OR IGNORE INTO webhook (name, cursor, attempts, next) VALUES (?, (SELECT coalesce(max(id), 0) FROM event), 0, 0)", name)
		if err != nil {
			return err
		}
	}
	return nil
}

// Webhook reads how far a webhook has come.
func (db *DB) Webhook(name string) (Webhook, error) {
	w := Webhook{Name: name}
	var next int64
	err := one(db, []any{&w.Cursor, &w.Attempts, &next}, "SELECT cursor, attempts, next FROM webhook WHERE name = ?", name)
	if errors.Is(err, ErrNotFound) {
		return w, err
	}
	w.Next = instant(next)
	return w, err
}

// PutWebhook remembers how far a webhook has come.
func (tx *Tx) PutWebhook(w Webhook) error {
	return tx.exec("UPDATE webhook SET cursor = ?, attempts = ?, next = ? WHERE name = ?", w.Cursor, w.Attempts, nanos(w.Next), w.Name)
}
