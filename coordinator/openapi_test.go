package coordinator_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"quorate/coordinator"
	"quorate/docs"
	"quorate/internal/api"
)

func openAPI(t *testing.T) *openapi3.T {
	t.Helper()
	doc := must(openapi3.NewLoader().LoadFromData(docs.OpenAPI))(t)
	check(t, doc.Validate(t.Context()))
	return doc
}

// What is served is documented, and what is documented is served.
func TestOpenAPINamesEveryPath(t *testing.T) {
	documented := openAPI(t).Paths.InMatchingOrder()
	served := coordinator.Routes()
	guide := string(must(os.ReadFile(filepath.Join("..", "docs", "api.md")))(t))
	for _, path := range served {
		if !slices.Contains(documented, path) {
			t.Errorf("%s is served and not in docs/openapi.yaml", path)
		}
		named := strings.ReplaceAll(path, "{file}", "{key}.{format}")
		if isPage := !strings.HasPrefix(path, "/v1/") && !slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, path); !isPage && !namesPath(guide, named) {
			t.Errorf("%s is served and not in docs/api.md", path)
		}
	}
	for _, path := range documented {
		if !slices.Contains(served, path) {
			t.Errorf("%s is in docs/openapi.yaml and not served", path)
		}
	}
}

// Each path takes the parameters that are documented, and refuses others.
func TestParametersAreAsOpenAPISays(t *testing.T) {
	w := newWorld(t)
	w.start()
	doc := openAPI(t)
	for path, item := range doc.Paths.Map() {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		var want []string
		for _, p := range item.Get.Parameters {
			if p.Value.In == openapi3.ParameterInQuery {
				want = append(want, p.Value.Name)
			}
		}
		if got := coordinator.Parameters(path); !slices.Equal(got, want) {
			t.Errorf("%s takes %q, documented are %q", path, got, want)
		}
		resp := must(http.Get(w.c.URL() + regexp.MustCompile(`{[a-z0-9]+}`).ReplaceAllString(path, "x") + "?chanel=core"))(t)
		body := string(must(io.ReadAll(resp.Body))(t))
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"unknown-parameter"`) || !strings.Contains(body, `\"chanel\"`) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	resp := must(http.Get(w.c.URL() + "/targets?utm_source=mail"))(t)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a page for people: %s", resp.Status)
	}
}

// No part of a query is passed over: the answer would be about more than was asked.
func TestUnreadableQueryIsRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	for query, names := range map[string]string{"state=signed&state=waiting": "state", "q=a%zz": "%zz", "channel=a;b": "semicolon"} {
		resp := must(http.Get(w.c.URL() + "/v1/targets?" + query))(t)
		body := string(must(io.ReadAll(resp.Body))(t))
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"bad-request"`) || !strings.Contains(body, names) {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}

// namesPath reports whether a row of the guide is about the path.
func namesPath(guide, path string) bool {
	return strings.Contains(guide, "\n| `"+path+"`") || strings.Contains(guide, "\n| `"+path+"?")
}

// Every answer of the real server is as the document says, errors included.
func TestAnswersAreAsOpenAPISays(t *testing.T) {
	w := fullWorld(t)
	doc := openAPI(t)
	router := must(gorillamux.NewRouter(doc))(t)
	seen := map[string]bool{}
	there, not := fullWorldPaths(w)
	for i, path := range slices.Concat(there, not) {
		route, status := w.wantAnswerOf(router, path)
		if seen[route] = true; (status == 200) != (i < len(there)) {
			t.Errorf("%s: status %d", path, status)
		}
	}
	for _, path := range doc.Paths.InMatchingOrder() {
		if !seen[path] {
			t.Errorf("%s was not asked for", path)
		}
	}
	w.wantEventsOf(t, doc.Components.Schemas["Event"].Value)

	split := splitWorld(t)
	split.wantAnswerOf(router, "/v1/targets/"+helloID)
}

// wantAnswerOf asks for the path and holds the answer against the document.
func (w *world) wantAnswerOf(router routers.Router, path string) (routePath string, status int) {
	w.t.Helper()
	r := must(http.NewRequest("GET", w.c.URL()+path, nil))(w.t)
	resp := must(http.DefaultClient.Do(r))(w.t)
	body := must(io.ReadAll(resp.Body))(w.t)
	resp.Body.Close()
	r.URL = must(url.Parse(path))(w.t) // as the document's server has it
	route, params, err := router.FindRoute(r)
	if err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
	in := &openapi3filter.ResponseValidationInput{RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body))}
	in.Options = &openapi3filter.Options{ExcludeResponseBody: !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"), IncludeResponseStatus: true}
	if err := openapi3filter.ValidateResponse(w.t.Context(), in); err != nil {
		w.t.Errorf("%s, status %d: %v", path, resp.StatusCode, err)
	}
	wantSafeHeaders(w.t, path, resp)
	return route.Path, resp.StatusCode
}

// wantSafeHeaders: nothing is taken for another type, framed, or allowed to load
// from elsewhere.
func wantSafeHeaders(t testing.TB, path string, resp *http.Response) {
	t.Helper()
	h := resp.Header
	csp := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%s: headers %v", path, h)
	}
}

func TestAnswersThatAreTheSameAreNotSentAgain(t *testing.T) {
	w := signedWorld(t)
	for _, path := range []string{"/v1/targets/" + helloID, "/v1/targets", "/v1/channels", "/assets/live.js", "/targets/" + helloID + "/grid.svg", "/v1/channels/core/feed.atom"} {
		first := must(http.Get(w.c.URL() + path))(t)
		first.Body.Close()
		tag := first.Header.Get("ETag")
		for given, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, "": 200} {
			r := must(http.NewRequest("GET", w.c.URL()+path, nil))(t)
			if given != "" {
				r.Header.Set("If-None-Match", given)
			}
			resp := must(http.DefaultClient.Do(r))(t)
			body := must(io.ReadAll(resp.Body))(t)
			resp.Body.Close()
			if resp.StatusCode != want || (len(body) == 0) != (want == 304) {
				t.Errorf("%s with If-None-Match %s: status %d, %d bytes, want %d", path, given, resp.StatusCode, len(body), want)
			}
		}
	}
	before := must(http.Get(w.c.URL() + "/v1/targets/" + helloID))(t)
	before.Body.Close()
	w.publish(build{builder: "dave", files: map[string]string{"hello": "late"}})
	w.sync()
	r := must(http.NewRequest("GET", w.c.URL()+"/v1/targets/"+helloID, nil))(t)
	r.Header.Set("If-None-Match", before.Header.Get("ETag"))
	if resp := must(http.DefaultClient.Do(r))(t); resp.StatusCode != 200 {
		t.Errorf("what has changed is status %d", resp.StatusCode)
	}
}

// A cursor belongs to its list.
func TestCursorsOfOtherListsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	for _, name := range []string{"a", "b", "c"} {
		w.publish(build{builder: "alice", target: "pkg:generic/" + name + "@1"})
	}
	w.sync()
	next := get[api.Targets](w, "/v1/targets?limit=1&channel=core").Next
	if page := get[api.Targets](w, "/v1/targets?limit=1&channel=core&after="+next); len(page.Targets) != 1 || page.Targets[0].Target != "pkg:generic/b@1" {
		t.Errorf("second page %+v", page)
	}
	flipped := "A" + next[1:]
	if next[0] == 'A' {
		flipped = "B" + next[1:]
	}
	for _, query := range []string{"after=" + next, "channel=core&order=oldest&after=" + next, "channel=core&after=" + flipped, "channel=core&after=" + next + "A", "channel=core&after=AAAA"} {
		w.wantError(t, must(http.NewRequest("GET", w.c.URL()+"/v1/targets?limit=1&"+query, nil))(t), 400, api.CodeBadCursor)
	}
}

type atom struct {
	XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string   `xml:"id"`
	Title   string   `xml:"title"`
	Updated string   `xml:"updated"`
	Author  string   `xml:"author>name"`
	Link    []struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	} `xml:"link"`
	Entries []struct {
		ID        string `xml:"id"`
		Title     string `xml:"title"`
		Updated   string `xml:"updated"`
		Published string `xml:"published"`
		Category  struct {
			Term string `xml:"term,attr"`
		} `xml:"category"`
		Link struct {
			Href string `xml:"href,attr"`
		} `xml:"link"`
		Content string `xml:"content"`
	} `xml:"entry"`
}

func (w *world) feed(t *testing.T) (f atom) {
	t.Helper()
	status, body := w.fetch("/v1/channels/core/feed.atom")
	if status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	check(t, xml.Unmarshal(body, &f))
	return f
}

// The feed has each disagreement and alarm once, and its entries keep their ids
// when they go on, after a restart and after a rebuild.
func TestFeedTellsOfDisagreements(t *testing.T) {
	w := showWorld(t)
	f := w.feed(t)
	kinds := map[string]int{}
	ids := map[string]string{}
	for _, e := range f.Entries {
		kinds[e.Category.Term]++
		ids[e.ID] = e.Published
		if !strings.HasPrefix(e.ID, "urn:uuid:") || e.Title == "" || e.Content == "" {
			t.Errorf("entry %+v", e)
		}
		must(time.Parse(time.RFC3339, e.Updated))(t)
		must(time.Parse(time.RFC3339, e.Published))(t)
		resp := must(http.Get(e.Link.Href))(t)
		if resp.Body.Close(); resp.StatusCode != 200 {
			t.Errorf("link %s: status %d", e.Link.Href, resp.StatusCode)
		}
	}
	if kinds["disagreement"] != 2 || kinds["late-dissent"] != 1 || len(ids) != 3 || f.Author == "" || f.Title == "" || len(f.Link) != 2 || f.Updated != f.Entries[0].Updated {
		t.Errorf("%v, feed %+v", kinds, f)
	}
	w.publish(build{builder: "dave", target: alpm + "conflicting" + arch, nonce: "more", files: map[string]string{"hello-1-x86_64.pkg.tar.zst": "new"}})
	w.sync()
	want := w.feed(t)
	w.stop()
	must(coordinator.Rebuild(limit(t), w.options()))(t)
	w.start()
	w.sync()
	after := w.feed(t)
	if len(after.Entries) != 3 || len(want.Entries) != 3 {
		t.Fatalf("%d entries, then %d, want 3", len(want.Entries), len(after.Entries))
	}
	for _, e := range after.Entries {
		if ids[e.ID] != e.Published {
			t.Errorf("entry %s of %s is new, or has another time", e.ID, e.Published)
		}
	}
}
