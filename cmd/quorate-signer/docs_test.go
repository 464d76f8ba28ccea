package main

import (
	"flag"
	"testing"

	"github.com/alecthomas/kong"

	"quorate/fixtures/clidoc"
)

var update = flag.Bool("update", false, "write the list of commands in docs/cli.md anew")

func TestCommandsAreDocumented(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("quorate-signer"), kong.Vars{"version": ""}, kong.Description(description))
	if err != nil {
		t.Fatal(err)
	}
	clidoc.Check(t, parser.Model, *update)
}
