package main

import (
	"fmt"
	"os"

	"quorate/builder-agent/spool"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

type agentStatusCmd struct {
	stateFlag
	JSON bool `name:"json" help:"Print one JSON object, with everything that was confirmed."`
}

func (agentStatusCmd) Help() string {
	return `Prints a line for every statement that waits for a receipt ("pending ID CHANNEL TARGET") and every one that was rejected ("rejected ID CODE MESSAGE"), then the counts. What was confirmed is only counted, unless --json is given.`
}

// agentStatus is what --json prints.
type agentStatus struct {
	Builder  string             `json:"builder"`
	Pending  []agentPending     `json:"pending"`
	Sent     []statement.SHA256 `json:"sent"`
	Rejected []agentRejected    `json:"rejected"`
	Damaged  []string           `json:"damaged,omitempty"` // files set aside just now
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
	st, err := readAgentStatus(s.Config.Name, s.Spool)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(os.Stdout, st)
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
