package main

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"quorate/internal/render"
	treewalk "quorate/internal/tree"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/link"
	"quorate/quorum/evidence/openpgp"
)

// keyFolder is where guix.sigs and those who copied it keep key files.
const keyFolder = "builder-keys"

// keyFile is one file of the folder of keys.
type keyFile struct {
	stem        string // name without its end
	name        string
	data        []byte
	fingerprint openpgp.Fingerprint
	err         error
}

// keySuffixes end the names of OpenPGP key files. Others, such as README.md, are
// passed over.
var keySuffixes = []string{".gpg", ".pgp", ".asc", ".key"}

// loadKeys reads the key material for the fingerprints that the policy pins,
// and without a policy everything in the folder.
func (c *evidenceFlags) loadKeys(j *juror, paths []string, layout string) error {
	var pins []string
	if j.policy != nil {
		var err error
		if j.keys.Plain, pins, err = j.roll.Pins(); err != nil {
			return usageError("quorate policy check "+render.Text(c.Policy), "%s: %w", render.Text(c.Policy), err)
		}
	}
	dir := c.keyDir(j, paths)
	files, err := readKeyFiles(dir)
	if err != nil {
		return err
	}
	j.keyFiles = files
	keys := certificates(files, func(f openpgp.Fingerprint) bool { return j.policy == nil || slices.Contains(pins, f.String()) })
	if keys, err = addLayout(j, layout, keys, pins); err != nil {
		return err
	}
	missingKeys(pins, keys, dir)
	j.keys.OpenPGP, err = openpgp.NewRing(keys...)
	return err
}

// keyDir finds the folder of key files: as told, as the policy says, or beside
// the first tree.
func (c *evidenceFlags) keyDir(j *juror, paths []string) string {
	switch {
	case c.Keys != "":
		return c.Keys
	case j.policy != nil && filepath.IsAbs(j.policy.KeyFiles):
		return j.policy.KeyFiles
	case j.policy != nil && j.policy.KeyFiles != "":
		return filepath.Join(filepath.Dir(c.Policy), j.policy.KeyFiles)
	}
	for _, p := range paths {
		for at, up := absolute(p), 0; up < 4; at, up = filepath.Dir(at), up+1 {
			if info, err := os.Stat(filepath.Join(at, keyFolder)); err == nil && info.IsDir() {
				return filepath.Join(at, keyFolder)
			}
		}
	}
	return ""
}

// readKeyFiles reads a folder of key files; none for no folder.
func readKeyFiles(dir string) ([]keyFile, error) {
	if dir == "" {
		return nil, nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, unreadable(dir, errors.Join(err, map[bool]error{true: errors.New("is not a folder")}[err == nil]))
	}
	t, err := treewalk.Open(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer t.Close()
	var entries []treewalk.Entry
	err = t.Walk(func(e treewalk.Entry) error {
		if slices.Contains(keySuffixes, path.Ext(e.Path)) {
			entries = append(entries, e)
		}
		return nil
	})
	files := make([]keyFile, len(entries))
	inParallel(len(entries), func(i int) { files[i] = readKeyFile(t, entries[i]) })
	for _, f := range files {
		if f.err != nil {
			say("warning: %s: %v", render.Text(filepath.Join(dir, f.name)), f.err)
		}
	}
	return files, err
}

func readKeyFile(t *treewalk.Tree, e treewalk.Entry) keyFile {
	base := path.Base(e.Path)
	f := keyFile{name: e.Path, stem: strings.TrimSuffix(base, path.Ext(base))}
	if f.data, f.err = t.Read(e, openpgp.MaxKeyFile); f.err == nil {
		f.fingerprint, f.err = openpgp.Identify(f.data)
	}
	return f
}

// certificates parses the wanted keys, several at a time. Copies of one
// certificate under several names are taken together, as GnuPG does.
func certificates(files []keyFile, want func(openpgp.Fingerprint) bool) []*openpgp.Key {
	var order []openpgp.Fingerprint
	copies := map[openpgp.Fingerprint][][]byte{}
	for _, f := range files {
		if f.err != nil || !want(f.fingerprint) {
			continue
		}
		if copies[f.fingerprint] == nil {
			order = append(order, f.fingerprint)
		}
		copies[f.fingerprint] = append(copies[f.fingerprint], f.data)
	}
	keys, errs := make([]*openpgp.Key, len(order)), make([]error, len(order))
	inParallel(len(order), func(i int) { keys[i], errs[i] = openpgp.ParseKey(order[i], copies[order[i]]...) })
	for i, err := range errs {
		if err != nil {
			say("warning: key %s: %v", order[i], err)
		}
	}
	return slices.DeleteFunc(keys, func(k *openpgp.Key) bool { return k == nil })
}

// inParallel calls do for 0 to n-1 on all processors.
func inParallel(n int, do func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers() {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// addLayout adds the pinned keys of an in-toto layout. A layout vouches for the
// fingerprints in it, so only one that was named is read, never one that lies
// beside the statements.
func addLayout(j *juror, layout string, keys []*openpgp.Key, pins []string) ([]*openpgp.Key, error) {
	if layout == "" {
		return keys, nil
	}
	data, err := readInput(layout, evidence.MaxBody)
	if err != nil {
		return nil, err
	}
	l, err := link.ReadLayout(data, nil, j.at)
	if err != nil {
		return nil, usageError("--at judges as of another time", "%s: %w", render.Text(layout), err)
	}
	for _, k := range l.Keys {
		have := func(o *openpgp.Key) bool { return o.Fingerprint() == k.Fingerprint() }
		if !slices.ContainsFunc(keys, have) && (j.policy == nil || slices.Contains(pins, k.Fingerprint().String())) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// missingKeys names the pins for which no key is at hand.
func missingKeys(pins []string, keys []*openpgp.Key, dir string) {
	where := "give --keys DIR"
	if dir != "" {
		where = "none in " + render.Text(dir)
	}
	for _, p := range pins {
		if !slices.ContainsFunc(keys, func(k *openpgp.Key) bool { return k.Fingerprint().String() == p }) {
			say("warning: there is no key file for openpgp:%s, so nothing by it can count (%s; the fingerprint of a subkey is none of a key file)", p, where)
		}
	}
}

// holdsKey says whether a key file of that name holds the key: "yes", "no", or
// "no-key-file".
func (j *juror) holdsKey(name, primary string) string {
	answer := "no-key-file"
	for _, f := range j.keyFiles {
		if f.stem != name || f.err != nil {
			continue
		}
		if f.fingerprint.String() == primary {
			return "yes"
		}
		answer = "no"
	}
	return answer
}
