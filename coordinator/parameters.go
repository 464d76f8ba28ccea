package coordinator

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"quorate/internal/api"
)

// listed are the parameters of the list of targets.
var listed = []string{"channel", "state", "q", "builder", "differs", "changed", "newer", "older", "order", "limit", "after"}

// parameters are those that each path of the interface takes in its query; one that
// is not here takes none.
var parameters = map[string][]string{
	"/v1/targets":                                listed,
	"/v1/targets/{id}/differences":               {"artifact"},
	"/v1/targets/{id}/artifacts/{name}/evidence": {"key"},
	"/v1/artifacts/{digest}":                     {"channel", "target", "stage", "name"},
	"/v1/statements/{sha256}":                    {"part"},
	"/v1/rejected":                               {"limit", "before"},
	"/v1/acts":                                   {"channel", "target", "stage", "artifact", "limit", "before"},
	"/v1/alarms":                                 {"limit", "before"},
	"/v1/subject":                                {"channel", "target", "stage", "artifact"},
	"/v1/events":                                 {"channel", "target", "sha256"},
}

// strict refuses a query that cannot be read, and a parameter that the path does not
// take or that is given twice: a filter that is passed over would otherwise be an
// answer about everything. Pages of people take what they find in an address, which
// others may have added to.
func (c *Coordinator) strict(pattern string, h http.HandlerFunc) http.HandlerFunc {
	if !strings.HasPrefix(pattern, "/v1/") {
		return h
	}
	known := parameters[pattern]
	return func(w http.ResponseWriter, r *http.Request) {
		if err := checkQuery(r.URL.RawQuery, known); err != nil {
			c.fail(w, err)
			return
		}
		h(w, r)
	}
}

func checkQuery(query string, known []string) error {
	q, err := url.ParseQuery(query)
	if err != nil { // what is wrong in it would be left out in silence
		return badRequest("the query cannot be read: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(known, name) {
			return unknownParameter(name, known)
		}
		if len(q[name]) > 1 {
			return badRequest("parameter %q is given %d times", name, len(q[name]))
		}
	}
	return nil
}

func unknownParameter(name string, known []string) error {
	takes := "none"
	if len(known) > 0 {
		takes = strings.Join(known, ", ")
	}
	return &apiError{api.CodeUnknownParameter, fmt.Sprintf("parameter %.80q is not known; this path takes %s", name, takes)}
}
