package quorum

import (
	"container/list"
	"sync"
	"time"

	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Memory remembers statements that this process has parsed, and under which key it
// found their signature good. A target of a thousand files is a thousand requests with
// the same evidence, and both are pure functions of the bytes and the key: a statement
// is found by the SHA-256 of bytes that are at hand, so others are never taken for it.
// Whatever depends on policy, case or clock is judged anew each time.
//
// The nil Memory remembers nothing and judges the same. Methods may be called
// concurrently.
type Memory struct {
	limit int

	mu    sync.Mutex
	known map[statement.SHA256]*list.Element // owned by mu; of *remembered
	order list.List                          // owned by mu; the latest used first
	size  int                                // owned by mu; of the statements' bytes
}

// remembered is one statement. It never changes.
type remembered struct {
	stmt *statement.Statement
	key  statement.PublicKey // under which it verified; zero: not tried
}

// NewMemory returns a memory for statements of so many bytes together, as they were
// received. In memory they take three to four times that.
func NewMemory(limit int) *Memory {
	return &Memory{limit: limit, known: map[statement.SHA256]*list.Element{}}
}

// Statement returns the statement with that id, or nil. Callers must not change it.
func (m *Memory) Statement(id statement.SHA256) *statement.Statement {
	return m.find(id).stmt
}

// Keep remembers what [statement.Parse] returned.
func (m *Memory) Keep(s *statement.Statement) { m.keep(s, statement.PublicKey{}) }

func (m *Memory) find(id statement.SHA256) remembered {
	if m == nil {
		return remembered{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.known[id]
	if e == nil {
		return remembered{}
	}
	m.order.MoveToFront(e)
	return *e.Value.(*remembered)
}

func (m *Memory) keep(s *statement.Statement, key statement.PublicKey) {
	if m == nil || len(s.Raw()) > m.limit {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.known[s.ID()]; e != nil {
		if key != (statement.PublicKey{}) {
			e.Value = &remembered{e.Value.(*remembered).stmt, key}
		}
		m.order.MoveToFront(e)
		return
	}
	m.known[s.ID()] = m.order.PushFront(&remembered{s, key})
	for m.size += len(s.Raw()); m.size > m.limit; {
		oldest := m.order.Remove(m.order.Back()).(*remembered).stmt
		delete(m.known, oldest.ID())
		m.size -= len(oldest.Raw())
	}
}

// admit is [AdmitEvidence] for the vote on one file, of evidence with that id. It
// remembers only what is admitted, so that nobody but builders can fill the memory.
func (m *Memory) admit(p *policy.Policy, r *Request, e Evidence, id statement.SHA256, at time.Time) (Observation, error) {
	if e.Kind != KindDSSE || len(e.Keys) > 0 {
		o, err := AdmitEvidence(p, r.Case(), e, at)
		o.Files = only(o.Files, r.Artifact)
		return o, err
	}
	was := m.find(id)
	s := was.stmt
	if s == nil {
		var err error
		if s, err = statement.Parse(e.Raw); err != nil {
			return Observation{}, err
		}
	}
	if s.Case != r.Case() {
		return Observation{}, errOtherCase(s)
	}
	operator, key, err := admitKnown(p, s, was.key, at)
	if err != nil {
		return Observation{}, err
	}
	if !was.key.Equal(key.Public) {
		m.keep(s, key.Public)
	}
	return observe(s, operator, key.Revoked, at, votesOn(s, r.Artifact)), nil
}

// votesOn returns what the statement says of one file.
func votesOn(s *statement.Statement, name string) []statement.Artifact {
	for i := range s.Artifacts {
		if s.Artifacts[i].Name == name {
			return s.Artifacts[i : i+1]
		}
	}
	return nil
}

// only returns the votes on one file.
func only(files []File, name string) []File {
	for i := range files {
		if files[i].Name == name {
			return files[i : i+1]
		}
	}
	return nil
}
