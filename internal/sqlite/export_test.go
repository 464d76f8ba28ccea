package sqlite

import "runtime"

// VersionOK is tested by itself: the test cannot link an old SQLite.
var VersionOK = versionOK

// AwaitGroup waits until n calls of WriteGrouped wait for the next commit.
func AwaitGroup(db *DB, n int) {
	for {
		db.group.mu.Lock()
		waiting := len(db.group.waiting)
		db.group.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}
