package act_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/internal/acttest"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

const target = "pkg:generic/hello@1"

func valid() act.Act {
	return act.Act{Version: act.Version, Kind: act.Hold, Subject: act.Subject{Channel: "core", Target: target}, Reason: "looks wrong",
		Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Nonce: strings.Repeat("0a", 16)}
}

func TestSignedWithSSHKeygen(t *testing.T) {
	key, a := acttest.NewKey(t), valid()
	s := key.Sign(t, a)
	again, err := act.Parse(s.Raw())
	if err != nil || again.Verify() != nil || again.ID() != s.ID() || again.Act != a {
		t.Errorf("%+v, %v", again, err)
	}
	// Another envelope is the same act.
	spaced, err := act.Parse([]byte(strings.Replace(string(s.Raw()), "{", "{ ", 1)))
	if err != nil || spaced.ID() != s.ID() || spaced.Verify() != nil {
		t.Errorf("%+v, %v", spaced, err)
	}
	wantCode(t, key.SignIn(t, "git", a).Verify(), act.CodeNamespace)
	release := valid()
	release.Kind = act.Release
	forged := acttest.Seal(t, encode(t, release), key.Signature(t, act.Namespace, encode(t, a)))
	wantCode(t, forged.Verify(), statement.CodeBadSignature)
}

func encode(t testing.TB, a act.Act) []byte {
	t.Helper()
	payload, err := act.Encode(&a)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func wantCode(t *testing.T, err error, want statement.Code) {
	t.Helper()
	var e *act.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for name, change := range map[string]func(*act.Act){
		"version":               func(a *act.Act) { a.Version = 2 },
		"kind":                  func(a *act.Act) { a.Kind = "sign" },
		"time":                  func(a *act.Act) { a.Time = time.Time{} },
		"no nonce":              func(a *act.Act) { a.Nonce = "" },
		"short nonce":           func(a *act.Act) { a.Nonce = "0a" },
		"upper nonce":           func(a *act.Act) { a.Nonce = strings.Repeat("0A", 16) },
		"no reason":             func(a *act.Act) { a.Reason = " \n" },
		"long reason":           func(a *act.Act) { a.Reason = strings.Repeat("x", act.MaxReason+1) },
		"zero byte":             func(a *act.Act) { a.Reason = "a\x00b" },
		"no channel":            func(a *act.Act) { a.Channel = "" },
		"wildcard":              func(a *act.Act) { a.Channel, a.Target = "*", "" },
		"target":                func(a *act.Act) { a.Target = "hello" },
		"stage":                 func(a *act.Act) { a.Stage = "a b" },
		"file of nothing":       func(a *act.Act) { a.Target, a.Artifact = "", "hello" },
		"stage alone":           func(a *act.Act) { a.Target, a.Stage = "", "x" },
		"path":                  func(a *act.Act) { a.Artifact = "../hello" },
		"withdraw all":          func(a *act.Act) { a.Kind, a.Target = act.Withdraw, "" },
		"rebuild all":           func(a *act.Act) { a.Kind, a.Target = act.Rebuild, "" },
		"rebuild a file":        func(a *act.Act) { a.Kind, a.Artifact = act.Rebuild, "hello" },
		"builder":               func(a *act.Act) { a.Builder = "alice" },
		"bad builder":           func(a *act.Act) { a.Kind, a.Builder = act.Rebuild, "al ice" },
		"attached to a hold":    func(a *act.Act) { a.Attachment = "x" },
		"attached to a channel": func(a *act.Act) { a.Kind, a.Target, a.Attachment = act.Note, "", "x" },
		"long attachment":       func(a *act.Act) { a.Kind, a.Attachment = act.Note, strings.Repeat("x", act.MaxAttachment+1) },
		"escape":                func(a *act.Act) { a.Kind, a.Attachment = act.Note, "\x1b[2J" },
		"carriage return":       func(a *act.Act) { a.Kind, a.Attachment = act.Note, "a\r\n" },
		"C1 control":            func(a *act.Act) { a.Kind, a.Attachment = act.Note, "\u009b2J" },
		"not UTF-8":             func(a *act.Act) { a.Kind, a.Attachment = act.Note, "\xff" },
		"note after":            func(a *act.Act) { a.Kind, a.After = act.Note, statement.SHA256{1} },
	} {
		a := valid()
		change(&a)
		if _, err := act.Encode(&a); err == nil {
			t.Errorf("%s: was taken", name)
		} else {
			var e *act.Error
			if !errors.As(err, &e) || e.Code != statement.CodeBadField || e.Field == "" {
				t.Errorf("%s: %v names no field", name, err)
			}
		}
	}
	for _, raw := range []string{"", "{}", "[]", `{"version":1,"payload":"e30=","signature":""}`, `{"version":1,"version":1}`,
		`{"version":1,"x":1}`, strings.Repeat(" ", act.MaxSize+1)} {
		if _, err := act.Parse([]byte(raw)); err == nil {
			t.Errorf("%.60q was taken", raw)
		}
	}
}

// What may be attached fits into an act with the longest reason and a large key,
// and comes out as it went in.
func TestAttachment(t *testing.T) {
	a := valid()
	a.Kind, a.Reason = act.Note, strings.Repeat("r", act.MaxReason)
	a.Attachment = "\u05d0 <b>\n\t" + strings.Repeat("x", act.MaxAttachment-8)
	s := acttest.NewKey(t, "-t", "rsa", "-b", "4096").Sign(t, a)
	if again, err := act.Parse(s.Raw()); err != nil || again.Verify() != nil || again.Act != a {
		t.Errorf("%v, %d bytes", err, len(s.Raw()))
	}
	// One that is within its own limit and takes too much in the envelope is
	// refused before it is signed.
	a.Attachment = strings.Repeat("\n", act.MaxAttachment)
	_, err := act.Encode(&a)
	wantCode(t, err, statement.CodeTooLarge)
	// So is one that somebody made by hand.
	payload := strings.Replace(string(encode(t, valid())), `"reason"`, `"attachment":"x","reason"`, 1)
	_, err = act.Seal([]byte(payload), acttest.NewKey(t).Signature(t, act.Namespace, []byte(payload)))
	wantCode(t, err, statement.CodeBadField)
	if !strings.Contains(fmt.Sprint(err), "attachment: ") {
		t.Error(err)
	}
}

func TestCovers(t *testing.T) {
	c := statement.Case{Channel: "core", Target: target}
	for _, x := range []struct {
		s    act.Subject
		want bool
	}{
		{act.Subject{Channel: "core"}, true},
		{act.Subject{Channel: "other"}, false},
		{act.Subject{Channel: "core", Target: target}, true},
		{act.Subject{Channel: "core", Target: target, Stage: "x"}, false},
		{act.Subject{Channel: "core", Target: target + "0"}, false},
		{act.Subject{Channel: "core", Target: target, Artifact: "hello"}, true},
		{act.Subject{Channel: "core", Target: target, Artifact: "bye"}, false},
	} {
		if got := x.s.Covers(c, "hello"); got != x.want {
			t.Errorf("%+v: %t", x.s, got)
		}
	}
}

// history is a record of acts as anybody may have it delivered: with replays, and
// with acts that were signed before others were known.
type history struct {
	taken  []*act.Signed
	chains map[act.Subject]act.Chain
	codes  []statement.Code
}

func run(acts []*act.Signed) history {
	h := history{chains: map[act.Subject]act.Chain{}}
	seen := map[statement.SHA256]bool{}
	for _, a := range acts {
		var e *act.Error
		next, err := h.chains[a.Subject].Next(&a.Act, a.ID())
		switch {
		case seen[a.ID()]:
			h.codes = append(h.codes, act.CodeRepeated)
		case errors.As(err, &e):
			h.codes = append(h.codes, e.Code)
		default:
			h.chains[a.Subject], h.taken = next, append(h.taken, a)
			h.codes = append(h.codes, "")
			seen[a.ID()] = true
		}
	}
	return h
}

// TestChains: whatever acts are signed, and in whatever order and however often
// they are delivered, the record gives one answer; what is delivered again changes
// nothing; and the set of acts that the signer is given says what the chains say.
func TestChains(t *testing.T) {
	armored := acttest.NewKey(t).Signature(t, act.Namespace, encode(t, valid()))
	// The signature plays no part in the order, so one will do for all.
	seal := func(a act.Act) *act.Signed { return acttest.Seal(t, encode(t, a), armored) }
	subjects := []act.Subject{{Channel: "core"}, {Channel: "core", Target: target}, {Channel: "core", Target: target, Artifact: "hello"}}
	rapid.Check(t, func(rt *rapid.T) {
		var record []*act.Signed
		for i := range rapid.IntRange(1, 25).Draw(rt, "length") {
			if len(record) > 0 && rapid.IntRange(0, 3).Draw(rt, "replay") == 0 {
				record = append(record, rapid.SampledFrom(record).Draw(rt, "which"))
				continue
			}
			a := valid()
			a.Nonce = fmt.Sprintf("%032x", i)
			a.Subject = rapid.SampledFrom(subjects).Draw(rt, "subject")
			kinds := []act.Kind{act.Hold, act.Hold, act.Release, act.Release, act.Note, act.Withdraw}
			if a.Target == "" {
				kinds = kinds[:5]
			}
			if a.Kind = rapid.SampledFrom(kinds).Draw(rt, "kind"); a.Kind.Chained() {
				// Mostly the head, sometimes an act that is not the newest any more.
				a.After = run(record).chains[a.Subject].Head
				if len(record) > 0 && rapid.IntRange(0, 3).Draw(rt, "stale") == 0 {
					a.After = rapid.SampledFrom(record).Draw(rt, "after").ID()
				}
			}
			record = append(record, seal(a))
		}
		h := run(record)
		c := statement.Case{Channel: "core", Target: target}
		held := false
		for _, chain := range h.chains {
			held = held || chain.Held || chain.Withdrawn
		}
		standing := ids(act.Standing(h.taken, c, "hello"))
		if (len(standing) > 0) != held {
			rt.Fatalf("chains say %t, the set has %d standing", held, len(standing))
		}
		// Replaying the whole record, or any part of it, changes nothing.
		again := run(append(slices.Clone(record), rapid.Permutation(h.taken).Draw(rt, "replayed")...))
		if !slices.EqualFunc(again.taken, h.taken, func(a, b *act.Signed) bool { return a.ID() == b.ID() }) {
			rt.Fatal("a replay was taken")
		}
		// The signer gets a set: order and repetition do not matter.
		shuffled := append(rapid.Permutation(h.taken).Draw(rt, "set"), h.taken...)
		if !slices.Equal(ids(act.Standing(shuffled, c, "hello")), standing) {
			rt.Fatal("the order of a set changes what stands")
		}
		// Whoever leaves a release out, or slips in an act that the record
		// refused, holds more, never less than the holds in the set.
		for _, a := range h.taken {
			if a.Kind != act.Release {
				continue
			}
			without := slices.DeleteFunc(slices.Clone(h.taken), func(o *act.Signed) bool { return o.ID() == a.ID() })
			if len(act.Standing(without, c, "hello")) < len(standing) {
				rt.Fatal("without a release less is held")
			}
		}
	})
}

func ids(acts []*act.Signed) (out []statement.SHA256) {
	for _, a := range acts {
		out = append(out, a.ID())
	}
	return out
}

func TestChainRules(t *testing.T) {
	hold, release := valid(), valid()
	release.Kind = act.Release
	h1, r1 := statement.SHA256{1}, statement.SHA256{2}
	var c act.Chain
	next := func(a act.Act, after, id statement.SHA256, want statement.Code) {
		t.Helper()
		a.After = after
		got, err := c.Next(&a, id)
		if want != "" {
			wantCode(t, err, want)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		c = got
	}
	none := statement.SHA256{}
	next(release, none, r1, act.CodeNotHeld)
	next(hold, h1, r1, act.CodeOutOfDate)
	next(hold, none, h1, "")
	next(release, none, r1, act.CodeOutOfDate)
	next(release, h1, r1, "")
	next(hold, none, h1, act.CodeOutOfDate)
	next(release, r1, statement.SHA256{3}, act.CodeNotHeld)
	withdraw, note := valid(), valid()
	withdraw.Kind, note.Kind = act.Withdraw, act.Note
	next(withdraw, none, statement.SHA256{4}, "")
	next(withdraw, none, statement.SHA256{5}, act.CodeWithdrawn)
	next(hold, r1, statement.SHA256{6}, act.CodeWithdrawn)
	next(note, none, statement.SHA256{7}, "")
}

func FuzzParse(f *testing.F) {
	f.Add(acttest.NewKey(f).Sign(f, valid()).Raw())
	note := valid()
	note.Kind, note.Attachment = act.Note, "one\n\ttwo \u202e\n"
	f.Add(acttest.NewKey(f).Sign(f, note).Raw())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := act.Parse(data)
		if err != nil {
			return
		}
		if s.Check() != nil {
			t.Error("what was read cannot be written")
		}
		_ = s.Verify()
	})
}
