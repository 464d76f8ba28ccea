//go:build linux

package tokenproc

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"io"
	"os"
	"os/exec"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/token"
)

// Internals that tests use.
var Verify = verify

// Frame is a frame with exported parts.
type Frame struct {
	Kind byte
	ID   uint64
	Body []byte
}

// Append is the encoding of f.
func (f Frame) Append(dst []byte) []byte { return appendFrame(dst, frame{kind(f.Kind), f.ID, f.Body}) }

func ReadFrame(r io.Reader) (Frame, error) {
	f, err := readFrame(r)
	return Frame{byte(f.kind), f.id, f.body}, err
}

// Kinds that fake children send.
const (
	KindState          = byte(kindState)
	KindSignature      = byte(kindSignature)
	KindAskPIN         = byte(kindAskPIN)
	KindLookup         = byte(kindLookup)
	KindSignUnverified = byte(kindSignUnverified)
	KindClosed         = byte(kindClosed)
)

// FakeState is the answer of a child whose token has one Ed25519 key.
func FakeState(label string, pub ed25519.PublicKey) []byte {
	k, err := encodeKey(token.Key{Label: label, Type: token.Ed25519, Public: pub})
	if err != nil {
		panic(err)
	}
	data, err := json.Marshal(stateMessage{Counts: counts{Generation: 1}, Workers: 2, Keys: []keyMessage{k}})
	if err != nil {
		panic(err)
	}
	return data
}

// ParseSign reads the body of a sign request.
var ParseSign = parseSign

// ParseAll parses a body as every message of the protocol.
func ParseAll(body []byte) {
	_, _ = parseState(body)
	_, _ = parseError(body)
	var l logMessage
	_ = decode("log", body, &l)
	var o openMessage
	_ = decode("open", body, &o)
}

// AppendSign is the encoding of what ParseSign returned.
var AppendSign = appendSign

// HearParent has a child that opened nothing read what a parent says, and returns
// how many requests it took from it.
func HearParent(r io.Reader) int {
	c := &child{in: bufio.NewReader(r), out: io.Discard, jobs: make(chan frame, 1<<16), pins: make(chan frame, 1),
		ended: make(chan struct{}), asking: true, asked: 1}
	c.read()
	return len(c.jobs)
}

// HearChild has a Proxy read what a child says while it waits for the answers to
// three requests, and returns how many of them it got or gave up.
func HearChild(r *os.File) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	o := &Proxy{ctx: ctx, stop: stop}
	o.options.complete()
	o.log = o.options.Logger
	o.options.Token.PIN = func() ([]byte, error) { return []byte("none"), nil }
	o.catalog.Store(&catalog{})
	p := &process{owner: o, cmd: exec.Command("none"), out: r, asks: make(chan *call, maxJobs), deadline: o.options.Deadline,
		workers: 2, window: make(chan struct{}, 2*perWorker), dying: make(chan struct{}), pending: map[uint64]*call{}}
	calls := []*call{newCall(kindSign, nil), newCall(kindSign, nil), newCall(kindLookup, nil)}
	for _, c := range calls {
		p.window <- struct{}{}
		p.begin(c)
	}
	p.read()
	p.end(errEnded)
	n := 0
	for _, c := range calls {
		<-c.result
		n++
	}
	return n
}

// Sentinels are the errors that cross the pipe.
func Sentinels() (all []error) {
	for _, s := range sentinels {
		all = append(all, s.err)
	}
	return all
}
