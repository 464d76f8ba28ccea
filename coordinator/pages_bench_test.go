package coordinator_test

import (
	"crypto/sha512"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

var (
	targetsN  = flag.Int("targets", 20_000, "targets in the database that BenchmarkPages makes")
	targetsDB = flag.String("targets-state", "", "state directory to keep that database in, and to take it from when it is there")
)

// BenchmarkPages asks a coordinator with many targets, each of 3 artifacts and 5
// builders, for pages, and prints how long the slowest of a hundred took.
func BenchmarkPages(b *testing.B) {
	w := benchWorld(b)
	started := time.Now()
	c := w.start()
	fmt.Fprintf(os.Stderr, "coordinator up after %s\n", time.Since(started).Round(time.Millisecond))
	check(b, coordinator.AwaitDecided(limit(b), c))
	for b.Loop() {
		w.measurePages(b)
	}
}

// benchWorld has the database with the targets.
func benchWorld(b *testing.B) *world {
	dir := *targetsDB
	if dir == "" {
		dir = b.TempDir()
	}
	if _, err := os.Stat(filepath.Join(dir, "filled")); err == nil {
		return &world{t: b, dir: dir}
	}
	check(b, os.MkdirAll(dir, 0o700))
	w := newWorldIn(b, dir, benchPolicy(b))
	started := time.Now()
	w.fillTargets(*targetsN)
	fmt.Fprintf(os.Stderr, "%d targets made in %s\n", *targetsN, time.Since(started).Round(time.Second))
	check(b, os.WriteFile(filepath.Join(dir, "filled"), nil, 0o600))
	return w
}

// benchPolicy has five builders in the channel core.
func benchPolicy(b *testing.B) string {
	return strings.Replace(policyText(b, 1, 3, "", nil), `"carol", "dave"]`, `"carol", "dave", "erin"]`, 1)
}

// pageKinds are pages by what people ask for.
func pageKinds(n int) map[string][]string {
	kinds := map[string][]string{
		"overview":                   {"/", "/v1/channels"},
		"list":                       {"/targets", "/v1/targets", "/v1/targets?channel=core", "/v1/targets?order=oldest"},
		"list, one verdict":          {"/targets?state=conflicting", "/v1/targets?state=disputed&channel=core", "/v1/targets?state=held", "/v1/targets?state=withdrawn"},
		"list, builder":              {"/targets?builder=alice", "/v1/targets?builder=dave&state=disputed", "/v1/targets?differs=dave&state=signed"},
		"list, age":                  {"/targets?older=1d", "/v1/targets?newer=1h&state=conflicting", "/v1/targets?older=30d"},
		"list, a text all have":      {"/targets?q=pkg:generic", "/v1/targets?q=generic/p&state=conflicting&builder=bob"},
		"list, a text that few have": nil,
		"list, a text nobody has":    {"/v1/targets?q=xyzzy", "/v1/targets?q=zz", "/v1/targets?q=z", "/v1/targets?q=p1p1p1p1"},
		"list, a name":               nil,
		"target":                     nil,
		"builder":                    {"/builders/alice", "/builders/dave"},
	}
	for range 20 {
		i := rand.IntN(n)
		kinds["list, a text that few have"] = append(kinds["list, a text that few have"], fmt.Sprintf("/v1/targets?q=p%d@", i), fmt.Sprintf("/v1/targets?q=%d", i))
		kinds["list, a name"] = append(kinds["list, a name"], fmt.Sprintf("/v1/targets?q=p%d-doc.zst", i))
		id := caseID("core", benchTarget(i))
		kinds["target"] = append(kinds["target"], "/targets/"+id, "/v1/targets/"+id)
	}
	return kinds
}

func (w *world) measurePages(b *testing.B) {
	kinds := pageKinds(*targetsN)
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var took []time.Duration
		worst, slowest := time.Duration(0), ""
		for i := 0; len(took) < 200; i++ {
			path := kinds[name][i%len(kinds[name])]
			started := time.Now()
			resp := must(http.Get(w.c.URL() + path))(b)
			n := must(io.Copy(io.Discard, resp.Body))(b)
			resp.Body.Close()
			d := time.Since(started)
			if resp.StatusCode != 200 || n == 0 {
				b.Fatalf("%s: status %d", path, resp.StatusCode)
			}
			if took = append(took, d); d > worst {
				worst, slowest = d, path
			}
		}
		slices.Sort(took)
		fmt.Fprintf(os.Stderr, "%-28s median %6.2f ms, p99 %6.2f ms, slowest %s\n", name, ms(took[len(took)/2]), ms(took[len(took)*99/100]), slowest)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func benchTarget(i int) string { return fmt.Sprintf("pkg:generic/p%d@1.%d-2?arch=x86_64", i, i%17) }

// fillTargets puts targets into the database as deciding puts them there. The
// statements' bytes are left out: no page of a list reads them.
func (w *world) fillTargets(n int) {
	w.start() // takes the policy for the database's own, which begins without one
	w.stop()
	db := must(store.Open(filepath.Join(w.state(), "coordinator.db")))(w.t)
	defer func() { check(w.t, db.Close()) }()
	p := must(policy.Load(must(os.ReadFile(w.path("policy.toml")))(w.t), time.Now()))(w.t)
	const atOnce = 2000
	start := time.Now().Add(-90 * 24 * time.Hour)
	step := 90 * 24 * time.Hour / time.Duration(n)
	for at := 0; at < n; at += atOnce {
		check(w.t, db.Update(func(tx *store.Tx) error {
			for i := at; i < min(at+atOnce, n); i++ {
				if err := w.fillTarget(tx, p.Channel("core"), i, start.Add(time.Duration(i)*step)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func (w *world) fillTarget(tx *store.Tx, ch *policy.Channel, i int, at time.Time) error {
	cs := store.Case{Case: statement.Case{Channel: "core", Target: benchTarget(i)}}
	cs.ID = store.NewCaseID(cs.Case)
	files := []string{fmt.Sprintf("p%d.zst", i), fmt.Sprintf("p%d-doc.zst", i), fmt.Sprintf("p%d-dev.zst", i)}
	var obs []quorum.Observation
	for j, builder := range append(slices.Clone(builders), "erin") {
		o := quorum.Observation{ID: digest(fmt.Sprint(i, j)), Operator: builder, Builder: builder, Seq: uint64(5*i + j + 1), Received: at.Add(time.Duration(j) * time.Minute)}
		for k, name := range files {
			content := fmt.Sprint("content", i, k)
			if i%10 == 3 && builder == "dave" || i%50 == 7 && j%2 == 1 || i%5000 == 11 {
				content += builder
			}
			o.Files = append(o.Files, quorum.File{Name: name, SHA256: digest(content), SHA512: sha512.Sum512([]byte(content))})
		}
		if _, err := tx.AddStatement(cs.ID, &o, o.Received.Add(-time.Hour), o.Received); err != nil {
			return err
		}
		obs = append(obs, o)
	}
	signed := map[string]quorum.Signature{}
	if i%3 != 0 {
		for k, name := range files {
			content := fmt.Sprint("content", i, k)
			signed[name] = quorum.Signature{SHA256: digest(content), Seq: uint64(5*i + 5), Complete: true}
		}
	}
	return coordinator.StoreDecision(tx, cs, quorum.Decide(ch, obs, signed, time.Now()), obs)
}
