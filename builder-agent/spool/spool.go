// Package spool keeps a builder's statements on disk until a coordinator has
// confirmed them.
//
// The directory holds
//
//	<order>-<sha256>.json         not confirmed yet
//	sent/<sha256>.json            confirmed: a coordinator has it on its disk
//	rejected/<sha256>.json        refused for good
//	rejected/<sha256>.reason.json why
//	order.lock, send.lock         empty; locked, never removed
//
// where <sha256> is the statement's identity, the digest of the file's bytes,
// and <order> a number that grows: what was added later is sent later. That
// matters, because of two statements about one target the later one in the
// record counts.
//
// # Guarantees
//
//   - When [Spool.Add] returns nil, the statement survives kill -9 and a power
//     failure (as far as fsync is true), and so does its place in the order.
//   - A statement is in one of the three places at every moment; adding it again
//     changes nothing, wherever it is.
//   - The bytes never change. A file whose bytes do not give its name is set
//     aside as damaged and never sent.
//   - Any number of processes may add; one at a time sends ([Spool.TryLock]).
//
// # Which crash may follow each step
//
//   - Add, before the rename: a temporary file is left, removed by the next Open
//     that comes an hour later. The statement was not accepted; its maker knows,
//     as Add never returned.
//   - Add, after the rename: the statement is there and is sent. Its maker may
//     add it once more, which does nothing.
//   - Before a move to sent/: the next start asks for the receipt again.
//   - A rejection, after the reason was written: the same, the reason is
//     overwritten.
//
// # Non-guarantees
//
//   - A receipt is believed. A false one costs this builder's vote, which stays
//     in sent/ for the retention time.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/builder-agent/durable"
	"quorate/quorum/statement"
)

const (
	sentDir     = "sent"
	rejectedDir = "rejected"
	orderLock   = "order.lock"
	sendLock    = "send.lock"
	reasonExt   = ".reason.json"
	ext         = ".json"
	damagedExt  = ".damaged"

	// tempKept is far longer than any Add takes: what is older was left by a crash.
	tempKept = time.Hour
)

// State is where a statement is.
type State string

// The places.
const (
	Pending  State = "pending"
	Sent     State = "sent"
	Rejected State = "rejected"
	Unknown  State = "unknown"
)

// Spool is a spool directory. Its methods may be called concurrently, also from
// several processes.
type Spool struct {
	dir  string
	now  func() time.Time
	read func(raw []byte) (*statement.Statement, error)
}

// Create makes the directory. One that exists is no error.
func Create(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create spool: %w", err)
	}
	return nil
}

// Open opens an existing spool. It does not create the directory: an empty one
// in the place of one that is not mounted would hide what was not sent.
func Open(dir string) (*Spool, error) { return open(dir, statement.Parse) }

// OpenMessages is [Open] for a spool of other messages than statements. check
// refuses what no coordinator could read; entries then have no statement.
func OpenMessages(dir string, check func(raw []byte) error) (*Spool, error) {
	return open(dir, func(raw []byte) (*statement.Statement, error) { return nil, check(raw) })
}

func open(dir string, read func(raw []byte) (*statement.Statement, error)) (*Spool, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open spool: %w (hint: if it never held anything, make it with: mkdir -m 700 %s)", err, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open spool: %s is not a directory", dir)
	}
	s := &Spool{dir: dir, now: time.Now, read: read}
	for _, sub := range []string{sentDir, rejectedDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("open spool: %w", err)
		}
	}
	if err := s.sweep("", durable.TempPrefix, tempKept); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

// Dir is the directory.
func (s *Spool) Dir() string { return s.dir }

// Add takes a signed envelope and returns its identity. It is durable when Add
// returns.
func (s *Spool) Add(raw []byte) (statement.SHA256, error) {
	id := statement.ID(raw)
	// Checked here because nothing that is refused later can be corrected.
	if _, err := s.read(raw); err != nil {
		return id, fmt.Errorf("spool statement: %w", err)
	}
	if err := s.add(id, raw); err != nil {
		return id, fmt.Errorf("spool statement: %w", err)
	}
	return id, nil
}

// add holds the order lock, so that numbers are given and become visible in one
// order whoever adds.
func (s *Spool) add(id statement.SHA256, raw []byte) error {
	unlock, err := durable.Lock(filepath.Join(s.dir, orderLock), true)
	if err != nil {
		return err
	}
	defer unlock()
	state, _, err := s.find(id)
	if err != nil || state != Unknown {
		return err
	}
	pending, err := s.names()
	if err != nil {
		return err
	}
	// The clock gives a number that is unique and grows across restarts; what is
	// already there corrects it when the clock was put back.
	order := s.now().UnixNano()
	if len(pending) > 0 {
		order = max(order, pending[len(pending)-1].order+1)
	}
	return durable.WriteFile(filepath.Join(s.dir, name{order, id}.String()), raw)
}

// Entry is a statement that is not confirmed.
type Entry struct {
	ID        statement.SHA256
	Raw       []byte
	Statement *statement.Statement // nil in a spool of other messages
}

// Pending lists what is not confirmed, in the order in which it was added.
// damaged lists files that were set aside because their bytes are not what
// their name says; each is reported once.
func (s *Spool) Pending() (entries []Entry, damaged []string, err error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, fmt.Errorf("list spool: %w", err)
	}
	for _, n := range names {
		path := filepath.Join(s.dir, n.String())
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // settled by the process that sends
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list spool: %w", err)
		}
		st, err := s.read(raw)
		if statement.ID(raw) != n.id || err != nil {
			if err := os.Rename(path, path+damagedExt); err != nil {
				return nil, nil, fmt.Errorf("set damaged statement aside: %w", err)
			}
			damaged = append(damaged, path+damagedExt)
			continue
		}
		entries = append(entries, Entry{n.id, raw, st})
	}
	return entries, damaged, nil
}

// PendingIDs is [Spool.Pending] without reading the files.
func (s *Spool) PendingIDs() ([]statement.SHA256, error) {
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	ids := make([]statement.SHA256, len(names))
	for i, n := range names {
		ids[i] = n.id
	}
	return ids, nil
}

// MarkSent records a coordinator's receipt.
func (s *Spool) MarkSent(id statement.SHA256) error {
	return s.settle(id, sentDir)
}

// Reason is why a coordinator refused a statement.
type Reason struct {
	Code    statement.Code `json:"code"`
	Message string         `json:"message"`
	At      time.Time      `json:"at"`
}

// MarkRejected records that a coordinator refused the statement for good.
func (s *Spool) MarkRejected(id statement.SHA256, code statement.Code, message string) error {
	data, err := json.Marshal(Reason{code, message, s.now().UTC()}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("reject statement %s: %w", id, err)
	}
	if err := durable.WriteFile(filepath.Join(s.dir, rejectedDir, id.String()+reasonExt), append(data, '\n')); err != nil {
		return fmt.Errorf("reject statement %s: %w", id, err)
	}
	return s.settle(id, rejectedDir)
}

func (s *Spool) settle(id statement.SHA256, sub string) error {
	state, path, err := s.find(id)
	if err != nil {
		return fmt.Errorf("settle statement %s: %w", id, err)
	}
	if state != Pending {
		return nil
	}
	// The retention time counts from now.
	now := s.now()
	if err := os.Chtimes(path, now, now); err != nil {
		return fmt.Errorf("settle statement %s: %w", id, err)
	}
	if err := os.Rename(path, filepath.Join(s.dir, sub, id.String()+ext)); err != nil {
		return fmt.Errorf("settle statement %s: %w", id, err)
	}
	// Should a power failure keep both names or neither directory's change, the
	// statement is still pending and the receipt is asked for again.
	if err := errors.Join(durable.SyncDir(filepath.Join(s.dir, sub)), durable.SyncDir(s.dir)); err != nil {
		return fmt.Errorf("settle statement %s: %w", id, err)
	}
	return nil
}

// Where reports where a statement is, and the reason if it was rejected.
func (s *Spool) Where(id statement.SHA256) (State, *Reason, error) {
	state, _, err := s.find(id)
	if err != nil {
		return Unknown, nil, fmt.Errorf("look for statement %s: %w", id, err)
	}
	if state != Rejected {
		return state, nil, nil
	}
	reason, err := s.reason(id)
	return state, reason, err
}

func (s *Spool) reason(id statement.SHA256) (*Reason, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, rejectedDir, id.String()+reasonExt))
	if err != nil {
		return nil, fmt.Errorf("read reason: %w", err)
	}
	r := new(Reason)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read reason of %s: %w", id, err)
	}
	return r, nil
}

// Settled lists what is in sent or rejected, oldest first.
func (s *Spool) Settled(state State) ([]statement.SHA256, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, string(state)))
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	type aged struct {
		id statement.SHA256
		at time.Time
	}
	var found []aged
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), ext)
		id, err := statement.ParseSHA256(text)
		if !ok || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			found = append(found, aged{id, info.ModTime()})
		}
	}
	slices.SortStableFunc(found, func(a, b aged) int { return a.at.Compare(b.at) })
	ids := make([]statement.SHA256, len(found))
	for i, f := range found {
		ids[i] = f.id
	}
	return ids, nil
}

// Read returns a statement's bytes, wherever it is.
func (s *Spool) Read(id statement.SHA256) ([]byte, error) {
	_, path, err := s.find(id)
	if err == nil && path == "" {
		err = fs.ErrNotExist
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read statement %s: %w", id, err)
	}
	return raw, nil
}

// Expire removes what was confirmed longer ago than kept. What was rejected
// stays until a person removes it.
func (s *Spool) Expire(kept time.Duration) error {
	if err := s.sweep(sentDir, "", kept); err != nil {
		return fmt.Errorf("expire spool: %w", err)
	}
	return nil
}

func (s *Spool) sweep(sub, prefix string, kept time.Duration) error {
	dir := filepath.Join(s.dir, sub)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if s.now().Sub(info.ModTime()) <= kept {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// TryLock makes this process the one that sends, until unlock is called or the
// process ends, however it ends. It fails with [durable.ErrLocked].
func (s *Spool) TryLock() (unlock func(), err error) {
	unlock, err = durable.Lock(filepath.Join(s.dir, sendLock), false)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	return unlock, nil
}

// find looks in the three places, pending first: a statement only moves away
// from there, so it cannot be missed between two looks.
func (s *Spool) find(id statement.SHA256) (State, string, error) {
	names, err := s.names()
	if err != nil {
		return Unknown, "", err
	}
	if i := slices.IndexFunc(names, func(n name) bool { return n.id == id }); i >= 0 {
		return Pending, filepath.Join(s.dir, names[i].String()), nil
	}
	for _, state := range []State{Sent, Rejected} {
		path := filepath.Join(s.dir, string(state), id.String()+ext)
		_, err := os.Stat(path)
		if err == nil {
			return state, path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return Unknown, "", err
		}
	}
	return Unknown, "", nil
}

// name is the file name of a statement that is not confirmed.
type name struct {
	order int64
	id    statement.SHA256
}

func (n name) String() string { return fmt.Sprintf("%019d-%s%s", n.order, n.id, ext) }

var nameRe = regexp.MustCompile(`^([0-9]{19})-([0-9a-f]{64})\.json$`)

func parseName(s string) (n name, ok bool) {
	m := nameRe.FindStringSubmatch(s)
	if m == nil {
		return n, false
	}
	if _, err := fmt.Sscanf(m[1], "%d", &n.order); err != nil {
		return n, false
	}
	id, err := statement.ParseSHA256(m[2])
	n.id = id
	return n, err == nil
}

// names lists the pending files in order.
func (s *Spool) names() ([]name, error) {
	entries, err := os.ReadDir(s.dir) // sorted by name, and so by order
	if err != nil {
		return nil, err
	}
	var names []name
	for _, e := range entries {
		if n, ok := parseName(e.Name()); ok {
			names = append(names, n)
		}
	}
	return names, nil
}
