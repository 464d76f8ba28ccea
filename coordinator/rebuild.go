package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sourcegraph/conc/pool"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/sqlite"
)

// offline is a coordinator that serves nobody: for the commands that repair.
// openDB takes the lock and opens the database, or leaves c.db nil.
func offline(o Options, openDB func(*Coordinator) error) (c *Coordinator, err error) {
	if c, err = newCoordinator(o); err != nil {
		return nil, err
	}
	c.stop = func() {}
	if err = openDB(c); err == nil {
		err = c.openBus(true)
	}
	if err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// Rebuild makes the database again from the stream, by the same code that made
// it the first time, and returns how many messages it has. The old one is
// replaced when the new one is whole and lacks nothing that the old one has;
// until then a crash leaves the old one in place. One that is damaged cannot be
// compared: it is moved aside. One that is missing is made.
func Rebuild(ctx context.Context, o Options) (messages int, err error) {
	c, err := offline(o, (*Coordinator).openOldDB)
	if err != nil {
		return 0, fmt.Errorf("rebuild: %w", err)
	}
	defer c.release()
	if err := c.conn.Ready(ctx); err != nil {
		return 0, fmt.Errorf("rebuild: %w", err)
	}
	if err := c.rebuildAny(ctx); err != nil {
		return 0, fmt.Errorf("rebuild: %w", diskError(err))
	}
	messages, _, err = c.db.Recorded()
	return messages, err
}

// openOldDB is openDB that takes a missing or damaged database for none.
func (c *Coordinator) openOldDB() error {
	err := c.openDB()
	switch {
	case errors.Is(err, errNoDatabase):
		c.log.Warn("there is no database, a new one is made from the stream", "path", c.path(fileDB))
	case errors.Is(err, errDamaged):
		c.log.Warn("the database is damaged, a new one is made from the stream", "path", c.path(fileDB), "error", err)
	default:
		return err
	}
	return nil
}

// rebuildAny rebuilds from what there is. Damage deep inside the old database
// shows only when it is read.
func (c *Coordinator) rebuildAny(ctx context.Context) error {
	if c.db == nil {
		return c.rebuildAnew(ctx)
	}
	err := c.rebuildSound(ctx)
	if !sqlite.IsDamaged(err) {
		return err
	}
	c.log.Warn("the database is damaged, a new one is made from the stream", "path", c.path(fileDB), "error", err)
	_ = c.db.Close() // damaged, or given up half-made
	return c.rebuildAnew(ctx)
}

func (c *Coordinator) rebuildSound(ctx context.Context) error {
	cur, err := c.db.Cursor()
	if err != nil {
		return err
	}
	if err := checkPresent(ctx, c.conn, cur); err != nil {
		return err
	}
	return c.rebuild(ctx, true)
}

// rebuildAnew is rebuild without an old database to take anything over from.
// What was asked of the signers is asked again; they give the same answers.
func (c *Coordinator) rebuildAnew(ctx context.Context) (err error) {
	path := c.path(fileDB)
	if c.db, err = newDatabase(path + ".rebuild"); err != nil {
		return err
	}
	if err := c.readAll(ctx); err != nil {
		return err
	}
	if err := c.moveAside(path); err != nil {
		return err
	}
	return c.replaceDB(path)
}

// moveAside keeps a damaged database for whoever wants to look into it. The
// files beside it go too: SQLite would apply an old log to a new database.
func (c *Coordinator) moveAside(path string) error {
	aside := path + ".damaged-" + c.now().UTC().Format("20060102T150405.000Z")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(path+suffix, aside+suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c.log.Warn("moved aside", "from", path+suffix, "to", aside+suffix)
	}
	return nil
}

// rebuild replaces c.db. The rows of the old one that are not a projection are
// taken over; the questions asked only when the stream is the same one.
func (c *Coordinator) rebuild(ctx context.Context, sameStream bool) error {
	path := c.db.Path()
	fresh, err := newDatabase(path + ".rebuild")
	if err != nil {
		return err
	}
	old := c.db
	c.db = fresh // released with c, whatever happens
	if err := store.CopyOwn(old, fresh, sameStream); err != nil {
		return errors.Join(err, old.Close())
	}
	if err := c.readAll(ctx); err != nil {
		return errors.Join(err, old.Close())
	}
	missing, err := store.Missing(old, fresh)
	if err := errors.Join(err, old.Close()); err != nil {
		return err
	}
	if missing > 0 {
		return streamBack("it lacks %d messages that the database has", missing)
	}
	return c.replaceDB(path)
}

// newDatabase makes an empty database, in place of one that an earlier attempt
// left unfinished.
func newDatabase(path string) (*store.DB, error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return store.Create(path)
}

// replaceDB moves the new database over the old one. A log file beside the old
// one would be applied to the new one, so there must be none.
func (c *Coordinator) replaceDB(path string) error {
	if err := c.db.Close(); err != nil {
		return err
	}
	from := c.db.Path()
	c.db = nil
	if _, err := os.Stat(path + "-wal"); err == nil {
		return fmt.Errorf("%s-wal is still there: another process has the database open", path)
	}
	if err := os.Rename(from, path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	var err error
	c.db, err = store.Open(path)
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readAll runs the loops of a coordinator until everything in the stream is
// recorded and decided.
func (c *Coordinator) readAll(ctx context.Context) error {
	if err := c.prepareProjection(); err != nil {
		return err
	}
	if err := c.openState(); err != nil {
		return err
	}
	if err := bus.EnsureStreams(ctx, c.conn.JS(), c.config.NATS.Replicas); err != nil {
		return err
	}
	last, err := c.conn.StreamEnd(ctx, bus.StreamRecord)
	if err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	batches := make(chan []entry, 1)
	p := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	p.Go(func(ctx context.Context) error { return c.read(ctx, batches) })
	p.Go(func(ctx context.Context) error { return c.decide(ctx, batches) })
	reached := false
	p.Go(func(ctx context.Context) error {
		if err := c.awaitDecided(ctx, last); err != nil {
			return err
		}
		reached = true
		done()
		return nil
	})
	if err := p.Wait(); !reached {
		return err
	}
	return nil
}

// awaitDecided returns when everything up to the sequence is recorded and decided.
func (c *Coordinator) awaitDecided(ctx context.Context, seq uint64) error {
	if err := c.progress.await(ctx, func() bool { return c.progress.recorded() >= seq }); err != nil {
		return err
	}
	ticket := c.progress.ticket()
	c.wakeDecide()
	return c.progress.await(ctx, func() bool { return c.progress.decided.Load() > ticket })
}
