package coordinator_test

import (
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

func TestEvidenceIsTrimmedToAQuorum(t *testing.T) {
	p := must(policy.Load([]byte(policyText(t, 1, 3, "", nil)), time.Now()))(t)
	ch := p.Channel("core")
	var stmts []*statement.Statement
	var obs []quorum.Observation
	for i, name := range builders {
		b := build{builder: name, source: strings.Repeat("x", 1+i*500)}
		s := b.statement(t)
		o := must(quorum.Admit(p, s, time.Now()))(t)
		o.Seq = uint64(i) + 1
		stmts, obs = append(stmts, s), append(obs, o)
	}
	v := quorum.Decide(ch, obs, nil, time.Now())[0]
	size := func(list []*statement.Statement) int {
		n := coordinator.RequestRoom
		for _, s := range list {
			n += 4*((len(s.Raw())+2)/3) + 64
		}
		return n
	}
	if got := coordinator.Trim(ch, &v, stmts, size(stmts)); len(got) != 4 {
		t.Errorf("%d statements, all of which fit", len(got))
	}
	got := coordinator.Trim(ch, &v, stmts, size(stmts)-1)
	if len(got) != 3 || got[0] != stmts[0] || got[2] != stmts[2] {
		t.Errorf("%d statements, want the first three: the largest can be spared", len(got))
	}
	if got := coordinator.Trim(ch, &v, stmts, size(stmts[:3])-1); got != nil {
		t.Errorf("%d statements, although no quorum fits", len(got))
	}
}
