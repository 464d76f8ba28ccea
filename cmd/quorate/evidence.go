package main

import "errors"

type evidenceCmd struct{}

func (evidenceCmd) Run() error { return errors.New("not written yet") }
