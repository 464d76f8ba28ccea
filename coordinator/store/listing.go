package store

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
)

// Listing is what lists and counters need to know of a case.
type Listing struct {
	First     uint64    // sequence of its first statement in the record
	Since     time.Time // when that arrived
	Artifacts []string
	Builders  map[string]BuilderCounts
}

// BuilderCounts is what one builder has said, about one case or about all.
type BuilderCounts struct {
	Statements int       `json:"s,omitzero"`
	Failed     int       `json:"f,omitzero"` // statements that are no vote, those that withdraw left aside
	Votes      int       `json:"v,omitzero"` // files that its latest vote counts on
	Agreed     int       `json:"a,omitzero"` // of these: the digest is the one that was agreed on
	Differed   int       `json:"d,omitzero"` // of these: another digest was agreed on
	Changed    int       `json:"c,omitzero"` // times it gave a file a second digest
	Last       time.Time `json:"-"`          // when its newest statement arrived
}

func (b BuilderCounts) minus(o BuilderCounts) BuilderCounts {
	return BuilderCounts{b.Statements - o.Statements, b.Failed - o.Failed, b.Votes - o.Votes, b.Agreed - o.Agreed, b.Differed - o.Differed, b.Changed - o.Changed, b.Last}
}

func (b BuilderCounts) plus(o BuilderCounts) BuilderCounts {
	last := b.Last
	if o.Last.After(last) {
		last = o.Last
	}
	sum := b.minus(BuilderCounts{}.minus(o))
	sum.Last = last
	return sum
}

// Kinds of terms.
const (
	termChannel      = "channel"
	termState        = "state"
	termChannelState = "channel-state"
	termBuilder      = "builder"
	termDiffers      = "differs" // builder, where another digest was agreed on
	termChanged      = "changed" // builder, where it changed a vote
	termArtifact     = "artifact"
)

// term is the number of a term: the first bytes of a SHA-256. Whoever finds two
// names with one number has a target listed under both, and no more than that.
func term(kind string, values ...string) int64 {
	h := sha256.New()
	for _, s := range append(values, kind) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(s)))
		h.Write([]byte(s))
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// posted is what a case has added to the tables of lists and counters.
type posted struct {
	Terms    []int64                  `json:"t"`
	Channel  string                   `json:"c"`
	Counts   map[quorum.State]int     `json:"n"`
	Builders map[string]BuilderCounts `json:"b"`
}

func newPosted(c Case, s *Summary) posted {
	p := posted{Channel: c.Channel, Counts: s.Counts, Builders: s.Builders}
	add := func(kind string, values ...string) { p.Terms = append(p.Terms, term(kind, values...)) }
	add(termChannel, c.Channel)
	states := slices.Collect(maps.Keys(s.Counts))
	for _, state := range append(states, s.State) {
		add(termState, string(state))
		add(termChannelState, c.Channel, string(state))
	}
	for name, b := range s.Builders {
		add(termBuilder, name)
		if b.Differed > 0 {
			add(termDiffers, name)
		}
		if b.Changed > 0 {
			add(termChanged, name)
		}
	}
	for _, name := range s.Artifacts {
		add(termArtifact, name)
	}
	slices.Sort(p.Terms)
	p.Terms = slices.Compact(p.Terms)
	return p
}

// atOneSequence is how many cases one message of the record can be the first about.
const atOneSequence = 1 << 16

// list brings lists and counters up to what a case is now.
func (tx *Tx) list(c Case, s *Summary) error {
	n, old, err := tx.listed(c.ID)
	if err != nil {
		return err
	}
	if n != 0 && uint64(n)/atOneSequence != s.First {
		if err := tx.unlist(c.ID); err != nil { // the policy admits other statements than before
			return err
		}
		n, old = 0, posted{}
	}
	p := newPosted(c, s)
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return err
	}
	if n == 0 {
		if n, err = tx.addListed(c, s, body); err != nil {
			return err
		}
	} else if err := tx.exec("UPDATE listed SET posted = ? WHERE n = ?", body, n); err != nil {
		return err
	}
	return tx.repost(n, old, p)
}

func (tx *Tx) listed(id CaseID) (n int64, p posted, err error) {
	var body []byte
	err = one(tx, []any{&n, &body}, "SELECT n, posted FROM listed WHERE case_id = ?", id[:])
	if errors.Is(err, ErrNotFound) {
		return 0, p, nil
	}
	if err != nil {
		return 0, p, err
	}
	return n, p, json.Unmarshal(body, &p)
}

func (tx *Tx) addListed(c Case, s *Summary, body []byte) (n int64, err error) {
	first := int64(s.First) * atOneSequence
	err = one(tx, []any{&n}, "SELECT coalesce(max(n) + 1, ?1) FROM listed WHERE n >= ?1 AND n < ?2", first, first+atOneSequence)
	if err != nil {
		return 0, err
	}
	if err := tx.exec("INSERT INTO listed (n, case_id, since, posted) VALUES (?, ?, ?, ?)", n, c.ID[:], nanos(s.Since), body); err != nil {
		return 0, err
	}
	return n, tx.exec("INSERT INTO listed_text (rowid, target) VALUES (?, ?)", n, c.Target)
}

// unlist takes a case out of lists and counters.
func (tx *Tx) unlist(id CaseID) error {
	n, old, err := tx.listed(id)
	if err != nil || n == 0 {
		return err
	}
	if err := tx.repost(n, old, posted{Channel: old.Channel}); err != nil {
		return err
	}
	if err := tx.exec("DELETE FROM listed_text WHERE rowid = ?", n); err != nil {
		return err
	}
	return tx.exec("DELETE FROM listed WHERE n = ?", n)
}

// repost writes the difference between two states of a case.
func (tx *Tx) repost(n int64, old, now posted) error {
	for _, t := range now.Terms {
		if _, had := slices.BinarySearch(old.Terms, t); had {
			continue
		}
		if err := tx.exec("INSERT INTO posting (term, n) VALUES (?, ?)", t, n); err != nil {
			return err
		}
	}
	for _, t := range old.Terms {
		if _, has := slices.BinarySearch(now.Terms, t); has {
			continue
		}
		if err := tx.exec("DELETE FROM posting WHERE term = ? AND n = ?", t, n); err != nil {
			return err
		}
	}
	tx.tallies.add(old, now)
	return nil
}

// tallies gathers what a transaction changes in the counters: hundreds of cases
// touch the same few rows.
type tallies struct {
	states   map[[2]string]int // channel and state
	builders map[string]BuilderCounts
}

func (t *tallies) add(old, now posted) {
	if t.states == nil {
		t.states, t.builders = map[[2]string]int{}, map[string]BuilderCounts{}
	}
	for state, n := range old.Counts {
		t.states[[2]string{old.Channel, string(state)}] -= n
	}
	for state, n := range now.Counts {
		t.states[[2]string{now.Channel, string(state)}] += n
	}
	for name, b := range old.Builders {
		t.builders[name] = t.builders[name].plus(BuilderCounts{}.minus(b))
	}
	for name, b := range now.Builders {
		t.builders[name] = t.builders[name].plus(b)
	}
}

// flush writes the counters. It belongs to the transaction whose changes they count.
func (t *tallies) flush(tx *Tx) error {
	for key, n := range t.states {
		if n == 0 {
			continue
		}
		if err := tx.exec(`INSERT INTO tally (channel, state, n) VALUES (?, ?, ?)
			ON CONFLICT (channel, state) DO UPDATE SET n = n + excluded.n`, key[0], key[1], n); err != nil {
			return err
		}
	}
	for name, b := range t.builders {
		err := tx.exec(`INSERT INTO builder_tally (builder, statements, failed, votes, agreed, differed, changed, last) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (builder) DO UPDATE SET statements = statements + excluded.statements, failed = failed + excluded.failed, votes = votes + excluded.votes,
			agreed = agreed + excluded.agreed, differed = differed + excluded.differed, changed = changed + excluded.changed, last = max(last, excluded.last)`,
			name, b.Statements, b.Failed, b.Votes, b.Agreed, b.Differed, b.Changed, nanos(b.Last))
		if err != nil {
			return err
		}
	}
	return nil
}

// StateCounts reads how many verdicts of each kind each channel has.
func (db *DB) StateCounts() (map[string]map[quorum.State]int, error) {
	all := map[string]map[quorum.State]int{}
	err := each(db, func(r *sql.Rows) error {
		var channel, state string
		var n int
		if err := r.Scan(&channel, &state, &n); err != nil {
			return err
		}
		if all[channel] == nil {
			all[channel] = map[quorum.State]int{}
		}
		all[channel][quorum.State(state)] = n
		return nil
	}, "SELECT channel, state, n FROM tally")
	return all, err
}

// BuilderTotals reads the counters of one builder; zero when it said nothing.
func (db *DB) BuilderTotals(builder string) (b BuilderCounts, err error) {
	var last int64
	err = one(db, []any{&b.Statements, &b.Failed, &b.Votes, &b.Agreed, &b.Differed, &b.Changed, &last},
		"SELECT statements, failed, votes, agreed, differed, changed, last FROM builder_tally WHERE builder = ?", builder)
	if errors.Is(err, ErrNotFound) {
		return b, nil
	}
	b.Last = instant(last)
	return b, err
}
