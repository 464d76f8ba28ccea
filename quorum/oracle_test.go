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
	sha512 bool // a signature is made from it
	texts  bool // and another one from the text
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
	w.drawOutputs(t)
	w.drawRecord(t)
	w.at = noon.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "at")) * time.Minute)
	return w
}

func (w *world) drawOutputs(t *rapid.T) {
	outputs := map[string]string{"sha512": pgp, "text": cleartext, "both": pgp + "," + cleartext, "none": sums}
	kind := rapid.SampledFrom([]string{"sha512", "sha512", "text", "both", "both", "none"}).Draw(t, "outputs")
	w.sha512, w.texts = kind == "sha512" || kind == "both", kind == "text" || kind == "both"
	w.text = signing(w.text, outputs[kind])
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
			f.Signables = rapid.SampledFrom([][]quorum.SignableDigest{textSignable(1), textSignable(1), textSignable(2), nil}).Draw(t, "text")
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
	t  statement.SHA256 // zero: none, or nobody signs it
	at time.Time
}

// tallied is the oracle's own count.
type tallied struct {
	votes     map[int]vote
	signs512  bool
	withdrawn bool         // somebody took a vote on f back
	signed    *variant     // what the votes before the signature agree on besides
	late      map[int]bool // operators that dissent from the signature
	undone    map[int]bool // voted for the signed digest, and no longer when it was recorded
}

// count walks the record once, as the documentation says it.
func (w *world) count() tallied {
	c := tallied{signs512: w.sha512, votes: map[int]vote{}, late: map[int]bool{}, undone: map[int]bool{}}
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
			if c.signed == nil {
				c.signed = &variant{}
				if all := w.variants(&c, sig.SHA256); len(all) == 1 {
					c.signed = &all[0]
				}
			}
			c.after(op, w.vote(o), sig)
		case had && (old.sameAs(w.vote(o)) || old.d == o.Files[0].SHA256 && old.s != statement.SHA512{} && o.Files[0].SHA512 == statement.SHA512{}):
		default:
			c.undone[op] = c.undone[op] || had && isSigned && old.d == sig.SHA256 && o.Files[0].SHA256 != sig.SHA256
			c.votes[op] = w.vote(o)
		}
	}
	return c
}

func (w *world) vote(o quorum.Observation) vote {
	f := o.Files[0]
	v := vote{d: f.SHA256, s: f.SHA512, at: o.Received}
	if w.texts && len(f.Signables) > 0 {
		v.t = f.Signables[0].SHA256
	}
	return v
}

func (v vote) sameAs(o vote) bool { return v.d == o.d && v.s == o.s && v.t == o.t }

func (c *tallied) after(op int, v vote, sig quorum.Signature) {
	var none statement.SHA256
	if v.d != sig.SHA256 || v.s != sig.SHA512 && v.s != (statement.SHA512{}) ||
		c.signed.t != nil && v.t != none && v.t != *c.signed.t {
		c.late[op] = true
		return
	}
	old, had := c.votes[op]
	lacks := c.signs512 && v.s == statement.SHA512{}
	if !had || old.d != v.d || old.s == v.s && !lacks && old.t == none && v.t != none {
		c.votes[op] = v
	}
}

// variant is what a signature needs besides the SHA-256; nil: nothing of the kind.
type variant struct {
	s *statement.SHA512
	t *statement.SHA256
}

// set is who votes for the digest and the variant.
func (c *tallied) set(d statement.SHA256, x variant) (set uint) {
	for op, v := range c.votes {
		if v.d == d && (x.s == nil || v.s == *x.s) && (x.t == nil || v.t == *x.t) {
			set |= 1 << op
		}
	}
	return set
}

// possible lists what the votes could agree on besides.
func (w *world) possible() (out []variant) {
	sums, texts := []*statement.SHA512{nil}, []*statement.SHA256{nil}
	if w.sha512 {
		a, b, c := sum512(1), sum512(2), sum512(7)
		sums = []*statement.SHA512{&a, &b, &c}
	}
	if w.texts {
		a, b := textSignable(1)[0].SHA256, textSignable(2)[0].SHA256
		texts = []*statement.SHA256{&a, &b}
	}
	for _, s := range sums {
		for _, t := range texts {
			out = append(out, variant{s, t})
		}
	}
	return out
}

// variants finds those that pass by themselves.
func (w *world) variants(c *tallied, d statement.SHA256) (out []variant) {
	for _, x := range w.possible() {
		if w.passes(c.set(d, x)) {
			out = append(out, x)
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
		if w.passes(c.set(d, variant{})) {
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
	all := w.variants(c, d)
	if len(all) != 1 {
		return w.uncarried(c, d)
	}
	x := all[0]
	for _, v := range c.votes {
		if w.hold && (v.d != d || x.s != nil && v.s != *x.s && v.s != (statement.SHA512{}) ||
			x.t != nil && v.t != *x.t && v.t != (statement.SHA256{})) {
			return quorum.Held
		}
	}
	// The quorum was complete at the earliest time at which the votes until then pass.
	since := time.Time{}
	for _, last := range c.votes {
		var set uint
		for op, v := range c.votes {
			if v.d == d && (x.s == nil || v.s == *x.s) && (x.t == nil || v.t == *x.t) && !v.at.After(last.at) {
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

// uncarried is for a digest that passes while nothing that can be signed does: one
// waits for the text only if nobody contradicts and somebody can still give it.
func (w *world) uncarried(c *tallied, d statement.SHA256) quorum.State {
	texts, free := map[statement.SHA256]bool{}, uint(0)
	for op := range w.names {
		v, voted := c.votes[op]
		if voted && v.d == d && v.t != (statement.SHA256{}) {
			texts[v.t] = true
		}
		if !voted || v.d == d && (v.t == statement.SHA256{} || w.sha512 && v.s == statement.SHA512{}) {
			free |= 1 << op
		}
	}
	sums := 0
	for _, b := range []byte{1, 2, 7} {
		if s := sum512(b); w.passes(c.set(d, variant{s: &s})) {
			sums++
		}
	}
	if w.sha512 && sums != 1 || len(texts) > 1 {
		return quorum.Conflicting
	}
	for _, x := range w.possible() {
		if w.passes(c.set(d, x) | free) {
			return quorum.Waiting
		}
	}
	return quorum.Conflicting
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
			if w.passes(c.set(d, variant{}) | add) {
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
		if voted && w.hold || before.undone[op] && !w.passes(before.set(sig.SHA256, variant{})) {
			c.late[op] = true
		}
	}
	all := w.variants(&c, sig.SHA256)
	switch {
	case len(c.late) > 0:
		return quorum.Disputed
	case sig.Complete:
		return quorum.Signed
	case len(all) == 1 && (all[0].s == nil || *all[0].s == sig.SHA512):
		return quorum.Agreed
	}
	return quorum.Waiting
}
