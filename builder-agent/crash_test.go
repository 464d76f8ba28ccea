package builderagent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	builderagent "quorate/builder-agent"
	"quorate/quorum/statement"
)

// The build's output differs from run to run, so a second build would show as a
// second statement.
const differs = `mkdir out; cat /proc/sys/kernel/random/uuid > out/artifact`

// An agent is killed after each step of a job and of a delivery. Whatever was
// done by then, in the end there is one statement, with one set of bytes.
func TestKilledAnywhereGivesOneStatement(t *testing.T) {
	for _, step := range []string{"started", "built", "recorded", "spooled", "marked", "acked", "published", "answered"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			k := newKit(t)
			k.startBus()
			k.configure(differs, "")
			k.serve()
			k.request("job-1", nil)

			killed(t, k.process(step))
			before := k.known()
			k.start(builderagent.Options{})
			st := k.one()
			for id := range before {
				if id != st.ID().String() {
					t.Errorf("statement %s from before the crash became %s", id, st.ID())
				}
			}
			if n := k.count("work", "*"); n != 0 {
				t.Errorf("%d build directories left", n)
			}
			kept := must(os.ReadFile(filepath.Join(k.state(), "builds/job-1/out/artifact")))(t)
			if uint64(len(kept)) != st.Artifacts[0].Size {
				t.Error("kept output is not what was voted on")
			}
		})
	}
}

// one waits until everything has come to rest, and returns the only statement
// that came of it. The jobs are waited for first: one that comes back could be
// built once more.
func (k *kit) one() *statement.Statement {
	k.t.Helper()
	k.settledJobs()
	until(k.t, "no statement waits", func() bool { return k.spooled() == 0 })
	if n := k.sent(); n != 1 {
		k.t.Errorf("%d statements, want 1", n)
	}
	return k.only()
}

// known lists the statements that are on the disk or in the record.
func (k *kit) known() map[string]bool {
	ids := map[string]bool{}
	for _, dir := range []string{"spool", "spool/sent"} {
		files := must(filepath.Glob(filepath.Join(k.state(), dir, "*.json")))(k.t)
		for _, f := range files {
			name := filepath.Base(f)
			ids[name[len(name)-len(".json")-64:len(name)-len(".json")]] = true
		}
	}
	return ids
}

// Killed in the middle of a build: what it had started is gone, and the next
// agent builds.
func TestKilledWhileBuilding(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	pipe, allDead := fifo(t)
	began := filepath.Join(t.TempDir(), "began")
	mkfifo(t, began)
	// The first build hangs with a child in its group and one in a session of
	// its own; the second one finds the mark and is quick.
	k.configure(fmt.Sprintf(`
if [ -e %[1]s.done ]; then %[3]s; exit; fi
touch %[1]s.done
exec 3>%[2]s
sleep 1000 &
setsid sleep 1000 &
echo began > %[1]s
wait
`, began, pipe, differs), "")
	k.request("job-1", nil)
	cmd := k.process("never")
	must(os.ReadFile(began))(t) // returns when the build has come that far
	check(t, cmd.Process.Kill())
	killed(t, cmd)
	k.start(builderagent.Options{})
	allDead()
	if st := k.one(); !st.IsVote() {
		t.Errorf("statement is %s: %s", st.Status, st.Reason)
	}
}

// An agent that is asked to stop does not answer for the job: it comes back.
func TestStoppedWhileBuilding(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	pipe, allDead := fifo(t)
	began := filepath.Join(t.TempDir(), "began")
	mkfifo(t, began)
	k.configure(fmt.Sprintf(`
if [ -e %[1]s.done ]; then %[3]s; exit; fi
touch %[1]s.done
exec 3>%[2]s
sleep 1000 &
trap 'echo asked >&3' TERM
echo began > %[1]s
wait
`, began, pipe, differs), "")
	k.request("job-1", nil)
	stop := k.start(builderagent.Options{})
	must(os.ReadFile(began))(t)
	stop()
	if got := allDead(); got != "asked\n" {
		t.Errorf("build was not asked to end: %q", got)
	}
	if n := k.count("jobs", "*") + k.spooled() + k.count("work", "*"); n != 0 {
		t.Errorf("%d files left of a job that is not done", n)
	}
	k.start(builderagent.Options{})
	k.one()
}

// The same job under the same id, published again by whoever asked, is done once.
func TestSameJobAgainIsAcknowledged(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.configure(differs, "")
	k.request("job-1", nil)
	k.start(builderagent.Options{})
	k.confirmed(1)
	k.settledJobs()
	k.request("job-1", nil) // another message: its time differs
	k.one()
}
