package main

import (
	"quorate/internal/api"
	"quorate/internal/render"
)

// brought lists the statements that importers brought: whose they are, in what
// form, which key signed them, and who carried them.
func (p *printer) brought(list []api.StatementInfo) {
	var foreign []api.StatementInfo
	for _, s := range list {
		if s.Foreign != nil {
			foreign = append(foreign, s)
		}
	}
	if len(foreign) == 0 {
		return
	}
	p.line("")
	p.line("Made by other tools:")
	for _, s := range first(foreign) {
		p.wrap("  ", render.Text(s.Operator)+" ("+render.Text(s.Builder)+"): "+render.Foreign(s.Foreign))
	}
	if more := len(foreign) - maxLines; more > 0 {
		p.line("  and %d more; --json has all", more)
	}
}
