package store

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
)

// TargetFilter chooses targets; zero values choose all.
type TargetFilter struct {
	Channel string
	State   quorum.State // of the target or of one of its artifacts
	Text    string       // part of the target, or the whole name of an artifact
	Builder string       // that said something about the target
	Differs string       // builder that gave other bytes than were agreed on
	Changed string       // builder that changed a vote
	From    time.Time    // first heard of at this time or later
	To      time.Time    // first heard of at this time or earlier
	Oldest  bool         // in the order in which the record heard of them; else the newest first
	After   int64        // go on behind this place, see [TargetPage]; 0: from the beginning
	Limit   int
}

// TargetPage is a page of a list.
type TargetPage struct {
	Targets []Target
	// Next is the place to go on after; 0 at the end. A page that has a next one
	// may be short, or even empty: looking ends after a bounded amount of work.
	Next int64
}

// searchBudget bounds the rows of lists that one page looks at. A target that was
// read in vain, often from a place of the disk of its own, costs as much as
// readCost of them.
var searchBudget = 8192 // a constant; tests make it small

const readCost = 40

// Targets lists targets in the order in which the record first heard of them. It
// walks along lists of the places at which each condition holds, from one place
// that all have to the next, so that its work follows the shortest of them.
func (db *DB) Targets(f TargetFilter) (page TargetPage, err error) {
	s := &search{db: db, f: f, budget: searchBudget}
	if err := s.begin(); err != nil {
		return page, err
	}
	// One more than is shown says whether there is another page.
	for len(page.Targets) <= f.Limit && !s.ended && s.budget > 0 {
		places, err := s.places(f.Limit + 1 - len(page.Targets))
		if err != nil {
			return page, err
		}
		found, err := s.read(places)
		if err != nil {
			return page, err
		}
		page.Targets = append(page.Targets, found...)
	}
	switch {
	case len(page.Targets) > f.Limit:
		page.Targets = page.Targets[:f.Limit]
		page.Next = page.Targets[f.Limit-1].place
	case !s.ended:
		if page.Next = s.at + 1; f.Oldest {
			page.Next = s.at - 1
		}
	}
	return page, nil
}

// search is one walk over the lists.
type search struct {
	db      *DB
	f       TargetFilter
	sources []*source
	at, end int64 // the next place to look at, and the last one that counts
	ended   bool
	budget  int
}

// source is the list of places at which one condition holds.
type source struct {
	query string
	args  []any
	buf   []int64 // places from the one that was asked for last on
	whole bool    // nothing follows buf
	next  int     // how many are read the next time
}

func (s *search) begin() error {
	if err := s.bound(); err != nil {
		return err
	}
	switch after := s.f.After; {
	case after == 0:
	case s.f.Oldest:
		s.at = max(s.at, after+1)
	default:
		s.at = min(s.at, after-1)
	}
	// Those that are likely to be short come first.
	s.text()
	for _, t := range []struct{ kind, value string }{{termChanged, s.f.Changed}, {termDiffers, s.f.Differs}} {
		if t.value != "" {
			s.term(t.kind, t.value)
		}
	}
	switch {
	case s.f.State != "" && s.f.Channel != "":
		s.term(termChannelState, s.f.Channel, string(s.f.State))
	case s.f.State != "":
		s.term(termState, string(s.f.State))
	case s.f.Channel != "":
		s.term(termChannel, s.f.Channel)
	}
	if s.f.Builder != "" {
		s.term(termBuilder, s.f.Builder)
	}
	if len(s.sources) == 0 {
		s.add("SELECT n FROM listed WHERE n")
	}
	return nil
}

// bound narrows the walk to the time that is asked for. Places follow the order
// of the record, and so, but for clocks that were set, the time.
func (s *search) bound() error {
	lo, hi := int64(1), int64(math.MaxInt64)
	for _, b := range []struct {
		at    time.Time
		query string
		place *int64
	}{
		{s.f.From, "SELECT n FROM listed WHERE since >= ? ORDER BY since, n LIMIT 1", &lo},
		{s.f.To, "SELECT n FROM listed WHERE since <= ? ORDER BY since DESC, n DESC LIMIT 1", &hi},
	} {
		if b.at.IsZero() {
			continue
		}
		err := one(s.db, []any{b.place}, b.query, nanos(b.at))
		if err == ErrNotFound {
			s.ended = true
			continue
		}
		if err != nil {
			return err
		}
	}
	if s.at, s.end = hi, lo; s.f.Oldest {
		s.at, s.end = lo, hi
	}
	return nil
}

// add adds a list; the query ends before the comparison with a place.
func (s *search) add(query string, args ...any) {
	order := " >= ? ORDER BY n LIMIT ?"
	if !s.f.Oldest {
		order = " <= ? ORDER BY n DESC LIMIT ?"
	}
	s.sources = append(s.sources, &source{query: query + order, args: args, next: 64})
}

func (s *search) term(kind string, values ...string) {
	s.add("SELECT n FROM posting WHERE term = ? AND n", term(kind, values...))
}

// maxTrigrams is how many of a long text are looked up. What is found is compared
// with the whole text anyway.
const maxTrigrams = 12

// text adds the list of targets that have all of the text's groups of three
// characters, and of those with an artifact of that name. A shorter text has no
// list; it is compared with what the others give.
func (s *search) text() {
	runes := []rune(s.f.Text)
	if len(runes) < 3 {
		return
	}
	var match []string
	step := max(1, (len(runes)-2)/maxTrigrams)
	for i := len(runes) - 3; i >= 0 && len(match) < maxTrigrams; i -= step {
		match = append(match, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	order, compare := "", ">="
	if !s.f.Oldest {
		order, compare = " DESC", "<="
	}
	s.sources = append(s.sources, &source{next: 64, args: []any{strings.Join(match, " AND "), term(termArtifact, s.f.Text)},
		query: fmt.Sprintf(`SELECT n FROM (
		SELECT * FROM (SELECT rowid AS n FROM listed_text WHERE listed_text MATCH ?1 AND rowid %[1]s ?3 ORDER BY rowid%[2]s LIMIT ?4)
		UNION SELECT * FROM (SELECT n FROM posting WHERE term = ?2 AND n %[1]s ?3 ORDER BY n%[2]s LIMIT ?4)
		) ORDER BY n%[2]s LIMIT ?4`, compare, order)})
}

// before reports whether a comes before b in the order of the walk.
func (s *search) before(a, b int64) bool { return a != b && (a < b) == s.f.Oldest }

// seek returns the first place of the list at n or behind it.
func (s *search) seek(src *source, n int64) (place int64, ok bool, err error) {
	if len(src.buf) > 0 && s.before(src.buf[len(src.buf)-1], n) {
		src.buf = nil
	}
	i, _ := slices.BinarySearchFunc(src.buf, n, func(have, n int64) int {
		if s.before(have, n) {
			return -1
		}
		return 1
	})
	if src.buf = src.buf[i:]; len(src.buf) > 0 {
		return src.buf[0], true, nil
	}
	if src.whole {
		return 0, false, nil
	}
	src.buf = src.buf[:0]
	err = each(s.db, func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		src.buf = append(src.buf, n)
		return err
	}, src.query, append(slices.Clone(src.args), n, src.next)...)
	if err != nil {
		return 0, false, err
	}
	s.budget -= len(src.buf) + 16 // a query costs about as much as that many rows
	src.whole = len(src.buf) < src.next
	src.next = min(2*src.next, 1024)
	if len(src.buf) == 0 {
		return 0, false, nil
	}
	return src.buf[0], true, nil
}

// places walks to up to limit places that all lists have.
func (s *search) places(limit int) (found []int64, err error) {
	for len(found) < limit && s.budget > 0 {
		all, ok, err := s.meet()
		if err != nil {
			return nil, err
		}
		if !ok || s.before(s.end, s.at) {
			s.ended = true
			return found, nil
		}
		if !all {
			continue
		}
		found = append(found, s.at)
		if s.at--; s.f.Oldest {
			s.at += 2
		}
	}
	return found, nil
}

// meet moves on to the first place that all lists have, or as far as the budget
// lasts, but always some way. It reports whether it is such a place, and whether
// there is one at all.
func (s *search) meet() (all, ok bool, err error) {
	moved := false
	for agree := 0; ; {
		for _, src := range s.sources {
			n, ok, err := s.seek(src, s.at)
			if err != nil || !ok {
				return false, false, err
			}
			if n == s.at {
				agree++
			} else {
				s.at, agree, moved = n, 1, true
			}
			if agree == len(s.sources) {
				return true, true, nil
			}
			if moved && s.budget <= 0 {
				return false, true, nil
			}
		}
	}
}

// read reads the targets at the places, and drops those that the text is not
// part of: having all its groups of three characters is not enough.
func (s *search) read(places []int64) (list []Target, err error) {
	if len(places) == 0 {
		return nil, nil
	}
	at, err := json.Marshal(places)
	if err != nil {
		return nil, err
	}
	byPlace := make(map[int64]Target, len(places))
	err = each(s.db, func(r *sql.Rows) error {
		t, err := scanTarget(r)
		byPlace[t.place] = t
		return err
	}, targetColumns+` WHERE l.n IN (SELECT value FROM json_each(?1))
		AND (?2 = '' OR instr(c.target, ?2) > 0 OR EXISTS (SELECT 1 FROM artifact a WHERE a.case_id = c.id AND a.name = ?2))`, string(at), s.f.Text)
	if err != nil {
		return nil, err
	}
	for _, n := range places {
		if t, ok := byPlace[n]; ok {
			list = append(list, t)
		}
	}
	s.budget -= readCost * (len(places) - len(list))
	return list, nil
}
