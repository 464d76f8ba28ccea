package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// How long a group waits for more members, and how often it asks whether to.
const (
	lingerMost = 30 * time.Millisecond
	lingerStep = time.Millisecond
)

// group gathers what is to be written while a commit is under way.
type group struct {
	save, undo, release *sql.Stmt // around each member

	turn    sync.Mutex // held by whoever writes
	mu      sync.Mutex
	waiting []*member // owned by mu

	linger atomic.Pointer[func() bool] // nil: never
}

// LingerWhile has groups wait up to 30 ms for more members for as long as worth says
// so. It is for a program that knows of something slower than the disk that everybody
// waits for in any case: then fewer commits cost it less. worth is called by several
// goroutines.
func (db *DB) LingerWhile(worth func() bool) { db.group.linger.Store(&worth) }

func (g *group) rest() {
	worth := g.linger.Load()
	if worth == nil {
		return
	}
	for waited := time.Duration(0); waited < lingerMost && (*worth)(); waited += lingerStep {
		time.Sleep(lingerStep)
	}
}

// member is one call of WriteGrouped.
type member struct {
	fn   func(tx *sql.Tx) error
	done bool // owned by group.turn, as what follows
	err  error
	died any // what fn panicked with
}

// WriteGrouped is [DB.Write] for many callers at a time: whatever comes while a
// commit waits for the disk is committed together. Each fn is as if alone: what one
// did is undone when it returns an error, and nobody else's. Only an error of the
// disk or of the commit itself is everybody's, in the place of what the fns returned.
//
// Once begun it does not end early when ctx is done.
func (db *DB) WriteGrouped(ctx context.Context, fn func(tx *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g, m := &db.group, &member{fn: fn}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	g.mu.Unlock()
	g.turn.Lock()
	if !m.done { // else somebody took it along
		g.rest()
		g.mu.Lock()
		members := g.waiting
		g.waiting = nil
		g.mu.Unlock()
		db.writeAll(context.WithoutCancel(ctx), members)
	}
	g.turn.Unlock()
	if m.died != nil {
		panic(m.died)
	}
	return m.err
}

// writeAll runs all members in one transaction.
func (db *DB) writeAll(ctx context.Context, members []*member) {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if len(members) == 1 { // there is nobody to be spared
			members[0].call(tx)
			return members[0].failure()
		}
		for _, m := range members {
			if err := db.group.run(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	for _, m := range members {
		// What a member found out is void, too: it may have seen what another one
		// wrote, and that was never there.
		if m.done = true; err != nil {
			m.err = err
		}
	}
}

// run runs fn and undoes what it did if it fails. The error is one that ends the
// transaction for all.
func (g *group) run(ctx context.Context, tx *sql.Tx, m *member) error {
	if _, err := tx.StmtContext(ctx, g.save).ExecContext(ctx); err != nil {
		return err
	}
	m.call(tx)
	if m.failure() != nil {
		// After some errors SQLite has rolled back everything by itself. The text tells
		// of this one's error, but it is not the others'.
		if _, err := tx.StmtContext(ctx, g.undo).ExecContext(ctx); err != nil {
			return fmt.Errorf("undo one of a group: %w, after: %v", err, m.failure())
		}
	}
	_, err := tx.StmtContext(ctx, g.release).ExecContext(ctx)
	return err
}

func (m *member) call(tx *sql.Tx) {
	defer func() { m.died = recover() }()
	m.err = m.fn(tx)
}

func (m *member) failure() error {
	if m.died != nil {
		return fmt.Errorf("panic: %v", m.died)
	}
	return m.err
}

// prepareGroup is called once, when the database is opened.
func (db *DB) prepareGroup(ctx context.Context) (err error) {
	g := &db.group
	for query, s := range map[string]**sql.Stmt{"SAVEPOINT member": &g.save, "ROLLBACK TO member": &g.undo, "RELEASE member": &g.release} {
		if *s, err = db.PrepareWrite(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// PrepareWrite prepares a statement for the transactions of [DB.Write] and
// [DB.WriteGrouped], which use it with [sql.Tx.StmtContext]. It waits for a
// transaction that is running, so it must not be called within one.
func (db *DB) PrepareWrite(ctx context.Context, query string) (*sql.Stmt, error) {
	return db.write.PrepareContext(ctx, query)
}
