package coordinator_test

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"quorate/internal/api"
	"quorate/internal/bus"
	"quorate/internal/manifest"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

const (
	plainHello = "pkg:generic/hello" // the target of an envelope about the file hello
	backwards  = "usr/\u202ebin/\u2066\u05d0\u05d1"
	markup     = `usr/<img src=x onerror="document.title='owned'">`
)

// attachedText is what a build may have written into a report.
const attachedText = "--- A\n+++ B\n\t</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n\u202egpj.exe \u05d0\u05d1\nlast {{.}}"

var longName = strings.Repeat("n", 255)

// inside publishes a build that says what is in its file, and where it was built.
func (w *world) inside(b build, members map[string]string, gcc string) {
	w.t.Helper()
	list := manifest.NewBuilder(manifest.MaxBytes)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		content := members[name]
		check(w.t, list.Add(manifest.Member{Name: name, Size: uint64(len(content)), SHA256: digest(content), Mode: "644"}))
	}
	said := *b.statement(w.t)
	said.Artifacts[0].Manifest = must(list.Manifest("tar").Encode())(w.t)
	said.Environment = map[string]string{"cpu": "<b>cpu</b> of " + b.builder + "\u202e"}
	said.Dependencies = []statement.Dependency{{Name: "gcc", Annotations: map[string]string{"version": gcc}}}
	signed := must(statement.Sign(&said, key(b.builder)))(w.t)
	w.publishRaw(b.builder, must(bus.StatementSubject("core", b.builder))(w.t), signed.Raw())
}

// troubled has one target of which there is everything to say.
func troubled(t *testing.T) *staffed {
	s := newStaffed(t)
	s.enroll("gather", bus.RoleImporter)
	s.keepFiles(hour)
	s.start()
	s.bring("gather", found(t, envelope("alice", "hello", "one"), nil))
	one := map[string]string{"etc/same": "same"}
	two := map[string]string{"etc/same": "same"}
	for i := range 308 {
		name := fmt.Sprintf("var/%03d", i)
		if one[name], two[name] = "1", "1"; i < 60 {
			two[name] = "2"
		}
	}
	for _, name := range []string{"a", backwards, markup, longName} {
		one[name], two[name] = "one", "two"
	}
	s.inside(build{builder: "bob", target: plainHello, files: map[string]string{"hello": "one"}}, one, "14.2.1")
	s.inside(build{builder: "carol", target: plainHello, files: map[string]string{"hello": "two"}}, two, "14.1.0")
	s.sync()
	s.upload("carol", digest("two"), []byte("evil"))
	s.uploads("mismatch", 1)
	s.upload("carol", digest("two"), []byte("two"))
	s.uploads("kept", 1)

	on := act.Subject{Channel: "core", Target: plainHello}
	first := s.do(act.Hold, on, nil)
	s.do(act.Release, on, first)
	s.do(act.Rebuild, on, nil)
	s.send(s.anna.Sign(t, act.Act{Kind: act.Note, Subject: on, Reason: "<script>document.title='owned'</script> \u202egpj.exe " + longName}))
	s.send(s.anna.Sign(t, act.Act{Kind: act.Note, Subject: on, Reason: "what diffoscope says", Attachment: attachedText}))
	s.do(act.Hold, onChannel, nil)
	s.send(s.anna.Sign(t, act.Act{Kind: act.Hold, Subject: on, After: s.head(on), Reason: "the compiler of carol, look at <b>gcc</b>\nand at the next line"}))
	return s
}

// head is the newest hold or release on a subject.
func (s *staffed) head(on act.Subject) statement.SHA256 {
	s.t.Helper()
	return get[api.Subject](s.world, "/v1/subject?channel="+on.Channel+"&target="+on.Target).Head
}

func TestPageSaysWhyInABrowser(t *testing.T) {
	s := troubled(t)
	b := newBrowser(t)
	look := func(name string) {
		t.Helper()
		b.open(t, s.page(plainHello))
		b.picture(t, name)
		b.wantAccessible(t)
		if n := eval[int](t, b, `document.querySelectorAll("main script, main img, main [onerror], main blockquote b, main .factors b").length`); n > 0 {
			t.Errorf("%d elements that others made", n)
		}
		if title := eval[string](t, b, "document.title"); title == "owned" {
			t.Error("a script ran")
		}
		if wide := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("%d wider than the screen", wide)
		}
	}
	look("why")
	hold := get[api.TargetDetail](s.world, "/v1/targets/"+caseID("core", plainHello)).Acts[0]
	b.wantText(t,
		"What stands in the way", "hold of pkg:generic/hello by anna", `"the compiler of carol, look at <b>gcc</b>\nand at the next line"`, "hold of channel core by anna",
		"quorate release --channel core --after "+hold.ID.String()+" --nkey FILE --key FILE --reason TEXT pkg:generic/hello", "quorate release --channel core --whole-channel --after",
		"What maintainers noted", "release of pkg:generic/hello by anna", "rebuild of", "note of", "attached text, 5 lines", `"<script>document.title='owned'</script> \u202egpj.exe `,
		"upload-digest", "carol",
		"What differs inside", "A and B: 64 of 313 members differ:", "a (content)", "the file", "14 further members",
		"What goes with the difference", "gcc: ", "the one of B has 14.1.0",
		"other tool", "slsa, signature good by ed25519:", "brought by gather from somewhere", "as it was found",
		"quorate diff pkg:generic/hello --channel core", "quorate note --channel core --nkey FILE --key FILE --reason TEXT pkg:generic/hello", "quorate rebuild ")
	eval[int](t, b, `document.querySelectorAll("details").forEach(d => d.open = true); 0`)
	b.wantText(t, `"usr/\u202ebin/\u2066`+"\u05d0\u05d1"+`"`, `"usr/<img src=x onerror=\"document.title='owned'\">"`, longName)
	shown := eval[string](t, b, `document.querySelector("pre.attached[dir=ltr] > bdi:only-child").textContent`)
	if want := strings.ReplaceAll(attachedText, "\u202e", `\u202e`); shown != want {
		t.Errorf("attached is %q, want %q", shown, want)
	}
	if n := eval[int](t, b, `document.querySelectorAll(".attached *:not(bdi)").length`); n > 0 {
		t.Errorf("an attachment made %d elements", n)
	}
	if n := eval[int](t, b, `Array.from(document.querySelectorAll(".members li")).filter(m => m.querySelector("bdi")).length`); n != 50 {
		t.Errorf("%d members are shown and kept from turning their neighbours around, want 50", n)
	}
	if strings.Contains(b.text(t), "quorate hold") {
		t.Error("what is held is offered to be held")
	}
	b.picture(t, "why-open")
	for _, link := range eval[[]string](t, b, `Array.from(document.querySelectorAll("main a[href^='/v1/']"), a => a.getAttribute("href"))`) {
		if status, _ := s.fetch(link); status != 200 {
			t.Errorf("%s: status %d", link, status)
		}
	}
	b.dark(t, true)
	look("why-dark")
	b.dark(t, false)
	b.do(t, chromedp.EmulateViewport(390, 800))
	look("why-narrow")
	b.do(t, withoutScript(), chromedp.Navigate(s.page(plainHello)))
	html := run(t, b, chromedp.OuterHTML(chromedp.CSS("main")))
	for _, want := range []string{"What stands in the way", "What differs inside", "What goes with the difference", "/v1/files/"} {
		if !strings.Contains(html, want) {
			t.Errorf("without script the page lacks %q", want)
		}
	}
}

// What there is nothing to say of has no section.
func TestPageHasNoEmptySections(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agree("alice", "bob")
	_, body := w.fetch("/targets/" + helloID)
	for _, heading := range []string{"stands in the way", "Alarms</h2>", "maintainers noted", "differs inside", "goes with", "quorate diff", "quorate hold", "quorate note", "other tool"} {
		if strings.Contains(string(body), heading) {
			t.Errorf("there is %q", heading)
		}
	}
}

// The line that releases a hold says to a shell what the hold says, whatever the
// file is called.
func TestReleaseLineIsForAShell(t *testing.T) {
	s := newStaffed(t)
	s.start()
	name := "it's \u202e\u05d0\\ $(touch owned)"
	for _, builder := range []string{"alice", "bob", "carol"} {
		s.publish(build{builder: builder, files: map[string]string{name: "one"}})
	}
	on := act.Subject{Channel: "core", Target: helloTarget, Artifact: name}
	hold := s.do(act.Hold, on, nil)
	s.wantState(quorum.Held)
	b := newBrowser(t)
	b.open(t, s.page(helloTarget))
	line := eval[string](t, b, `document.querySelector(".stands .command code").textContent`)
	if strings.ContainsRune(line, '\u202e') {
		t.Errorf("the line turns around: %q", line)
	}
	out := must(exec.Command("bash", "-c", "quorate() { printf '%s\\0' \"$@\"; }; "+line).Output())(t)
	want := []string{"release", "--channel", "core", "--artifact=" + name, "--after", hold.ID().String(), "--nkey", "FILE", "--key", "FILE", "--reason", "TEXT", helloTarget, ""}
	if got := strings.Split(string(out), "\x00"); !slices.Equal(got, want) {
		t.Errorf("%q\nis %q\nwant %q", line, got, want)
	}
}

// An act that changes no verdict changes the page, and what was opened stays open
// below what came in between.
func TestPageFollowsActs(t *testing.T) {
	s := newStaffed(t)
	s.start()
	s.agree("alice")
	b := newBrowser(t)
	b.open(t, s.page(helloTarget))
	eval[int](t, b, `document.querySelector("#f0 details").open = true; 0`)
	b.do(t, chromedp.WaitVisible(chromedp.Search(`//*[@id="live"][contains(., "Live")]`)))
	for range 6 {
		s.do(act.Note, onHello, nil)
	}
	b.do(t, chromedp.WaitVisible(chromedp.Search(`//summary[contains(., "1 earlier note")]`)))
	if open := eval[[]bool](t, b, `Array.from(document.querySelectorAll("details"), d => d.open)`); !slices.Equal(open, []bool{false, true}) {
		t.Errorf("open are %v, want the facts alone", open)
	}
}

// A hold of a whole channel is on the overview for as long as it stands.
func TestOverviewShowsHoldsOfChannels(t *testing.T) {
	s := newStaffed(t)
	s.start()
	b := newBrowser(t)
	hold := s.do(act.Hold, onChannel, nil)
	b.open(t, s.c.URL()+"/")
	b.wantText(t, "hold of channel core by anna", "quorate release --channel core --whole-channel --after "+hold.ID().String())
	b.wantAccessible(t)
	b.picture(t, "overview-held")
	b.dark(t, true)
	b.open(t, s.c.URL()+"/")
	b.wantAccessible(t)
	s.do(act.Release, onChannel, hold)
	b.open(t, s.c.URL()+"/")
	if text := eval[string](t, b, "document.body.innerText"); strings.Contains(text, "hold of channel") {
		t.Error("what was released still stands there")
	}
}

// Dissent after the signature is compared like any other, and a withdrawal shows
// no line that undoes it.
func TestPageOfWhatIsSigned(t *testing.T) {
	s := newStaffed(t)
	s.start()
	signer := s.signer()
	for _, builder := range []string{"alice", "bob", "carol"} {
		s.inside(build{builder: builder}, map[string]string{"bin/x": "one"}, "14")
	}
	signer.answer(signer.next(), nil)
	s.sync()
	s.inside(build{builder: "dave", files: map[string]string{"hello": "late"}}, map[string]string{"bin/x": "two"}, "13")
	s.sync()
	s.do(act.Withdraw, onHello, nil)
	_, body := s.fetch("/targets/" + helloID)
	for _, want := range []string{`<span class="cell key late">B</span>`, "1 of 1 member differs", "bin/x", "gcc: all 3 of A have 14; the one of B has 13", "late-dissent",
		"withdraw of pkg:generic/hello@1 by anna", "Nothing undoes a withdrawal"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"quorate release", "quorate hold"} {
		if strings.Contains(string(body), bad) {
			t.Errorf("the page offers %q", bad)
		}
	}
}
