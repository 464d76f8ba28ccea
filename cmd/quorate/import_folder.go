package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"quorate/builder-agent/importer"
	"quorate/internal/bus"
	"quorate/internal/render"
	treewalk "quorate/internal/tree"
	"quorate/internal/wire"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/kinds"
	"quorate/quorum/evidence/live"
	"quorate/quorum/evidence/openpgp"
)

// folder is a tree of statements, or one file, that is looked at again and again.
type folder struct {
	name string
	abs  string
	kind evidence.Kind
	keys keyBox
	done map[string][2]treewalk.Stamp // what was brought, and its signature
	some bool                         // something of the kind was there, or it was said that nothing is
	lock lockWait
}

func newFolder(name string, kind evidence.Kind, keys string, lock lockWait) (*folder, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, unreadable(name, err)
	}
	return &folder{name: name, abs: absolute(name), kind: kind, keys: keyBox{dir: keys, beside: name}, done: map[string][2]treewalk.Stamp{}, lock: lock}, nil
}

// look reads what is new or changed.
func (d *folder) look(ctx context.Context, b *bringer) error {
	if held, err := d.lock.look(ctx, d.abs); held || err != nil {
		return err
	}
	if signedOpenPGP(d.kind) {
		renewed, err := d.keys.load()
		if err != nil {
			return err
		}
		if renewed {
			clear(d.done)
		}
	}
	t, err := treewalk.Open(d.name)
	if err != nil {
		return unreadable(d.name, err)
	}
	defer t.Close()
	s := &source{juror: new(juror), tree: t, name: d.name, abs: d.abs, single: t.Single()}
	if s.single {
		s.abs = filepath.Dir(d.abs)
	}
	err = t.Walk(func(e treewalk.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return d.entry(ctx, b, s, e)
	})
	if err == nil && !d.some && !s.single {
		d.some = true
		say("%s: nothing of kind %s is there; looked for %s", render.Text(d.name), live.KindOf(d.kind), lookedFor[d.kind])
	}
	return err
}

// lookedFor says by what a statement of each kind is told from other files.
var lookedFor = map[evidence.Kind]string{
	evidence.GuixSigs:   "RELEASE/NAME/STAGE" + guixsigs.Suffix + " with " + guixsigs.SignatureSuffix + " beside it",
	evidence.Rebuilderd: "in-toto links in JSON as rebuilderd makes them, under any name",
	evidence.Link:       "in-toto links in JSON, under any name",
	evidence.BuildInfo:  "files named *.buildinfo",
	evidence.NarInfo:    "files named *.narinfo",
	evidence.DSSE:       "DSSE envelopes in JSON, under any name",
}

func signedOpenPGP(k evidence.Kind) bool {
	return k == evidence.GuixSigs || k == evidence.BuildInfo || k == evidence.Link
}

func (d *folder) entry(ctx context.Context, b *bringer, s *source, e treewalk.Entry) error {
	path := filepath.Join(d.name, filepath.FromSlash(e.Path))
	if s.single {
		path = d.name
	}
	list := d.kind == evidence.GuixSigs && filepath.Ext(e.Path) == guixsigs.Suffix
	if e.Err == nil && (!mayState(e.Path) || d.kind == evidence.GuixSigs && !list && !s.single) {
		return nil
	}
	stamp := [2]treewalk.Stamp{e.Stamp()}
	if list {
		sig, _ := s.tree.Find(e.Path + guixsigs.SignatureSuffix)
		stamp[1] = sig.Stamp()
	}
	if was, ok := d.done[e.Path]; ok && was == stamp && e.Err == nil {
		return nil
	}
	err := d.bring(ctx, b, s, e, path)
	d.some = d.some || err != nil && !otherKind(err)
	if stop := fatal(err); stop != nil {
		return stop
	}
	if err != nil {
		b.skip(path, err)
		if s.single {
			b.single = fmt.Errorf("%s: %w", render.Text(path), err)
		}
	}
	if e.Err == nil {
		d.done[e.Path] = stamp
	}
	return nil
}

func otherKind(err error) bool {
	var ours *evidence.Error
	return errors.As(err, &ours) && ours.Code == evidence.CodeWrongKind
}

// fatal tells what ends the import from what is wrong with one file.
func fatal(err error) error {
	var denied *bus.DeniedError
	var ours *evidence.Error
	var stop *exitError
	switch {
	case err == nil, errors.As(err, &ours):
		return nil
	case errors.As(err, &stop):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, bus.ErrUnavailable), errors.Is(err, bus.ErrUnauthorized),
		errors.As(err, &denied), errors.Is(err, errSpool):
		return err
	}
	return nil
}

// errSpool marks a failure of this machine, not of a file.
var errSpool = errors.New("cannot keep what was found")

func (d *folder) bring(ctx context.Context, b *bringer, s *source, e treewalk.Entry, path string) error {
	if e.Err != nil {
		return e.Err
	}
	f := found{naming: s.naming}
	bundle, err := s.bundle(e, &f)
	switch {
	case err != nil:
		return err
	case f.nothing && !s.single:
		return nil
	case f.nothing, bundle.Kind != d.kind:
		return evidence.Refuse(d.kind, evidence.CodeWrongKind, "kind", "the file is %s", orNothing(bundle.Kind))
	case f.past:
		return f.outdated()
	}
	d.some = true
	return b.take(ctx, importer.Find{Bundle: bundle, Keys: d.keys.of(bundle), Origin: path})
}

func orNothing(k evidence.Kind) string {
	if k == "" {
		return "no statement of a known kind"
	}
	return "of kind " + live.KindOf(k)
}

// take hands a find to the session.
func (b *bringer) take(ctx context.Context, f importer.Find) error {
	_, err := b.session.Take(ctx, f)
	if stop := b.stopped(); stop != nil {
		return stop
	}
	var ours *evidence.Error
	if err == nil || errors.As(err, &ours) || errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	var denied *bus.DeniedError
	if errors.As(err, &denied) {
		return err
	}
	return fmt.Errorf("%w: %w", errSpool, err)
}

// keyBox is a folder of key files. It finds those that signed a statement, so that
// they can go along with it.
type keyBox struct {
	dir    string // as told; empty: looked for
	beside string

	state []byte // of the folder, to see that it changed
	ring  *openpgp.Ring
	files map[string][][]byte // by fingerprint
}

// load reads the folder again if anything in it changed.
func (k *keyBox) load() (renewed bool, err error) {
	dir := (&evidenceFlags{Keys: k.dir}).keyDir(new(juror), []string{k.beside})
	state, err := folderState(dir)
	if err != nil || k.ring != nil && bytes.Equal(state, k.state) {
		return false, err
	}
	files, err := readKeyFiles(dir)
	if err != nil {
		return false, err
	}
	k.files = map[string][][]byte{}
	for _, f := range files {
		if f.err == nil {
			k.files[f.fingerprint.String()] = append(k.files[f.fingerprint.String()], f.data)
		}
	}
	k.ring, err = openpgp.NewRing(certificates(files, func(openpgp.Fingerprint) bool { return true })...)
	k.state = state
	return true, err
}

// folderState writes down names, sizes and times of what is in a folder.
func folderState(dir string) ([]byte, error) {
	if dir == "" {
		return nil, nil
	}
	t, err := treewalk.Open(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer t.Close()
	var b bytes.Buffer
	err = t.Walk(func(e treewalk.Entry) error {
		fmt.Fprintf(&b, "%q %v\n", e.Path, e.Stamp())
		return nil
	})
	return b.Bytes(), err
}

// of returns the key files of those who signed. What the signature says of its
// key is not asked; a key that verifies is.
func (k *keyBox) of(b evidence.Bundle) (files [][]byte) {
	if k.ring == nil || len(k.files) == 0 {
		return nil
	}
	s, err := kinds.Read(b, kinds.Keys{OpenPGP: k.ring}, time.Now())
	if err != nil {
		return nil // it is brought all the same, and refused with the reason
	}
	for _, v := range s.Verdicts {
		for _, file := range k.files[v.Primary] {
			if len(files) < wire.MaxForeignKeys && !containsFile(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

func containsFile(files [][]byte, file []byte) bool {
	for _, f := range files {
		if bytes.Equal(f, file) {
			return true
		}
	}
	return false
}
