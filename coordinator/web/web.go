// Package web makes the coordinator's pages: what is known, laid out for a person
// who has to understand why builders disagree.
//
// Guarantees: a page is made whole before any of it is sent; text that others
// wrote is escaped, kept from turning around its neighbours, and shown with its
// invisible characters made visible; the pages need no script, load nothing from
// elsewhere and change nothing. Not guaranteed: that what they show is true. The
// coordinator is believed by nobody; signatures and evidence are.
package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
	"time"
)

//go:embed templates
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// Policy of the pages: nothing but our own files, no inline script or style, no
// frame around them, no form that goes elsewhere.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// PicturePolicy is for pictures, which load nothing at all.
const PicturePolicy = "default-src 'none'; sandbox"

// Page is what every page has.
type Page struct {
	Title   string
	Section string    // "overview", "targets", "builders" or "alarms", for the menu
	Now     time.Time // ages are counted from it
	Live    string    // path of the events that change the page; empty: none
	Policy  string    // version of the policy, for the foot of the page
	Feed    string    // path of the feed that belongs to the page; may be empty
}

var pages = parse()

// parse reads the templates: each page with the layout and the shared parts.
func parse() map[string]*template.Template {
	shared := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/why.html"))
	all := map[string]*template.Template{}
	for _, name := range []string{"overview", "targets", "target", "builders", "builder", "alarms", "error"} {
		all[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return all
}

// Render makes the page of that name.
func Render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := pages[name].Execute(&b, data); err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// Asset returns an embedded file and its media type.
func Asset(name string) (data []byte, contentType string, err error) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	if contentType = types[path.Ext(name)]; contentType == "" || strings.Contains(name, "/") {
		return nil, "", fs.ErrNotExist
	}
	data, err = assetFiles.ReadFile("assets/" + name)
	return data, contentType, err
}
