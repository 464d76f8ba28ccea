package main

import "errors"

type listCmd struct{}

func (listCmd) Run() error { return errors.New("not written yet") }
