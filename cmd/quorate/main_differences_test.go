package main

import (
	"context"
	"net/http"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	builderagent "quorate/builder-agent"
	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/quorum/statement"
)

// manifestOf is what an agent says is inside the file.
func manifestOf(path string) []byte {
	artifacts, _, err := builderagent.Hash(context.Background(), []string{path}, nil, builderagent.Wanted{Manifests: true})
	return must(artifacts, err)[0].Manifest
}

func (w *world) serveDifferences(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wc := w.cases[r.PathValue("id")]
	if wc == nil {
		answer(rw, 404, api.Error{Code: api.CodeNotFound, Message: "no such target"})
		return
	}
	read := func(id statement.SHA256) *statement.Statement {
		for i, o := range wc.obs {
			if o.ID == id {
				return wc.stmts[i]
			}
		}
		return nil
	}
	out := api.Differences{ID: caseID(wc.Case), Channel: wc.Channel, Target: wc.Target, Stage: wc.Stage}
	for _, v := range w.decide(wc) {
		name := r.URL.Query().Get("artifact")
		if groups := difference.Groups(&v); len(groups) > 1 && (name == "" || name == v.Artifact) {
			a := difference.Explain(v.Artifact, groups, read)
			for i, g := range a.Groups {
				if path := "/v1/files/" + g.SHA256.String(); w.blobs[path] != nil {
					a.Groups[i].File = path
				}
			}
			if w.fault == "factor" {
				a.Factors = append(a.Factors, difference.Factor{Kind: "x\x1b[2J", Text: "\u202eevil"})
			}
			switch w.fault {
			case "name":
				a.Artifact = "../../evil"
			case "letter":
				a.Groups[1].Letter = "/../evil"
			case "blob":
				for i := range a.Groups {
					a.Groups[i].File = "http://192.0.2.1/v1/x"
				}
			}
			out.Artifacts = append(out.Artifacts, a)
		}
	}
	answer(rw, 200, out)
}

// facts BUILDER NAME VALUE: what the builder's next statements say of its machine
func scriptFacts(_ *testscript.TestScript, w *world, a []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.facts[a[0]] == nil {
		w.facts[a[0]] = map[string]string{}
	}
	w.facts[a[0]][a[1]] = a[2]
}

// upload FILE: the coordinator has the file
func scriptUpload(ts *testscript.TestScript, w *world, a []string) {
	data, err := os.ReadFile(ts.MkAbs(a[0]))
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blobs["/v1/files/"+statement.ID(data).String()] = data
}

// log BUILDER FILE: the builder's next statements name the file as their log
func scriptLog(ts *testscript.TestScript, w *world, a []string) {
	data, err := os.ReadFile(ts.MkAbs(a[1]))
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log[a[0]] = statement.ID(data)
}

// logstate BUILDER STATE FILE: what became of the logs of the builder; one that is
// kept has the content of the file
func scriptLogState(ts *testscript.TestScript, w *world, a []string) {
	data, err := os.ReadFile(ts.MkAbs(a[2]))
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cases {
		for i, o := range c.obs {
			l := w.logs[o.ID]
			if c.stmts[i].Builder != a[0] || l == nil {
				continue
			}
			if l.State = a[1]; l.State == api.LogKept {
				l.Path = "/v1/statements/" + o.ID.String() + "/log"
				w.blobs[l.Path] = data
			}
		}
	}
}
