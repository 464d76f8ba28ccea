package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"quorate/internal/sqlite"
)

// childPath makes this test binary the child that is killed.
const childPath = "QUORATE_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		fmt.Fprintln(os.Stderr, commitForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// commitForever commits 1, 2, 3, ... and prints each number after its commit.
func commitForever(path string) error {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, path, options(first))
	if err != nil {
		return err
	}
	var n int
	if err := db.Read().QueryRow("SELECT count(1) FROM item").Scan(&n); err != nil {
		return err
	}
	for {
		n++
		if err := insert(ctx, db, n, strconv.Itoa(n)); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// Whatever the child said it had committed is there after kill -9, and at most
// the one row it was about to mention is there besides. Several rounds, so that
// the kill meets the log in different states.
func TestKilledWhileCommitting(t *testing.T) {
	path := newPath(t)
	create(t, path, first)
	rows := 0
	for round := range 4 {
		said := killAfter(t, path, rows+40+37*round)
		db := open(t, path, first)
		rows = count(t, db, "item")
		if rows < said || rows > said+1 {
			t.Fatalf("round %d: the child committed %d, the database has %d", round, said, rows)
		}
		if n := count(t, db, "item WHERE n BETWEEN 1 AND "+strconv.Itoa(rows)); n != rows {
			t.Fatalf("round %d: gaps", round)
		}
		var result string
		check(t, db.Read().QueryRow("PRAGMA integrity_check").Scan(&result))
		if result != "ok" {
			t.Fatalf("round %d: %s", round, result)
		}
		check(t, db.Close())
	}
}

// killAfter lets a child commit until it has said n, kills it, and returns the
// last number it said.
func killAfter(t *testing.T, path string, n int) (last int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), childPath+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	check(t, err)
	check(t, child.Start())
	lines := bufio.NewScanner(out)
	killed := false
	for lines.Scan() { // to the end: it may have said more before it died
		last, err = strconv.Atoi(lines.Text())
		check(t, err)
		if last >= n && !killed {
			check(t, child.Process.Kill())
			killed = true
		}
	}
	if err := child.Wait(); err == nil || !killed {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return last
}
