package quorum_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// world is a random channel and a random record about file f. It is judged by
// Decide and by an oracle that tries all sets.
type world struct {
	text   string // the policy
	names  []string
	passes func(set uint) bool
	hold   bool
	settle time.Duration
	rec    record
	signed map[string]quorum.Signature
	at     time.Time
}

// drawWorld makes up to six operators in one group, or in two inside of a third.
func drawWorld(t *rapid.T) *world {
	n := rapid.IntRange(1, 6).Draw(t, "operators")
	w := &world{hold: rapid.Bool().Draw(t, "hold"), settle: time.Duration(rapid.IntRange(0, 5).Draw(t, "settle")) * time.Minute}
	for i := range n {
		w.names = append(w.names, fmt.Sprintf("o%d", i))
	}
	groups := w.drawRule(t, n)
	dissent := report
	if w.hold {
		dissent = hold
	}
	w.text = corekit.Head + corekit.Operators(append(w.names, "outsider")...) + groups +
		corekit.Channel("top", dissent, fmt.Sprintf("settle = %q", w.settle), "allow_split = true")
	w.drawRecord(t)
	w.at = noon.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "at")) * time.Minute)
	return w
}

func (w *world) drawRule(t *rapid.T, n int) string {
	count := func(set uint, from, to int) (c int) {
		for i := from; i < to; i++ {
			c += int(set >> i & 1)
		}
		return c
	}
	cut := rapid.IntRange(0, n-1).Draw(t, "cut")
	if cut == 0 {
		need := rapid.IntRange(1, n).Draw(t, "need")
		w.passes = func(set uint) bool { return count(set, 0, n) >= need }
		return corekit.Group("top", fmt.Sprint(need), w.names...)
	}
	a, b := rapid.IntRange(1, cut).Draw(t, "need a"), rapid.IntRange(1, n-cut).Draw(t, "need b")
	top := rapid.IntRange(1, 2).Draw(t, "need top")
	w.passes = func(set uint) bool {
		met := 0
		if count(set, 0, cut) >= a {
			met++
		}
		if count(set, cut, n) >= b {
			met++
		}
		return met >= top
	}
	return corekit.Group("left", fmt.Sprint(a), w.names[:cut]...) + corekit.Group("right", fmt.Sprint(b), w.names[cut:]...) +
		corekit.Group("top", fmt.Sprint(top), "left", "right")
}

func (w *world) drawRecord(t *rapid.T) {
	for range rapid.IntRange(0, 10).Draw(t, "statements") {
		op := rapid.SampledFrom(append(w.names, "outsider")).Draw(t, "operator")
		var o *quorum.Observation
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			o = w.rec.add(op, statement.Failed)
		case 1:
			o = w.rec.add(op, statement.Withdrawn)
		case 2:
			o = w.rec.add(op, "", file("other", 1))
		default:
			f := file("f", byte(rapid.IntRange(1, 2).Draw(t, "digest")))
			f.SHA512 = rapid.SampledFrom([]statement.SHA512{f.SHA512, f.SHA512, f.SHA512, sum512(7), {}}).Draw(t, "sha512")
			o = w.rec.add(op, "", f)
		}
		if rapid.IntRange(0, 9).Draw(t, "revoked") == 0 {
			o.Revoked = noon.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "when")) * time.Minute)
		}
	}
}

func (w *world) drawSignature(t *rapid.T) {
	w.signed = map[string]quorum.Signature{"f": {SHA256: digest(1), SHA512: sum512(1),
		Seq: uint64(rapid.IntRange(0, 11).Draw(t, "signature")), Complete: rapid.Bool().Draw(t, "complete")}}
}

// vote is what an operator last said of f that counts.
type vote struct {
	d  statement.SHA256
	s  statement.SHA512
	at time.Time
}

// tallied is the oracle's own count.
type tallied struct {
	votes     map[int]vote
	withdrawn bool         // somebody took a vote on f back
	late      map[int]bool // operators that dissent from the signature
	undone    map[int]bool // voted for the signed digest, and no longer when it was recorded
}

// count walks the record once, as the documentation says it.
func (w *world) count() tallied {
	c := tallied{votes: map[int]vote{}, late: map[int]bool{}, undone: map[int]bool{}}
	sig, isSigned := w.signed["f"]
	for _, o := range w.rec {
		op := slices.Index(w.names, o.Operator)
		if op < 0 || !o.Revoked.IsZero() && !w.at.Before(o.Revoked) {
			continue
		}
		old, had := c.votes[op]
		after := isSigned && o.Seq > sig.Seq
		switch {
		case o.Status == statement.Withdrawn && after:
			if had && old.d == sig.SHA256 {
				c.late[op] = true
			}
		case o.Status == statement.Withdrawn && had:
			c.withdrawn = true
			c.undone[op] = c.undone[op] || isSigned && old.d == sig.SHA256
			delete(c.votes, op)
		case o.Status != "" || o.Files[0].Name != "f":
		case after:
			c.after(op, o, sig)
		case had && old.d == o.Files[0].SHA256 && old.s == o.Files[0].SHA512:
		default:
			c.undone[op] = c.undone[op] || had && isSigned && old.d == sig.SHA256 && o.Files[0].SHA256 != sig.SHA256
			c.votes[op] = vote{o.Files[0].SHA256, o.Files[0].SHA512, o.Received}
		}
	}
	return c
}

func (c *tallied) after(op int, o quorum.Observation, sig quorum.Signature) {
	f := o.Files[0]
	if f.SHA256 != sig.SHA256 || f.SHA512 != sig.SHA512 && f.SHA512 != (statement.SHA512{}) {
		c.late[op] = true
		return
	}
	if old, had := c.votes[op]; !had || old.d != f.SHA256 {
		c.votes[op] = vote{f.SHA256, f.SHA512, o.Received}
	}
}

// set is who votes for the digest, with that SHA-512 unless it is nil.
func (c *tallied) set(d statement.SHA256, s *statement.SHA512) (set uint) {
	for op, v := range c.votes {
		if v.d == d && (s == nil || v.s == *s) {
			set |= 1 << op
		}
	}
	return set
}

// carried finds the SHA-512 digests that pass by themselves.
func (w *world) carried(c *tallied, d statement.SHA256) (out []statement.SHA512) {
	for _, b := range []byte{1, 2, 7} {
		if s := sum512(b); w.passes(c.set(d, &s)) {
			out = append(out, s)
		}
	}
	return out
}

// state is the oracle for a file without a signature.
func (w *world) state() quorum.State {
	c := w.count()
	var passing []statement.SHA256
	digests := map[statement.SHA256]bool{}
	for _, v := range c.votes {
		digests[v.d] = true
	}
	for d := range digests {
		if w.passes(c.set(d, nil)) {
			passing = append(passing, d)
		}
	}
	switch {
	case len(passing) > 1:
		return quorum.Conflicting
	case len(passing) == 1:
		return w.passed(&c, passing[0])
	case len(digests) == 0 && c.withdrawn:
		return quorum.Withdrawn
	case !w.open(&c, digests):
		return quorum.Unreachable
	case len(digests) > 1:
		return quorum.Conflicting
	}
	return quorum.Waiting
}

func (w *world) passed(c *tallied, d statement.SHA256) quorum.State {
	sums := w.carried(c, d)
	if len(sums) != 1 {
		return quorum.Conflicting
	}
	for _, v := range c.votes {
		if w.hold && (v.d != d || v.s != sums[0] && v.s != (statement.SHA512{})) {
			return quorum.Held
		}
	}
	// The quorum was complete at the earliest time at which the votes until then pass.
	since := time.Time{}
	for _, last := range c.votes {
		var set uint
		for op, v := range c.votes {
			if v.d == d && v.s == sums[0] && !v.at.After(last.at) {
				set |= 1 << op
			}
		}
		if w.passes(set) && (since.IsZero() || last.at.Before(since)) {
			since = last.at
		}
	}
	if w.settle > 0 && w.at.Before(since.Add(w.settle)) {
		return quorum.Held
	}
	return quorum.Agreed
}

// open tries every set of operators without a vote on every digest, also a new one.
func (w *world) open(c *tallied, digests map[statement.SHA256]bool) bool {
	for add := range uint(1) << len(w.names) {
		free := true
		for op := range c.votes {
			free = free && add>>op&1 == 0
		}
		if !free {
			continue
		}
		if w.passes(add) {
			return true
		}
		for d := range digests {
			if w.passes(c.set(d, nil) | add) {
				return true
			}
		}
	}
	return false
}

// signedState is the oracle for a file with a signature over digest 1.
func (w *world) signedState() quorum.State {
	c := w.count()
	sig := w.signed["f"]
	// What stood when the signature was recorded.
	then := *w
	then.rec = nil
	for _, o := range w.rec {
		if o.Seq <= sig.Seq {
			then.rec = append(then.rec, o)
		}
	}
	before := then.count()
	for op := range w.names {
		v, voted := before.votes[op]
		if voted && v.d == sig.SHA256 {
			continue
		}
		if voted && w.hold || before.undone[op] && !w.passes(before.set(sig.SHA256, nil)) {
			c.late[op] = true
		}
	}
	sums := w.carried(&c, sig.SHA256)
	switch {
	case len(c.late) > 0:
		return quorum.Disputed
	case sig.Complete:
		return quorum.Signed
	case w.passes(c.set(sig.SHA256, nil)) && len(sums) == 1 && sums[0] == sig.SHA512:
		return quorum.Agreed
	}
	return quorum.Waiting
}
