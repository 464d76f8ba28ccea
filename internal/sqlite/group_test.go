package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"quorate/internal/sqlite"
)

// together has all fns written while the first of them holds the database, so that
// the others become one group. It returns what each call gave.
func together(t *testing.T, db *sqlite.DB, fns ...func(tx *sql.Tx) error) []error {
	t.Helper()
	entered, proceed := make(chan struct{}), make(chan struct{})
	errs := make([]error, len(fns))
	var all sync.WaitGroup
	write := func(i int, fn func(tx *sql.Tx) error) {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = db.WriteGrouped(t.Context(), fn)
		})
	}
	write(0, func(tx *sql.Tx) error {
		close(entered)
		<-proceed
		return fns[0](tx)
	})
	<-entered
	for i, fn := range fns[1:] {
		write(i+1, fn)
	}
	sqlite.AwaitGroup(db, len(fns)-1)
	close(proceed)
	all.Wait()
	return errs
}

func inserting(n int, then error) func(tx *sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO item (n, text) VALUES (?, ?)", n, fmt.Sprint(n))
		return errors.Join(err, then)
	}
}

// TestGroupIsManyWrites: each of a group gets its own result, and what one does wrong
// is undone without the others.
func TestGroupIsManyWrites(t *testing.T) {
	db := newDB(t)
	failure := errors.New("no")
	errs := together(t, db, inserting(1, nil), inserting(2, nil), inserting(3, failure), inserting(2, nil),
		func(tx *sql.Tx) error { inserting(4, nil)(tx); panic("ouch") }, inserting(5, nil))
	good := 0
	for i, err := range errs {
		switch {
		case i == 2 && errors.Is(err, failure), i == 4 && err != nil && strings.Contains(err.Error(), "ouch"):
		case i == 1 || i == 3:
			// They want the same row; the order is not ours.
			if err == nil {
				good++
			} else if !sqlite.IsUnique(err) {
				t.Errorf("%d: %v", i, err)
			}
		case err != nil:
			t.Errorf("%d: %v", i, err)
		}
	}
	if good != 1 {
		t.Errorf("%d of two were written", good)
	}
	if n := count(t, db, "item WHERE n IN (1, 2, 5)"); n != 3 || count(t, db, "item") != 3 {
		t.Errorf("%d of three rows, and %d rows", n, count(t, db, "item"))
	}
	check(t, db.WriteGrouped(t.Context(), inserting(6, nil)))
}

// TestGroupThatCannotCommit: nobody is told that it is written.
func TestGroupThatCannotCommit(t *testing.T) {
	db := newDB(t)
	orphan := func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO child (n) VALUES (77)") // refused at the commit
		return err
	}
	errs := together(t, db, inserting(1, nil), inserting(2, nil), orphan, inserting(3, nil))
	check(t, errs[0])
	for i, err := range errs[1:] {
		if err == nil {
			t.Errorf("%d: no error", i+1)
		}
	}
	if n := count(t, db, "item"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// TestGroupThatCannotCommitTakesBackAnswers: what one of a group found out may be what
// another one wrote, and that was never there.
func TestGroupThatCannotCommitTakesBackAnswers(t *testing.T) {
	db := newDB(t)
	taken := errors.New("taken by another one")
	finding := func(tx *sql.Tx) error { return taken }
	orphan := func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO child (n) VALUES (77)") // refused at the commit
		return err
	}
	errs := together(t, db, inserting(1, nil), inserting(2, nil), finding, orphan)
	for i, err := range errs[1:] {
		if err == nil || errors.Is(err, taken) {
			t.Errorf("%d: got %v, want that nothing was committed", i+1, err)
		}
	}
}

// TestGroupIsBrokenByOne: SQLite rolled back everything because of one of them. The
// others learn that, and not what was wrong with that one.
func TestGroupIsBrokenByOne(t *testing.T) {
	db := newDB(t)
	taken := errors.New("taken by another one")
	breaking := func(tx *sql.Tx) error {
		if _, err := tx.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
		return taken
	}
	errs := together(t, db, inserting(1, nil), inserting(2, nil), breaking)
	for i, err := range errs[1:] {
		if err == nil || errors.Is(err, taken) {
			t.Errorf("%d: got %v, want that nothing was committed", i+1, err)
		}
	}
	if n := count(t, db, "item"); n != 1 {
		t.Errorf("%d rows", n)
	}
	check(t, db.WriteGrouped(t.Context(), inserting(3, nil)))
}

func TestGroupOfOne(t *testing.T) {
	db := newDB(t)
	failure := errors.New("no")
	wantIs(t, db.WriteGrouped(t.Context(), inserting(1, failure)), failure)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = db.WriteGrouped(t.Context(), func(tx *sql.Tx) error { inserting(2, nil)(tx); panic("ouch") })
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, db.WriteGrouped(ctx, inserting(3, nil)), context.Canceled)
	if n := count(t, db, "item"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// A group waits while it is worth it, and whoever comes meanwhile is of it.
func TestGroupLingers(t *testing.T) {
	db := newDB(t)
	asked := make(chan struct{}, 1000)
	db.LingerWhile(func() bool {
		asked <- struct{}{}
		sqlite.AwaitGroup(db, 2)
		return false
	})
	var all sync.WaitGroup
	var by [2]*sql.Tx
	write := func(i int) {
		all.Go(func() {
			err := db.WriteGrouped(t.Context(), func(tx *sql.Tx) error { by[i] = tx; return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	write(0)
	<-asked
	write(1)
	all.Wait()
	if by[0] == nil || by[0] != by[1] {
		t.Error("the second write was committed by itself")
	}
}
