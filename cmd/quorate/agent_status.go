package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	builderagent "quorate/builder-agent"
	"quorate/builder-agent/spool"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

type agentStatusCmd struct {
	stateFlag
	Builds int  `placeholder:"N" help:"Also print the latest N builds, with where their logs are."`
	JSON   bool `name:"json" help:"Print one JSON object, with everything that was confirmed."`
}

func (agentStatusCmd) Help() string {
	return `Prints a line for every statement that waits for a receipt ("pending ID CHANNEL TARGET") and every one that was rejected ("rejected ID CODE MESSAGE"), then the counts. What was confirmed is only counted, unless --json is given.

With --builds the latest builds come first, the newest last: "build OUTCOME TIME CHANNEL TARGET LOG", and the reason where the outcome is not "vote". LOG is "-" when it is no longer kept.`
}

// agentStatus is what --json prints.
type agentStatus struct {
	Builder  string               `json:"builder"`
	Pending  []agentPending       `json:"pending"`
	Sent     []statement.SHA256   `json:"sent"`
	Rejected []agentRejected      `json:"rejected"`
	Damaged  []string             `json:"damaged,omitempty"` // files set aside just now
	Builds   []builderagent.Build `json:"builds,omitempty"`
}

type agentPending struct {
	Statement statement.SHA256 `json:"statement"`
	Channel   string           `json:"channel"`
	Target    string           `json:"target"`
	Stage     string           `json:"stage"`
}

type agentRejected struct {
	Statement statement.SHA256 `json:"statement"`
	Code      statement.Code   `json:"code"`
	Message   string           `json:"message"`
}

func (c *agentStatusCmd) Run() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	if c.Builds < 0 {
		return usageError("quorate agent status --help", "--builds %d is less than zero", c.Builds)
	}
	st, err := readAgentStatus(s.Config.Name, s.Spool)
	if err != nil {
		return err
	}
	if c.Builds > 0 {
		if st.Builds, err = s.Builds(c.Builds); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(os.Stdout, st)
	}
	for _, b := range st.Builds {
		fmt.Println(sayBuild(b))
	}
	for _, path := range st.Damaged {
		say("damaged, set aside: %s", path)
	}
	for _, p := range st.Pending {
		fmt.Println("pending", p.Statement, p.Channel, p.Target)
	}
	for _, r := range st.Rejected {
		fmt.Println("rejected", r.Statement, r.Code, render.Message(sayOnce(r.Code, r.Message)))
	}
	fmt.Printf("%d pending, %d confirmed, %d rejected\n", len(st.Pending), len(st.Sent), len(st.Rejected))
	return nil
}

func sayBuild(b builderagent.Build) string {
	line := []string{"build", b.Outcome, stamp(b.Finished), b.Channel, b.Target, cmp.Or(b.Log, "-")}
	if b.Reason != "" {
		line = append(line, b.Reason)
	}
	return render.Message(strings.Join(line, " "))
}

func readAgentStatus(builder string, sp *spool.Spool) (*agentStatus, error) {
	st := &agentStatus{Builder: builder}
	pending, damaged, err := sp.Pending()
	if err != nil {
		return nil, err
	}
	st.Damaged = damaged
	for _, e := range pending {
		st.Pending = append(st.Pending, agentPending{e.ID, e.Statement.Channel, e.Statement.Target, e.Statement.Stage})
	}
	if st.Sent, err = sp.Settled(spool.Sent); err != nil {
		return nil, err
	}
	rejected, err := sp.Settled(spool.Rejected)
	if err != nil {
		return nil, err
	}
	for _, id := range rejected {
		_, reason, err := sp.Where(id)
		if err != nil {
			return nil, err
		}
		st.Rejected = append(st.Rejected, agentRejected{id, reason.Code, reason.Message})
	}
	return st, nil
}
