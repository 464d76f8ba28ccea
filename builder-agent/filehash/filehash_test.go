package filehash_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quorate/builder-agent/filehash"
)

var long = flag.Bool("long", false, "also hash a file of 10 GiB")

func write(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func random(tb testing.TB, n int) []byte {
	tb.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		tb.Fatal(err)
	}
	return data
}

// What a state is worth shows when hashing goes on from it.
func TestFile(t *testing.T) {
	const b = filehash.BlockSize
	for _, size := range []int{0, 1, 63, 64, 127, 128, b - 1, b, b + 1, 4 * b, 9*b + 77} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := random(t, size)
			var seen atomic.Int64
			a, err := filehash.File(t.Context(), write(t, "x.bin", data), func(n int) { seen.Add(int64(n)) })
			if err != nil {
				t.Fatal(err)
			}
			if a.Name != "x.bin" || a.Size != uint64(size) || seen.Load() != int64(size) {
				t.Errorf("name %q, size %d, progress %d", a.Name, a.Size, seen.Load())
			}
			if a.SHA256 != sha256.Sum256(data) || a.SHA512 != sha512.Sum512(data) {
				t.Error("wrong digest")
			}
			h, err := a.State512.Resume()
			if err != nil {
				t.Fatal(err)
			}
			h.Write([]byte("trailer"))
			if want := sha512.Sum512(append(bytes.Clone(data), "trailer"...)); !bytes.Equal(h.Sum(nil), want[:]) {
				t.Error("SHA-512 does not go on from the state")
			}
			h, err = a.State256.Resume()
			if err != nil {
				t.Fatal(err)
			}
			h.Write([]byte("trailer"))
			if want := sha256.Sum256(append(bytes.Clone(data), "trailer"...)); !bytes.Equal(h.Sum(nil), want[:]) {
				t.Error("SHA-256 does not go on from the state")
			}
		})
	}
}

func TestFilesKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i := range 100 {
		path := filepath.Join(dir, fmt.Sprintf("f%03d", i))
		if err := os.WriteFile(path, bytes.Repeat([]byte{byte(i)}, i*1000), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	artifacts, err := filehash.Files(t.Context(), paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range artifacts {
		if a.Name != filepath.Base(paths[i]) || a.SHA256 != sha256.Sum256(bytes.Repeat([]byte{byte(i)}, i*1000)) {
			t.Errorf("artifact %d is %s, or its digest is wrong", i, a.Name)
		}
	}
	if _, err := filehash.Files(t.Context(), append(paths, filepath.Join(dir, "absent")), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a missing file: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null"} {
		if _, err := filehash.File(t.Context(), path, nil); !errors.Is(err, filehash.ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := filehash.File(t.Context(), filepath.Join(dir, "absent"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestFollowsSymlink(t *testing.T) {
	target := write(t, "target", []byte("text"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	a, err := filehash.File(t.Context(), link, nil)
	if err != nil || a.Name != "link" || a.SHA256 != sha256.Sum256([]byte("text")) {
		t.Errorf("%+v, %v", a, err)
	}
}

// Each change happens in the middle of reading: at the first progress report.
func TestChangeWhileReadIsAnError(t *testing.T) {
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, change := range map[string]func(path string) error{
		"grows":     func(p string) error { return appendTo(p) },
		"shrinks":   func(p string) error { return os.Truncate(p, 100) },
		"rewritten": func(p string) error { return os.WriteFile(p, make([]byte, 8*filehash.BlockSize), 0o600) },
		"touched":   func(p string) error { return os.Chtimes(p, past, past.Add(time.Second)) },
		"replaced":  replaceSameLooking,
		"removed":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "victim", random(t, 8*filehash.BlockSize))
			if err := os.Chtimes(path, past, past); err != nil {
				t.Fatal(err)
			}
			var once sync.Once
			_, err := filehash.File(t.Context(), path, func(int) {
				once.Do(func() {
					if err := change(path); err != nil {
						t.Error(err)
					}
				})
			})
			if !errors.Is(err, filehash.ErrChanged) || !bytes.Contains([]byte(err.Error()), []byte(path)) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("more")
	return errors.Join(err, f.Close())
}

// replaceSameLooking puts another file of the same size and time in place.
func replaceSameLooking(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	other := path + ".new"
	if err := os.WriteFile(other, make([]byte, info.Size()), 0o600); err != nil {
		return err
	}
	if err := os.Chtimes(other, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(other, path)
}

func TestCancelled(t *testing.T) {
	path := write(t, "x", random(t, 20*filehash.BlockSize))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := filehash.File(ctx, path, func(int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The file is sparse: it takes no room, and reading it is as much work for the
// hashes as any other.
func TestConstantMemory(t *testing.T) {
	size := int64(64 << 20)
	if *long {
		size = 10 << 30
	}
	path := write(t, "big", nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a, err := filehash.File(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if a.Size != uint64(size) {
		t.Errorf("size %d", a.Size)
	}
	// Everything ever allocated, not what is left: nothing may grow with the file.
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("allocated %d bytes for a file of %d", got, size)
	}
}

const benchSize = 256 << 20

func benchFile(b *testing.B) string {
	path := write(b, "bench", random(b, benchSize))
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil { // into the page cache
		b.Fatal(err)
	}
	return path
}

// BenchmarkHashFile compares one pass that computes both hashes and both states,
// side by side on two processors, with the slower hash alone over the same cached
// file. The two take turns, so that a noisy machine disturbs both.
func BenchmarkHashFile(b *testing.B) {
	path := benchFile(b)
	var both, alone []time.Duration
	for b.Loop() {
		for range 5 {
			both = append(both, timed(func() {
				if _, err := filehash.File(b.Context(), path, nil); err != nil {
					b.Fatal(err)
				}
			}))
			alone = append(alone, timed(func() { sha512Alone(b, path) }))
		}
	}
	slices.Sort(both)
	slices.Sort(alone)
	b.ReportMetric(float64(alone[len(alone)/2])/float64(both[len(both)/2]), "of-sha512-alone")
	b.ReportMetric(benchSize/both[len(both)/2].Seconds()/1e6, "MB/s")
	b.ReportMetric(0, "ns/op")
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// sha512Alone is what one pass can reach at best: the slower of the two hashes,
// streaming the same file.
func sha512Alone(b *testing.B, path string) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	h.Sum(nil)
}
