package quorum_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "quorate/"

// imports is what each package of the module imports, tests left aside. All
// files count, whatever system they are built for.
type imports map[string][]string

// readImports parses every file of the module. A package that is not there yet
// breaks no rule.
func readImports(t *testing.T, root string) imports {
	t.Helper()
	all := imports{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(path)):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return all.read(root, path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// isModule reports whether the folder is a module of its own, as fixtures are.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (all imports) read(root, path string) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	pkg := module + filepath.ToSlash(rel)
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if !slices.Contains(all[pkg], name) {
			all[pkg] = append(all[pkg], name)
		}
	}
	return nil
}

// reach returns a path of imports from the package to the first one that ends
// it, or nil.
func (all imports) reach(from string, end func(string) bool) []string {
	seen := map[string]bool{from: true}
	var walk func(pkg string, path []string) []string
	walk = func(pkg string, path []string) []string {
		for _, next := range all[pkg] {
			if end(next) {
				return append(path, next)
			}
			if seen[next] || !strings.HasPrefix(next, module) {
				continue
			}
			seen[next] = true
			if found := walk(next, append(slices.Clone(path), next)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(from, []string{from})
}

func under(pkg string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		return pkg == d || strings.HasPrefix(pkg, d+"/")
	})
}

func isStd(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".") && first+"/" != module
}

// impure is what gives a package a way to the outside.
var impure = []string{"os", "net", "syscall", "io/ioutil", "database", "log", "plugin", "testing", "math/rand", "crypto/rand", "unsafe", "C"}

var components = []string{"quorate/coordinator", "quorate/builder-agent", "quorate/hsmsigner"}

// rule says what a package must not come to, by whatever way.
type rule struct {
	name string
	of   func(pkg string) bool
	not  func(pkg, imported string) bool
}

var rules = []rule{
	{"the core imports nothing of ours but itself",
		func(pkg string) bool { return under(pkg, "quorate/quorum") },
		func(_, imp string) bool { return strings.HasPrefix(imp, module) && !under(imp, "quorate/quorum") }},
	{"what decides imports the standard library, TOML and JSON only",
		inCore,
		func(_, imp string) bool {
			return !isStd(imp) && !strings.HasPrefix(imp, module) && !under(imp, "github.com/pelletier/go-toml", "github.com/go-json-experiment/json")
		}},
	{"what decides does not read foreign evidence itself",
		inCore,
		func(_, imp string) bool { return under(imp, "quorate/quorum/evidence") }},
	{"foreign evidence needs OpenPGP and canonical JSON besides",
		func(pkg string) bool { return under(pkg, "quorate/quorum/evidence") },
		func(_, imp string) bool {
			return !isStd(imp) && !strings.HasPrefix(imp, module) && !under(imp, "github.com/pelletier/go-toml", "github.com/go-json-experiment/json",
				"github.com/ProtonMail/go-crypto", "github.com/secure-systems-lab/go-securesystemslib/cjson")
		}},
	{"the core has no way to the outside",
		inCore,
		func(_, imp string) bool { return under(imp, impure...) }},
	{"the three components never import each other",
		func(pkg string) bool { return under(pkg, components...) },
		func(pkg, imp string) bool {
			return slices.ContainsFunc(components, func(c string) bool { return under(imp, c) && !under(pkg, c) })
		}},
	{"internal imports no component, no command, no fixture",
		func(pkg string) bool { return under(pkg, "quorate/internal") },
		func(_, imp string) bool {
			return under(imp, append([]string{"quorate/cmd", "quorate/fixtures"}, components...)...)
		}},
	{"components import no command and no fixture",
		func(pkg string) bool { return under(pkg, components...) },
		func(_, imp string) bool { return under(imp, "quorate/cmd", "quorate/fixtures") }},
	{"only the signer depends on PKCS#11",
		func(pkg string) bool {
			return !under(pkg, "quorate/hsmsigner", "quorate/cmd/quorate-signer", "quorate/fixtures")
		},
		func(_, imp string) bool { return under(imp, "github.com/miekg/pkcs11") }},
	{"nobody but the signer's module uses cgo",
		func(string) bool { return true },
		func(_, imp string) bool { return imp == "C" }},
	{"the agent and the signer link no NATS server",
		func(pkg string) bool {
			return under(pkg, "quorate/builder-agent", "quorate/hsmsigner", "quorate/cmd/quorate-signer")
		},
		func(_, imp string) bool { return under(imp, "github.com/nats-io/nats-server") }},
	{"tests' keys stay in tests",
		func(string) bool { return true },
		func(_, imp string) bool { return under(imp, "quorate/quorum/internal/corekit") }},
}

func inCore(pkg string) bool {
	return under(pkg, "quorate/quorum") && !under(pkg, "quorate/quorum/evidence") && !under(pkg, "quorate/quorum/internal/corekit")
}

// violations lists each broken rule with the way that breaks it.
func (all imports) violations() (out []string) {
	for _, pkg := range slices.Sorted(maps.Keys(all)) {
		for _, r := range rules {
			if !r.of(pkg) {
				continue
			}
			if path := all.reach(pkg, func(imp string) bool { return r.not(pkg, imp) }); path != nil {
				out = append(out, fmt.Sprintf("%s: %s", r.name, strings.Join(path, " -> ")))
			}
		}
	}
	return out
}

func TestImportsPointOneWay(t *testing.T) {
	all := readImports(t, "..")
	if len(all["quorate/quorum"]) == 0 || len(all["quorate/quorum/statement"]) == 0 {
		t.Fatalf("read %d packages, and not the core", len(all))
	}
	for _, v := range all.violations() {
		t.Error(v)
	}
}

// Every rule is broken once, so that a rule which holds nothing is seen.
func TestEachImportRuleIsHeld(t *testing.T) {
	cases := map[string]imports{
		"the core imports nothing of ours but itself":                   {"quorate/quorum/policy": {"quorate/internal/bus"}},
		"what decides imports the standard library, TOML and JSON only": {"quorate/quorum": {"quorate/quorum/x"}, "quorate/quorum/x": {"github.com/nats-io/nats.go"}},
		"what decides does not read foreign evidence itself":            {"quorate/quorum": {"quorate/quorum/evidence/slsa"}},
		"foreign evidence needs OpenPGP and canonical JSON besides":     {"quorate/quorum/evidence/slsa": {"example.org/x"}},
		"the core has no way to the outside":                            {"quorate/quorum/policy": {"net/http"}},
		"the three components never import each other":                  {"quorate/coordinator": {"quorate/internal/x"}, "quorate/internal/x": {"quorate/hsmsigner/token"}},
		"internal imports no component, no command, no fixture":         {"quorate/internal/bus": {"quorate/coordinator"}},
		"components import no command and no fixture":                   {"quorate/builder-agent": {"quorate/fixtures"}},
		"only the signer depends on PKCS#11":                            {"quorate/cmd/quorate": {"quorate/x"}, "quorate/x": {"github.com/miekg/pkcs11"}},
		"nobody but the signer's module uses cgo":                       {"quorate/hsmsigner": {"C"}},
		"the agent and the signer link no NATS server":                  {"quorate/builder-agent": {"quorate/internal/bus"}, "quorate/internal/bus": {"github.com/nats-io/nats-server/v2/server"}},
		"tests' keys stay in tests":                                     {"quorate/coordinator": {"quorate/quorum/internal/corekit"}},
	}
	for _, r := range rules {
		broken := cases[r.name].violations()
		if !slices.ContainsFunc(broken, func(v string) bool { return strings.HasPrefix(v, r.name+":") }) {
			t.Errorf("%q lets %v pass", r.name, cases[r.name])
		}
	}
	allowed := imports{
		"quorate/cmd/quorate":        {"quorate/coordinator", "quorate/builder-agent"},
		"quorate/cmd/quorate-signer": {"quorate/hsmsigner"},
		"quorate/hsmsigner":          {"github.com/miekg/pkcs11", "quorate/internal/wire", "quorate/hsmsigner/token"},
		"quorate/internal/wire":      {"quorate/quorum", "os"},
		"quorate/quorum":             {"time", "quorate/quorum/policy", "github.com/go-json-experiment/json/jsontext"},
	}
	if broken := allowed.violations(); len(broken) > 0 {
		t.Errorf("what is allowed is refused: %q", broken)
	}
}

// TestTheCoreReadsNoClock: time is an argument, and nothing runs beside.
func TestTheCoreReadsNoClock(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if what := forbidden(n); what != "" {
				t.Errorf("%s: %s", set.Position(n.Pos()), what)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 8 {
		t.Fatalf("looked at %d files: %v", files, err)
	}
}

func forbidden(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a goroutine"
	case *ast.SelectorExpr:
		pkg, ok := n.X.(*ast.Ident)
		if ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "Tick", "NewTicker", "Local"}, n.Sel.Name) {
			return "time." + n.Sel.Name
		}
	}
	return ""
}
