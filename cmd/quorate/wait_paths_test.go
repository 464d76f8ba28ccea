package main

import (
	"crypto"
	"crypto/sha512"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"quorate/internal/api"
	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// signedTwice serves an artifact named core.db, signed by two keys, each of which the
// server calls what it likes; it may be the same signature twice.
func signedTwice(t *testing.T, dir string, keys [2]string, seeds [2]string) (url string, certs []string) {
	t.Helper()
	sigs := map[string][]byte{}
	a := api.Artifact{Channel: "c", Target: "pkg:generic/x@1"}
	a.Verdict = quorum.Verdict{Artifact: "core.db", State: quorum.Signed, SHA256: statement.ID([]byte("A"))}
	for i, seed := range seeds {
		h := sha512.New()
		h.Write([]byte("A"))
		cert := certificate(seed)
		path := "/v1/sig/" + seed
		sigs[path] = must(pgpsig.SignDetached(cert, h, crypto.SHA512, worldTime, nil, signWith(seeded(seed))))
		file := filepath.Join(dir, seed+".pgp")
		mustWrite(t, file, string(pgpsig.ArmorCertificate(cert.Bytes())))
		certs = append(certs, "--cert", file)
		a.Signatures = append(a.Signatures, api.Signature{Output: policy.Output{Format: policy.OpenPGP, Key: keys[i]},
			Fingerprint: cert.Fingerprint(), Path: path})
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sig, ok := sigs[r.URL.Path]; ok {
			w.Write(sig)
			return
		}
		answer(w, http.StatusOK, api.Artifacts{Artifacts: []api.Artifact{a}})
	}))
	t.Cleanup(srv.Close)
	return srv.URL, certs
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWaitOverwritesNoOtherFile: names of keys come from the coordinator, and paths
// are made of them. A hostile one would have the signature of core.db.files
// overwritten by one of core.db, which makes the good file useless.
func TestWaitOverwritesNoOtherFile(t *testing.T) {
	const good = "what was there before"
	for name, c := range map[string]struct {
		keys, seeds [2]string
		beside      []string // files that stand beside core.db
		victim      string   // what must stay
		code        int
	}{
		"one signature under two names":     {[2]string{"real", "files"}, [2]string{"core", "core"}, nil, "core.db.files.sig", exitOK},
		"a key named like another file":     {[2]string{"real", "files"}, [2]string{"core", "extra"}, []string{"core.db.files"}, "core.db.files.sig", exitFailure},
		"a key name that leaves the folder": {[2]string{"real", "../x"}, [2]string{"core", "extra"}, nil, "x.sig", exitFailure},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, victim := filepath.Join(dir, "core.db"), filepath.Join(dir, c.victim)
			mustWrite(t, file, "A")
			mustWrite(t, victim, good)
			for _, b := range c.beside {
				mustWrite(t, filepath.Join(dir, b), "B")
			}
			url, certs := signedTwice(t, dir, c.keys, c.seeds)
			if code := run(append(append([]string{"wait", "--server", url, "--timeout", "0"}, certs...), file)); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if got := string(must(os.ReadFile(victim))); got != good {
				t.Errorf("%s was overwritten", c.victim)
			}
			if _, err := os.Stat(file + ".sig"); err != nil {
				t.Errorf("the file's own signature: %v", err)
			}
		})
	}
}

// TestWaitOverwritesNoGivenFile: the signature of one file may have the path of
// another one of the command line.
func TestWaitOverwritesNoGivenFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "core.db")
	mustWrite(t, file, "A")
	mustWrite(t, file+".sig", "a file of its own")
	url, certs := signedTwice(t, dir, [2]string{"real", "real"}, [2]string{"core", "core"})
	if code := run(append(append([]string{"wait", "--server", url, "--timeout", "0"}, certs...), file, file+".sig")); code == exitOK {
		t.Error("exit code 0")
	}
	if got := string(must(os.ReadFile(file + ".sig"))); got != "a file of its own" {
		t.Error("the second file was overwritten")
	}
}
