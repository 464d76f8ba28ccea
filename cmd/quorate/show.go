package main

import "errors"

type showCmd struct{}

func (showCmd) Run() error { return errors.New("not written yet") }
