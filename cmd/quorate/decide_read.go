package main

import (
	"bytes"
	"errors"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"quorate/internal/render"
	treewalk "quorate/internal/tree"
	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/kinds"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// juror reads statements and judges them. It is not changed once it is made, so
// several processors may use it.
type juror struct {
	at       time.Time
	keys     kinds.Keys
	keyFiles []keyFile
	naming   evidence.Naming
	policy   *policy.Policy // nil: nothing counts
	roll     *evidence.Roll // of the policy
}

// found is a statement of a tree, or why there is none.
type found struct {
	path      string // for people
	statement *evidence.Statement
	native    *statement.Statement
	admitted  quorum.Observation // of native
	naming    evidence.Naming
	vote      evidence.Vote
	err       error // why it counts for nobody
	nothing   bool  // the file is no statement
	past      bool  // it lies where superseded statements are kept
}

func workers() int { return runtime.GOMAXPROCS(0) }

// job is one file on its way through the workers. done is closed by the worker,
// and only then the result may be read.
type job struct {
	entry  treewalk.Entry
	result found
	done   chan struct{}
}

// ahead bounds how many files are read before their turn.
const ahead = 256

// walk judges everything below a path, several files at a time, and gives the
// results to take one by one, in the order of the tree.
func (j *juror) walk(name string, take func(*found) error) error {
	t, err := treewalk.Open(name)
	if err != nil {
		return unreadable(name, err)
	}
	defer t.Close()
	s := &source{juror: j, tree: t, name: name, abs: absolute(name)}
	if s.single = t.Single(); s.single {
		s.abs = filepath.Dir(s.abs)
	}
	work, order, stop := make(chan *job, ahead), make(chan *job, ahead), make(chan struct{})
	var wg sync.WaitGroup
	for range workers() {
		wg.Go(func() { s.work(work) })
	}
	wg.Go(func() { err = s.feed(work, order, stop) })
	takeErr := takeInOrder(order, stop, take)
	wg.Wait()
	if err == errStopped {
		err = nil
	}
	return errors.Join(takeErr, err)
}

var errStopped = errors.New("stopped")

// takeInOrder waits for each result in turn. After an error it lets the walk end.
func takeInOrder(order <-chan *job, stop chan<- struct{}, take func(*found) error) (err error) {
	for b := range order {
		<-b.done
		if err != nil || b.result.nothing {
			continue
		}
		if err = take(&b.result); err != nil {
			close(stop)
		}
	}
	return err
}

// source is one path that was named.
type source struct {
	*juror
	tree      *treewalk.Tree
	name, abs string
	single    bool
}

func (s *source) work(jobs <-chan *job) {
	for b := range jobs {
		b.result = s.read(b.entry)
		close(b.done)
	}
}

func (s *source) feed(work, order chan<- *job, stop <-chan struct{}) error {
	defer close(order)
	defer close(work)
	return s.tree.Walk(func(e treewalk.Entry) error {
		if e.Err == nil && !mayState(e.Path) {
			return nil
		}
		b := &job{entry: e, done: make(chan struct{})}
		select {
		case <-stop:
			return errStopped
		case work <- b:
		}
		order <- b
		return nil
	})
}

// dull ends the names of files that are no statements.
var dull = []string{".gpg", ".pgp", ".key", ".pub", ".pem", ".md", ".tsv", ".sig", ".layout", ".html", ".txt", ".toml"}

func mayState(name string) bool {
	for _, suffix := range dull {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	return !strings.HasSuffix(name, guixsigs.SignatureSuffix) || strings.HasSuffix(name, guixsigs.Suffix+guixsigs.SignatureSuffix)
}

// read reads one file and judges it.
func (s *source) read(e treewalk.Entry) found {
	f := found{path: filepath.Join(s.name, filepath.FromSlash(e.Path)), naming: s.naming}
	if s.single {
		f.path = s.name
	}
	if e.Err != nil {
		f.err = e.Err
		return f
	}
	if list, ok := strings.CutSuffix(e.Path, guixsigs.SignatureSuffix); ok {
		_, f.err = s.tree.Find(list)
		f.nothing = f.err == nil // it is read with its list
		if f.err != nil {
			f.err = evidence.Refuse(evidence.GuixSigs, evidence.CodeMissing, "body", "there is a signature without its list")
		}
		return f
	}
	b, err := s.bundle(e, &f)
	switch {
	case err != nil:
		f.err = err
	case f.nothing && s.single: // in a folder it is passed over; who names it wants it read
		f.nothing, f.err = false, evidence.Refuse("", evidence.CodeWrongKind, "file", "is no statement of a kind that is known")
	case !f.nothing:
		s.judge(b, &f)
	}
	return f
}

// peek is as much as a file that is no statement costs.
const peek = 4 << 10

// bundle reads the bytes of one statement. A file of no known kind is nothing.
func (s *source) bundle(e treewalk.Entry, f *found) (b evidence.Bundle, err error) {
	if strings.HasSuffix(e.Path, guixsigs.Suffix) {
		return s.guixBundle(e, f)
	}
	named := strings.HasSuffix(e.Path, ".buildinfo") || strings.HasSuffix(e.Path, ".narinfo")
	if !named && e.Size > peek {
		head, err := s.tree.Peek(e, peek)
		if err != nil || !isObject(head) {
			f.nothing = err == nil
			return b, err
		}
	}
	if b.Body, err = s.tree.Read(e, evidence.MaxBody); err != nil {
		return b, err
	}
	kind, known := kinds.Detect(path.Base(e.Path), b.Body)
	b.Kind, f.nothing = kind, !known
	return b, nil
}

func isObject(head []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")) }

func (s *source) guixBundle(e treewalk.Entry, f *found) (b evidence.Bundle, err error) {
	b.Kind = evidence.GuixSigs
	b.Path, f.naming.Name, f.past = s.place(e.Path)
	if b.Body, err = s.tree.Read(e, guixsigs.MaxSize); err != nil {
		return b, err
	}
	sig, err := s.tree.Find(e.Path + guixsigs.SignatureSuffix)
	if err != nil {
		return b, evidence.Refuse(evidence.GuixSigs, evidence.CodeMissing, "signature", "%s%s: %v", path.Base(e.Path), guixsigs.SignatureSuffix, err)
	}
	b.Signature, err = s.tree.Read(sig, evidence.MaxSignature)
	return b, err
}

// codeNotCurrent marks a list that lies deeper than the layout has it, such as
// one that was kept when its builder replaced it.
const codeNotCurrent = statement.Code("not-current")

// place returns RELEASE/NAME/STAGE.SHA256SUMS of a list, and the name of the
// folder above. The path that was named may be any part of the layout. What lies
// deeper is no statement of today: it is shown, and never counts.
func (s *source) place(rel string) (guixPath, name string, past bool) {
	const want = 3
	parts := strings.Split(rel, "/")
	dir := s.abs
	for len(parts) < want {
		parts = append([]string{filepath.Base(dir)}, parts...)
		dir = filepath.Dir(dir)
	}
	if name = s.naming.Name; name == "" {
		name = filepath.Base(dir)
	}
	return strings.Join(parts[len(parts)-want:], "/"), name, len(parts) > want
}

// judge fills in what the bundle says and whose vote it is.
func (j *juror) judge(b evidence.Bundle, f *found) {
	if f.statement, f.err = kinds.Read(b, j.keys, j.at); f.err != nil {
		if b.Kind == evidence.DSSE {
			j.native(b.Body, f)
		}
		return
	}
	if j.policy != nil {
		f.vote, f.err = j.roll.Attribute(f.statement, j.at)
	}
	if f.past {
		f.err = f.outdated()
	}
}

// outdated is why a list that lies too deep does not count.
func (f *found) outdated() error {
	by := ""
	if f.vote.Builder != nil {
		by = "; its signature is by builder " + f.vote.Builder.Name
	}
	return evidence.Refuse(evidence.GuixSigs, codeNotCurrent, "path", "lies deeper than RELEASE/NAME/STAGE%s, where replaced and withdrawn lists are kept%s", guixsigs.Suffix, by)
}

// native reads a statement of Quorate's own kind, which the readers of foreign
// kinds refuse.
func (j *juror) native(body []byte, f *found) {
	s, err := statement.Parse(body)
	if err != nil {
		return // the reason that the foreign reader gave stands
	}
	f.native, f.err = s, nil
	if j.policy != nil {
		f.admitted, f.err = quorum.Admit(j.policy, s, j.at)
		f.admitted.Received = time.Time{}
	}
}

// rejection is a file that counts for nobody.
type rejection struct {
	Type    string         `json:"type"`
	Path    string         `json:"path"`
	Code    statement.Code `json:"code"`
	Message string         `json:"message"`
}

func reject(f *found) rejection {
	return rejection{"rejected", f.path, codeOfReason(f.err), f.err.Error()}
}

func (r *rejection) text() string { return render.Text(r.Path) + ": " + r.Message }

// codeOfReason is the code of why a file counts for nobody.
func codeOfReason(err error) statement.Code {
	var own *statement.Error
	var foreign *evidence.Error
	switch {
	case errors.As(err, &own):
		return own.Code
	case errors.As(err, &foreign):
		return foreign.Code
	}
	return "unreadable"
}
