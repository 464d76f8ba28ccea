package hsmsigner

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// maxAttempts is how often work on a request that came again may begin without coming
// to an end. A request that ends the process would otherwise come first at every
// start, for ever. How often the bus delivered it says nothing: most of what a
// process that ends had taken was only waiting for its turn.
const maxAttempts = 5

// maxRemembered bounds the file: what another signer answered stays in it. Beyond it
// everything is forgotten, which gives requests more attempts.
const maxRemembered = 4096

// attempts remembers, over the end of the process, which requests it began to work on.
// What comes for the first time is not written down, so this costs nothing as long as
// nothing is wrong. The file is not synced: a crash of the system forgets it, which
// gives a request more attempts.
type attempts struct {
	path string

	mu    sync.Mutex
	begun map[string]int // owned by mu; by digest of the request
}

// openAttempts reads what earlier processes left. A file that cannot be read is an
// error, and is overwritten by the next attempt.
func openAttempts(path string) (*attempts, error) {
	a := &attempts{path: path, begun: map[string]int{}}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("read attempts: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		var id string
		var times int
		if _, err := fmt.Sscanf(lines.Text(), "%64s %d", &id, &times); err != nil || len(id) != 64 || times < 1 {
			return a, fmt.Errorf("read attempts: %s: line %d is not a digest and a number", path, n)
		}
		a.begun[id] = times
	}
	if err := lines.Err(); err != nil {
		return a, fmt.Errorf("read attempts: %w", err)
	}
	return a, nil
}

func attemptID(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// begin writes down that work on the request begins, and returns how often it began
// before without coming to an end.
func (a *attempts) begin(data []byte) (before int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := attemptID(data)
	before = a.begun[id]
	if before == 0 && len(a.begun) >= maxRemembered {
		clear(a.begun)
	}
	a.begun[id]++
	return before, a.write()
}

// end forgets the request: the process is still there.
func (a *attempts) end(data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := attemptID(data)
	if _, ok := a.begun[id]; !ok {
		return nil
	}
	delete(a.begun, id)
	return a.write()
}

func (a *attempts) write() error {
	var b strings.Builder
	for id, times := range a.begun {
		fmt.Fprintf(&b, "%s %d\n", id, times)
	}
	if err := os.WriteFile(a.path+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write attempts: %w", err)
	}
	if err := os.Rename(a.path+".new", a.path); err != nil {
		return fmt.Errorf("write attempts: %w", err)
	}
	return nil
}
