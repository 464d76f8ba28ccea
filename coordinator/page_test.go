package coordinator_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// showWorld has a target for each thing that a person may have to understand.
func showWorld(t *testing.T) *world {
	w := newWorld(t)
	w.start()
	w.show()
	return w
}

// show has builders say what there is to be seen, and a signer sign.
func (w *world) show() {
	w.t.Helper()
	say := func(target string, files map[string]map[string]string) {
		for _, who := range builders {
			if f, ok := files[who]; ok {
				w.publish(build{builder: who, target: target, files: f})
			}
		}
	}
	one := func(content string) map[string]string {
		return map[string]string{"hello-1-x86_64.pkg.tar.zst": content}
	}
	say("pkg:alpm/arch/agreed@1?arch=x86_64", map[string]map[string]string{"alice": one("x"), "bob": one("x"), "carol": one("x")})
	say("pkg:alpm/arch/conflicting@1?arch=x86_64", map[string]map[string]string{"alice": one("x"), "bob": one("x"), "carol": one("y")})
	say("pkg:alpm/arch/all-different@1?arch=x86_64", map[string]map[string]string{"alice": one("1"), "bob": one("2"), "carol": one("3"), "dave": one("4")})
	both := map[string]string{"hello-1-x86_64.pkg.tar.zst": "x", "hello-doc-1-any.pkg.tar.zst": "doc"}
	say("pkg:alpm/arch/silent@1?arch=x86_64", map[string]map[string]string{"alice": both, "bob": one("x")})
	w.publish(build{builder: "carol", target: "pkg:alpm/arch/silent@1?arch=x86_64", status: "failed"})
	w.publish(build{builder: "bob", target: "pkg:alpm/arch/conflicting@1?arch=x86_64", files: one("z"), nonce: "again"})

	signed := "pkg:alpm/arch/disputed@1?arch=x86_64"
	say(signed, map[string]map[string]string{"alice": both, "bob": both, "carol": both})
	w.sync()
	s := w.signer()
	for range 3 { // of the agreed target, too
		s.answer(s.next(), nil)
	}
	w.sync()
	w.publish(build{builder: "dave", target: signed, files: one("late")})
	w.sync()
}

func (w *world) page(target string) string {
	return w.c.URL() + "/targets/" + caseID("core", target)
}

const (
	alpm = "pkg:alpm/arch/"
	arch = "@1?arch=x86_64"
)

// cells reads a row of the grid as a person sees it.
func (b *browser) cells(t *testing.T, row int) []string {
	t.Helper()
	return eval[[]string](t, b, fmt.Sprintf(`Array.from(document.querySelectorAll(".grid tbody tr")[%d].querySelectorAll("td.cell"), c =>
		Array.from(c.childNodes).filter(n => !(n.classList && n.classList.contains("vh"))).map(n => n.textContent).join(""))`, row))
}

func TestPagesInABrowser(t *testing.T) {
	w := showWorld(t)
	b := newBrowser(t)
	for _, tt := range []struct {
		name  string
		cells []string // of the first file, for alice, bob, carol and dave
		words []string
	}{
		{"agreed", []string{"A", "A", "A", "–"}, []string{"✓ signed", "needs 3 of 4", "No answer from dave"}},
		{"conflicting", []string{"A", "C", "B", "–"}, []string{"unreachable", "bob gave", "superseded"}},
		{"all-different", []string{"A", "B", "C", "D"}, []string{"× unreachable", "No two operators gave the same bytes", "What would change it"}},
		{"silent", []string{"A", "A", "✗", "–"}, []string{"… waiting", "no vote: the build failed", "needs 3 of 4", "failed"}},
		{"disputed", []string{"A", "A", "A", "!"}, []string{"! disputed", "late: differs from what was signed", "Evidence file", "quorate wait --cert FILE hello-1-x86_64.pkg.tar.zst --channel core"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.open(t, w.page(alpm+tt.name+arch))
			eval[int](t, b, `document.querySelectorAll("details").forEach(d => d.open = true); 0`)
			if got := b.cells(t, 0); !slices.Equal(sorted(tt.name, got), sorted(tt.name, tt.cells)) {
				t.Errorf("grid %q, want %q", got, tt.cells)
			}
			b.wantText(t, tt.words...)
			b.picture(t, tt.name)
			b.wantAccessible(t)
		})
	}
	t.Run("silent is not failed", func(t *testing.T) {
		b.open(t, w.page(alpm+"silent"+arch))
		if got := b.cells(t, 1); !slices.Equal(got, []string{"A", "·", "✗", "–"}) {
			t.Errorf("grid %q", got)
		}
	})
	for _, p := range []struct {
		name, path string
		words      []string
	}{
		{"overview", "/", []string{"core", "Waiting longest", "1\n! disputed"}},
		{"targets", "/targets", []string{alpm + "disputed" + arch, "! disputed"}},
		{"targets-filtered", "/targets?state=disputed&channel=core&q=disp", []string{"disputed@1"}},
		{"builders", "/builders", []string{"alice", "Files agreed"}},
		{"builder", "/builders/bob", []string{"Changed a vote", "Latest statements", "ed25519:"}},
		{"alarms", "/alarms", []string{"late-dissent", "dave"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			b.open(t, w.c.URL()+p.path)
			b.wantText(t, p.words...)
			b.wantAccessible(t)
			b.picture(t, p.name)
		})
	}
	t.Run("dark", func(t *testing.T) {
		b.dark(t, true)
		for name, url := range map[string]string{"disputed": w.page(alpm + "disputed" + arch), "overview": w.c.URL() + "/", "targets": w.c.URL() + "/targets",
			"conflicting": w.page(alpm + "conflicting" + arch)} {
			b.open(t, url)
			b.wantAccessible(t)
			b.picture(t, name+"-dark")
		}
	})
	t.Run("narrow", func(t *testing.T) {
		b.dark(t, false)
		b.do(t, chromedp.EmulateViewport(320, 700))
		for name, url := range map[string]string{"disputed": w.page(alpm + "disputed" + arch), "all-different": w.page(alpm + "all-different" + arch), "overview": w.c.URL() + "/",
			"targets": w.c.URL() + "/targets", "builders": w.c.URL() + "/builders", "builder": w.c.URL() + "/builders/bob", "alarms": w.c.URL() + "/alarms"} {
			b.open(t, url)
			b.picture(t, name+"-narrow")
			if wide := eval[int](t, b, `document.documentElement.scrollWidth`); wide > 320 {
				t.Errorf("%s is %d wide on a screen of 320", name, wide)
			}
		}
	})
}

// sorted leaves out the order where it is by digest.
func sorted(name string, cells []string) []string {
	if name == "all-different" || name == "conflicting" {
		slices.Sort(cells)
	}
	return cells
}

// The page changes by itself when a vote arrives; what was opened stays open.
func TestPageIsLive(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice")
	b := newBrowser(t)
	// The listener is there before the page's own script runs.
	b.open(t, w.page("pkg:generic/hello@1"))
	eval[int](t, b, `document.querySelector("details").open = true; document.querySelector('.grid a').focus();
		window.updated = new Promise(done => document.addEventListener("quorate:updated", done, {once: true})); 0`)
	b.do(t, chromedp.WaitVisible(chromedp.Search(`//*[@id="live"][contains(., "Live")]`)))
	w.agree("bob")
	eval[int](t, b, `window.updated.then(() => 1)`)
	if got := b.cells(t, 0); !slices.Equal(got, []string{"A", "A", "–", "–"}) {
		t.Errorf("grid %q", got)
	}
	if !eval[bool](t, b, `document.querySelector("details").open`) || !eval[bool](t, b, `document.activeElement.closest(".grid") !== null`) {
		t.Error("what was open or focused no longer is")
	}
	if list := b.heard(); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
}

func TestPageByKeyboard(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	b := newBrowser(t)
	b.open(t, w.c.URL()+"/")
	press := func(key string) {
		t.Helper()
		b.do(t, chromedp.KeyEvent(key))
	}
	focused := func() string {
		t.Helper()
		return eval[string](t, b, `(document.activeElement.textContent || document.activeElement.name || "").trim()`)
	}
	press(kb.Tab)
	if got := focused(); got != "Skip to the content" {
		t.Fatalf("the first stop is %q", got)
	}
	for i := 0; focused() != "pkg:generic/hello@1"; i++ {
		if i > 60 {
			t.Fatal("the waiting target cannot be reached with the tab key")
		}
		press(kb.Tab)
		if outline := eval[string](t, b, `getComputedStyle(document.activeElement).outlineStyle`); outline == "none" {
			t.Errorf("%q does not show that it is focused", focused())
		}
	}
	press(kb.Enter)
	b.do(t, chromedp.WaitVisible(chromedp.CSS(".grid")))
	for i := 0; focused() != "All that is known"; i++ {
		if i > 60 {
			t.Fatal("the facts cannot be reached with the tab key")
		}
		press(kb.Tab)
	}
	press(kb.Enter)
	if !eval[bool](t, b, `document.querySelector("details").open`) {
		t.Error("the facts do not open")
	}
}

// What builders name their files does nothing.
func TestHostileNamesAreInert(t *testing.T) {
	w := newWorld(t)
	w.start()
	target := "pkg:generic/<script>document.title='owned'</script>&amp;'x@1"
	long := strings.Repeat("n", 255)
	w.publish(build{builder: "alice", target: target, files: map[string]string{
		"<img src=x onerror=\"document.title='owned'\">": "a", "\u202egpj.exe": "b", "\u2066\u200b{{.}}": "c", "javascript:alert(1)": "d", long: "e", "'\"><svg onload=alert(1)>": "f"}})
	w.publish(build{builder: "bob", target: target, status: "failed"})
	w.sync()
	b := newBrowser(t)
	for _, path := range []string{"/", "/targets", "/targets/" + caseID("core", target), "/targets?q=%3Cscript%3Ealert(1)%3C/script%3E", "/targets?differs=%22%3E%3Cscript%3E", "/builders/alice"} {
		b.open(t, w.c.URL()+path)
		if n := eval[int](t, b, `document.querySelectorAll("main script, main img, main svg, main [onerror], main [onload], a[href^='javascript:']").length`); n > 0 {
			t.Errorf("%s: %d elements that a builder made", path, n)
		}
		if title := eval[string](t, b, "document.title"); title == "owned" {
			t.Errorf("%s: a script ran", path)
		}
		if wide := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("%s: %d wider than the screen", path, wide)
		}
	}
	b.open(t, w.page(target))
	b.wantText(t, `"\u202egpj.exe"`, long, "<img src=x onerror=")
	if n := eval[int](t, b, `Array.from(document.querySelectorAll(".grid tbody th")).filter(h => h.querySelector("bdi")).length`); n != 6 {
		t.Errorf("%d of 6 names are kept from turning their neighbours around", n)
	}
	b.picture(t, "hostile")
	b.wantAccessible(t)
	b.do(t, chromedp.Navigate(w.page(target)+"/grid.svg"))
	if n := eval[int](t, b, `document.querySelectorAll("script, image, img, foreignObject").length`); n > 0 {
		t.Errorf("the picture has %d elements that a builder made", n)
	}
	b.picture(t, "hostile-svg")
	if list := b.heard(); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
}

// A page that loads something from elsewhere is seen: else the other tests say
// nothing about the pages' policy.
func TestTheBrowserToolTellsOfViolations(t *testing.T) {
	w := newWorld(t)
	w.start()
	b := newBrowser(t)
	b.open(t, w.c.URL()+"/")
	for _, script := range []string{
		`new Promise(done => { addEventListener("securitypolicyviolation", done, {once: true}); document.body.insertAdjacentHTML("beforeend", "<p style='color:red'>x</p>") }).then(() => 1)`,
		`new Promise(done => { addEventListener("securitypolicyviolation", done, {once: true}); let s = document.createElement("script"); s.textContent = "1"; document.body.append(s) }).then(() => 1)`,
		`new Promise(done => { addEventListener("securitypolicyviolation", done, {once: true}); new Image().src = "data:image/png,x" }).then(() => 1)`,
	} {
		eval[int](t, b, script)
	}
	if list := b.heard(); len(list) < 3 {
		t.Errorf("heard %q of three violations", list)
	}
}

func TestPagesWithoutScript(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	b := newBrowser(t)
	b.do(t, withoutScript())
	// The tool finds elements by script, so that the markup is read instead.
	for path, want := range map[string]string{"/": "Waiting longest", "/targets?q=hello&state=waiting": "pkg:generic/hello@1", "/targets/" + helloID: `class="grid"`,
		"/builders/alice": "Latest statements", "/alarms": "There was none."} {
		b.do(t, chromedp.Navigate(w.c.URL()+path))
		if html := run(t, b, chromedp.OuterHTML(chromedp.CSS("main"))); !strings.Contains(html, want) {
			t.Errorf("%s lacks %q: %s", path, want, html)
		}
		if html := run(t, b, chromedp.OuterHTML(chromedp.CSS("#live"))); strings.Contains(html, "Live") {
			t.Errorf("%s: a script ran", path)
		}
	}
	b.picture(t, "no-script")
}

// Of hundreds of files the page begins with the one on which builders differ, and
// what was opened stays open when another takes its place.
func TestPageBeginsWithWhatDiffers(t *testing.T) {
	w := newWorld(t)
	w.start()
	files := map[string]string{}
	for i := range 120 {
		files[fmt.Sprintf("f%03d", i)] = "same"
	}
	target := "pkg:generic/big@1"
	w.publish(build{builder: "alice", target: target, files: files})
	files = maps.Clone(files)
	files["f117"] = "other"
	w.publish(build{builder: "bob", target: target, files: files})
	w.sync()
	b := newBrowser(t)
	b.open(t, w.page(target))
	first := func() []string {
		return eval[[]string](t, b, `[document.querySelector(".grid tbody th").innerText, document.querySelector("#f0 h2 bdi, #f0 h2 .name").innerText]`)
	}
	if got := first(); !slices.Equal(got, []string{"f117", "f117"}) {
		t.Errorf("the page begins with %q", got)
	}
	b.wantText(t, "Files 1 to 100 of 120")
	if _, svg := w.fetch("/targets/" + caseID("core", target) + "/grid.svg"); !regexp.MustCompile(`(?s)>f117<.*>f000<`).Match(svg) {
		t.Error("the picture does not begin with what differs")
	}
	eval[int](t, b, `document.querySelector("#f0 details").open = true;
		window.updated = new Promise(done => document.addEventListener("quorate:updated", done, {once: true})); 0`)
	b.do(t, chromedp.WaitVisible(chromedp.Search(`//*[@id="live"][contains(., "Live")]`)))
	files = maps.Clone(files)
	files["f005"] = "other"
	w.publish(build{builder: "carol", target: target, files: files})
	w.sync()
	eval[int](t, b, `window.updated.then(() => 1)`)
	if got := first(); !slices.Equal(got, []string{"f005", "f005"}) {
		t.Errorf("the page begins with %q", got)
	}
	if got := eval[[]string](t, b, `Array.from(document.querySelectorAll("details[open]"), d => d.closest("section").dataset.file)`); !slices.Equal(got, []string{"f117"}) {
		t.Errorf("open are %q", got)
	}
}
