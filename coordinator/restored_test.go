package coordinator_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/quorum"
)

// A coordinator that was restored from an older copy, without its bus store, has not
// all statements that an answer names. The answer is rejected, and accepted when it
// comes again after the statements did; whoever projects the record anew agrees.
func TestAnAnswerCountsOnceItsStatementsAreBack(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	backup := w.path("backup.db")
	check(t, coordinator.Backup(limit(t), w.state(), backup))
	carol := w.publish(build{builder: "carol"})
	answer := w.signOne()
	w.wantState(quorum.Signed)
	w.stop()

	db := filepath.Join(w.state(), "coordinator.db")
	for _, gone := range []string{filepath.Join(w.state(), "bus"), db + "-wal", db + "-shm"} {
		check(t, os.RemoveAll(gone))
	}
	check(t, os.Rename(backup, db))
	must(coordinator.Reseed(limit(t), w.options()))(t)
	w.start()
	w.wantState(quorum.Waiting)
	w.agree("dave")
	s := w.signer()
	s.next()
	again := func() {
		t.Helper()
		data := must(json.Marshal(answer))(t)
		must(s.conn.Publish(limit(t), must(bus.SignatureSubject("core"))(t), "", data))(t)
		w.sync()
	}
	again()
	w.wantState(quorum.Agreed)
	again()
	w.wantState(quorum.Agreed)
	w.publishRaw("carol", "quorate.statements.core.carol", carol.Raw())
	w.sync()
	w.wantState(quorum.Agreed)
	again()
	w.wantState(quorum.Signed)
	want := w.hello()

	w.stop()
	must(coordinator.Rebuild(limit(t), w.options()))(t)
	w.start()
	w.sync()
	w.wantState(quorum.Signed)
	w.stop()
	w.setPolicy(policyText(t, 2, 3, "", nil)) // all is projected again
	w.start()
	w.sync()
	if got := w.wantState(quorum.Signed); len(got.Signatures) != len(want.Signatures) {
		t.Errorf("%d signatures, want %d", len(got.Signatures), len(want.Signatures))
	}
}

// signOne answers the next request.
func (w *world) signOne() *quorum.Answer {
	w.t.Helper()
	s := w.signer()
	a := s.answer(s.next(), nil)
	w.sync()
	return a
}
