package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxEvent bounds one event, in bytes.
const maxEvent = 1 << 20

var errEventTooLong = errors.New("an event is longer than 1 MiB")

// message is one server-sent event.
type message struct {
	kind  string // "message" when the server names none
	data  string
	id    string
	hasID bool
	retry time.Duration
}

// reader takes a stream apart into events (HTML Living Standard, section
// 9.2.6). Lines end in LF or CRLF; a lone CR, which no server sends, does not.
type reader struct {
	r     *bufio.Reader
	first bool
}

func newReader(r io.Reader) *reader {
	return &reader{r: bufio.NewReaderSize(r, 64<<10), first: true}
}

// next returns the next event that has data, or that names an id or a pause.
// alive is called for every line, comments included. An event that the end of
// the stream cuts off is dropped.
func (r *reader) next(alive func()) (message, error) {
	var m message
	var data []string
	size := 0
	for {
		line, err := r.line()
		if err != nil {
			return m, err
		}
		alive()
		if size += len(line); size > maxEvent {
			return m, errEventTooLong
		}
		if line == "" {
			if len(data) == 0 && !m.hasID && m.retry == 0 {
				m, size = message{}, 0
				continue
			}
			m.data = strings.Join(data, "\n")
			if m.kind == "" {
				m.kind = "message"
			}
			if len(data) == 0 {
				m.kind = "" // nothing to deliver
			}
			return m, nil
		}
		name, value, _ := strings.Cut(line, ":")
		m.set(name, strings.TrimPrefix(value, " "), &data)
	}
}

func (m *message) set(name, value string, data *[]string) {
	switch name {
	case "event":
		m.kind = value
	case "data":
		*data = append(*data, value)
	case "id":
		// An id goes back to the server in a header.
		if len(value) <= 200 && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			m.id, m.hasID = value, true
		}
	case "retry":
		if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
			m.retry = time.Duration(ms) * time.Millisecond
		}
	}
}

func (r *reader) line() (string, error) {
	var long []byte
	for {
		part, err := r.r.ReadSlice('\n')
		long = append(long, part...)
		if errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxEvent {
			continue
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", errEventTooLong
		}
		if err != nil {
			return "", err
		}
		break
	}
	if r.first {
		long, r.first = bytes.TrimPrefix(long, []byte("\ufeff")), false
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(long), "\n"), "\r"), nil
}
