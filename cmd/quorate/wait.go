package main

import "errors"

type waitCmd struct{}

func (waitCmd) Run() error { return errors.New("not written yet") }
