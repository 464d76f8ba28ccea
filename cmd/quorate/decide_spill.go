package main

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// record is one vote on one target.
type record struct {
	group group
	made  time.Time
	obs   quorum.Observation
	why   statement.Code // it does not count, and why; empty: it counts
}

// compare orders votes by what they are about and, as no record says when they
// arrived, by the time that they give themselves. The hash breaks ties, so that
// the order of reading never matters.
func (r *record) compare(o *record) int {
	return cmp.Or(r.group.compare(o.group), r.made.Compare(o.made), bytes.Compare(r.obs.ID[:], o.obs.ID[:]), cmp.Compare(r.why, o.why))
}

// spillAt is how many votes on files are held in memory at most: some 10 MiB.
const spillAt = 1 << 14

// spill sorts more votes than fit into memory: when there are too many it sorts
// what it has into a temporary file, and at the end it merges. The files have no
// name once they are open, so nothing is left behind.
type spill struct {
	limit int
	held  []record
	files int // votes on files in held
	runs  []*os.File
}

func newSpill(limit int) *spill { return &spill{limit: limit} }

func (s *spill) add(r record) error {
	s.held = append(s.held, r)
	if s.files += 1 + len(r.obs.Files); s.files < s.limit {
		return nil
	}
	return s.flush()
}

func (s *spill) sort() { slices.SortFunc(s.held, func(a, b record) int { return a.compare(&b) }) }

func (s *spill) flush() error {
	s.sort()
	f, err := os.CreateTemp("", "quorate-decide-*")
	if err != nil {
		return fmt.Errorf("sort votes: %w", err)
	}
	s.runs = append(s.runs, f)
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("sort votes: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<16)
	for i := range s.held {
		writeRecord(w, &s.held[i])
	}
	clear(s.held)
	s.held, s.files = s.held[:0], 0
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort votes: %w", err)
	}
	return nil
}

func (s *spill) close() (err error) {
	for _, f := range s.runs {
		err = errors.Join(err, f.Close())
	}
	return err
}

// groups calls do with the votes of each group, in order. The same statement
// read twice is given once.
func (s *spill) groups(do func(group, []record) error) error {
	m, err := s.merge()
	if err != nil {
		return err
	}
	var list []record
	for {
		r, err := m.next()
		if err != nil && err != io.EOF {
			return fmt.Errorf("sort votes: %w", err)
		}
		if len(list) > 0 && (r == nil || r.group != list[0].group) {
			if err := do(list[0].group, list); err != nil {
				return err
			}
			list = nil
		}
		if r == nil {
			return nil
		}
		if len(list) == 0 || list[len(list)-1].obs.ID != r.obs.ID {
			list = append(list, *r)
		}
	}
}

func (s *spill) merge() (*merger, error) {
	s.sort()
	m := &merger{}
	for i := range s.runs {
		if _, err := s.runs[i].Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("sort votes: %w", err)
		}
		r := &reader{in: bufio.NewReaderSize(s.runs[i], 1<<15)}
		if err := m.push(r.record); err != nil {
			return nil, err
		}
	}
	return m, m.push(s.fromMemory())
}

func (s *spill) fromMemory() func() (*record, error) {
	i := 0
	return func() (*record, error) {
		if i == len(s.held) {
			return nil, io.EOF
		}
		i++
		return &s.held[i-1], nil
	}
}

// merger merges sorted runs.
type merger struct{ heads []runHead }

// runHead is the first record of a run, and the way to its next one.
type runHead struct {
	first *record
	more  func() (*record, error)
}

func (m *merger) Len() int           { return len(m.heads) }
func (m *merger) Less(i, j int) bool { return m.heads[i].first.compare(m.heads[j].first) < 0 }
func (m *merger) Swap(i, j int)      { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(x any)         { m.heads = append(m.heads, x.(runHead)) }
func (m *merger) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}

func (m *merger) push(more func() (*record, error)) error {
	r, err := more()
	if err == io.EOF {
		return nil
	}
	if err == nil {
		heap.Push(m, runHead{r, more})
	}
	return err
}

// next returns the least record, and nil with io.EOF at the end.
func (m *merger) next() (*record, error) {
	if len(m.heads) == 0 {
		return nil, io.EOF
	}
	h := heap.Pop(m).(runHead)
	return h.first, m.push(h.more)
}

// writeRecord writes the record in a form that only [reader] reads, in the same
// process. Errors are kept by the writer until it is flushed.
func writeRecord(w *bufio.Writer, r *record) {
	o := &r.obs
	for _, s := range []string{r.group.Channel, r.group.Target, r.group.Stage, o.Operator, o.Builder, string(o.Status), o.Reason, string(r.why)} {
		writeString(w, s)
	}
	for _, t := range []time.Time{r.made, o.Revoked} {
		writeTime(w, t)
	}
	w.Write(o.ID[:])
	w.Write(o.Payload[:])
	writeUint(w, uint64(len(o.Files)))
	for i := range o.Files {
		writeString(w, o.Files[i].Name)
		w.Write(o.Files[i].SHA256[:])
		w.Write(o.Files[i].SHA512[:])
		writeUint(w, uint64(len(o.Files[i].Signables)))
		for _, s := range o.Files[i].Signables {
			writeString(w, s.Name)
			w.Write(s.SHA256[:])
		}
	}
}

func writeUint(w *bufio.Writer, n uint64) { w.Write(binary.AppendUvarint(nil, n)) }

func writeString(w *bufio.Writer, s string) {
	writeUint(w, uint64(len(s)))
	w.WriteString(s)
}

func writeTime(w *bufio.Writer, t time.Time) {
	data, err := t.UTC().MarshalBinary()
	if err != nil {
		panic(err) // only a zone could be the reason
	}
	writeString(w, string(data))
}

// reader reads records. The first error stays.
type reader struct {
	in  *bufio.Reader
	err error
}

func (r *reader) record() (*record, error) {
	if _, err := r.in.Peek(1); err == io.EOF {
		return nil, io.EOF
	}
	var x record
	o := &x.obs
	var status, why string
	for _, s := range []*string{&x.group.Channel, &x.group.Target, &x.group.Stage, &o.Operator, &o.Builder, &status, &o.Reason, &why} {
		*s = r.string()
	}
	o.Status, x.why = statement.Status(status), statement.Code(why)
	x.made, o.Revoked = r.time(), r.time()
	r.bytes(o.ID[:])
	r.bytes(o.Payload[:])
	o.Files = make([]quorum.File, r.uint())
	for i := range o.Files {
		o.Files[i].Name = r.string()
		r.bytes(o.Files[i].SHA256[:])
		r.bytes(o.Files[i].SHA512[:])
		for range r.uint() {
			s := quorum.SignableDigest{Name: r.string()}
			r.bytes(s.SHA256[:])
			o.Files[i].Signables = append(o.Files[i].Signables, s)
		}
	}
	return &x, r.err
}

func (r *reader) uint() uint64 {
	n, err := binary.ReadUvarint(r.in)
	if r.err = cmp.Or(r.err, err); r.err != nil {
		return 0
	}
	return n
}

func (r *reader) bytes(into []byte) {
	if _, err := io.ReadFull(r.in, into); r.err == nil {
		r.err = err
	}
}

func (r *reader) string() string {
	data := make([]byte, r.uint())
	r.bytes(data)
	return string(data)
}

func (r *reader) time() (t time.Time) {
	if err := t.UnmarshalBinary([]byte(r.string())); r.err == nil {
		r.err = err
	}
	return t
}
