package coordinator_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium without a window, with an empty profile.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the console said; owned by mu
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		path, err = exec.LookPath("chromium-browser")
	}
	if err != nil {
		t.Fatal("chromium is not installed; `make test` installs it")
	}
	opts := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.WindowSize(1280, 1000),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(testLimit)}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	b := &browser{t: t}
	var end context.CancelFunc
	b.ctx, end = chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}), chromedp.WithListener(b.hear))
	t.Cleanup(func() { _ = chromedp.Cancel(b.ctx); end() })
	// The first run is what the browser lives by: no time limit.
	check(t, chromedp.Do(b.ctx, chromedp.Navigate("about:blank")))
	return b
}

// hear keeps errors of the console and of the pages' policy.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.problems = append(b.problems, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			b.problems = append(b.problems, fmt.Sprintf("console: %+v", e.Args))
		}
	}
}

// heard returns what the console said since the last time.
func (b *browser) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.problems
	b.problems = nil
	return list
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	run(t, b, chromedp.Steps(actions...))
}

func run[T any](t *testing.T, b *browser, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, testLimit)
	defer cancel()
	return must(chromedp.Run(ctx, a))(t)
}

// eval evaluates a script, which may give a promise, in the page.
func eval[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	return run(t, b, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// open shows a page and fails when the browser complains of it.
func (b *browser) open(t *testing.T, url string) {
	t.Helper()
	b.do(t, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("#main")))
	if list := b.heard(); len(list) > 0 {
		t.Errorf("%s: the console says %q", url, list)
	}
}

func (b *browser) dark(t *testing.T, on bool) {
	t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	b.do(t, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// picture leaves a screenshot for a person to look at.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	data := run(t, b, chromedp.FullScreenshot(100))
	check(t, os.MkdirAll("testdata/screenshots", 0o755))
	check(t, os.WriteFile(filepath.Join("testdata/screenshots", name+".png"), data, 0o644))
}

// axe is the accessibility checker.
var axe = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("../.ci/npm/node_modules/axe-core/axe.min.js")
	return string(data), err
})

// wantAccessible fails on findings that keep somebody from using the page. It is a
// test of its own, so that without the checker everything else is tested all the same.
func (b *browser) wantAccessible(t *testing.T) {
	t.Helper()
	t.Run("accessible", b.checkAccess)
}

func (b *browser) checkAccess(t *testing.T) {
	source, err := axe()
	if err != nil {
		t.Skipf("axe-core is not there, accessibility of %s is not checked: %v; `.ci/install test` gets it with npm", t.Name(), err)
	}
	eval[int](t, b, source+";0")
	found := eval[[]struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		}
	}](t, b, `axe.run().then(r => r.violations)`)
	for _, f := range found {
		if f.Impact != "serious" && f.Impact != "critical" {
			t.Logf("%s: %s (%s)", f.ID, f.Help, f.Impact)
			continue
		}
		for _, n := range f.Nodes {
			t.Errorf("%s: %s: %s\n%s", f.ID, f.Help, n.HTML, n.FailureSummary)
		}
	}
}

// text is what a person reads in the page.
func (b *browser) text(t *testing.T) string {
	t.Helper()
	return eval[string](t, b, `document.querySelector("main").innerText`)
}

func (b *browser) wantText(t *testing.T, parts ...string) {
	t.Helper()
	have := b.text(t)
	for _, p := range parts {
		if !strings.Contains(have, p) {
			t.Errorf("the page lacks %q:\n%s", p, have)
		}
	}
}

// withoutScript keeps pages from running any script of theirs.
func withoutScript() chromedp.Action[chromedp.Void] {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

func command[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}
