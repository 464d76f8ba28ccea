package coordinator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"quorate/coordinator"
	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// flood has dave vote for one digest after the other.
func (w *world) flood(n int) {
	w.t.Helper()
	conn := w.as("dave")
	for i := range n {
		st := build{builder: "dave", files: map[string]string{"hello": fmt.Sprint(i)}}.statement(w.t)
		must(conn.Publish(limit(w.t), "quorate.statements.core.dave", bus.MsgID(st.Raw()), st.Raw()))(w.t)
	}
	w.sync()
}

// A key that changes its mind again and again makes neither verdicts nor alarms grow.
func TestChangingVotesDoNotAddUp(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.flood(20)
	a := w.hello()
	if len(a.Changed) != 2 || a.Changed[0].From != digest("0") || a.Changed[1].To != digest("19") || a.Changed[1].More != 17 {
		t.Errorf("changed %+v", a.Changed)
	}

	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	w.sync()
	w.flood(20)
	a = w.wantState(quorum.Disputed)
	if len(a.Late) != 1 || a.Late[0].SHA256 != digest("0") || a.Late[0].More != 19 {
		t.Errorf("late %+v", a.Late)
	}
	if n := w.alarms(); n != 1 {
		t.Errorf("%d alarms, want one for the operator and file", n)
	}
}

// Whoever may raise alarms can use up a message id that can be guessed. The alarm
// must be in the stream all the same.
func TestAlarmIsNotSuppressed(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	w.sync()
	w.publish(build{builder: "dave", files: map[string]string{"hello": "other"}})
	id := alarmID("late-dissent", "core", r.Target, "", "hello", "dave")
	must(w.as("coordinator").Publish(limit(t), "quorate.alarms.nobody-reads", id, []byte("{}")))(t)
	w.sync()
	w.wantState(quorum.Disputed)
	w.wantAlarm("late-dissent")
}

// alarmID is how the coordinator names an alarm in its database.
func alarmID(parts ...string) string {
	var b strings.Builder
	for _, s := range parts {
		fmt.Fprintf(&b, "%d:%s\n", len(s), s)
	}
	return digest(b.String()).String()
}

// A builder votes for a signed file under hundreds of other names. Whoever asks by
// the digest still finds the file.
func TestSignedFileStaysOnTheListOfItsDigest(t *testing.T) {
	w, s, r, _ := agreedWorld(t)
	s.answer(r, nil)
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("a%d", i)] = "hello, world"
	}
	for i := range 2 {
		w.publish(build{builder: "dave", target: before(helloID, i), files: files})
	}
	w.publish(build{builder: "dave", target: before(helloID, 2)})
	w.sync()
	path := "/v1/artifacts/" + digest("hello, world").String()
	list := get[api.Artifacts](w, path).Artifacts
	if len(list) != 500 || list[0].TargetID != helloID || list[0].State != quorum.Signed {
		t.Errorf("%d artifacts, first %s of %s", len(list), list[0].Artifact, list[0].Target)
	}
	for query, want := range map[string]int{"name=hello": 2, "name=a7": 2, "target=" + r.Target: 1, "channel=core&name=hello&stage=": 2} {
		if n := len(get[api.Artifacts](w, path+"?"+query).Artifacts); n != want {
			t.Errorf("%s: %d artifacts, want %d", query, n, want)
		}
	}
	for _, query := range []string{"channel=other", "stage=x", "name=b"} {
		if status, _ := w.fetch(path + "?" + query); status != 404 {
			t.Errorf("%s: status %d", query, status)
		}
	}
}

// before makes up the i-th target whose id comes before another one.
func before(id string, i int) string {
	for n := 0; ; n++ {
		target := fmt.Sprintf("pkg:generic/junk@%d", n)
		if store.NewCaseID(statement.Case{Channel: "core", Target: target}).String() > id {
			continue
		}
		if i--; i < 0 {
			return target
		}
	}
}

// A reason that breaks off inside of a character must not make the list of
// refused messages, and every receipt, unreadable.
func TestRejectedIsReadableWhateverWasSent(t *testing.T) {
	w := newWorld(t)
	w.start()
	conn := w.as("dave")
	payload := payloadOf(t, build{builder: "dave"}.statement(t).Raw())
	q := wire.HaveRequest{Version: quorum.Version}
	for off := range 2 {
		name := strings.Repeat("x", off) + strings.Repeat("é", 100)
		raw := sealed(t, "dave", statement.PayloadType, strings.Replace(payload, `"buildType"`, `"resolvedDependencies":[{"annotations":{"`+name+`":5}}],"buildType"`, 1))
		q.Statements = append(q.Statements, statement.ID(raw))
		must(conn.JS().Publish(limit(t), "quorate.statements.core.dave", raw))(t)
	}
	must(conn.JS().Publish(limit(t), "quorate.statements.\xff\x1b[2J.dave", []byte("x")))(t)
	w.sync()
	if n := len(get[rejectedList](w, "/v1/rejected").Rejected); n != 3 {
		t.Errorf("%d rejected", n)
	}
	reply := must(conn.Request(limit(t), "quorate.have.dave", must(wire.Encode(&q))(t)))(t)
	if a := must(wire.ParseHaveAnswer(reply))(t); len(a.Rejected) != 2 {
		t.Errorf("receipt %s", reply)
	}
}

func TestReceiptQuestionIsBounded(t *testing.T) {
	w := newWorld(t)
	w.start()
	st := w.publish(build{builder: "alice"})
	w.sync()
	q := wire.HaveRequest{Version: quorum.Version, Statements: []statement.SHA256{st.ID()}}
	for i := range wire.MaxHaveIDs - 1 {
		q.Statements = append(q.Statements, digest(fmt.Sprint(i)))
	}
	reply := must(w.as("alice").Request(limit(t), "quorate.have.alice", must(wire.Encode(&q))(t)))(t)
	if a := must(wire.ParseHaveAnswer(reply))(t); !slices.Equal(a.Recorded, q.Statements[:1]) {
		t.Errorf("recorded %v", a.Recorded)
	}
	q.Statements = append(q.Statements, digest("one more"))
	if _, err := wire.ParseHaveRequest(must(wire.Encode(&q))(t)); err == nil {
		t.Error("a question without bound is answered")
	}
}

// What one key says about one target is bounded, in each way and by whoever it
// comes: a decision reads all of it.
func TestWhatABuilderSaysOfATargetIsBounded(t *testing.T) {
	for _, c := range []struct {
		name         string
		count, bytes int
	}{{"statements", 3, 1 << 20}, {"votes", 1000, 3 * 102}} {
		t.Run(c.name, func(t *testing.T) {
			coordinator.BoundSaid(t, c.count, c.bytes, 100)
			w := foreignWorld(t)
			w.start()
			for i := range 5 {
				w.publish(build{builder: "dave", target: "pkg:generic/hello", files: map[string]string{"hello": fmt.Sprint(i)}})
			}
			w.bring("gather", found(t, envelope("dave", "hello", "more"), nil))
			for _, name := range []string{"alice", "bob", "carol"} { // others are heard
				w.publish(build{builder: name, target: "pkg:generic/hello"})
			}
			w.publish(build{builder: "dave"}) // and dave is, about others
			want := []statement.Code{"too-many", "too-many", "too-many"}
			if got := w.rejectedCodes(); !slices.Equal(got, want) {
				t.Errorf("rejected %q, want %q", got, want)
			}
			a := w.artifact("pkg:generic/hello")
			if len(a.Groups) != 2 || len(a.Groups[0].Members) != 3 || a.Groups[1].SHA256 != digest("2") {
				t.Errorf("groups %+v", a.Groups)
			}
			if n := len(w.hello().Groups); n != 1 {
				t.Errorf("%d groups of the other target", n)
			}
			// The record says the same when it is projected anew, in one batch.
			w.setPolicy(policyText(t, 2, 3, "", nil))
			w.stop()
			w.start()
			if got := w.rejectedCodes(); !slices.Equal(got, want) {
				t.Errorf("projected anew: rejected %q, want %q", got, want)
			}
		})
	}
}

// Each name has a verdict that is stored, told and shown. One key that makes up names
// makes no more of them than a large target has.
func TestHowManyFilesABuilderNamesIsBounded(t *testing.T) {
	coordinator.BoundSaid(t, 1000, 1<<20, 3)
	w := newWorld(t)
	w.start()
	for _, names := range [][]string{{"hello", "a"}, {"hello", "a"}, {"b"}, {"a", "b", "c"}, {"hello", "b"}} {
		files := map[string]string{}
		for _, name := range names {
			files[name] = "x"
		}
		w.publish(build{builder: "dave", files: files, nonce: fmt.Sprint(names)})
	}
	w.publish(build{builder: "alice", files: map[string]string{"hello": "x", "c": "x", "d": "x"}})
	want := []statement.Code{"too-many"}
	if got := w.rejectedCodes(); !slices.Equal(got, want) {
		t.Errorf("rejected %q, want %q", got, want)
	}
	names := []string{}
	for _, a := range get[api.TargetDetail](w, "/v1/targets/"+helloID).Artifacts {
		names = append(names, a.Artifact)
	}
	if want := []string{"a", "b", "c", "d", "hello"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	w.setPolicy(policyText(t, 2, 3, "", nil))
	w.stop()
	w.start()
	if got := w.rejectedCodes(); !slices.Equal(got, want) {
		t.Errorf("projected anew: rejected %q, want %q", got, want)
	}
}
