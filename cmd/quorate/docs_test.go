package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"quorate/fixtures/clidoc"
)

func TestCommandsAreDocumented(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("quorate"), kong.Vars{"version": ""}, kong.Description(description))
	if err != nil {
		t.Fatal(err)
	}
	clidoc.Check(t, parser.Model, *update)
}
