package coordinator_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc/pool"
	"golang.org/x/sys/unix"

	"quorate/coordinator"
	"quorate/internal/bus"
)

// dialEvents opens a stream of events over a connection of its own, and returns it after the greeting.
func dialEvents(url, lastID string) (net.Conn, *bufio.Reader, error) {
	host := strings.TrimPrefix(url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, nil, err
	}
	if lastID != "" {
		lastID = "Last-Event-ID: " + lastID + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET /v1/events HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, lastID); err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(conn, 512)
	for {
		start, err := in.Peek(6)
		if err != nil {
			return nil, nil, err
		}
		if string(start) == "event:" { // the greeting is an event: of type reset
			return conn, in, nil
		}
		if text, err := in.ReadString('\n'); err != nil || strings.HasPrefix(text, "id: ") {
			return conn, in, err
		}
	}
}

// numbers reads the numbers of events from a stream, and "reset" for one that
// says that some were missed, until f has enough.
func numbers(in *bufio.Reader, f func(event string, n int) (enough bool)) error {
	event := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok && event != "" {
			_, text, _ := strings.Cut(id, "-")
			n, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			if f(event, n) {
				return nil
			}
			event = ""
		}
	}
}

// Two thousand readers are told of everything, and cost less than 100 MiB.
func TestManyStreamsMissNothing(t *testing.T) {
	const streams, limitBytes, statements = 2000, 100 << 20, 40
	w := newWorld(t)
	cmd, busURL, pages := w.childWithPages()
	before := resident(t, cmd.Process.Pid)
	conns := make([]net.Conn, streams)
	readers := make([]*bufio.Reader, streams)
	dial := pool.New().WithErrors().WithMaxGoroutines(32)
	for i := range conns {
		dial.Go(func() (err error) {
			conns[i], readers[i], err = dialEvents(pages, "")
			return err
		})
	}
	check(t, dial.Wait())
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	conn := must(bus.Connect(bus.Options{URL: busURL, Name: "alice", SeedFile: w.path("alice.nk"), Logger: quiet(), Timeout: testLimit}))(t)
	defer conn.Close()
	for i := range statements {
		s := build{builder: "alice", target: fmt.Sprintf("pkg:generic/p%d@1", i)}.statement(t)
		must(conn.Publish(limit(t), must(bus.StatementSubject("core", "alice"))(t), bus.MsgID(s.Raw()), s.Raw()))(t)
	}
	read := pool.New().WithErrors()
	for i := range readers {
		read.Go(func() error {
			last := 0
			err := numbers(readers[i], func(event string, n int) bool {
				if event != "verdict" || n != last+1 {
					last = -1
					return true
				}
				last = n
				return n == statements
			})
			if err == nil && last != statements {
				err = fmt.Errorf("stream %d missed an event", i)
			}
			return err
		})
	}
	check(t, read.Wait())
	cost := func() int { return resident(t, cmd.Process.Pid) - before }
	t.Logf("%d streams cost %d MiB, garbage included", streams, cost()>>20)
	if raceDetector {
		return
	}
	// How much garbage there is depends on what else the machine does.
	check(t, cmd.Process.Signal(unix.SIGUSR1))
	for deadline := time.Now().Add(testLimit); cost() > limitBytes; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams cost %d MiB, want less than %d", streams, cost()>>20, limitBytes>>20)
		}
	}
}

// resident is the memory of a process, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("this system does not tell the memory of a process: %v", err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return must(strconv.Atoi(strings.Fields(rest)[0]))(t) << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// A reader that takes nothing while more happens than is kept is told so, and
// misses nothing from there on.
func TestSlowReadersAreToldThatTheyFellBehind(t *testing.T) {
	w := newWorld(t)
	c := w.start()
	conn, in, err := dialEvents(c.URL(), "")
	check(t, err)
	defer conn.Close()
	const floods = 2
	long := "pkg:generic/" + strings.Repeat("flood", 300) + "@1" // else much of it fits between the two
	for range floods {
		check(t, coordinator.Flood(c, long, coordinator.EventsKept))
	}
	// It begins to read only now. One that took nothing for long was let go, and
	// comes back as a browser does.
	last, resets := 0, 0
	for last < floods*coordinator.EventsKept {
		err := numbers(in, func(event string, n int) bool {
			if event == "reset" {
				resets++
			} else if n != last+1 {
				t.Errorf("event %d follows on %d", n, last)
			}
			last = n
			return n == floods*coordinator.EventsKept
		})
		if err != nil {
			conn.Close()
			conn, in, err = dialEvents(c.URL(), fmt.Sprintf("%s-%d", w.epoch(t), last))
			check(t, err)
		}
	}
	if resets == 0 {
		t.Error("nobody said that events were missed")
	}
	conn.Close()
	check(t, coordinator.Flood(c, "pkg:generic/flood@1", 1500)) // more than is kept in memory
	s := w.events(t, "", fmt.Sprintf("%s-%d", w.epoch(t), last))
	s.next()
	for i := 1; i <= 1500; i++ {
		event, _ := s.next()
		if want := fmt.Sprintf("-%d", last+i); event != "verdict" || !strings.HasSuffix(s.id, want) {
			t.Fatalf("after coming back: %s %s, want one that ends with %s", event, s.id, want)
		}
	}
}
