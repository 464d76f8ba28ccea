package policy_test

import (
	"testing"

	"quorate/quorum/policy"
)

// Whatever loads can be met, cannot split unless it says so, and counts one key
// and one operator once.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(good()))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Load(data, now)
		if err != nil {
			return
		}
		if p.Version == 0 || p.Expired(now) || len(p.Channels) == 0 {
			t.Fatalf("loaded %+v", p)
		}
		keys := map[string]bool{}
		for _, o := range p.Operators {
			for _, b := range o.Builders {
				for _, k := range b.Keys {
					if keys[k.Public.String()] {
						t.Fatal("one key twice")
					}
					keys[k.Public.String()] = true
				}
			}
		}
		for _, c := range p.Channels {
			checkChannel(t, c)
		}
	})
}

func checkChannel(t *testing.T, c *policy.Channel) {
	t.Helper()
	seen := map[string]bool{}
	all := make([]bool, len(c.Roster))
	for i, name := range c.Roster {
		if seen[name] {
			t.Fatalf("operator %q twice in a roster", name)
		}
		seen[name], all[i] = true, true
	}
	if !c.Rule.Passes(all) || c.Rule.Passes(make([]bool, len(all))) || c.Rule.MinPass() < 1 || c.Rule.MinBlock() < 1 {
		t.Fatalf("channel %q cannot be met, or is met by nobody", c.Name)
	}
	if len(c.Sign) == 0 || len(c.Targets) == 0 || c.Settle < 0 {
		t.Fatalf("channel %+v", c)
	}
}
