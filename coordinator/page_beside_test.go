package coordinator_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// The machines of one operator have a column each: which of them the vote is by, and
// what the others gave, stands in the grid, in words and in the picture.
func TestEachMachineOfAnOperatorIsShown(t *testing.T) {
	text := policyText(t, 1, 3, "", nil)
	erin := fmt.Sprintf("[[operator.builder]]\nname = \"erin\"\nkey = %q\n", keyText(t, "erin"))
	text = strings.Replace(text, "[[operator]]\nname = \"erin\"\n"+erin, "", 1)
	alice := fmt.Sprintf("name = \"alice\"\nkey = %q\n", keyText(t, "alice"))
	text = strings.Replace(text, alice, alice+erin, 1)
	text = strings.Replace(text, `quorum = "erin"`, `quorum = "alice"`, 1)
	w := newWorldWith(t, text)
	w.start()
	say := func(builder, content string) {
		w.publish(build{builder: builder, files: map[string]string{"hello": content}})
		w.sync()
	}
	cells := func() (list []string) {
		_, page := w.fetch("/targets/" + helloID)
		row := regexp.MustCompile(`(?s)<tbody>.*?</tbody>`).Find(page)
		for _, c := range regexp.MustCompile(`(?s)<td class="cell.*?</td>`).FindAllString(string(row), -1) {
			list = append(list, strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(c, " ")), " "))
		}
		return list
	}
	first := func(want ...string) {
		t.Helper()
		got := cells()
		for i, start := range want {
			if i >= len(got) || !strings.HasPrefix(got[i], start) {
				t.Errorf("cell %d of %q, want %q", i, got, want)
			}
		}
	}
	say("alice", "x")
	say("bob", "x")
	say("erin", "x")
	first("A ,", "(A) ,", "A ,") // alice, erin, bob
	say("erin", "y")
	first("(A) ,", "B ,", "A ,")
	_, page := w.fetch("/targets/" + helloID)
	for _, want := range []string{"not the operator&#39;s vote, which is by another of its builders", "Builder alice of alice gave", "another of its builders"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	w.wantAnswerOf(must(gorillamux.NewRouter(openAPI(t)))(t), "/v1/targets/"+helloID)
	if _, svg := w.fetch("/targets/" + helloID + "/grid.svg"); !strings.Contains(string(svg), ">(A)<") {
		t.Errorf("the picture lacks (A): %s", svg)
	}
}
