package coordinator_test

import (
	"crypto/sha512"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to put a database back to what it was

	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/statement"
)

func digest512(content string) statement.SHA512 { return sha512.Sum512([]byte(content)) }

// TestFileIsFoundBySHA512, what is signed before what one builder also calls so.
func TestFileIsFoundBySHA512(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	for i := range 3 {
		w.publish(build{builder: "dave", target: before(helloID, i)})
	}
	w.sync()
	path := "/v1/artifacts/" + digest512("hello, world").String()
	got := get[api.Artifacts](w, path)
	if got.SHA512 != digest512("hello, world") || got.SHA256 != (statement.SHA256{}) {
		t.Errorf("the answer is about %s and %s", got.SHA512, got.SHA256)
	}
	if list := got.Artifacts; len(list) != 4 || list[0].TargetID != helloID || list[0].State != quorum.Signed || list[0].SHA512 != got.SHA512 {
		t.Errorf("%d artifacts, first %+v", len(list), list[0])
	}
	if n := len(get[api.Artifacts](w, path+"?target="+r.Target).Artifacts); n != 1 {
		t.Errorf("%d artifacts of the target", n)
	}
	for bad, want := range map[string]int{
		digest512("other").String(): 404, strings.ToUpper(digest512("hello, world").String()): 400,
		strings.Repeat("0", 127): 400, strings.Repeat("0", 129): 400, "": 404,
	} {
		if status, _ := w.fetch("/v1/artifacts/" + bad); status != want {
			t.Errorf("%q: status %d, want %d", bad, status, want)
		}
	}
}

// TestOldDatabaseIsFoundBySHA512: what was decided before there was such a lookup is
// found by it.
func TestOldDatabaseIsFoundBySHA512(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	asFirstMade(t, filepath.Join(w.state(), "coordinator.db"))
	w.start()
	w.sync()
	if list := get[api.Artifacts](w, "/v1/artifacts/"+digest512("hello, world").String()).Artifacts; len(list) != 2 {
		t.Errorf("%d artifacts, want 2", len(list))
	}
}

// asFirstMade puts the rows of a database into one with the first schema.
func asFirstMade(t *testing.T, path string) {
	t.Helper()
	schema := must(os.ReadFile(filepath.Join("store", "migrations", "0001_first.sql")))(t)
	check(t, os.Rename(path, path+".new"))
	db := must(sql.Open("sqlite", path))(t)
	db.SetMaxOpenConns(1) // ATTACH is of one connection
	exec := func(query string, args ...any) { t.Helper(); must(db.Exec(query, args...))(t) }
	exec("ATTACH ? AS new", path+".new")
	exec(string(schema))
	exec("CREATE TABLE migration AS SELECT * FROM new.migration WHERE version = 1")
	rows := must(db.Query(`SELECT m.name, group_concat('"' || c.name || '"') FROM main.sqlite_schema m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name <> 'migration' GROUP BY m.name`))(t)
	columns := map[string]string{}
	for rows.Next() {
		var table, list string
		check(t, rows.Scan(&table, &list))
		columns[table] = list
	}
	check(t, rows.Err())
	for table, list := range columns {
		exec(fmt.Sprintf("INSERT OR REPLACE INTO main.%[1]s (%[2]s) SELECT %[2]s FROM new.%[1]s", table, list))
	}
	exec("PRAGMA user_version = 1")
	var id int
	check(t, db.QueryRow("PRAGMA new.application_id").Scan(&id))
	exec(fmt.Sprintf("PRAGMA application_id = %d", id))
	check(t, db.Close())
}
