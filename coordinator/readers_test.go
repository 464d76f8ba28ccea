package coordinator_test

import (
	"net"
	"strings"
	"testing"

	"quorate/internal/bus"
)

// However many readers there are, builders still get onto the bus and what they say
// is taken in: readers do not have all descriptors of the process.
func TestReadersKeepNobodyOffTheBus(t *testing.T) {
	t.Setenv(childFiles, "256")
	w := newWorld(t)
	_, busURL, pages := w.childWithPages()
	for range 300 {
		c, err := net.Dial("tcp", strings.TrimPrefix(pages, "http://"))
		check(t, err)
		defer c.Close()
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		conn := must(bus.Connect(bus.Options{URL: busURL, Name: name, SeedFile: w.path(name + ".nk"), Logger: quiet(), Timeout: testLimit}))(t)
		defer conn.Close()
		s := build{builder: name}.statement(t)
		must(conn.Publish(limit(t), must(bus.StatementSubject("core", name))(t), bus.MsgID(s.Raw()), s.Raw()))(t)
	}
}
