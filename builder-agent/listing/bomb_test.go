package listing_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"quorate/builder-agent/listing"
)

func arMember(name, size string, body []byte) []byte {
	h := fmt.Sprintf("%-16s%-12s%-6s%-6s%-8s%-10s`\n", name, "0", "0", "0", "100644", size)
	return append([]byte(h), body...)
}

func arOf(members ...[]byte) []byte {
	return append([]byte("!<arch>\n"), bytes.Join(members, nil)...)
}

// overlapping is a zip with two entries for one and the same content.
func overlapping(t *testing.T) []byte {
	t.Helper()
	data := zipOf(t, map[string]string{"a": strings.Repeat("x", 100)})
	end := bytes.LastIndex(data, []byte("PK\x05\x06"))
	dir := int(binary.LittleEndian.Uint32(data[end+16:]))
	entry := data[dir:end]
	tail := bytes.Clone(data[end:])
	binary.LittleEndian.PutUint16(tail[8:], 2)
	binary.LittleEndian.PutUint16(tail[10:], 2)
	binary.LittleEndian.PutUint32(tail[12:], uint32(2*len(entry)))
	return bytes.Join([][]byte{data[:dir], entry, entry, tail}, nil)
}

// lyingZip says of its only member that it has five bytes.
func lyingZip(t *testing.T) []byte {
	t.Helper()
	data := zipOf(t, map[string]string{"a": strings.Repeat("x", 100)})
	dir := int(binary.LittleEndian.Uint32(data[bytes.LastIndex(data, []byte("PK\x05\x06"))+16:]))
	binary.LittleEndian.PutUint32(data[dir+24:], 5)
	binary.LittleEndian.PutUint32(data[dir+16:], crc32.ChecksumIEEE([]byte("xxxxx")))
	return data
}

// sparse says that a file of 600 bytes is one of a terabyte.
func sparse(t *testing.T) []byte {
	t.Helper()
	data := tarOf(t, &tar.Header{Name: "a", Size: 512, Format: tar.FormatGNU})
	h := data[:512]
	h[156] = 'S'
	copy(h[386:], "00010000000\x0000000001000\x00")              // 512 bytes at 2 MiB
	copy(h[483:], []byte{0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}) // real size, base 256
	copy(h[386+12:], "00000001000\x00")                          // length of the piece
	copy(h[148:156], "        ")                                 // checksum
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

// elfNames is an ELF file with as many sections as fit, each with a name that is
// as long as the file is.
func elfOf(count, names uint16, nameBytes uint64) []byte {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(h[16:], 2)
	binary.LittleEndian.PutUint16(h[18:], 62)
	binary.LittleEndian.PutUint32(h[20:], 1)
	binary.LittleEndian.PutUint64(h[40:], 64)
	binary.LittleEndian.PutUint16(h[52:], 64)
	binary.LittleEndian.PutUint16(h[58:], 64)
	binary.LittleEndian.PutUint16(h[60:], count)
	binary.LittleEndian.PutUint16(h[62:], names)
	section := make([]byte, 64)
	binary.LittleEndian.PutUint32(section[4:], 3)
	binary.LittleEndian.PutUint64(section[32:], nameBytes)
	return append(h, bytes.Repeat(section, int(max(count, 1)))...)
}

// What would take all memory, all time or all disk gives no list and says why; the
// vote is made all the same, which list checks.
func TestBombsGiveNoList(t *testing.T) {
	zeros := make([]byte, 72<<20)
	many := make([]*tar.Header, 2000)
	for i := range many {
		many[i] = &tar.Header{Name: fmt.Sprint(i)}
	}
	cut := tarOf(t, &tar.Header{Name: "a", Size: 5000})[:2000]
	nested := gzipped(t, tarOf(t, &tar.Header{Name: "a", Size: 72 << 20}))
	for name, c := range map[string]struct {
		data   []byte
		limits listing.Limits
		want   string
	}{
		"gzip bomb":         {gzipped(t, zeros), listing.Limits{}, "times its size"},
		"zstd bomb":         {zstded(t, zeros), listing.Limits{}, "times its size"},
		"zip bomb":          {zipOf(t, map[string]string{"a": string(zeros)}), listing.Limits{}, "times its size"},
		"unpacked":          {gzipped(t, zeros[:2<<20]), listing.Limits{Unpacked: 1 << 20}, "more than 1048576 bytes when unpacked"},
		"bomb in a deb":     {arOf(arMember("debian-binary", "4", []byte("2.0\n")), arMember("data.tar.gz", fmt.Sprint(len(nested)), nested)), listing.Limits{}, "times its size"},
		"many members":      {tarOf(t, many...), listing.Limits{Members: 1999}, "more than 1999 members"},
		"zip many members":  {zipOf(t, map[string]string{"a": "", "b": "", "c": ""}), listing.Limits{Members: 2}, "more than 2 members"},
		"sparse terabyte":   {sparse(t), listing.Limits{Unpacked: 1 << 30}, "bytes when unpacked"},
		"tar is cut":        {cut, listing.Limits{}, "unexpected EOF"},
		"xz is cut":         {sample(t, "sample.tar.xz")[:200], listing.Limits{}, "truncated or corrupt"},
		"rpm is cut":        {sample(t, "sample.rpm")[:6300], listing.Limits{}, "EOF"},
		"zip overlaps":      {overlapping(t), listing.Limits{}, "overlap"},
		"zip lies":          {lyingZip(t), listing.Limits{}, "zip"},
		"ar lies":           {arOf(arMember("a", "1000", []byte("xx"))), listing.Limits{}, "ends after 2 of 1000"},
		"ar negative":       {arOf(arMember("a", "-5", []byte("xx"))), listing.Limits{}, "not a number"},
		"ar damaged":        {arOf(bytes.Repeat([]byte("z"), 60)), listing.Limits{}, "damaged"},
		"elf many sections": {elfOf(0, 0, 0), listing.Limits{}, "more sections"},
		"elf long names":    {elfOf(60000, 1, 1<<30), listing.Limits{}, "longer than is read"},
		"elf cut":           {[]byte("\x7fELF\x02\x01\x01"), listing.Limits{}, "elf"},
		"zip cut":           {zipOf(t, map[string]string{"a": "x"})[:40], listing.Limits{}, "zip"},
	} {
		t.Run(name, func(t *testing.T) {
			m := list(t, c.data, c.limits)
			if m == nil || len(m.List) > 0 || !strings.Contains(m.Problem, c.want) {
				if m != nil && len(m.List) > 3 {
					m.List = m.List[:3]
				}
				t.Errorf("want a problem with %q: %+v", c.want, m)
			}
		})
	}
}

// A file that is no longer what it was gives neither vote nor list, and leaves
// nobody waiting.
func TestFailedHashingLeavesNoList(t *testing.T) {
	l := listing.New(listing.Limits{})
	if _, err := l.Write(tarOf(t, &tar.Header{Name: "a", Size: 1 << 20})[:700]); err != nil {
		t.Fatal(err)
	}
	l.Finish(nil, 0, true)
	if l.Manifest() != nil {
		t.Error("there is a list of a file that could not be read")
	}
}

func FuzzLister(f *testing.F) {
	for _, name := range []string{"sample.tar.xz", "sample.tar.bz2", "sample.deb", "sample.rpm", "sample.a"} {
		f.Add(sample(f, name))
	}
	plain := tarOf(f, &tar.Header{Name: "a", Size: 3})
	for _, data := range [][]byte{plain, gzipped(f, plain), zstded(f, plain), zipOf(f, map[string]string{"a": "b"}), elfOf(2, 1, 1),
		zipOf(f, map[string]string{"a": string(plain)}), pack(f, "a", gzipped(f, pack(f, "b", zipOf(f, map[string]string{"c": "d"}))))} {
		f.Add(data)
	}
	// Fuzz with -fuzzminimizetime 10x: by default the time goes into making packages small.
	f.Fuzz(func(t *testing.T, data []byte) {
		l := listing.New(listing.Limits{Members: 100, Unpacked: 1 << 20, Ratio: 10, List: 4096, Nested: 50, NestedContent: 1 << 20})
		_, _ = l.Write(data)
		l.Finish(bytes.NewReader(data), int64(len(data)), false)
		m := l.Manifest()
		if m == nil {
			return
		}
		encoded, err := m.Encode()
		if err != nil || len(encoded) > 4096+600 || m.Members > 150 {
			t.Fatalf("%d bytes: %v", len(encoded), err)
		}
	})
}

var _ io.Writer = (*listing.Lister)(nil)
