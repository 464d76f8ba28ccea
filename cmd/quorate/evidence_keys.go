package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// keyEvidence is the evidence of one key's signatures: a signer is asked for each
// key by itself, so each answer has its own.
type keyEvidence struct {
	data   []byte
	suffix string // what it adds to the name of the file
}

// fetchAll fetches the evidence of each key that signed, or of the one that is
// asked for. The suffix depends on the channel alone, so that what is written
// for one key never replaces what was written for another.
func (c *evidenceCmd) fetchAll(ctx context.Context, cl *client.Client, a *api.Artifact) (list []keyEvidence, err error) {
	var seen []statement.SHA256
	suffix := evidenceSuffix
	for _, s := range a.Signatures {
		if slices.Contains(seen, s.Request) || len(seen) == quorum.MaxOutputs {
			continue
		}
		seen = append(seen, s.Request)
		if len(seen) > 1 {
			suffix = "." + s.Key + evidenceSuffix
		}
		if c.Key != "" && c.Key != s.Key {
			continue
		}
		if len(seen) > 1 {
			if err := keyNamesFile(c.File, c.Out, s.Key); err != nil {
				return nil, err
			}
		}
		data, err := cl.Raw(ctx, a.Evidence+"?"+url.Values{"key": {s.Key}}.Encode(), quorum.MaxBundle)
		if client.IsNotFound(err) {
			return nil, &exitError{exitFailure, err, "quorate show FILE lists the signatures"}
		}
		if err != nil {
			return nil, serverError(err)
		}
		list = append(list, keyEvidence{data, suffix})
	}
	if len(list) == 0 {
		return nil, usageError("quorate show FILE lists the signatures", "it is signed, but not with key %s; there is %s", render.Text(c.Key), keysOf(a))
	}
	return list, nil
}

// checkAll keeps the evidence of the keys that are given, and of all if there are
// none. All that is kept must hold.
func checkAll(file *hashedFile, keys []*sigcheck.Key, list []keyEvidence) (kept []keyEvidence, err error) {
	if len(keys) == 0 {
		fmt.Fprintln(os.Stderr, "note: the signature was not checked, because no --cert or --public-key is given; quorate verify checks it")
	}
	var foreign error
	for _, e := range list {
		switch err := checkBundle(file, keys, e.data); {
		case err == nil:
			kept = append(kept, e)
		case errors.Is(err, errNoKey):
			foreign = err
		default:
			return nil, err
		}
	}
	if len(kept) == 0 {
		return nil, foreign
	}
	return kept, nil
}

func readEvidence(path string) ([]byte, error) {
	data, err := readInput(path, quorum.MaxBundle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("quorate evidence FILE fetches it; --evidence names it", "there is no %s", render.Text(path))
	}
	return data, err
}

// findEvidence looks beside the file for the evidence that has the signature. If
// none has it FILE.evidence.json is taken, and the checks say what is wrong.
func (k *checker) findEvidence(file string) ([]byte, error) {
	first, err := readEvidence(file + evidenceSuffix)
	if err == nil && k.holds(first) {
		return first, nil
	}
	var other []byte
	for _, path := range evidenceByKey(file) {
		data, err := readInput(path, quorum.MaxBundle)
		if err != nil {
			return nil, err
		}
		if other = data; k.holds(data) {
			return data, nil
		}
	}
	if err != nil && other != nil {
		return other, nil
	}
	return first, err
}

// evidenceByKey lists the files FILE.KEY.evidence.json that there are.
func evidenceByKey(file string) (paths []string) {
	dir, name := filepath.Split(file)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil // reading the file itself says why
	}
	for _, e := range entries {
		rest, mine := strings.CutPrefix(e.Name(), name+".")
		if key, ok := strings.CutSuffix(rest, evidenceSuffix); mine && ok && statement.ValidName(key) {
			paths = append(paths, dir+e.Name())
		}
	}
	return paths
}

// holds reports whether the answer in the evidence has the signature.
func (k *checker) holds(data []byte) bool {
	b, err := quorum.ParseBundle(data)
	return err == nil && k.inAnswer(b.Answer)
}

// outputsOf names what an answer has.
func outputsOf(a *quorum.Answer) string {
	var list []string
	for _, s := range a.Signatures {
		list = append(list, string(s.Format)+" by "+render.Text(s.Key))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
