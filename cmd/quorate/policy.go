package main

import "errors"

type policyCmd struct{}

func (policyCmd) Run() error { return errors.New("not written yet") }
