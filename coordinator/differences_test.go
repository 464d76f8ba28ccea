package coordinator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/manifest"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// publishInside makes a statement say what is in hello, and on what it was built.
func (w *world) publishInside(builder, content, gcc string) {
	w.t.Helper()
	b := manifest.NewBuilder(manifest.MaxBytes)
	for _, m := range []manifest.Member{{Name: "usr/bin/x", Size: uint64(len(content)), SHA256: digest(content), Mode: "755"}, {Name: "README", SHA256: digest("")}} {
		check(w.t, b.Add(m))
	}
	s := build{builder: builder, files: map[string]string{"hello": content}}.statement(w.t)
	s.Artifacts[0].Manifest = must(b.Manifest("tar").Encode())(w.t)
	w.sayWith(s, map[string]string{"kernel": "Linux 6.12"}, "gcc", gcc)
}

// sayWith publishes a statement that says besides what it was built on.
func (w *world) sayWith(s *statement.Statement, environment map[string]string, dependency, version string) {
	w.t.Helper()
	said := *s
	said.Environment = environment
	said.Dependencies = []statement.Dependency{{Name: dependency, Annotations: map[string]string{"version": version}}}
	signed := must(statement.Sign(&said, key(s.Builder)))(w.t)
	w.publishRaw(s.Builder, must(bus.StatementSubject("core", s.Builder))(w.t), signed.Raw())
}

func (w *world) differences(query string) api.Differences {
	w.t.Helper()
	return get[api.Differences](w, "/v1/targets/"+helloID+"/differences"+query)
}

func TestDifferencesAreExplained(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.publishInside("alice", "one", "14.2.1")
	w.publishInside("bob", "one", "14.2.1")
	w.sync()
	if d := w.differences(""); len(d.Artifacts) != 0 {
		t.Errorf("nobody differs: %+v", d)
	}
	w.publishInside("carol", "two", "14.1.0")
	w.sync()
	d := w.differences("?artifact=hello")
	if len(d.Artifacts) != 1 || d.Target != "pkg:generic/hello@1" || len(d.Artifacts[0].Groups) != 2 {
		t.Fatalf("%+v", d)
	}
	a := d.Artifacts[0]
	if got := a.Pairs[0].Text; got != "1 of 2 members differs: usr/bin/x (content)" {
		t.Error(got)
	}
	if len(a.Factors) == 0 || a.Factors[0].Text != "gcc: both of A have 14.2.1; the one of B has 14.1.0" {
		t.Errorf("%+v", a.Factors)
	}
	base := w.c.URL() + "/v1/targets/"
	w.wantError(t, must(http.NewRequest("GET", base+helloID+"/differences?artifact="+url.QueryEscape("no such"), nil))(t), 404, api.CodeNotFound)
	w.wantError(t, must(http.NewRequest("GET", base+strings.Repeat("0", 32)+"/differences", nil))(t), 404, api.CodeNotFound)
	w.wantError(t, must(http.NewRequest("GET", base+"x/differences", nil))(t), 400, api.CodeBadRequest)
}

// Lists that lie have no effect on the verdict, nor on the signature.
func TestManifestsDecideNothing(t *testing.T) {
	w := newWorld(t)
	w.start()
	s := w.signer()
	for i, name := range []string{"alice", "bob", "carol"} {
		w.publishInside(name, "one", fmt.Sprint(i))
	}
	s.answer(s.next(), nil)
	w.sync()
	if got := w.detail(helloID).Artifacts; len(got) != 1 || got[0].State != quorum.Signed {
		t.Errorf("%+v", got)
	}
}

// A target with many files has an answer of bounded size.
func TestDifferencesOfManyFiles(t *testing.T) {
	w := newWorld(t)
	w.start()
	for _, name := range []string{"alice", "bob"} {
		files := map[string]string{}
		for i := range 20 {
			files[fmt.Sprintf("f%02d", i)] = name
		}
		w.publish(build{builder: name, files: files})
	}
	w.sync()
	if d := w.differences(""); len(d.Artifacts) != 16 || d.More != 4 {
		t.Errorf("%d artifacts, %d more", len(d.Artifacts), d.More)
	}
	if d := w.differences("?artifact=f19"); len(d.Artifacts) != 1 || d.Artifacts[0].Artifact != "f19" {
		t.Errorf("%+v", d)
	}
}
