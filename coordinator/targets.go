package coordinator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum"
)

// maxText bounds a text that is looked for, in bytes: no name is longer.
const maxText = 2048

// filterNames are the parameters that choose from a list; a page's cursor is good for
// the same values only.
var filterNames = []string{"channel", "state", "q", "builder", "differs", "changed", "newer", "older", "order"}

func (c *Coordinator) getTargets(r *http.Request) (out api.Targets, err error) {
	page, next, err := c.targetPage(r.URL.Query())
	if err != nil {
		return out, err
	}
	out.Targets, out.Next = make([]api.Target, len(page)), next
	for i := range page {
		out.Targets[i] = toTarget(&page[i])
	}
	return out, nil
}

// targetPage reads one page of the list that the parameters choose, and the
// cursor of the next one.
func (c *Coordinator) targetPage(q url.Values) (list []store.Target, next string, err error) {
	f, err := c.targetFilter(q)
	if err != nil {
		return nil, "", err
	}
	cur, err := c.db.Cursor()
	if err != nil {
		return nil, "", err
	}
	if after := q.Get("after"); after != "" {
		if f.After, err = parseCursor(after, cur.Epoch, q); err != nil {
			return nil, "", err
		}
	}
	page, err := c.db.Targets(f)
	if err == nil && page.Next != 0 {
		next = makeCursor(page.Next, cur.Epoch, q)
	}
	return page.Targets, next, err
}

func (c *Coordinator) targetFilter(q url.Values) (f store.TargetFilter, err error) {
	f = store.TargetFilter{Channel: q.Get("channel"), State: quorum.State(q.Get("state")), Text: q.Get("q"),
		Builder: q.Get("builder"), Differs: q.Get("differs"), Changed: q.Get("changed")}
	for _, name := range filterNames {
		if v := q.Get(name); !utf8.ValidString(v) || len(v) > maxText {
			return f, badRequest("%s is not valid UTF-8, or longer than %d bytes", name, maxText)
		}
	}
	if f.State != "" && !slices.Contains(quorum.States, f.State) {
		return f, badRequest("state %q is not known", f.State)
	}
	switch order := q.Get("order"); order {
	case "", "newest":
	case "oldest":
		f.Oldest = true
	default:
		return f, badRequest("order %q is neither newest nor oldest", order)
	}
	if f.From, err = c.ago(q, "newer"); err != nil {
		return f, err
	}
	if f.To, err = c.ago(q, "older"); err != nil {
		return f, err
	}
	f.Limit, err = limitOf(q)
	return f, err
}

// ago reads an age such as 36h or 7d and returns the time that lies so far back.
func (c *Coordinator) ago(q url.Values, name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 {
		return time.Time{}, badRequest("%s is not an age such as 90m, 36h or 7d", name)
	}
	return c.now().Add(-d), nil
}

// A cursor is the place in the list, and a digest by which one that was made up,
// or belongs to another list or database, is told from one that was given out. It
// is no secret: whoever computes one gets a page.
const cursorSum = 8

func makeCursor(place int64, epoch string, q url.Values) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(place))
	return base64.RawURLEncoding.EncodeToString(append(b, sumOfCursor(b, epoch, q)...))
}

func parseCursor(text, epoch string, q url.Values) (place int64, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 8+cursorSum || string(b[8:]) != string(sumOfCursor(b[:8], epoch, q)) {
		return 0, &apiError{api.CodeBadCursor, "after is not what a page of this list had as next"}
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func sumOfCursor(place []byte, epoch string, q url.Values) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s %x\n", epoch, place)
	for _, name := range filterNames {
		fmt.Fprintf(h, "%s %q\n", name, q.Get(name))
	}
	return h.Sum(nil)[:cursorSum]
}

func toTarget(t *store.Target) api.Target {
	return api.Target{ID: t.ID.String(), Channel: t.Channel, Target: t.Case.Target, Stage: t.Stage, State: t.State, Counts: t.Counts, Since: t.Since, Updated: t.Updated}
}
