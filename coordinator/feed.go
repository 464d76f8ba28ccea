package coordinator

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"quorate/coordinator/store"
	"quorate/internal/render"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// kindDisagreement is news of builders that gave different bytes. The other kinds
// are the codes of alarms.
const kindDisagreement = "disagreement"

// newsLimit is how many entries a feed has.
const newsLimit = 100

// newsID names an alarm or an entry of the feed, on every coordinator alike.
func newsID(kind string, cs statement.Case, artifact, detail string) statement.SHA256 {
	h := sha256.New()
	for _, s := range []string{kind, cs.Channel, cs.Target, cs.Stage, artifact, detail} {
		fmt.Fprintf(h, "%d:%s\n", len(s), s)
	}
	return statement.SHA256(h.Sum(nil))
}

// reportDissent puts a disagreement into the feed. A file has one entry, whatever
// its builders go on to say: an operator with many digests must not push others out.
func (c *Coordinator) reportDissent(tx *store.Tx, cs store.Case, v *quorum.Verdict) error {
	if len(v.Groups) < 2 {
		return nil
	}
	var latest time.Time
	for i := range v.Groups {
		for _, m := range v.Groups[i].Members {
			if m.Received.After(latest) {
				latest = m.Received
			}
		}
	}
	if latest.IsZero() {
		latest = c.now()
	}
	return tx.AddNews(&store.News{ID: newsID(kindDisagreement, cs.Case, v.Artifact, ""), Case: cs.Case, Kind: kindDisagreement, Artifact: v.Artifact,
		Text: strings.Join(quorum.Explain(v).Facts, "\n"), Updated: latest})
}

// The elements of an Atom feed (RFC 4287).
type (
	atomFeed struct {
		XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string      `xml:"id"`
		Title   string      `xml:"title"`
		Updated string      `xml:"updated"`
		Author  atomAuthor  `xml:"author"`
		Links   []atomLink  `xml:"link"`
		Entries []atomEntry `xml:"entry"`
	}
	atomAuthor struct {
		Name string `xml:"name"`
	}
	atomLink struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	}
	atomEntry struct {
		ID        string       `xml:"id"`
		Title     string       `xml:"title"`
		Published string       `xml:"published"`
		Updated   string       `xml:"updated"`
		Category  atomCategory `xml:"category"`
		Link      atomLink     `xml:"link"`
		Content   atomContent  `xml:"content"`
	}
	atomCategory struct {
		Term string `xml:"term,attr"`
	}
	atomContent struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	}
)

// getFeed tells a feed reader of new disagreements, late dissent and alarms.
func (c *Coordinator) getFeed(r *http.Request) (out raw, err error) {
	channel := r.PathValue("channel")
	if c.policy.Channel(channel) == nil {
		return out, notFound("the policy has no channel %q", channel)
	}
	list, err := c.db.News(channel, newsLimit)
	if err != nil {
		return out, err
	}
	base := baseURL(r)
	self := base + "/v1/channels/" + channel + "/feed.atom"
	// A feed has to say when it changed; one that never did is as old as can be.
	f := atomFeed{ID: feedID("feed " + channel), Title: "Disagreements and alarms in " + channel, Updated: atomTime(time.Unix(0, 0)), Author: atomAuthor{"Quorate"},
		Links: []atomLink{{"self", self}, {"alternate", base + "/targets?channel=" + channel}}}
	for i := range list {
		f.Entries = append(f.Entries, newEntry(&list[i], base))
	}
	if len(list) > 0 {
		f.Updated = atomTime(list[0].Updated)
	}
	data, err := xml.Marshal(&f)
	return raw{contentType: "application/atom+xml; charset=utf-8", data: append([]byte(xml.Header), data...)}, err
}

func newEntry(n *store.News, base string) atomEntry {
	what := "Builders disagree"
	if n.Kind != kindDisagreement {
		what = "Alarm " + n.Kind
	}
	title := what + ": " + render.Text(n.Case.Target)
	if n.Artifact != "" {
		title += ", " + render.Text(n.Artifact)
	}
	return atomEntry{ID: feedID(n.ID.String()), Title: title, Published: atomTime(n.First), Updated: atomTime(n.Updated), Category: atomCategory{n.Kind},
		Link: atomLink{"alternate", base + "/targets/" + store.NewCaseID(n.Case).String()}, Content: atomContent{"text", render.Message(n.Text)}}
}

// feedID makes the id of a feed or entry: a name-based UUID (RFC 9562), so that
// every coordinator gives the same one and moving to another address keeps it.
func feedID(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("quorate "+name)).URN()
}

// baseURL is the address that the reader used, for the links of a feed, which
// have no page to be relative to. The host was checked where that matters.
func baseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func atomTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
