package coordinator_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// dump is record and projection of a state directory as text.
func dump(t testing.TB, state string) string {
	t.Helper()
	db := must(store.Open(filepath.Join(state, "coordinator.db")))(t)
	defer db.Close()
	var b strings.Builder
	check(t, db.Dump(&b))
	return b.String()
}

// wantSame fails with the first line that differs.
func wantSame(t testing.TB, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("line %d differs:\n%.600s\nwant:\n%.600s", i+1, a[i], b[i])
		}
	}
	t.Fatalf("%d lines, want %d", len(a), len(b))
}

// spool is what an agent does: it keeps what it published until a coordinator
// confirms it.
type spool struct {
	t    *testing.T
	conn *bus.Conn
	name string
	kept map[statement.SHA256]*statement.Statement
}

// flush asks what is recorded, forgets that, and publishes the rest again. It
// returns how much it still keeps.
func (s *spool) flush() int {
	s.t.Helper()
	q := wire.HaveRequest{Version: quorum.Version}
	for id := range s.kept {
		q.Statements = append(q.Statements, id)
	}
	reply := must(s.conn.Request(limit(s.t), must(bus.HaveSubject(s.name))(s.t), must(wire.Encode(&q))(s.t)))(s.t)
	a := must(wire.ParseHaveAnswer(reply))(s.t)
	if len(a.Rejected) > 0 {
		s.t.Fatalf("rejected: %+v", a.Rejected)
	}
	for _, id := range a.Recorded {
		delete(s.kept, id)
	}
	for _, st := range s.kept {
		s.publish(st)
	}
	return len(s.kept)
}

func (s *spool) publish(st *statement.Statement) {
	s.t.Helper()
	s.kept[st.ID()] = st
	must(s.conn.Publish(limit(s.t), must(bus.StatementSubject(st.Channel, s.name))(s.t), bus.MsgID(st.Raw()), st.Raw()))(s.t)
}

// kill -9 at any point loses no statement and counts none twice.
func TestInvariant5NothingLost(t *testing.T) {
	w := newWorld(t)
	rounds, seed := 12, uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	kept := map[string]map[statement.SHA256]*statement.Statement{}
	for _, name := range builders {
		kept[name] = map[statement.SHA256]*statement.Statement{}
	}
	var all []*statement.Statement
	for round := range rounds {
		cmd, url := w.child()
		var spools []*spool
		for _, name := range builders {
			conn := must(bus.Connect(bus.Options{URL: url, Name: name, SeedFile: w.path(name + ".nk"), Logger: quiet(), Timeout: testLimit}))(t)
			spools = append(spools, &spool{t, conn, name, kept[name]})
		}
		for n := rnd.IntN(12); n >= 0; n-- {
			s := spools[rnd.IntN(len(spools))]
			st := build{builder: s.name, target: fmt.Sprintf("pkg:generic/t%d@1", rnd.IntN(6)), nonce: fmt.Sprint(round, n)}.statement(t)
			all = append(all, st)
			s.publish(st)
			if rnd.IntN(3) == 0 {
				s.flush()
			}
		}
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
		for _, s := range spools {
			s.conn.Close()
		}
	}
	w.start()
	for _, name := range builders {
		s := &spool{t, w.as(name), name, kept[name]}
		for s.flush() > 0 {
			w.sync()
		}
	}
	w.sync()
	w.wantAll(all)
	other := w.second()
	check(t, other.Sync(limit(t)))
	w.stop()
	check(t, other.Close())
	wantSame(t, dump(t, w.state()), dump(t, w.path("second")))
}

// wantAll fails unless exactly these statements are recorded, each once.
func (w *world) wantAll(all []*statement.Statement) {
	w.t.Helper()
	seen := map[statement.SHA256]int{}
	for _, target := range w.targets("") {
		for _, s := range w.detail(target.ID).Statements {
			seen[s.ID]++
		}
	}
	for _, s := range all {
		if seen[s.ID()] != 1 {
			w.t.Errorf("statement %s is recorded %d times", s.ID(), seen[s.ID()])
		}
	}
	if len(seen) != len(all) {
		w.t.Errorf("%d statements, want %d", len(seen), len(all))
	}
}

// second starts another coordinator, with its own database, on the same bus.
func (w *world) second() *coordinator.Coordinator {
	w.t.Helper()
	state := w.path("second")
	check(w.t, coordinator.Init(coordinator.InitOptions{State: state, Policy: w.path("policy.toml"), NATS: w.c.BusURL(), Listen: "127.0.0.1:0", Now: time.Now()}))
	for _, name := range []string{"core-key.asc", "coordinator.nk", "users.toml"} {
		check(w.t, os.WriteFile(filepath.Join(state, name), must(os.ReadFile(filepath.Join(w.state(), name)))(w.t), 0o600))
	}
	o := w.options()
	o.State = state
	c := must(coordinator.Start(limit(w.t), o))(w.t)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestTwoCoordinatorsReachTheSameState(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	other := w.second()
	s := w.signer()
	w.publishRaw("carol", "quorate.statements.core.carol", []byte("no statement"))
	w.agree("carol")
	check(t, other.Sync(limit(t)))
	s.answer(s.next(), nil)
	w.publish(build{builder: "dave", files: map[string]string{"hello": "something else"}})
	w.sync()
	check(t, other.Sync(limit(t)))
	w.wantState(quorum.Disputed)
	w.stop()
	check(t, other.Close())
	wantSame(t, dump(t, w.path("second")), dump(t, w.state()))
}

func TestRestartResumesAndRedeliveryChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.start()
	st := w.publish(build{builder: "alice"})
	w.sync()
	before := w.hello()
	w.stop()
	w.start()
	// Under another message id the server stores it again.
	conn := w.as("alice")
	must(conn.Publish(limit(t), "quorate.statements.core.alice", "again", st.Raw()))(t)
	w.agree("bob")
	after := w.hello()
	if len(before.Groups) != 1 || len(after.Groups[0].Members) != 2 {
		t.Errorf("groups %+v", after.Groups)
	}
	if n := len(w.detail(helloID).Statements); n != 2 {
		t.Errorf("%d statements, want 2", n)
	}
	if list := get[rejectedList](w, "/v1/rejected"); len(list.Rejected) != 0 {
		t.Errorf("rejected %+v", list.Rejected)
	}
}

// signedWorld has one signed artifact, one open one and one refused message.
func signedWorld(t *testing.T) *world {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob", "carol")
	s := w.signer()
	s.answer(s.next(), nil)
	w.publish(build{builder: "alice", target: "pkg:generic/other@1"})
	w.publishRaw("bob", "quorate.statements.core.bob", []byte("{"))
	conn := w.as("alice")
	must(conn.Publish(limit(t), "quorate.statements.core.alice", "repeated", build{builder: "alice", at: time.Unix(1700000000, 0)}.statement(t).Raw()))(t)
	w.sync()
	w.wantState(quorum.Signed)
	return w
}

func TestRebuildGivesTheSameProjection(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	want := dump(t, w.state())
	n := must(coordinator.Rebuild(limit(t), w.options()))(t)
	if n < 6 {
		t.Errorf("rebuilt from %d messages", n)
	}
	wantSame(t, dump(t, w.state()), want)
	w.start()
	w.sync()
	w.signer().none() // what was asked before is not asked again
}

// A database that is gone or broken is made again; what a broken one was is kept.
func TestRebuildOfALostDatabase(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	want := dump(t, w.state())
	db := filepath.Join(w.state(), "coordinator.db")
	junk := []byte(strings.Repeat("this is not a database\n", 400))
	for name, damage := range map[string]func(){
		"missing": func() {},
		"damaged": func() { check(t, os.WriteFile(db, junk, 0o600)) },
		"empty":   func() { check(t, os.WriteFile(db, nil, 0o600)) },
	} {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(db + suffix)
		}
		damage()
		_, err := coordinator.Start(limit(t), w.options())
		var ce *coordinator.ConfigError
		if !errors.As(err, &ce) || !strings.Contains(ce.Hint, "coordinator rebuild --state") {
			t.Errorf("%s: got error %v, want one that names rebuild", name, err)
		}
		if n := must(coordinator.Rebuild(limit(t), w.options()))(t); n < 6 {
			t.Errorf("%s: rebuilt from %d messages", name, n)
		}
		wantSame(t, dump(t, w.state()), want)
	}
	aside := must(filepath.Glob(db + ".damaged-*"))(t)
	if len(aside) != 2 {
		t.Errorf("moved aside: %q, want the damaged and the empty one", aside)
	}
	w.start()
	w.sync()
	w.wantState(quorum.Signed)
}

// Damage inside the file shows only when it is read.
func TestRebuildOfADatabaseBrokenInside(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	want := dump(t, w.state())
	db := filepath.Join(w.state(), "coordinator.db")
	data := must(os.ReadFile(db))(t)
	const page = 8192
	for i := 2 * page; i < len(data); i++ { // the schema, in the first pages, stays
		data[i] = 0xff
	}
	check(t, os.WriteFile(db, data, 0o600))
	must(coordinator.Rebuild(limit(t), w.options()))(t)
	wantSame(t, dump(t, w.state()), want)
}

// Whoever finds a coordinator that ended because its disk is full is told that
// nothing is lost.
func TestFullDiskHasAHint(t *testing.T) {
	err := coordinator.ExplainDisk(fmt.Errorf("write: %w", syscall.ENOSPC))
	var de *coordinator.DiskError
	if !errors.As(err, &de) || !strings.Contains(de.Hint, "make room") || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if err := coordinator.ExplainDisk(os.ErrClosed); err != os.ErrClosed {
		t.Errorf("got %v", err)
	}
}

func TestPolicyChangeProjectsAnew(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	// Carol leaves: her vote on the open target goes, the signature stays.
	w.setPolicy(strings.Replace(policyText(t, 2, 3, "", nil), keyText(t, "carol"), keyText(t, "somebody"), 1))
	w.start()
	w.sync()
	a := w.wantState(quorum.Signed)
	if len(a.Signatures) != 1 {
		t.Errorf("signatures %+v", a.Signatures)
	}
	list := get[rejectedList](w, "/v1/rejected")
	if !hasCode(list, statement.CodeBadSignature) {
		t.Errorf("carol's statement still counts: %+v", list.Rejected)
	}
	w.stop()
	w.setPolicy(policyText(t, 1, 3, "", nil))
	w.start()
	w.sync()
	if hasCode(get[rejectedList](w, "/v1/rejected"), statement.CodeBadSignature) {
		t.Error("the old policy does not give the old projection back")
	}
}

func TestStreamThatWentBackStopsTheCoordinator(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	want := dump(t, w.state())
	check(t, os.RemoveAll(filepath.Join(w.state(), "bus")))
	_, err := coordinator.Start(limit(t), w.options())
	wantStreamError(t, err)
	if _, err := coordinator.Rebuild(limit(t), w.options()); err == nil {
		t.Error("rebuild from a stream that lost everything succeeds")
	}
	wantSame(t, dump(t, w.state()), want)

	r := must(coordinator.Reseed(limit(t), w.options()))(t)
	if r.Published < 6 || r.Rebuilt {
		t.Errorf("reseed did %+v", r)
	}
	w.start()
	w.agree("dave")
	w.wantState(quorum.Signed)
	w.stop()
	if r := must(coordinator.Reseed(limit(t), w.options()))(t); r.Published != 0 || r.Rebuilt {
		t.Errorf("a second reseed did %+v", r)
	}
	must(coordinator.Rebuild(limit(t), w.options()))(t)
}

func wantStreamError(t *testing.T, err error) {
	t.Helper()
	se, ok := err.(*coordinator.StreamError)
	if !ok || !strings.Contains(se.Hint, "reseed") {
		t.Fatalf("got error %v, want one that names reseed", err)
	}
}

// The stream was lost, and builders published into the new one meanwhile.
func TestReseedBehindNewMessages(t *testing.T) {
	w := signedWorld(t)
	w.stop()
	check(t, os.RemoveAll(filepath.Join(w.state(), "bus")))
	db := filepath.Join(w.state(), "coordinator.db")
	saved := must(os.ReadFile(db))(t)
	check(t, os.Rename(db, db+".saved"))
	must(store.Create(db))(t).Close()
	w.start()
	w.agree("dave")
	w.stop()
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(db + suffix)
	}
	check(t, os.WriteFile(db, saved, 0o600))

	_, err := coordinator.Start(limit(t), w.options())
	wantStreamError(t, err)
	r := must(coordinator.Reseed(limit(t), w.options()))(t)
	if !r.Rebuilt {
		t.Errorf("reseed did %+v", r)
	}
	w.start()
	w.sync()
	a := w.wantState(quorum.Signed)
	if n := len(a.Groups[0].Members); n != 4 {
		t.Errorf("%d votes, want all 4", n)
	}
}

func TestBackupOfARunningCoordinator(t *testing.T) {
	w := signedWorld(t)
	file := w.path("backup.db")
	check(t, coordinator.Backup(limit(t), w.state(), file))
	if err := coordinator.Backup(limit(t), w.state(), file); err == nil {
		t.Error("a backup overwrites a file")
	}
	db := must(store.Open(file))(t)
	defer db.Close()
	var b strings.Builder
	check(t, db.Dump(&b))
	wantSame(t, b.String(), dump(t, w.state()))
}
