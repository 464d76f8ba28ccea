package coordinator_test

import (
	"crypto/sha512"
	"database/sql"
	"fmt"
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
	db := must(sql.Open("sqlite", filepath.Join(w.state(), "coordinator.db")))(t)
	// This migration and all later ones are undone, and the number in the header is
	// what remains.
	for _, q := range []string{"DROP TABLE vote_sha512", "DROP TABLE act", "DROP TABLE act_chain", "DROP TABLE rebuild", "DROP INDEX alarm_target", "DROP TABLE webhook",
		"DELETE FROM migration WHERE version >= (SELECT version FROM migration WHERE name = 'sha512')"} {
		must(db.Exec(q))(t)
	}
	var latest int
	check(t, db.QueryRow("SELECT max(version) FROM migration").Scan(&latest))
	must(db.Exec(fmt.Sprintf("PRAGMA user_version = %d", latest)))(t)
	check(t, db.Close())
	w.start()
	w.sync()
	if list := get[api.Artifacts](w, "/v1/artifacts/"+digest512("hello, world").String()).Artifacts; len(list) != 2 {
		t.Errorf("%d artifacts, want 2", len(list))
	}
}
