package coordinator_test

import (
	"strings"
	"testing"

	"quorate/internal/api"
	"quorate/internal/wire"
	"quorate/quorum/act"
)

// What a maintainer says of a whole target asks no builder for a file without a name.
func TestActsAskForNoFiles(t *testing.T) {
	s := newStaffed(t)
	s.keepFiles(hour)
	s.start()
	s.differ("one", "two")
	s.askedFor("carol")
	s.do(act.Note, onHello, nil)
	s.sync()
	// What is asked for the second one is published after all that the note led to;
	// asked fails at a request that cannot be read.
	for _, target := range []string{"pkg:generic/second@1", "pkg:generic/third@1"} {
		for builder, content := range map[string]string{"alice": "one", "carol": target} {
			s.publish(build{builder: builder, target: target, files: map[string]string{"hello": content}})
		}
		s.sync()
		for s.askedFor("carol").Target != target {
		}
	}
}

// A log that is here is no file that nobody wants when the coordinator reads what
// builders sent once more.
func TestKeptLogsAreNotRefusedAfterARestart(t *testing.T) {
	w := newWorld(t)
	w.keepFiles(hour)
	w.start()
	w.fails("dave", "error")
	w.asked(wire.KindLog, "dave")
	w.upload("dave", digest("error"), []byte("error"))
	w.wantLog("dave", api.LogKept)
	w.stop()
	w.start()
	w.differ("one", "two")
	w.askedFor("carol")
	w.upload("carol", digest("two"), []byte("two"))
	w.uploads("kept", 1)
	if _, body := w.fetch("/metrics"); strings.Contains(string(body), `quorate_uploads_total{result="refused"}`) {
		t.Error("the log was refused as a file")
	}
}
