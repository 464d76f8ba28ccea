package quorum_test

import (
	"strings"
	"testing"
	"time"

	"quorate/internal/acttest"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/internal/corekit"
)

// TestJudgeActs: what is against a signed file is a withdrawal, and a hold that was
// said before the signature and stands.
func TestJudgeActs(t *testing.T) {
	anna, ben, carl := acttest.NewKey(t), acttest.NewKey(t), acttest.NewKey(t)
	p := load(t, staffed(anna, ben))
	req, _ := quorum.ParseRequest([]byte(marshalled(t)))
	before, after := noon.Add(-time.Minute), noon.Add(time.Minute)
	say := func(k acttest.Key, kind act.Kind, at time.Time, follows *act.Signed) *act.Signed {
		a := act.Act{Kind: kind, Subject: subject, Time: at}
		if follows != nil {
			a.After = follows.ID()
		}
		return k.Sign(t, a)
	}
	hold, late := say(anna, act.Hold, before, nil), say(anna, act.Hold, after, nil)
	whole := anna.Sign(t, act.Act{Kind: act.Hold, Subject: act.Subject{Channel: "core"}, Time: before})
	elsewhere := anna.Sign(t, act.Act{Kind: act.Hold, Subject: act.Subject{Channel: "core", Target: corekit.Target, Artifact: "other"}, Time: before})
	released := say(anna, act.Release, after, hold)
	for _, c := range []struct {
		name    string
		acts    []*act.Signed
		against int // how many of them
		bad     int // how many do not count
	}{
		{"none", nil, 0, 0},
		{"hold before", []*act.Signed{hold}, 1, 0},
		{"hold in the second of the signature", []*act.Signed{say(anna, act.Hold, noon, nil)}, 1, 0},
		{"hold of the channel", []*act.Signed{whole}, 1, 0},
		{"hold afterwards", []*act.Signed{late}, 0, 0},
		{"released", []*act.Signed{hold, released}, 0, 0},
		{"the order is nothing", []*act.Signed{released, hold}, 0, 0},
		{"released by somebody else's act", []*act.Signed{hold, say(carl, act.Release, after, hold)}, 1, 1},
		{"released without the right", []*act.Signed{hold, say(ben, act.Release, after, hold)}, 1, 1},
		{"withdrawn before", []*act.Signed{say(anna, act.Withdraw, before, nil)}, 1, 0},
		{"withdrawn afterwards", []*act.Signed{say(anna, act.Withdraw, after, nil)}, 1, 0},
		{"nobody's hold", []*act.Signed{say(carl, act.Hold, before, nil)}, 0, 1},
		{"another file's", []*act.Signed{elsewhere}, 0, 1},
	} {
		b := &quorum.Bundle{Request: req}
		for _, s := range c.acts {
			b.Acts = append(b.Acts, s.Raw())
		}
		against, bad := 0, 0
		for _, a := range b.JudgeActs(p) {
			if a.Against(noon) {
				against++
			}
			if a.Err != nil {
				bad++
			}
			if (a.Err == nil) == (a.By == "") {
				t.Errorf("%s: by %q, %v", c.name, a.By, a.Err)
			}
		}
		if against != c.against || bad != c.bad {
			t.Errorf("%s: %d against the file, %d do not count", c.name, against, bad)
		}
	}
	damaged := &quorum.Bundle{Request: req, Acts: [][]byte{[]byte(strings.Replace(string(hold.Raw()), "A", "B", 3)), nil}}
	for i, a := range damaged.JudgeActs(p) {
		if a.Err == nil || a.Stands {
			t.Errorf("damaged %d counts", i)
		}
	}
}
